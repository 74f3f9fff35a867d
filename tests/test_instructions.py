"""The kernels take no more instructions than stored, and the check would notice if they did."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import instructions
from kwsbench.errors import KwsbenchError

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def counts():
    """The kernels counted on this machine: half a minute, once."""
    try:
        return instructions.measure()
    except KwsbenchError as error:
        # Nothing else may be the reason: what fails on a machine that can count is a failure.
        if not re.search("valgrind is not installed|counted on x86_64 only", str(error)):
            raise
        pytest.skip(str(error))


@pytest.fixture
def baseline():
    return instructions.read_baseline()


def scaled(baseline, factor):
    return {**baseline, "instructions": {name: factor * stored for name, stored in baseline["instructions"].items()}}


@pytest.fixture
def in_its_place(monkeypatch, tmp_path, counts):
    """A call that stores another baseline and runs the command on the counts of this machine."""

    def run(baseline):
        file = tmp_path / "instructions.json"
        file.write_text(json.dumps(baseline))
        monkeypatch.setattr(instructions, "BASELINE", file)
        monkeypatch.setattr(instructions, "measure", lambda: counts)
        instructions.main(["--check"])

    return run


def test_no_kernel_takes_more_instructions_than_stored(counts, baseline):
    instructions.check(counts, baseline)


def test_a_baseline_lower_by_30_percent_is_risen_above(in_its_place, counts, baseline):
    with pytest.raises(KwsbenchError) as error:
        in_its_place(scaled(baseline, 0.7))
    text = str(error.value)
    assert "\n" not in text
    for name, count in counts.items():
        assert f"{name} {count:g} (expected at most" in text
    assert text.endswith("; make it fast again, or accept it with: python -m benchmarks.instructions --write")


def test_less_than_20_percent_more_is_let_pass(in_its_place, counts):
    """The factor 1/1.19 leaves a hundredth on this side of the limit: stored counts are rounded to a tenth of ~70."""
    stored = {"versions": instructions.versions(), "instructions": counts}
    in_its_place(scaled(stored, 1 / 1.19))
    with pytest.raises(KwsbenchError):
        in_its_place(scaled(stored, 1 / 1.21))


def test_a_kernel_that_does_more_is_named_alone(counts, baseline):
    """sdtw as it would be if it always counted its path's cells, which takes half as much again."""
    slower = {**counts, "sdtw": counts["sdtw:normalize=path"]}
    with pytest.raises(
        KwsbenchError, match=r"^instructions for 32 cells have risen: sdtw [\d.]+ \([^,]*, [^,]*\)"
    ) as error:
        instructions.check(slower, baseline)
    assert str(error.value).count("expected at most") == 1


def test_what_is_counted_is_the_kernel(counts):
    """Two bounds that hold whatever the compiler does with vectors of eight.

    A row of 32 cells is four vectors, and each takes at least a load of the cost, an addition, a maximum and two
    stores (score and start): 20 instructions. One cell at a time takes at least 32 times 5.
    """
    for name in instructions.ALIGNMENTS:
        assert 20 < counts[name] < 160, name


def test_another_compiler_is_mentioned(counts, baseline):
    old = {**scaled(baseline, 0.5), "versions": {**baseline["versions"], "numba": "0.1"}}
    with pytest.raises(KwsbenchError) as error:
        instructions.check(counts, old)
    here = instructions.versions()
    assert f"numba 0.1 llvmlite {baseline['versions']['llvmlite']}, this is" in str(error.value)
    assert f"numba {here['numba']} llvmlite {here['llvmlite']})" in str(error.value)


def test_a_kernel_without_a_stored_count_is_said(baseline):
    counts = {**baseline["instructions"], "new": 1.0}
    with pytest.raises(KwsbenchError, match=r"^instructions: new: not in both the count and instructions\.json; "):
        instructions.check(counts, baseline)


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        (["--chek"], {}, "instructions: unknown --chek; use --check, --write or nothing\n"),
        (["--check"], {"PATH": ""}, "instructions: valgrind is not installed; try: apt-get install valgrind\n"),
    ],
)
def test_mistakes_are_one_line_and_exit_1(arguments, environment, expected):
    command = [sys.executable, "-m", "benchmarks.instructions", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, expected)
