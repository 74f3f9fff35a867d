"""docs/hooks.md must be what the contracts say now, and must say all of it."""

import inspect
import re
from pathlib import Path

import pytest

from kwsbench import hookspecs, plugins, reference, testing, types

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def sections():
    """Each hook's part of the document, and that of the nouns, by heading."""
    return dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", reference.render(), flags=re.DOTALL | re.MULTILINE))


def test_the_document_is_what_the_contracts_say():
    written = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")
    assert written == reference.render(), "stale; run python -m kwsbench.reference > docs/hooks.md"


def test_every_hook_has_its_section(sections):
    assert list(sections) == [f"register_{kind}" for kind in plugins.KINDS] + ["The nouns"]
    for kind in plugins.KINDS:
        assert inspect.getdoc(getattr(hookspecs, f"register_{kind}")).replace("``", "`") in sections[f"register_{kind}"]


@pytest.mark.parametrize(
    ("kind", "contracts"),
    [
        ("encoders", [types.Encoder]),
        ("transforms", [types.Transform, types.SpeakerTransform]),
        ("distances", [types.Distance, types.GramDistance, types.NeighbourDistance]),
        ("matchers", [types.Alignment, types.CostMatcher, types.PairMatcher]),
        ("score_norms", [types.ScoreNorm]),
        ("datasets", [types.DatasetSource]),
    ],
)
def test_each_contract_is_told_in_full(sections, kind, contracts):
    """Every attribute, every argument and every word of every docstring, in the section of the hook."""
    section = sections[f"register_{kind}"]
    assert re.findall(r"^### (\w+)", section, flags=re.MULTILINE) == [contract.__name__ for contract in contracts]
    for contract, told in zip(contracts, re.split(r"^### .*\n", section, flags=re.MULTILINE)[1:], strict=True):
        for name in inspect.get_annotations(contract):
            assert re.search(rf"^{name}: ", told, flags=re.MULTILINE), name
        methods = [each for name, each in vars(contract).items() if inspect.isfunction(each) and name[0] != "_"]
        for method in methods:
            line = next(line for line in told.splitlines() if line.startswith(f"{method.__name__}("))
            for argument in inspect.signature(method).parameters:
                assert argument == "self" or f"{argument}: " in line
        said = set(re.findall(r"\w+", told))
        for text in map(inspect.getdoc, [contract, *methods]):
            assert set(re.findall(r"\w+", text)) <= said


def test_a_property_is_shown_as_what_it_gives(sections):
    assert "\nprepared: bool\n" in sections["register_datasets"]
    assert "\nlengths: npt.NDArray[np.int64]\n" in sections["The nouns"]


def test_the_nouns_are_those_that_contracts_speak_of(sections):
    names = re.findall(r"^### (\w+)", sections["The nouns"], flags=re.MULTILINE)
    assert {"Waveform", "Frames", "Match", "Scores", "Clip", "Dataset"} <= set(names)
    assert "FrameSource" not in names  # the engine's own affair
    assert "Matcher" not in names  # told by its members
    assert "Mono audio at 16 kHz" in sections["The nouns"].partition("### Waveform")[2].partition("###")[0]
    assert "language: str = ''" in sections["The nouns"]


def test_each_hook_has_built_in_examples(sections):
    """Every file of ours that has the hook, and no other."""
    for kind in plugins.KINDS:
        linked = set(re.findall(r"\]\(\.\./(.+?)\)", sections[f"register_{kind}"]))
        having = {
            path.relative_to(ROOT).as_posix()
            for path in [*ROOT.glob("plugins/*.py"), *ROOT.glob("*/*/__init__.py")]
            if re.search(rf"^def register_{kind}\(", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        }
        assert linked
        assert linked <= having
    assert "(../plugins/mfcc.py)" in sections["register_encoders"]
    assert "[`datasets/fsdd`](../datasets/fsdd/__init__.py)" in sections["register_datasets"]


def test_each_hook_says_what_is_checked(sections):
    for kind in plugins.KINDS:
        rules = inspect.getdoc(getattr(testing, f"check_{kind.removesuffix('s')}"))
        assert f"`kwsbench check` looks at: {rules[0].lower()}{rules[1:]}" in sections[f"register_{kind}"]


def test_arguments_told_line_by_line_become_a_list():
    text = reference._markdown("Does it.\n\nx, y: two\nof them. z: not here\n\nother: no\n", names={"x", "y", "z"})  # noqa: SLF001
    assert text == "Does it.\n\n- `x`, `y`: two\n  of them. z: not here\n\nother: no"
