"""The conformance kit on files, as `kwsbench check` runs it; the rules of each kind are in test_rules_*.py."""

import pytest

from kwsbench import rules, testing
from kwsbench.errors import KwsbenchError, PluginError
from tests.findings import only

GOOD = '''
import numpy as np
import kwsbench

class Half:
    """Frames at half their size."""
    def __init__(self, *, by: float = 0.5):
        self.by = np.float32(by)
    def fit(self, frames):
        return lambda x: x * self.by

@kwsbench.hookimpl
def register_transforms(register):
    register("half", Half)
'''


def test_a_file_is_checked_as_a_stranger_would(tmp_path):
    file = tmp_path / "half_file.py"
    file.write_text(GOOD, encoding="utf-8")
    assert testing.check_file(file) == [testing.Finding("transforms", "half", [])]


def test_a_score_norm_in_a_file_is_checked(tmp_path):
    file = tmp_path / "norm_file.py"
    source = """
import kwsbench

class Twice:
    \"""Scores at twice their size.\"""
    def normalize(self, scores, used):
        return 2 * scores

@kwsbench.hookimpl
def register_score_norms(register):
    register("twice", Twice)
"""
    file.write_text(source, encoding="utf-8")
    assert testing.check_file(file) == [testing.Finding("score_norms", "twice", [])]
    file.write_text(source.replace("2 * scores", "2 * scores[0]"), encoding="utf-8")
    (finding,) = testing.check_file(file)
    only(finding.problems, "shape (6 queries × 9 utterances): (9,), expected")


def test_a_file_with_faults_names_them(tmp_path):
    file = tmp_path / "bad_file.py"
    source = GOOD.replace('    """Frames at half their size."""\n', "").replace("x * self.by", "x[1:]")
    file.write_text(source, encoding="utf-8")
    (finding,) = testing.check_file(file)
    assert finding.name == "half"
    assert finding.problems[0].startswith("docstring")
    assert finding.problems[1].startswith("shape")


def test_a_factory_that_needs_a_parameter_says_so(tmp_path):
    file = tmp_path / "needy_file.py"
    file.write_text(GOOD.replace("by: float = 0.5", "by: float"), encoding="utf-8")
    (finding,) = testing.check_file(file)
    only(finding.problems, "factory: half needs 'by'; write half:by=…")


def test_a_file_that_is_no_plugin(tmp_path):
    with pytest.raises(KwsbenchError, match="no plugin file"):
        testing.check_file(tmp_path / "gone.py")
    file = tmp_path / "empty_file.py"
    file.write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(PluginError, match="registers nothing"):
        testing.check_file(file)


def test_a_factory_that_raises_or_returns_no_object_says_so(tmp_path):
    file = tmp_path / "factory_file.py"
    for changed, words in (
        ("raise ZeroDivisionError", "factory: ZeroDivisionError (factory_file.py, line 14); it must make the object"),
        ("return None", "factory: returned None; return what it makes"),
        ("return Half", "factory: returned the class Half; return Half(…)"),
    ):
        source = GOOD.replace(
            "@kwsbench.hookimpl", f'def make():\n    """Half."""\n    {changed}\n\n@kwsbench.hookimpl'
        )
        file.write_text(source.replace('"half", Half', '"half", make'), encoding="utf-8")
        (finding,) = testing.check_file(file)
        only(finding.problems, words)


def test_a_problem_is_one_line_and_each_rule_is_told_once():
    def some():
        yield "shape (silence): one\n  two"
        yield "shape: three"
        yield "finite: four"
        raise rules.Broken("finite (noise): five")

    assert rules.collect(some()) == ["shape (silence): one two", "finite: four"]


def test_what_a_property_raises_is_a_problem_with_its_line():
    class Lazy:
        @property
        def layers(self):
            raise OSError("no model")

    only(
        testing.check_encoder(Lazy()),
        "exception: OSError: no model (test_testing.py, line ",
        "; what comes after it was not checked",
    )


def test_a_decorated_function_is_told_by_its_own_line():
    """torch.inference_mode() wraps encode() in a file of torch's, which is not where the fault is."""
    import torch

    class Wrapped:
        layers, frame_shift_s, first_centre_s, min_samples = ("0",), 0.01, 0.01, 320

        @torch.inference_mode()
        def encode(self, samples, layers):
            raise ValueError("oh")

    only(testing.check_encoder(Wrapped()), "exception (encode, 1 s of noise): ValueError: oh (test_testing.py, line ")
