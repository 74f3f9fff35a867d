"""Hubness against every order that ties allow, and scipy's skewness."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import skew

from kwsbench.errors import KwsbenchError
from kwsbench.hubness import hubness
from tests import reference_geometry as geometry

scored = st.tuples(st.integers(1, 4), st.integers(1, 5)).flatmap(
    lambda shape: st.lists(
        st.lists(
            st.tuples(st.sampled_from([-math.inf, -1.0, 0.5, 2.0]), st.booleans()),
            min_size=shape[1],
            max_size=shape[1],
        ),
        min_size=shape[0],
        max_size=shape[0],
    )
)


def test_hubness_against_every_order_that_ties_allow():
    @settings(deadline=None, max_examples=150)
    @given(scored, st.integers(1, 6))
    def check(rows, k):
        scores = np.array([[score for score, _ in row] for row in rows], dtype=np.float32)
        used = np.array([[flag for _, flag in row] for row in rows])
        expected = geometry.skewness(geometry.occurrences(scores.tolist(), k, used.tolist()))
        computed = hubness(scores, k, used=used)
        assert computed == pytest.approx(math.nan if expected is None else expected, abs=1e-9, nan_ok=True)

    check()


def test_hubness_against_scipy_and_argsort():
    scores = np.random.default_rng(40).normal(size=(60, 200)) + np.random.default_rng(41).normal(size=200)
    counts = np.bincount(np.argsort(-scores, axis=1)[:, :10].ravel(), minlength=200)
    assert hubness(scores) == pytest.approx(float(skew(counts)), abs=1e-10)
    assert hubness(scores) > 0.5


def test_one_hub():
    """Each of three queries likes utterance 3 best: N_1 is 0, 0, 0, 3, whose skewness is 2/√3."""
    scores = np.array([[1, 0, 0, 9], [0, 1, 0, 9], [0, 0, 1, 9]], dtype=np.float32)
    assert hubness(scores, 1) == pytest.approx(2 / math.sqrt(3))


def test_utterances_that_never_count_are_left_out():
    scores = np.array([[1, 0, 0, 9, -np.inf, 7], [0, 1, 0, 9, -np.inf, 7], [0, 0, 1, 9, -np.inf, 7]])
    used = np.ones(scores.shape, dtype=bool)
    used[:, 5] = False
    assert hubness(scores, 1, used=used) == pytest.approx(2 / math.sqrt(3))


def test_hubness_is_undefined_where_all_are_alike():
    assert math.isnan(hubness(np.zeros((3, 4)), 2))
    # Ten queries with ten utterances tied, and one whose best is an eleventh: N_1 is 1 for all, and ten
    # tenths are not 1.
    tenths = np.full((11, 11), -1.0)
    tenths[:10, :10] = tenths[10, 10] = 0.0
    assert math.isnan(hubness(tenths, 1))
    assert math.isnan(hubness(np.full((3, 4), -np.inf)))
    assert math.isnan(hubness(np.zeros((0, 4))))
    assert math.isnan(hubness(np.zeros((4, 0))))
    assert math.isnan(hubness(np.random.default_rng(0).normal(size=(5, 4)), 4))  # everybody is in the first four


def test_hubness_is_told_what_to_do():
    with pytest.raises(KwsbenchError, match="hubness counts the k best, k at least 1, got 0"):
        hubness(np.zeros((3, 4)), 0)
    with pytest.raises(KwsbenchError, match="scores hold NaN; hubness needs a number or -inf for every pair"):
        hubness(np.array([[0.0, np.nan]]))


def test_scores_are_not_changed():
    scores = np.random.default_rng(0).normal(size=(5, 9))
    kept = scores.copy()
    hubness(scores, 2)
    assert np.array_equal(scores, kept)
