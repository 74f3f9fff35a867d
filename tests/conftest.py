"""What tests share: real recordings where they lie, and a small archive made of sounds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.archives import write_manifest, write_tone

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test data beside the checkout; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the folder shared/ with test recordings is not beside this checkout")
    return folder


@pytest.fixture
def fsdd(shared) -> Path:
    """Part of the Free Spoken Digit Dataset: 15 takes of each digit by six people."""
    return shared / "data" / "fsdd"


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    """A frame cache of the test's own."""
    monkeypatch.setenv("KWSBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def run_cli(own_cache):
    """Run kwsbench as a user does, in a process of its own: (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "kwsbench", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def archive(tmp_path) -> Path:
    """Two speakers, three words as tones of different pitch, and one longer utterance each."""
    folder = tmp_path / "my archive ŋ"
    rows = []
    for speaker, shift in (("Ana", 1.0), ("Ɓen", 1.15)):
        for word, hz in (("ma", 200), ("ŋko", 330), ("təla", 520)):
            path = write_tone(folder / f"{speaker} {word}.wav", hz=hz * shift)
            rows.append({"path": path.name, "speaker": speaker, "keyword": word, "transcript": word})
        path = write_tone(folder / f"{speaker} story.wav", hz=200 * shift, seconds=1.5)
        rows.append({"path": path.name, "speaker": speaker, "keyword": "", "transcript": "So: ma, said the dog"})
    write_manifest(folder, rows)
    return folder
