"""Permutation tests against all signs, scipy and simulations; Holm's correction against stepping down."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from kwsbench.errors import KwsbenchError
from kwsbench.significance import holm, permutation_p
from tests import reference_stats
from tests.draws import ROUNDING, crossed, generator, simulate


@pytest.mark.parametrize("keywords", [1, 2, 5, 9])
def test_exact_permutation_p_against_all_signs(keywords):
    for seed in range(3):
        x, keyword, _, counts = crossed(seed, keywords=keywords)
        found = permutation_p(x, keyword, weights=counts, rng=generator())
        assert found == reference_stats.permutation_p(x, keyword, counts)


def test_permutation_p_against_scipy():
    """scipy flips the signs of one sample; whole keywords are its observations, sums its statistic."""
    for keywords in (8, 13, 40):
        x, keyword, _, counts = crossed(4, keywords=keywords, holes=0)
        sums = np.bincount(keyword, weights=x * counts)
        peer = scipy.stats.permutation_test(
            (sums,), np.sum, permutation_type="samples", n_resamples=9999, rng=generator(8), alternative="two-sided"
        )
        found = permutation_p(x, keyword, weights=counts, rng=generator())
        # Exact up to 13 keywords; beyond, both draw: five standard errors of the difference of two shares.
        # scipy doubles the smaller tail, which for signs that may all be flipped is the same.
        error = 0.0 if keywords <= 13 else 5 * math.sqrt(2 * found * (1 - found) / 9999)
        assert found == pytest.approx(peer.pvalue, abs=max(error, ROUNDING))


def test_permutation_p_is_uniform_without_a_difference():
    """A test at 5% finds a difference where there is none in 5%, three standard deviations of a binomial aside.

    Clustered and heavy-tailed. Signs of single queries would not keep it.
    """
    rng, sets = generator(6), 400
    found = np.zeros(2)
    for _ in range(sets):
        x, clusters = simulate(rng, clusters=20)
        found[0] += permutation_p(x, clusters, rng=rng, permutations=199) <= 0.05
        found[1] += permutation_p(x, np.arange(len(x)), rng=rng, permutations=199) <= 0.05
    margin = 3 * math.sqrt(0.05 * 0.95 / sets)
    assert found[0] / sets == pytest.approx(0.05, abs=margin)
    assert found[1] / sets > 0.05 + margin


def test_permutation_p_by_hand():
    # all 6 keywords agree: 2 of 64 sign patterns are as far out
    assert permutation_p(np.ones(6), range(6), rng=generator()) == 2 / 64
    # the smallest that 14 keywords can be drawn to: none of 99 as far out is 1 in 100, one is 2 in 100
    assert permutation_p(np.ones(40), range(40), rng=generator(), permutations=99) == 1 / 100
    assert permutation_p(np.zeros(20), range(20), rng=generator(), permutations=99) == 1
    assert permutation_p(np.zeros(5), range(5), rng=generator()) == 1
    assert permutation_p(np.array([2.0, 3.0]), [4, 4], rng=generator()) == 1
    assert math.isnan(permutation_p(np.array([np.nan]), [0], rng=generator()))
    assert math.isnan(permutation_p(np.array([]), [], rng=generator()))
    assert permutation_p(np.array([1.0, 2.0, np.nan]), [0, 1, 2], rng=generator()) == 0.5


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8), st.integers(1, 3))
def test_permutation_p_does_not_mind_names_signs_or_units(values, groups):
    x, clusters = np.array(values), np.arange(len(values)) // groups
    p = permutation_p(x, clusters, rng=generator())
    assert 2.0 ** -clusters.max() <= p <= 1
    assert permutation_p(-x, clusters, rng=generator()) == p
    assert permutation_p(8 * x, clusters.max() - clusters, rng=generator()) == p


def test_permutation_p_checks_lengths():
    with pytest.raises(KwsbenchError, match=r"^2 clusters for 3 differences, expected one each$"):
        permutation_p(np.zeros(3), [0, 1], rng=generator())
    with pytest.raises(KwsbenchError, match=r"^1 weights for 3 differences, expected one each$"):
        permutation_p(np.zeros(3), [0, 1, 2], weights=[1], rng=generator())


def test_holm_by_hand():
    # Holm (1979): three tests; 0.01 x 3, 0.03 x 2, 0.04 x 1 raised to the one before it
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert np.array_equal(holm([np.nan, 0.02, np.nan]), [np.nan, 0.02, np.nan], equal_nan=True)
    assert holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=9))
def test_holm_against_stepping_down(p_values):
    found = holm(p_values)
    assert found == pytest.approx(reference_stats.holm(p_values), nan_ok=True)
    made = ~np.isnan(p_values)
    assert np.all(found[made] >= np.array(p_values)[made])
    assert np.all(found[made] <= np.minimum(1, made.sum() * np.array(p_values)[made]) + ROUNDING)


@pytest.mark.parametrize("p_values", [[1.2], [-0.1], [[0.1]]])
def test_holm_takes_probabilities(p_values):
    with pytest.raises(KwsbenchError, match=r"^p-values must be a list of numbers between 0 and 1, or NaN$"):
        holm(p_values)
