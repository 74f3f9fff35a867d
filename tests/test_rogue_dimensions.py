"""Rogue dimensions and what cosines keep without them, against loops over pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings

from kwsbench import isotropy
from kwsbench.errors import KwsbenchError
from kwsbench.isotropy import (
    mean_cosine,
)
from kwsbench.rogue_dimensions import (
    cosine_r2_without,
    dimension_contributions,
    dimension_shares,
    rogue_dimensions,
)
from tests import reference_geometry as geometry
from tests import reference_metrics as reference
from tests.isotropy_frames import (
    ROUNDING,
    block_values,  # noqa: F401 - a fixture that all tests here use
    frames_of,
    small_frames,
)


def test_contributions_and_shares_against_all_pairs():
    @settings(deadline=None, max_examples=60)
    @given(small_frames)
    def check(rows):
        frames = np.array([frame for _, frame in rows], dtype=np.float32)
        if len(frames) < 2:
            assert np.isnan(dimension_contributions(frames)).all()
            return
        expected = geometry.contributions(frames)
        assert dimension_contributions(frames) == pytest.approx(expected, abs=ROUNDING)
        if abs(sum(expected)) > 1e-3:  # shares of next to nothing are rounding
            assert dimension_shares(frames) == pytest.approx(np.array(expected) / sum(expected), abs=1e-8)

    check()


def test_contributions_sum_to_the_mean_cosine_and_shares_to_one():
    x = frames_of(10, 80, 12) + 1
    assert dimension_contributions(x).sum() == pytest.approx(mean_cosine(x), abs=ROUNDING)
    assert dimension_shares(x).sum() == pytest.approx(1.0)


def test_shares_are_undefined_without_a_mean_cosine():
    right_angle = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert np.isnan(dimension_shares(right_angle)).all()
    assert np.isnan(dimension_shares(right_angle[:1])).all()
    assert np.isnan(dimension_shares(np.zeros((3, 2)))).all()


def test_a_rogue_dimension_is_found_even_where_the_mean_cosine_is_negative():
    x = frames_of(11, 300, 6)
    x[:, 4] += 8
    x[:, 1] -= 3  # of either sign: what adds to the cosine is the square of the mean
    assert rogue_dimensions(x, 2).tolist() == [4, 1]
    assert dimension_shares(x)[4] > 0.6
    # Two frames, opposite in dimension 0 and alike in 2: shares have the signs turned, contributions do not.
    opposite = np.array([[3.0, 0.0, 1.0], [-3.0, 0.0, 1.0]])
    assert mean_cosine(opposite) < 0
    assert rogue_dimensions(opposite, 3).tolist() == [2, 1, 0]


def test_ties_of_rogue_dimensions_go_to_the_lower_index():
    assert rogue_dimensions(np.ones((4, 5)), 3).tolist() == [0, 1, 2]
    assert rogue_dimensions(np.ones((4, 5)), 0).tolist() == []


@pytest.mark.parametrize("k", [-1, 5])
def test_too_many_rogue_dimensions(k):
    with pytest.raises(KwsbenchError, match=f"{k} rogue dimensions of 4; ask for 0 to 4"):
        rogue_dimensions(np.ones((3, 4)), k)


def test_rogue_dimensions_need_pairs():
    with pytest.raises(KwsbenchError, match="rogue dimensions need at least two frames, got 1"):
        rogue_dimensions(np.ones((1, 4)), 1)


@pytest.mark.parametrize("removed", [[0], [1, 3], []])
def test_r2_against_all_pairs(removed):
    """Sampled pairs come near the r² of all pairs: four standard errors, 4 · 2r(1 - r²)/√pairs at most."""
    x = frames_of(12, 30, 5) + np.float32(0.5)
    x[:, 0] *= 4
    kept = [i for i in range(5) if i not in removed]
    pairs = [(i, j) for i in range(30) for j in range(i)]
    whole = [reference.cosine(x[i].tolist(), x[j].tolist()) for i, j in pairs]
    reduced = [reference.cosine(x[i, kept].tolist(), x[j, kept].tolist()) for i, j in pairs]
    pairs = 200 if isotropy.BLOCK_VALUES < 100 else 40_000
    computed = cosine_r2_without(x, removed, np.random.default_rng(0), pairs=pairs)
    assert computed == pytest.approx(geometry.r2(whole, reduced), abs=4 * 0.77 / math.sqrt(pairs))
    if not removed:
        assert computed == pytest.approx(1.0, abs=ROUNDING)


def test_r2_of_sampled_pairs_exactly():
    """Two frames have one cosine only; three have three, and every pair drawn is of different frames."""
    x = frames_of(13, 3, 4)
    assert math.isnan(cosine_r2_without(x[:2], [0], np.random.default_rng(0), pairs=50))

    class Draws:
        def integers(self, low, high=None, *, size):
            return np.array([0, 1, 2, 0]) if high is None else np.array([1, 1, 1, 2])

    drawn = [(0, 1), (1, 2), (2, 0), (0, 2)]
    whole = [reference.cosine(x[i].tolist(), x[j].tolist()) for i, j in drawn]
    reduced = [reference.cosine(x[i, 1:].tolist(), x[j, 1:].tolist()) for i, j in drawn]
    assert cosine_r2_without(x, [0], Draws(), pairs=4) == pytest.approx(geometry.r2(whole, reduced), abs=1e-10)


def test_r2_depends_on_the_generator_alone():
    x = frames_of(14, 40, 5)
    first, again, other = (cosine_r2_without(x, [2], np.random.default_rng(seed), pairs=100) for seed in (1, 1, 2))
    assert first == again != other


def test_r2_is_undefined_where_cosines_do_not_differ():
    rng = np.random.default_rng(0)
    assert math.isnan(cosine_r2_without(np.ones((5, 3)) * np.arange(1, 6)[:, np.newaxis], [0], rng, pairs=30))
    assert math.isnan(cosine_r2_without(frames_of(15, 9, 3), [0, 1, 2], rng, pairs=30))
    assert math.isnan(cosine_r2_without(frames_of(15, 1, 3), [0], rng, pairs=30))


@pytest.mark.parametrize("removed", [[3], [-1]])
def test_r2_without_a_dimension_that_is_not_there(removed):
    with pytest.raises(KwsbenchError, match=r"cannot remove dimensions \[-?\d\] of 3; they count from 0"):
        cosine_r2_without(frames_of(15, 9, 3), removed, np.random.default_rng(0))
