"""From scores to the figures of a record: each against its plain definition on a small archive."""

from pathlib import Path

import numpy as np
import pytest

from kwsbench import trials
from kwsbench.scoring import FrameTimes, Scorer
from kwsbench.types import Clip, Scores


def word(name, speaker, keyword, **more):
    return Clip(name, Path(f"{name}.wav"), speaker, name, keyword, keyword, **more)


TAPE = {"path": Path("tape.wav"), "speaker": "ben", "recording": "tape"}
CLIPS = [
    word("a1", "ana", "ma"),
    word("a2", "ana", "ko"),
    word("b1", "ben", "ma"),
    word("b2", "ben", "ko"),
    word("c1", "cyn", "ma"),
    Clip("said", keyword="ma", transcript="ma", start_s=1.0, end_s=1.5, **TAPE),
    Clip("tape", transcript="so ma it was", start_s=0.0, end_s=3.0, **TAPE),
    Clip("other", Path("other.wav"), "ben", "other", None, "nothing of it"),
]
BUILT = trials.build(CLIPS, name="small")
SECONDS = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 3.0, 2.0])


def scored(seed=0, *, perfect=False):
    rng = np.random.default_rng(seed)
    shape = (len(BUILT.queries), len(BUILT.utterances))
    values = rng.random(shape).astype(np.float32)
    if perfect:
        values += 2 * np.maximum.reduce([BUILT.labels(c) == trials.POSITIVE for c in BUILT.conditions])
    starts = np.full(shape, 50, np.int32)  # of 20 ms frames: from 1.0 s
    return Scores(values, starts, starts + 24)


def test_a_perfect_ranking_is_perfect_in_every_figure():
    found = Scorer(BUILT, SECONDS).evaluate(scored(perfect=True))["across/isolated"].metrics
    for name in ("map", "p@1", "p@n", "auc", "r@10", "r@100", "mtwv"):
        assert found[name].value == 1.0, name
    assert found["eer"].value == 0.0
    assert found["min_cnxe"].value == pytest.approx(0.0, abs=1e-6)
    # All of the positives, and nothing else, is heard: for "ma" by ana two of the three utterances' lengths.
    assert found["heard@95"].value < found["heard@95"].chance


def test_where_a_hit_lies_is_held_against_the_clip_that_was_cut_there():
    found = Scorer(BUILT, SECONDS).evaluate(scored(), FrameTimes(0.02, 0.01))["across/inside"].metrics
    # Frames 50 to 74 are 1.0 s to 1.5 s, which is where "ma" is said on the tape.
    assert found["iou"].value == pytest.approx(1.0)
    assert found["hits@iou.5"].value == 1.0
    late = scored()._replace(starts=scored().starts + 20, ends=scored().ends + 20)
    found = Scorer(BUILT, SECONDS).evaluate(late, FrameTimes(0.02, 0.01))["across/inside"].metrics
    assert found["iou"].value == pytest.approx(0.1 / 0.9, abs=1e-6)
    assert found["hits@iou.5"].value == 0.0
    assert "iou" not in Scorer(BUILT, SECONDS).evaluate(late)["across/inside"].metrics


def test_groups_tell_speakers_apart_and_add_up_to_the_mean():
    found = Scorer(BUILT, SECONDS).evaluate(scored())["across/isolated"]
    assert list(zip(found.groups.keyword, found.groups.speaker, strict=True)) == sorted(
        {(BUILT.clips[q].keyword, BUILT.clips[q].speaker) for q in BUILT.queries}
    )
    assert "ben" in found.groups.speaker
    mean = np.average(found.groups.metrics["map"], weights=found.groups.queries)
    assert mean == pytest.approx(found.metrics["map"].value, abs=1e-4)  # groups are rounded to 4 decimals
    low, high = found.metrics["map"].two_way
    assert low <= found.metrics["map"].value <= high


@pytest.mark.parametrize("protocol", ["pooled", "pooled+self"])
def test_other_protocols_rank_one_list(protocol):
    built = trials.build(CLIPS, name="small", protocol=protocol)
    shape = (len(built.queries), len(built.utterances))
    same = built.queries[:, None] == built.utterances[None, :]
    nothing = np.full(shape, -1, np.int32)
    (found,) = Scorer(built, SECONDS).evaluate(Scores(same.astype(np.float32), nothing, nothing)).values()
    # A system that knows nothing but the query itself: P@1 is 1 with it in the list, and chance without.
    at_one = found.metrics["p@1"]
    assert at_one.value == pytest.approx(1.0 if protocol == "pooled+self" else at_one.chance)


def test_shuffled_labels_give_chance():
    """What depends on the labels through anything but the scores would show here."""
    rng = np.random.default_rng(3)
    words = [f"w{i % 20}" for i in range(80)]
    clips = [word(f"{i}", f"s{i // 20}", w) for i, w in enumerate(words)]
    vectors = rng.standard_normal((20, 8))[[int(w[1:]) for w in words]]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = (vectors @ vectors.T).astype(np.float32)
    nothing = np.full(scores.shape, -1, np.int32)
    honest = Scorer(trials.build(clips, name="x"), np.ones(80)).evaluate(Scores(scores, nothing, nothing))
    assert honest["across/isolated"].metrics["map"].value == 1.0
    means = []
    for _ in range(5):
        order = rng.permutation(80)
        mixed = Scores(scores[np.ix_(order, order)], nothing, nothing)
        found = Scorer(trials.build(clips, name="x"), np.ones(80)).evaluate(mixed)["across/isolated"]
        means.append(found.metrics["map"].value - found.metrics["map"].chance)
    # AP of chance has a deviation of about .1 a query here and 80 queries of ~20 independent words: .02 a mean.
    assert abs(np.mean(means)) < 0.04
