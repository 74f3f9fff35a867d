"""Each fault of a matcher must be caught by name, and what has none must pass: mutants of small correct ones."""

from dataclasses import replace

import numpy as np
import pytest

from kwsbench import plugins, testing
from kwsbench.errors import KwsbenchError
from kwsbench.types import Alignment, Match, Scores
from tests.findings import only


class Diagonal:
    """A correct cost matcher, and by its arguments each faulty one: the query laid straight, from the best frame."""

    def __init__(self, fault=""):
        self.fault = fault

    def match(self, cost):
        n, m = cost.shape
        if self.fault == "short" and n > m:
            return Match(float("inf"), -1, -1)
        if self.fault == "in place":
            cost += 1
        start = int(cost[0].argmin())
        end = min(start + n - 1, m - 1)
        if self.fault == "exclusive":
            end += 1
        mean = float(np.mean([cost[i, min(start + i, m - 1)] for i in range(n)]))
        return (mean, start, end) if self.fault == "tuple" else Match(mean, start, end)


def test_a_correct_matcher_passes():
    assert testing.check_matcher(Diagonal()) == []
    assert testing.check_matcher(Alignment()) == []
    assert testing.check_matcher(Alignment(steps=((1, 1), (1, 2), (2, 1)), normalize="path")) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("short", "every query must get a cost"),
        ("in place", "match() changes the costs"),
        ("exclusive", "both included"),
        ("tuple", "expected kwsbench.Match"),
    ],
)
def test_a_faulty_matcher_is_caught(fault, words):
    problems = testing.check_matcher(Diagonal(fault))
    assert any(words in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("alignment", "words"),
    [
        (Alignment(steps=()), "steps"),
        (Alignment(steps=((0, 0),)), "never (0, 0)"),
        (Alignment(steps=((1, 3),)), "0-2"),
        (Alignment(steps=((0, 1),)), "none advances in the query"),
        (Alignment(normalize="frames"), "expected query, path or none"),
        (Alignment(rows="zscore"), "rows: 'zscore'; expected none or minmax"),
    ],
)
def test_a_faulty_alignment_is_caught(alignment, words):
    only(testing.check_matcher(alignment), words)


@pytest.mark.parametrize("name", ["sdtw", "dtw"])
def test_rows_of_the_built_in_alignments_are_scaled_when_asked(name):
    plugin = plugins.load().find("matchers", name)
    plain = plugin.create({})
    assert plain.rows == "none"
    assert plugin.create({"rows": "minmax"}) == replace(plain, rows="minmax")
    assert plugin.create({"rows": "minmax", "steps": "skip"}).steps == ((1, 1), (1, 2), (2, 1))
    with pytest.raises(KwsbenchError, match=f"^{name}:rows=zscore: expected one of none, minmax$"):
        plugin.create({"rows": "zscore"})


class Pool:
    """A correct pair matcher, and by its arguments each faulty one: the distance of mean frames."""

    def __init__(self, fault=""):
        self.fault = fault

    def score(self, queries, utterances, distance, *, first_utterance):
        means = [np.stack([frames[i].mean(axis=0) for i in range(len(frames))]) for frames in (queries, utterances)]
        scores = -distance.cost(*means).astype(np.float32)
        if self.fault == "blocks":
            scores -= scores.mean()
        starts = np.zeros(scores.shape, np.int32)
        ends = np.broadcast_to(utterances.lengths - 1, scores.shape).astype(np.int32)
        if self.fault == "nan":
            scores[0, 0] = np.nan
        if self.fault == "span":
            ends = ends + np.int32(1)
        if self.fault == "types":
            starts = starts.astype(np.int64)
        if self.fault == "shape":
            scores = scores.T
        return Scores(scores, starts, ends)


