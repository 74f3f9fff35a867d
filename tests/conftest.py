"""What tests share: real recordings where they lie, and a small archive made of sounds."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from kwsbench.cli import main
from kwsbench_plugins.torchaudio_extension import make_torchaudio_importable
from tests.archives import write_manifest, write_tone

ROOT = Path(__file__).parents[1]

# A package of its own, whose tests want it installed: test_thirdparty.py does that.
collect_ignore = ["thirdparty"]

# Tests import transformers themselves; beside a torch for the CPU, torchaudio (s3prl needs it) takes it down.
make_torchaudio_importable()


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


@pytest.fixture(scope="module")
def single_thread():
    """One thread of torch: several on models as small as the tests' only wait for one another."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def no_progress_bars():
    """Saving and the tests' own loading draw bars (that the plugin draws none is tested in a process apart)."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    yield
    transformers.utils.logging.enable_progress_bar()


@pytest.fixture(scope="session")
def s3prl_ckpts(tmp_path_factory) -> dict[str, Path | None]:
    """Name of an upstream of s3prl → what it is given as ckpt."""
    from tests.s3prl_checkpoints import quiet
    from tests.s3prl_upstreams import BASELINES, MODELS

    with quiet():
        saved = {name: save(tmp_path_factory.mktemp(name)) for name, save in MODELS.items()}
    return dict.fromkeys(BASELINES) | saved


@pytest.fixture(scope="session")
def s3prl_encoders(s3prl_ckpts):
    """Name of an upstream of s3prl → the encoder, made once."""
    from kwsbench_plugins.s3prl import s3prl

    return {name: s3prl(upstream=name, ckpt=ckpt) for name, ckpt in s3prl_ckpts.items()}


def call(*arguments: object) -> tuple[int, str, str]:
    """Run kwsbench with these arguments: (exit code, stdout, stderr). A bug raises, as it would for a user."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def run_cli(own_cache):
    """``call``, with a cache of the test's own."""
    return call


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


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """An S3 server, in a process of its own."""
    from tests.shared_storage import s3_server

    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(s3, monkeypatch):
    """A bucket of the test's own; fsspec is told where by its configuration."""
    import fsspec

    from tests.shared_storage import new_bucket

    monkeypatch.setitem(fsspec.config.conf, "s3", s3.options)
    return new_bucket()


@pytest.fixture(params=["s3", "file"])
def url(request, tmp_path):
    """Where shared storage is, of each kind."""
    if request.param == "s3":
        return f"s3://{request.getfixturevalue('bucket')}/my frames/ŋ"
    return f"file://{tmp_path}/shared frames [ŋ]"
