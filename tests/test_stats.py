"""Bootstrap intervals against loops over resamples, and against the truth in simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kwsbench import stats
from kwsbench.errors import KwsbenchError
from kwsbench.metrics import eer
from kwsbench.stats import (
    EER_BINS,
    cluster_bootstrap,
    cluster_bootstraps,
    eer_interval,
    halves,
    multiplicities,
    paired_difference,
    rank_intervals,
    tie_groups,
)
from tests import reference_metrics as reference

ROUNDING = 1e-12


def generator(seed=0):
    return np.random.default_rng(seed)


def quantiles(values):
    return pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=ROUNDING)


@pytest.fixture
def values():
    """21 queries of 5 keywords, 2 to 6 each, in no order."""
    clusters = generator(1).permutation(np.repeat([3, 7, 8, 20, 1], [2, 3, 4, 6, 6]))
    return generator(2).random(21) + clusters / 20, clusters


def test_multiplicities_draw_each_cluster_equally_often():
    times = multiplicities(6, rng=generator(), resamples=3000)
    assert times.shape == (3000, 6)
    assert (times.sum(axis=1) == 6).all()
    # each column: mean of 3000 binomials (6, 1/6), whose variance is 5/6; five standard errors
    assert times.mean(axis=0) == pytest.approx(np.ones(6), abs=5 * math.sqrt(5 / 6 / 3000))


def test_interval_against_a_loop_over_resamples(values):
    x, clusters = values
    times = multiplicities(5, rng=generator(), resamples=200)
    means = reference.resampled(lambda indices: x[indices].mean(), clusters.tolist(), times)
    assert cluster_bootstrap(x, clusters, rng=generator(), resamples=200) == quantiles(means)


def test_the_same_generator_gives_the_same_interval(values):
    assert cluster_bootstrap(*values, rng=generator(5)) == cluster_bootstrap(*values, rng=generator(5))
    assert cluster_bootstrap(*values, rng=generator(5)) != cluster_bootstrap(*values, rng=generator(6))


def test_columns_that_are_defined_alike_share_their_draws(values):
    x, clusters = values
    together = cluster_bootstraps(np.stack([x, 2 * x], axis=1), clusters, rng=generator())
    assert together[0] == cluster_bootstrap(x, clusters, rng=generator())
    assert together[1] == pytest.approx(np.multiply(together[0], 2))


def test_undefined_queries_are_in_no_sum_and_no_count(values):
    x, clusters = values
    with_nan = np.where(clusters == 7, np.nan, x)
    with_nan[np.flatnonzero(clusters == 1)[0]] = np.nan
    defined = ~np.isnan(with_nan)
    expected = cluster_bootstrap(x[defined], clusters[defined], rng=generator())
    assert cluster_bootstrap(with_nan, clusters, rng=generator()) == expected


@pytest.mark.parametrize("x", [[1.0, 2.0], [np.nan, np.nan], []], ids=["one cluster", "nothing defined", "nothing"])
def test_interval_of_fewer_than_two_clusters_is_undefined(x):
    assert np.isnan(cluster_bootstrap(np.array(x), np.zeros(len(x)), rng=generator())).all()


def test_clusters_must_match_queries():
    with pytest.raises(KwsbenchError, match="2 clusters for 3 queries"):
        cluster_bootstrap(np.zeros(3), [0, 1], rng=generator())


def simulate(rng, clusters=40):
    """Queries of 1 to 9 a keyword; a keyword's queries share an effect as large as their own noise. Truth: 0."""
    sizes = rng.integers(1, 10, size=clusters)
    of = np.repeat(np.arange(clusters), sizes)
    return rng.normal(size=clusters)[of] + rng.normal(size=sizes.sum()), of


def test_intervals_cover_the_truth_as_often_as_they_say():
    """200 data sets of known truth.

    A percentile interval of 40 clusters is as narrow as one from a normal curve where a t curve (and a
    standard deviation over n, not n - 1) would be right: about 94% in place of 95%. Around that, the
    number covered is binomial; three standard deviations either side leave 0.3% to chance, and the
    seed is fixed. Single queries as clusters take dependence for evidence and cover far less.
    """
    rng, sets = generator(11), 200
    covered = np.zeros(2)
    for _ in range(sets):
        x, clusters = simulate(rng)
        for i, of in enumerate((clusters, np.arange(len(x)))):
            low, high = cluster_bootstrap(x, of, rng=rng, resamples=400)
            covered[i] += low <= 0.0 <= high
    lowest = 0.94 - 3 * math.sqrt(0.94 * 0.06 / sets)
    highest = 0.95 + 3 * math.sqrt(0.95 * 0.05 / sets)
    assert lowest <= covered[0] / sets <= highest
    assert covered[1] / sets < lowest