def test_a_correct_pair_matcher_passes():
    assert testing.check_matcher(Pool()) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("blocks", "depend on how the search set is cut"),
        ("nan", "NaN or +inf"),
        ("span", "leaves its utterance"),
        ("types", "int64"),
        ("shape", "(3, 4)"),
    ],
)
def test_a_faulty_pair_matcher_is_caught(fault, words):
    problems = testing.check_matcher(Pool(fault))
    assert any(words in problem for problem in problems), problems


def test_what_is_no_matcher():
    only(testing.check_matcher(object()), "neither an Alignment nor")


def matching(match):
    return type("Faulty", (), {"match": match})()


@pytest.mark.parametrize(
    ("match", "problem"),
    [
        (
            lambda self: None,
            (
                "signature: match() is called as match(cost): too many positional arguments; see "
                "kwsbench.types.CostMatcher"
            ),
        ),
        (
            lambda self, cost: Match(0.5, 0, 0.0),
            (
                "type (query of 1 frame in an utterance of 1): the end of the Match is 0.0, a float; frames are "
                "whole numbers: int(…)"
            ),
        ),
        (
            lambda self, cost: Match(0.5, None, 0),
            (
                "type (query of 1 frame in an utterance of 1): the start of the Match is None; frames are whole "
                "numbers: int(…)"
            ),
        ),
        (
            lambda self, cost: Match(None, 0, 0),
            "type (query of 1 frame in an utterance of 1): the cost of the Match is None; expected a number: float(…)",
        ),
        (
            lambda self, cost: (0.5, 0, 0),
            "type (query of 1 frame in an utterance of 1): returned a tuple, expected kwsbench.Match(cost, start, end)",
        ),
        (
            lambda self, cost: Match(np.nan, -1, -1),
            (
                "finite (query of 1 frame in an utterance of 1): cost nan; every query must get a cost, longer "
                "than the utterance or not"
            ),
        ),
        (
            lambda self, cost: Match(0.5, 0, cost.shape[1]),
            (
                "span (query of 1 frame in an utterance of 1): 0–1; 0 <= start <= end < 1, both included; end is the "
                "last frame itself, not the one behind it"
            ),
        ),
    ],
)
def test_a_fault_in_match_is_told_once(match, problem):
    assert testing.check_matcher(matching(match)) == [problem]


def test_whole_numbers_of_numpy_are_whole_numbers():
    assert testing.check_matcher(matching(lambda self, cost: Match(cost.mean(), np.int32(0), np.int64(0)))) == []


def test_a_match_that_raises_is_told_at_which_lengths():
    only(
        testing.check_matcher(matching(lambda self, cost: Match(float(cost[0, len(cost) - 1]), 0, 0))),
        "exception (match, query of 6 frames in an utterance of 1): IndexError: index 5 is out of bounds for axis 1 "
        "with size 1 (test_rules_matchers.py, line ",
        "; match() must take any (query frames, utterance frames), here (6, 1), either of them 1 or the longer",
    )


def test_a_match_of_chance_shows_both_its_answers():
    rng = np.random.default_rng(0)
    only(
        testing.check_matcher(matching(lambda self, cost: Match(rng.random(), 0, 0))),
        "determinism (query of 1 frame in an utterance of 1): the same costs give cost 0.637 at 0–0, then 0.2698 at "
        "0–0",
    )


def scoring(change):
    """A correct pair matcher, its scores, starts and ends changed."""

    class Faulty(Pool):
        def score(self, queries, utterances, distance, *, first_utterance):
            return change(*super().score(queries, utterances, distance, first_utterance=first_utterance))

    return Faulty()


