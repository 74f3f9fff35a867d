"""The pytest plugin as its users meet it: real pytest runs in folders of their own, and the text they print."""

import subprocess
import sys

pytest_plugins = ["pytester"]

GOOD = '''
import numpy as np
import kwsbench

class Loudness:
    """Log energy of 20 ms frames."""

    layers = ("0",)
    frame_shift_s, first_centre_s, min_samples = 0.02, 0.01, 320

    def __init__(self, *, floor: float = 1e-9):
        self.floor = floor

    def encode(self, samples, layers):
        energy = (samples[: len(samples) // 320 * 320].reshape(-1, 320) ** 2).mean(axis=1)
        with np.errstate(divide="ignore"):
            return {"0": np.log(energy + self.floor)[:, None]}

class Half:
    """Frames at half their size."""

    def fit(self, frames):
        return lambda x: x * np.float32(0.5)

@kwsbench.hookimpl
def register_encoders(register):
    register("loudness", Loudness)

@kwsbench.hookimpl
def register_transforms(register):
    register("half", Half)
'''

NO_FLOOR = "finite (silence): layer 0 holds NaN or inf; put a floor under logarithms and divisions"


def contract_test(marker):
    return f"""
import pytest
{marker}
def test_contract(kwsbench_plugin, kwsbench_check):
    kwsbench_check(*kwsbench_plugin)
"""


def install(pytester, text, name="sad-bands"):
    """A real distribution of one module in the folder, which pytest puts on the path of the run."""
    pytester.makepyfile(sad_bands=text)
    info = pytester.mkdir(f"{name.replace('-', '_')}-1.0.dist-info")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kwsbench]\nsad = sad_bands\n")
    pytester.syspathinsert()


def run(pytester, *arguments):
    """A pytest run in a process of its own; nothing it prints may be a traceback."""
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)
    for line in result.outlines + result.errlines:
        assert "Traceback" not in line
        assert "kwsbench/" not in line, "the frames of kwsbench are no business of a plugin's author"
    return result


def test_every_plugin_of_a_file_is_a_test(pytester):
    folder = pytester.mkdir("tests")
    (pytester.path / "mine.py").write_text(GOOD)
    (folder / "test_mine.py").write_text(contract_test('@pytest.mark.kwsbench(file="../mine.py")'))
    result = run(pytester, "-v", "--strict-markers", "tests")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_contract[[]encoder-loudness] PASSED*", "*[[]transform-half] PASSED*"])


def test_every_plugin_of_a_distribution_is_a_test(pytester):
    install(pytester, GOOD)
    pytester.makepyfile(contract_test('@pytest.mark.kwsbench(owner="sad-bands")'))
    run(pytester).assert_outcomes(passed=2)


def test_what_a_test_leaves_out_is_another_tests(pytester):
    install(pytester, GOOD)
    pytester.makepyfile(contract_test('@pytest.mark.kwsbench(owner="sad-bands", leave_out=["half"])'))
    run(pytester).assert_outcomes(passed=1)
    pytester.makepyfile(contract_test('@pytest.mark.kwsbench(owner="sad-bands", leave_out=["halve"])'))
    run(pytester).stdout.fnmatch_lines(["*::test_contract: leave_out: 'halve' is none of loudness, half"])


def test_each_broken_rule_is_a_line(pytester):
    (pytester.path / "mine.py").write_text(GOOD.replace("1e-9", "0.0").replace("* np.float32(0.5)", "[1:]"))
    pytester.makepyfile(contract_test('@pytest.mark.kwsbench(file="mine.py")'))
    result = run(pytester)
    result.assert_outcomes(failed=2)
    assert "encoder loudness breaks 1 rule of its contract:" in result.outlines
    assert f"  {NO_FLOOR}" in result.outlines
    assert "transform half breaks 1 rule of its contract:" in result.outlines
    assert "  shape: (40, 24) became (39, 24); expected (40, dims), one frame out for each one in" in result.outlines
    assert not [line for line in result.outlines if line.startswith(("E ", ">"))]


def test_a_plugin_is_checked_with_parameters(pytester):
    install(pytester, GOOD)
    pytester.makepyfile("""
        def test_floor(kwsbench_check):
            kwsbench_check("encoder", "loudness:floor=0.01")

        def test_no_floor(kwsbench_check):
            kwsbench_check("encoder", "loudness:floor=0")
    """)
    result = run(pytester)
    result.assert_outcomes(passed=1, failed=1)
    assert "encoder loudness:floor=0 breaks 1 rule of its contract:" in result.outlines
    assert f"  {NO_FLOOR}" in result.outlines


CALLS = {
    '"encoder", "loudnes"': "unknown encoder 'loudnes'. Did you mean 'loudness'?",
    '"encoders", "loudness"': "unknown kind of plugin 'encoders'. Did you mean 'encoder'?",
    '"encoder", "loudness@0"': "loudness@0: all layers are checked; leave out @0",
    '"encoder", "loudness:floor=low"': "  factory: loudness:floor=low: expected float",
    '"encoder", "x", "gone.py"': "no plugin file *gone.py; --plugin takes the path of a .py file",
}


def test_a_mistake_in_a_check_is_one_line(pytester):
    install(pytester, GOOD)
    tests = [f"def test_{i}(kwsbench_check):\n    kwsbench_check({call})\n" for i, call in enumerate(CALLS)]
    pytester.makepyfile("\n".join(tests))
    result = run(pytester)
    result.assert_outcomes(failed=len(CALLS))
    result.stdout.fnmatch_lines(list(CALLS.values()))


MARKERS = {
    "": '*::test_contract: kwsbench_plugin does not know whose; add @pytest.mark.kwsbench(owner="DISTRIBUTION") or *',
    "@pytest.mark.kwsbench": "*::test_contract: cannot read the marker; write @pytest.mark.kwsbench(owner=*",
    '@pytest.mark.kwsbench("sad-bands")': "*::test_contract: cannot read the marker; *",
    '@pytest.mark.kwsbench(owner="sad-bands", file="x.py")': "*::test_contract: cannot read the marker; *",
    '@pytest.mark.kwsbench(owner="sad-band")': (
        "*no plugin is registered by 'sad-band'; is it installed? Did you mean 'sad-bands'?"
    ),
    '@pytest.mark.kwsbench(file="gone.py")': "*::test_contract: no plugin file *gone.py; *",
}


def test_a_mistake_in_the_marker_stops_the_run(pytester):
    install(pytester, GOOD)
    pytester.makepyfile(**{f"test_{i}": contract_test(marker) for i, marker in enumerate(MARKERS)})
    result = run(pytester)
    result.assert_outcomes(errors=len(MARKERS))
    result.stdout.fnmatch_lines(list(MARKERS.values()))


def test_a_plugin_that_cannot_be_loaded_is_no_pass(pytester):
    install(pytester, "import no_such_module_at_all")
    pytester.makepyfile(contract_test('@pytest.mark.kwsbench(owner="sad-bands")'))
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([
        "*::test_contract: sad-bands: sad could not be loaded: ModuleNotFoundError: No module named 'no_such_module*"
    ])  # fmt: skip


def test_the_marker_is_listed(pytester):
    run(pytester, "--markers").stdout.fnmatch_lines(["@pytest.mark.kwsbench(owner=, file=, leave_out=()): *"])


def test_who_does_not_use_it_does_not_pay_for_it():
    code = (
        "import sys, kwsbench.pytest_plugin\n"
        "heavy = {'numpy', 'click', 'torch', 'kwsbench.types', 'kwsbench.plugins'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
