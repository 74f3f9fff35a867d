"""Distances between posteriors against scipy's and plain loops, at their bounds, and what they refuse."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from kwsbench import dtw
from kwsbench.errors import KwsbenchError
from kwsbench.plugins import Plugin
from kwsbench.testing import check_distance
from kwsbench.types import Alignment, Distance, GramDistance
from kwsbench_plugins import posteriors as posteriors_plugin
from kwsbench_plugins.posteriors import KullbackLeibler, NegLogDot

EVERY = [KullbackLeibler(), KullbackLeibler(kind="forward"), NegLogDot()]
seeds = st.integers(0, 2**32 - 1)


def rows(seed, n=5, d=7):
    """Posteriors as they come: some all but certain, some with symbols of probability 0."""
    rng = np.random.default_rng(seed)
    values = rng.dirichlet(np.full(d, 0.3), n)
    values[rng.random((n, d)) < 0.2] = 0
    values[:, 0] += 1e-3
    return values / values.sum(axis=1, keepdims=True)


def smoothed(row, share):
    return [(1 - share) * float(value) + share / len(row) for value in row]


@given(seeds, st.sampled_from([1e-5, 0.01, 0.5]))
def test_kl_is_that_of_scipy_pair_by_pair(seed, share):
    """Both are float64 sums of 7 terms of at most log(7e5) = 13.5: a few roundings of 2e-15."""
    x, y = rows(seed), rows(seed + 1, n=4)
    forward, symmetric = np.zeros((5, 4)), np.zeros((5, 4))
    for i, one in enumerate(x):
        for j, other in enumerate(y):
            p, q = smoothed(one, share), smoothed(other, share)
            forward[i, j] = scipy.stats.entropy(p, q)
            symmetric[i, j] = (scipy.stats.entropy(p, q) + scipy.stats.entropy(q, p)) / 2
    found = KullbackLeibler(smoothing=share).cost(x, y)
    np.testing.assert_allclose(found, symmetric, rtol=0, atol=1e-13)
    found = KullbackLeibler(smoothing=share, kind="forward").cost(x, y)
    np.testing.assert_allclose(found, forward, rtol=0, atol=1e-13)
    assert not np.allclose(forward, symmetric)


@given(seeds, st.sampled_from([1e-5, 0.01, 0.5]))
def test_neglog_dot_is_the_log_of_a_loop(seed, share):
    """The log of a product that is off by 1e-16 of itself, at most log(7 / 2e-5) = 12.8."""
    x, y = rows(seed), rows(seed + 1, n=4)
    expected = [
        [-math.log(math.fsum(a * b for a, b in zip(smoothed(p, share), smoothed(q, share), strict=True))) for q in y]
        for p in x
    ]
    np.testing.assert_allclose(NegLogDot(smoothing=share).cost(x, y), expected, rtol=0, atol=1e-13)


@given(seeds)
def test_equal_frames_cost_nothing_by_kl_and_their_own_doubt_by_neglog_dot(seed):
    """Σ p log p cancels against itself up to float64's rounding; what is clamped is never below 0."""
    x = rows(seed)
    for distance in EVERY[:2]:
        own = np.diag(distance.cost(x, x))
        assert (own >= 0).all()
        np.testing.assert_allclose(own, 0, atol=1e-13)
        assert (distance.cost(x, rows(seed + 1)) > 1e-6).all()
    p = np.array([smoothed(row, 1e-5) for row in x])
    np.testing.assert_allclose(np.diag(NegLogDot().cost(x, x)), -np.log((p**2).sum(axis=1)), rtol=0, atol=1e-13)


@given(seeds)
def test_symmetry(seed):
    x, y = rows(seed), rows(seed + 1, n=4)
    for distance in (EVERY[0], EVERY[2]):
        np.testing.assert_allclose(distance.cost(x, y), distance.cost(y, x).T, rtol=0, atol=1e-13)
    assert not np.allclose(EVERY[1].cost(x, y), EVERY[1].cost(y, x).T)


def test_forward_is_from_the_querys_frame():
    """What the utterance holds for possible and the query does not costs little; the other way, much."""
    certain, doubtful = np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])
    forward = KullbackLeibler(kind="forward")
    assert forward.cost(certain, doubtful)[0, 0] == pytest.approx(math.log(2), abs=1e-3)
    assert forward.cost(doubtful, certain)[0, 0] == pytest.approx(0.5 * math.log(1e5 / 2), abs=1e-3)


@pytest.mark.parametrize("share", [1e-5, 0.1])
@pytest.mark.parametrize("d", [2, 32])
def test_frames_with_no_symbol_in_common_are_at_the_bounds(d, share):
    """-log of 2·(1 - λ)·λ/d + λ²/d is neglog-dot's bound; KL(x‖y) comes near its own, log(d/λ), as λ falls."""
    x, y = np.eye(d)[[0]], np.eye(d)[[1]]
    found = NegLogDot(smoothing=share).cost(x, y)[0, 0]
    assert found == pytest.approx(math.log(d / (2 * share - share**2)), abs=1e-12)
    for kind in ("forward", "symmetric"):
        found = KullbackLeibler(kind=kind, smoothing=share).cost(x, y)[0, 0]
        assert 0.5 * math.log(d / share) < found < math.log(d / share)