def test_paired_difference_cancels_what_is_hard_for_both(values):
    x, clusters = values
    noise = 1e-3 * generator(3).normal(size=21)
    difference, interval = paired_difference(x + 0.1 + noise, x, clusters, rng=generator())
    assert difference == pytest.approx(0.1 + noise.mean())
    assert interval == pytest.approx(cluster_bootstrap(0.1 + noise, clusters, rng=generator()))
    alone = cluster_bootstrap(x, clusters, rng=generator())
    assert interval.high - interval.low < 0.1 * (alone.high - alone.low)


def test_paired_difference_takes_queries_that_both_define():
    a, b = np.array([1.0, np.nan, 3.0, 9.0]), np.array([0.0, 5.0, 1.0, np.nan])
    difference, interval = paired_difference(a, b, [0, 0, 1, 1], rng=generator())
    assert difference == 1.5
    assert interval == (1.0, 2.0)
    assert math.isnan(paired_difference(a, a * np.nan, [0, 0, 1, 1], rng=generator()).difference)


def trials(seed, queries, utterances):
    rng = generator(seed)
    labels = (rng.random((queries, utterances)) < 0.1).astype(np.int8)
    scores = (rng.normal(size=labels.shape) + 1.5 * labels + rng.normal(size=(queries, 1))).astype(np.float32)
    labels[rng.random(labels.shape) < 0.05] = -1
    return scores, labels, np.arange(queries) % 7


def exact_eers(scores, labels, clusters, times):
    return reference.resampled(lambda chosen: eer(scores[chosen], labels[chosen]), clusters.tolist(), times)


@pytest.mark.parametrize("tied", [False, True])
def test_eer_interval_is_exact_while_scores_fit_the_bins(tied):
    scores, labels, clusters = trials(0, 20, 45)
    scores[3, :20] = -np.inf
    if tied:
        scores = np.round(scores, 1)
    assert labels.size < EER_BINS
    times = multiplicities(7, rng=generator(), resamples=60)
    found = eer_interval(scores, labels, clusters, rng=generator(), resamples=60)
    assert found == quantiles(exact_eers(scores, labels, clusters, times))


def test_eer_interval_with_binned_scores():
    """A bin moves a resample's EER by at most the share of its negatives that lie in the bin.

    That share is 1/EER_BINS of all trials, over 90% negatives; and a resample that repeats the queries
    which fill the bin may raise it, here at most 7-fold for 7 keywords, in practice by far less: 2.
    """
    scores, labels, clusters = trials(1, 60, 300)
    scores[5, :20] = -np.inf
    times = multiplicities(7, rng=generator(), resamples=40)
    exact = np.quantile(exact_eers(scores, labels, clusters, times), [0.025, 0.975])
    found = eer_interval(scores, labels, clusters, rng=generator(), resamples=40)
    assert found == pytest.approx(tuple(exact), abs=2 / EER_BINS / 0.9)
    assert found.low < eer(scores, labels) < found.high


def test_eer_interval_where_it_is_undefined():
    scores, labels, clusters = trials(0, 20, 45)
    assert np.isnan(eer_interval(scores, labels, np.zeros(20), rng=generator())).all()
    assert np.isnan(eer_interval(scores, np.zeros_like(labels), clusters, rng=generator())).all()
    only_one = np.where(clusters[:, np.newaxis] == 2, labels, -1)
    assert np.isnan(eer_interval(scores, only_one, clusters, rng=generator())).all()


def test_eer_interval_leaves_out_resamples_of_one_class():
    scores, labels = np.array([[3.0, 1.0], [2.0, 0.0]]), np.array([[1, 1], [0, 0]])
    # A resample has an EER if both keywords are in it, and then it is that of the whole.
    assert eer_interval(scores, labels, [0, 1], rng=generator(), resamples=50) == pytest.approx((0.5, 0.5))


def test_halves():
    keywords = ["maison", "chat", "bonjour", "chat", "trois", "école", "maison"]
    half = halves(keywords)
    by_word = dict(zip(keywords, half.tolist(), strict=True))
    assert half.tolist() == [by_word[keyword] for keyword in keywords]
    assert abs(sum(by_word.values()) - sum(not value for value in by_word.values())) <= 1
    assert dict(zip(sorted(by_word), halves(sorted(by_word)).tolist(), strict=True)) == by_word
    assert halves([]).shape == (0,)
    # Pinned: another split would change published nested scores.
    assert [word for word in sorted(by_word) if by_word[word]] == ["chat", "école"]


