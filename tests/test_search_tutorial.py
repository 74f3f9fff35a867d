"""docs/search.md, done as its reader does it, on a small archive of real digits in place of what it fetches."""

import re
import shlex

import pytest

from kwsbench.archive import elan
from tests.annotated import DIGITS, write_eaf, write_spoken
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]


@pytest.fixture(scope="module")
def archive(tmp_path_factory, shared):
    """What the page's commands name: two people, one of whom says zero alone."""
    folder = tmp_path_factory.mktemp("my archive")
    fsdd = shared / "data" / "fsdd"
    write_spoken(folder / "paola-dal-zot" / "digits" / "0.wav", fsdd, "theo", ["zero"])
    for who, step in (("george", 3), ("jackson", 7)):
        story = folder / "carlo-flora" / f"{who}.wav"
        spans = write_spoken(story, fsdd, who, [DIGITS[(step * at) % 10] for at in range(100)])
        write_eaf(story.with_suffix(".eaf"), {"words": (who, spans)})
    return folder


def test_every_command_of_the_page_works(run_cli, archive, tmp_path, monkeypatch, own_cache):
    monkeypatch.chdir(tmp_path)
    assert len(COMMANDS) == 7
    for line in COMMANDS:
        text = line.replace("prompts/it", shlex.quote(str(archive))).replace("digits/0.flac", "digits/0.wav")
        text = text.replace("vm-msginstruct.flac:11.94-12.36", "george.wav:0.30-0.60")
        # As a shell does: what is not quoted falls apart at the blank.
        text = text.replace("$ARCHIVE", str(archive))
        _, *arguments = shlex.split(text)
        code, out, err = run_cli(*arguments)
        assert code == 0, f"{line}\n{out}{err}"
    assert "zero" in (tmp_path / "hits.html").read_text()
    tiers = elan.read(tmp_path / "elan" / "carlo-flora" / "george.eaf").tiers
    assert [tier.name for tier in tiers] == ["words", "kwsbench: zero"]
    assert list((tmp_path / "praat" / "carlo-flora").glob("*.TextGrid"))


def test_the_keys_are_the_pages(archive):
    """What the table names is what the script listens for."""
    script = "".join((ROOT / "kwsbench" / "search" / name).read_text() for name in ("hits.js", "hits_sound.js"))
    named = re.findall(r"`(\w|\?|space|shift)`", PAGE.partition("| key |")[2].partition("What you say")[0])
    assert {"y", "n", "u", "j", "k", "q", "z", "?"} <= set(named)
    for key in named:
        assert key in ("space", "shift") or f'"{key}"' in script or f"{key}:" in script, key