@pytest.mark.parametrize("distance", EVERY, ids=["kl", "forward", "neglog-dot"])
class TestEvery:
    @given(seeds)
    def test_costs_are_finite_at_least_0_and_of_the_inputs_precision(self, distance, seed):
        """float32 frames are widened before anything is computed: off by half an ulp of costs under 14, at the end.

        And by what rounding the frames themselves to float32 moved: 6e-8 of each share.
        """
        x, y = rows(seed), rows(seed + 1, n=4)
        exact = distance.cost(x, y)
        assert exact.dtype == np.float64
        assert np.isfinite(exact).all()
        assert (exact >= 0).all()
        narrow = distance.cost(x.astype(np.float32), y.astype(np.float32))
        assert narrow.dtype == np.float32
        assert narrow.shape == (5, 4)
        np.testing.assert_allclose(narrow, exact, rtol=1e-6, atol=2e-6)

    def test_arguments_stay_as_they_are(self, distance):
        x, y = rows(0), rows(1)
        x[2] = 0
        before = x.copy(), y.copy()
        distance.cost(x, y)
        np.testing.assert_array_equal(x, before[0])
        np.testing.assert_array_equal(y, before[1])

    @given(seeds, st.floats(1e-3, 1e3))
    def test_only_shares_count(self, distance, seed, gain):
        x, y = rows(seed), rows(seed + 1)
        np.testing.assert_allclose(distance.cost(gain * x, y), distance.cost(x, y), rtol=0, atol=1e-12)

    def test_a_row_of_zeros_is_uniform(self, distance):
        y = rows(1)
        found = distance.cost(np.zeros((1, 7)), y)
        np.testing.assert_array_equal(found, distance.cost(np.ones((1, 7)), y))
        assert np.isfinite(distance.cost(np.zeros((1, 7)), np.zeros((2, 7)))).all()

    @given(seeds, st.permutations(range(7)))
    def test_the_order_of_the_symbols_is_nothing(self, distance, seed, order):
        x, y = rows(seed), rows(seed + 1)
        np.testing.assert_allclose(distance.cost(x[:, order], y[:, order]), distance.cost(x, y), rtol=0, atol=1e-12)

    @pytest.mark.parametrize(("value", "words"), [(-0.25, "-0.25"), (np.nan, "nan"), (np.inf, "inf")])
    def test_what_is_no_probability_is_refused(self, distance, value, words):
        x, y = rows(0), rows(1)
        y[3, 2] = value
        who = "neglog-dot" if isinstance(distance, NegLogDot) else "kl"
        for pair in ((x, y), (y, x)):
            with pytest.raises(KwsbenchError) as error:
                distance.cost(*pair)
            assert str(error.value) == (
                f"{who}: a frame holds {words}, and a probability is at least 0; use posteriors "
                "(ctc@posteriors:checkpoint=HUB_ID) without a transform that centres, or another distance (cosine)"
            )

    def test_it_passes_the_kit(self, distance):
        assert check_distance(distance) == []

    def test_it_says_what_it_is_of_and_has_no_fast_path(self, distance):
        assert distance.domain == "probabilities"
        assert isinstance(distance, Distance)
        assert not isinstance(distance, GramDistance)

    def test_a_query_is_found_where_it_was_cut_from(self, distance):
        """Under neglog-dot its own frames are not at 0, but no others are nearer, as these are all but certain."""
        utterance = 0.98 * np.eye(7)[np.arange(40) * 3 % 7] + 0.02 * rows(3, n=40)
        utterance[10:20] = 0.98 * np.eye(7)[[0, 1, 6, 2, 2, 5, 4, 0, 3, 1]] + 0.02 * rows(4, n=10)
        match = dtw.align(distance.cost(utterance[10:20], utterance), Alignment())
        assert (match.start, match.end) == (10, 19)


@pytest.mark.parametrize("smoothing", [0.0, 1.0, -0.1, 2.0, math.nan])
def test_smoothing_is_a_share(smoothing):
    for make, who in ((KullbackLeibler, "kl"), (NegLogDot, "neglog-dot")):
        with pytest.raises(KwsbenchError) as error:
            make(smoothing=smoothing)
        assert str(error.value).startswith(f"{who}: smoothing={smoothing:g} must be more than 0 and less than 1")


def test_they_are_registered_and_read_their_parameters():
    found = {}
    posteriors_plugin.register_distances(lambda name, factory: found.update({name: factory}))
    assert found == {"kl": KullbackLeibler, "neglog-dot": NegLogDot}
    kl = Plugin("distances", "kl", "kwsbench", "0", found["kl"], {})
    x, y = rows(0), rows(1)
    expected = KullbackLeibler(kind="forward", smoothing=0.1).cost(x, y)
    np.testing.assert_array_equal(kl.create({"kind": "forward", "smoothing": "0.1"}).cost(x, y), expected)
    with pytest.raises(KwsbenchError, match="kind=backward: expected one of symmetric, forward"):
        kl.create({"kind": "backward"})