def table():
    """Four systems over 12 keywords of 1 to 4 queries: 0 and 1 are equal, 2 is near them, 3 far below."""
    rng = generator(4)
    counts = rng.integers(1, 5, size=12)
    scores = rng.random(12)
    means = np.stack([scores, scores, scores - 0.01 + 0.05 * rng.normal(size=12), scores - 0.5])
    return means * counts, counts


def test_rank_intervals_against_a_loop_over_resamples():
    sums, counts = table()
    sums[1] += 0.02 * generator(9).normal(size=12)
    found = rank_intervals(sums, counts, rng=generator(), resamples=150)
    times = multiplicities(12, rng=generator(), resamples=150)
    pairs = [reference.ranks([sum(row * system) / sum(row * counts) for system in sums]) for row in times]
    # the smallest rank with at least 2.5% of resamples at or below it, and 97.5%
    low = [sorted(best[i] for best, _ in pairs)[math.ceil(0.025 * 150) - 1] for i in range(4)]
    high = [sorted(worst[i] for _, worst in pairs)[math.ceil(0.975 * 150) - 1] for i in range(4)]
    assert found.low.tolist() == low
    assert found.high.tolist() == high


def test_equal_systems_share_their_ranks():
    sums, counts = table()
    low, high = rank_intervals(sums[[0, 1, 3]], counts, rng=generator())
    assert low.tolist() == [1, 1, 3]
    assert high.tolist() == [2, 2, 3]


def test_many_equal_systems_are_equal_whatever_the_rounding():
    """A matrix product may round one column differently from its neighbour: OpenBLAS does in its last rows.

    One resample at a time, since over many the ranks that rounding tears apart at random look like
    ranks that are shared.
    """
    sums = np.tile(generator().random(401), (13, 1))
    for seed in range(10):
        low, high = rank_intervals(sums, np.full(401, 3), rng=generator(seed), resamples=1)
        assert set(low) == {1}
        assert set(high) == {13}
    assert set(tie_groups(sums, np.full(401, 3), rng=generator())) == {1}


def test_tie_groups():
    sums, counts = table()
    assert tie_groups(sums, counts, rng=generator()).tolist() == [1, 1, 1, 2]
    assert tie_groups(sums[::-1], counts, rng=generator()).tolist() == [2, 1, 1, 1]
    lower = np.concatenate([sums, sums - 2 * counts])
    assert tie_groups(lower, counts, rng=generator()).tolist() == [1, 1, 1, 2, 3, 3, 3, 4]


def test_a_tie_is_what_the_paired_difference_says():
    rng = generator(7)
    values = rng.random((2, 30)) + np.array([[0.0], [0.2]])
    difference = paired_difference(values[1], values[0], np.arange(30), rng=generator(), resamples=500)
    groups = tie_groups(values, np.ones(30), rng=generator(), resamples=500)
    assert (difference.interval.low > 0) == (groups.tolist() == [2, 1])


def test_ranking_by_one_keyword_leaves_all_open():
    low, high = rank_intervals(np.array([[1.0], [2.0], [3.0]]), [1], rng=generator())
    assert (low.tolist(), high.tolist()) == ([1, 1, 1], [3, 3, 3])
    assert tie_groups(np.array([[1.0], [2.0]]), [1], rng=generator()).tolist() == [1, 1]


def test_systems_may_have_their_own_counts():
    sums, counts = np.array([[1.0, 0.0, 2.0], [3.0, 3.0, 0.0]]), np.array([[2, 0, 4], [3, 3, 0]])
    low, high = rank_intervals(sums, counts, rng=generator())
    assert (low.tolist(), high.tolist()) == ([2, 1], [2, 1])


@pytest.mark.parametrize("function", [rank_intervals, tie_groups])
def test_a_failed_system_cannot_be_ranked(function):
    for sums, counts in ([[np.nan, 1.0], [1.0, 1.0]], [1, 1]), ([[0.0, 0.0], [1.0, 1.0]], [[0, 0], [1, 1]]):
        with pytest.raises(KwsbenchError, match="leave failed systems out"):
            function(np.array(sums), np.array(counts), rng=generator())


def test_arguments_are_not_changed(values):
    x, clusters = values
    sums, counts = table()
    kept = [array.copy() for array in (x, clusters, sums, counts)]
    stats.cluster_bootstrap(x, clusters, rng=generator())
    stats.tie_groups(sums, counts, rng=generator())
    stats.rank_intervals(sums, counts, rng=generator())
    assert all(np.array_equal(a, b) for a, b in zip(kept, (x, clusters, sums, counts), strict=True))
