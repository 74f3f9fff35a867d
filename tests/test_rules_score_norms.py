"""Each fault of a score norm must be caught by name, and what has none must pass: mutants of a small correct one."""

import numpy as np
import pytest

from kwsbench import testing
from tests.findings import only


class Centred:
    """A correct correction of scores, and by its arguments each faulty one: minus the query's mean, over its spread."""

    def __init__(self, fault=""):
        self.fault = fault
        self.rng = np.random.default_rng(0)

    def normalize(self, scores, used):
        if self.fault == "ignores used":
            used = np.isfinite(scores)
        result = scores.copy()
        for row, mask in zip(result, used, strict=True):
            known = row[mask].astype(np.float64)
            varied = len(set(known)) > 1 or (self.fault == "spread" and len(known))
            with np.errstate(divide="ignore", invalid="ignore"):
                row[:] = (row - (known.mean() if len(known) else 0)) / (known.std() if varied else 1)
        if self.fault == "scores in place":
            scores[0, 0] += 1
        if self.fault == "used in place":
            used[:] = True
        if self.fault == "nothing used" and not used.any():
            result[:] = np.nan
        if self.fault == "random":
            result += self.rng.random(result.shape, dtype=np.float32)
        if self.fault == "fills":
            result[np.isneginf(result)] = -9
        if self.fault == "drops":
            return result[:, 1:]
        if self.fault == "list":
            return result.tolist()
        return result.astype(int) if self.fault == "whole" and np.isfinite(result).all() else result


def test_a_correct_score_norm_passes():
    assert testing.check_score_norm(Centred()) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("ignores used", "used: pairs that are not used changed "),
        ("spread", "finite (one used score a query): a finite score became "),
        ("nothing used", "finite (no pair used): a finite score became nan; where fewer than two scores are used or "),
        ("scores in place", "argument (6 queries × 9 utterances): normalize() changes its arguments; work on a copy"),
        ("used in place", "argument (6 queries × 9 utterances): normalize() changes its arguments; work on a copy"),
        ("random", "determinism (6 queries × 9 utterances): the same scores give another result (it differs by up to "),
        ("fills", "missing (6 queries × 9 utterances): -inf became -9.0; -inf stays -inf"),
        ("drops", "shape (6 queries × 9 utterances): (6, 8), expected a numpy array (6, 9), one score out for each"),
        ("list", "shape (6 queries × 9 utterances): a list, expected a numpy array (6, 9)"),
        ("whole", "precision (one query and one utterance): int64 out; scores are floats"),
    ],
)
def test_a_faulty_score_norm_is_caught(fault, words):
    problems = testing.check_score_norm(Centred(fault))
    assert any(problem.startswith(words) for problem in problems), problems


def test_what_is_no_score_norm():
    only(testing.check_score_norm(object()), "attributes: normalize missing; see kwsbench.types.ScoreNorm")


def normalizing(normalize):
    return type("Norm", (), {"normalize": normalize})()


@pytest.mark.parametrize(
    ("normalize", "problem"),
    [
        (
            lambda self, scores: scores,
            (
                "signature: normalize(scores) is called as normalize(scores, used): too many positional arguments; "
                "see kwsbench.types.ScoreNorm"
            ),
        ),
        (
            lambda self, scores, used: None,
            "shape (6 queries × 9 utterances): None, expected a numpy array (6, 9), one score out for each one in",
        ),
        (
            lambda self, scores, used: used,
            "precision (6 queries × 9 utterances): bool out; scores are floats: add .astype(np.float32)",
        ),
        (
            lambda self, scores, used: scores + 0 * scores[5, 0],
            (
                "exception (normalize, one query and one utterance): IndexError: index 5 is out of bounds for axis 0 "
                "with size 1 (test_rules_score_norms.py, line "
            ),
        ),
    ],
)
def test_what_normalize_returns_or_raises_is_told_in_words(normalize, problem):
    with np.errstate(invalid="ignore"):
        assert any(found.startswith(problem) for found in testing.check_score_norm(normalizing(normalize)))


def test_each_rule_is_told_once():
    """A division by the spread fails in five of the cases that are tried."""

    def normalize(self, scores, used):
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(np.isneginf(scores), scores, scores / (scores[used].std() if used.any() else 0))

    problems = testing.check_score_norm(normalizing(normalize))
    assert [problem.partition(" (")[0] for problem in problems] == ["finite"]


def test_a_random_norm_is_not_told_that_it_estimates_from_what_is_not_used():
    only(testing.check_score_norm(Centred("random")), "determinism (6 queries × 9 utterances): ")