def at(array, place, value):
    changed = array.copy()
    changed[place] = value
    return changed


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda scores, starts, ends: (scores, starts, ends),
            "type: score() returned a tuple, expected kwsbench.Scores(scores, starts, ends)",
        ),
        (
            lambda scores, starts, ends: Scores(scores.T, starts, ends),
            (
                "shape: 3 queries × 4 utterances must give scores of (3, 4), got an array of float32 (4, 3); a row "
                "for each query"
            ),
        ),
        (
            lambda scores, starts, ends: Scores(scores, None, ends),
            "shape: 3 queries × 4 utterances must give starts of (3, 4), got None; a row for each query",
        ),
        (
            lambda scores, starts, ends: Scores(scores.astype(np.float64), starts, ends),
            "precision: scores are float64 where kwsbench.Scores says float32; .astype(np.float32)",
        ),
        (
            lambda scores, starts, ends: Scores(at(scores, (1, -1), np.inf), starts, ends),
            (
                "finite: query 1 of 4 frames scores inf in utterance 3 of 7; a score is never NaN or +inf, and -inf "
                "means that there is no alignment"
            ),
        ),
        (
            lambda scores, starts, ends: Scores(scores, starts, at(ends, (2, 0), 1)),
            (
                "span: query 2 hits 0–1 of utterance 0, and so leaves its utterance of 1 frames; 0 <= start <= end < "
                "frames, both included, or -1 and -1"
            ),
        ),
        (
            lambda scores, starts, ends: Scores(scores, at(starts, (2, 0), -1), ends),
            (
                "span: query 2 hits -1–0 of utterance 0, and so leaves its utterance of 1 frames; 0 <= start <= end "
                "< frames, both included, or -1 and -1"
            ),
        ),
        (
            lambda scores, starts, ends: Scores(scores + RNG.random(scores.shape, np.float32), starts, ends),
            "determinism: the same frames give other scores the second time; seed what is random, keep no state",
        ),
        (
            lambda scores, starts, ends: Scores(at(scores, (1, -1), -np.inf), starts, ends),
            "blocks: query 1 scores ",
        ),
        (
            lambda scores, starts, ends: Scores(scores - scores.mean(), starts, ends),
            "blocks: query ",
        ),
    ],
)
def test_a_fault_in_score_is_told_with_what_was_seen(change, problem):
    (found,) = testing.check_matcher(scoring(change))
    assert found.startswith(problem)


def test_scores_without_any_alignment_pass():
    nowhere = lambda *found: Scores(np.full_like(found[0], -np.inf), *(np.full_like(x, -1) for x in found[1:]))  # noqa: E731
    assert testing.check_matcher(scoring(nowhere)) == []


def test_a_score_that_changes_its_frames_is_caught():
    class InPlace(Pool):
        def score(self, queries, utterances, distance, *, first_utterance):
            queries.values[0] = 0
            return super().score(queries, utterances, distance, first_utterance=first_utterance)

    only(testing.check_matcher(InPlace()), "argument: score() changes the frames it is given; work on a copy")


def test_a_score_that_raises_or_cannot_be_called():
    class NoPosition:
        def score(self, queries, utterances, distance):
            return None

    only(testing.check_matcher(NoPosition()), "signature: score(queries, utterances, distance) is called as score(")
    only(
        testing.check_matcher(scoring(lambda scores, starts, ends: scores[7])),
        "exception (score, 3 queries × 4 utterances): IndexError: index 7 is out of bounds for axis 0 with size 3 (",
        "; score() must take items of any number of frames, be it one",
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"steps": ((1, 0), 1)}, "steps: ((1, 0), 1); each is (query frames back, utterance frames back), 0-2, and"),
        ({"steps": "10"}, "steps: 10; each is (query frames back, utterance frames back), 0-2, and never (0, 0)"),
        ({"steps": ((1.0, 0),)}, "steps: ((1.0, 0),); each is (query frames back, utterance frames back), 0-2, and"),
        ({"whole": "yes"}, "whole: 'yes'; expected True (the whole utterance) or False (anywhere inside it)"),
    ],
)
def test_an_alignment_of_other_types_is_told_in_words(changes, problem):
    (found,) = testing.check_matcher(Alignment(**changes))
    assert found.startswith(problem)
