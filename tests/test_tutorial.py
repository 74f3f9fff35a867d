"""docs/tutorial.md, done as its reader does it: its commands, its edits, and the output that it promises."""

import re
import shlex

import pytest

from tests.archives import write_manifest, write_tone
from tests.conftest import ROOT
from tests.test_thirdparty import Environment

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TUTORIAL, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """In place of what the tutorial fetches: five tones by two speakers."""
    folder = tmp_path_factory.mktemp("recordings")
    rows = []
    for speaker, shift in (("ana", 1.0), ("ben", 1.1)):
        for word, hz in (("uno", 180), ("due", 260), ("tre", 370), ("sei", 520), ("nove", 750)):
            path = write_tone(folder / f"{word}-{speaker}.wav", hz=hz * shift)
            rows.append({"path": path.name, "keyword": word, "speaker": speaker})
    write_manifest(folder, rows)
    return folder


def edited(text, diff):
    """The text with the lines of a diff changed, where they stand once."""
    old, new = ("".join(line[1:] + "\n" for line in diff.splitlines() if line[0] in signs) for signs in ("- ", "+ "))
    assert text.count(old) == 1, f"the tutorial changes what is not there:\n{old}"
    return text.replace(old, new)


def words(text):
    """Lines with single spaces, and without the heading that names a test file."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_reader_who_follows_the_tutorial_gets_there(tmp_path, recordings):
    environment = Environment(tmp_path)
    folder = tmp_path / "empty"
    folder.mkdir()
    printed, codes = "", [0]
    for number, (language, block) in enumerate(BLOCKS):
        if language == "sh":
            following = next((text for kind, text in BLOCKS[number + 1 :] if kind in ("sh", "text")), "")
            expected = 1 if following.startswith("FAIL") else 0
            printed, codes = "", []
            for line in block.splitlines():
                arguments = shlex.split(line.replace("prompts/it", f"manifest:path={recordings}"))
                command = environment.run(*arguments, cwd=folder)
                printed += command.stdout + command.stderr
                codes.append(command.returncode)
            assert codes == [expected] * len(codes), f"{block}{printed}"
        elif language == "diff":
            (folder / "bands.py").write_text(edited((folder / "bands.py").read_text(), block))
        elif language == "python":
            assert block in (folder / "bands.py").read_text()
        else:
            assert language == "text", language
            for line in words(block):
                assert any(line in shown for shown in words(printed)), f"the tutorial promises {line!r}:\n{printed}"
    # The last command of all was the board.
    assert "bands" in printed
    assert "mfcc" in printed


def test_the_tutorial_shows_each_kind_of_step():
    """What the test above would pass over in silence: blocks that are not fenced, steps that went missing."""
    commands = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines()]
    for step in ("plugins new encoder", "check", "run --plugin", "leaderboard", "plugins new encoder bands --package"):
        assert any(line.startswith(f"kwsbench {step}") for line in commands), step
    assert any(line.startswith("pytest") for line in commands)
    assert [language for language, _ in BLOCKS].count("diff") >= 2
    assert "\n    kwsbench" not in TUTORIAL
