"""Bootstrap intervals against loops over resamples, and against the truth in simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from kwsbench import ranks, stats
from kwsbench.eer import eer_interval
from kwsbench.errors import KwsbenchError
from kwsbench.stats import (
    cluster_bootstrap,
    cluster_bootstraps,
    expanded_tail,
    multiplicities,
    paired_difference,
    satterthwaite,
    two_way_bootstraps,
)
from tests import reference_metrics as reference
from tests import reference_stats
from tests.draws import ROUNDING, crossed, generator, quantiles, simulate, table, trials


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
    assert cluster_bootstrap(x, clusters, rng=generator(), resamples=200) == quantiles(means, 5)
    assert cluster_bootstrap(x, clusters, rng=generator(), resamples=200, level=0.5) == quantiles(means, 5, 0.5)


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


def test_intervals_cover_the_truth_as_often_as_they_say():
    """300 data sets of known truth.

    The number covered is binomial about 95%; three standard deviations either side leave 0.3% to chance,
    and the seed is fixed. Single queries as clusters take dependence for evidence and cover far less.
    """
    rng, sets = generator(11), 300
    covered = np.zeros(2)
    for _ in range(sets):
        x, clusters = simulate(rng)
        for i, of in enumerate((clusters, np.arange(len(x)))):
            low, high = cluster_bootstrap(x, of, rng=rng, resamples=600)
            covered[i] += low <= 0.0 <= high
    margin = 3 * math.sqrt(0.95 * 0.05 / sets)
    assert abs(covered[0] / sets - 0.95) <= margin
    assert covered[1] / sets < 0.95 - margin


def test_intervals_of_few_clusters_cover_as_they_say_because_they_are_expanded():
    """600 normal samples of 8. Plain quantiles reach 1.96 * s * sqrt(7 / 8) where Student's t needs 2.36 * s.

    So plain ones cover 2 T(1.96 sqrt(7 / 8)) - 1 = 89%, expanded ones 95%; each within three standard
    deviations of a binomial, which keeps the two apart.
    """
    rng, sets = generator(12), 600
    covered = np.zeros(2)
    for _ in range(sets):
        x = rng.normal(size=8)
        plain = np.quantile(x[rng.integers(8, size=(1000, 8))].mean(axis=1), [0.025, 0.975])
        expanded = cluster_bootstrap(x, np.arange(8), rng=rng, resamples=1000)
        covered += [low <= 0.0 <= high for low, high in (plain, expanded)]
    for found, expected in zip(
        covered / sets, (2 * scipy.stats.t(7).cdf(1.96 * math.sqrt(7 / 8)) - 1, 0.95), strict=True
    ):
        assert found == pytest.approx(expected, abs=3 * math.sqrt(expected * (1 - expected) / sets))


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


def test_products_in_small_blocks_change_no_interval(monkeypatch):
    """One resample at a time, against all at once; a sum of 7 or 12 products may round in another order."""
    scores, labels, clusters = trials(1, 60, 300)
    means = np.stack([np.where(clusters == 3, np.nan, scores[:, 0]), scores[:, 1]], axis=1)

    def intervals():
        two_way = two_way_bootstraps(means, clusters, np.arange(60) % 12, rng=generator(), resamples=101)
        return np.array([*two_way, eer_interval(scores, labels, clusters, rng=generator(), resamples=101)])

    monkeypatch.setattr(stats, "SMALL_PRODUCT", 2**40)
    at_once = intervals()
    for small in (1, 2**12):
        monkeypatch.setattr(stats, "SMALL_PRODUCT", small)
        assert intervals() == pytest.approx(at_once, abs=ROUNDING)


def test_columns_that_share_draws_and_totals_have_the_intervals_of_each_alone():
    """Rows that are defined, and their sums, differ between columns of the same clusters."""
    rng = generator(8)
    clusters, speakers = np.repeat(np.arange(6), 5), np.tile(np.arange(5), 6)
    whole, holed, other = rng.random((3, 30))
    holed[[0, 7, 21]] = np.nan
    columns = np.stack([whole, holed, other], axis=1)
    options = {"weights": rng.integers(1, 4, size=30), "resamples": 80}
    together = cluster_bootstraps(columns, clusters, rng=generator(), **options)
    both = two_way_bootstraps(columns, clusters, speakers, rng=generator(), **options)
    for at, column in enumerate(columns.T[:, :, np.newaxis]):
        assert [together[at]] == cluster_bootstraps(column, clusters, rng=generator(), **options)
        assert [both[at]] == two_way_bootstraps(column, clusters, speakers, rng=generator(), **options)


def test_arguments_are_not_changed(values):
    x, clusters = values
    sums, counts = table()
    kept = [array.copy() for array in (x, clusters, sums, counts)]
    stats.cluster_bootstrap(x, clusters, rng=generator())
    ranks.tie_groups(sums, counts, rng=generator())
    ranks.rank_intervals(sums, counts, rng=generator())
    assert all(np.array_equal(a, b) for a, b in zip(kept, (x, clusters, sums, counts), strict=True))


def test_weights_stand_for_rows():
    x, keyword, speaker, counts = crossed()
    repeated = [np.repeat(column, counts) for column in (x, keyword, speaker)]
    for weighted, single in (
        (
            cluster_bootstrap(x, keyword, rng=generator(), weights=counts),
            cluster_bootstrap(*repeated[:2], rng=generator()),
        ),
        (
            two_way_bootstraps(x[:, None], keyword, speaker, rng=generator(), weights=counts)[0],
            two_way_bootstraps(repeated[0][:, None], *repeated[1:], rng=generator())[0],
        ),
    ):
        assert weighted == pytest.approx(single, abs=ROUNDING)
    means = [
        paired_difference(x, 0 * x, keyword, rng=generator(), weights=counts).difference,
        paired_difference(repeated[0], 0 * repeated[0], repeated[1], rng=generator()).difference,
    ]
    assert means[0] == pytest.approx(means[1], abs=ROUNDING)
    assert means[0] != pytest.approx(x.mean(), abs=1e-3)


def test_a_row_of_weight_0_is_not_there():
    x, keyword, speaker, counts = crossed()
    counts[keyword == 2] = 0
    kept = counts > 0
    assert cluster_bootstrap(x, keyword, rng=generator(), weights=counts) == pytest.approx(
        cluster_bootstrap(x[kept], keyword[kept], rng=generator(), weights=counts[kept]), abs=ROUNDING
    )
    (weightless,) = two_way_bootstraps(x[:, None], keyword, speaker, rng=generator(), weights=counts)
    with_nan = np.where(kept, x, np.nan)[:, None]
    (missing,) = two_way_bootstraps(with_nan, keyword, speaker, rng=generator(), weights=np.maximum(counts, 1))
    assert weightless == pytest.approx(missing, abs=ROUNDING)
    nothing = paired_difference(x, x, keyword, rng=generator(), weights=0 * counts)
    assert np.isnan([nothing.difference, *nothing.interval]).all()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], "2 weights for 3 rows, expected one a row"),
        ([1, -1, 1], "weights must be finite and not negative: how many queries each row stands for"),
        ([1, np.nan, 1], "weights must be finite and not negative: how many queries each row stands for"),
    ],
)
def test_weights_must_be_counts(weights, message):
    for call in (
        lambda: cluster_bootstrap(np.zeros(3), [0, 1, 2], rng=generator(), weights=weights),
        lambda: two_way_bootstraps(np.zeros((3, 1)), [0, 1, 2], [0, 1, 2], rng=generator(), weights=weights),
    ):
        with pytest.raises(KwsbenchError) as error:
            call()
        assert str(error.value) == message


@pytest.mark.parametrize("clusters", [2, 3, 10, 40, 1000])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_expanded_tail(clusters, level):
    tail = expanded_tail(level, clusters)
    assert tail == pytest.approx(reference_stats.expanded_tail(level, clusters), rel=1e-6, abs=1e-60)
    assert tail < (1 - level) / 2


def test_the_tail_of_many_clusters_is_the_nominal_one():
    assert expanded_tail(0.95, 10**7) == pytest.approx(0.025, rel=1e-5)


@given(st.lists(st.tuples(st.floats(1e-6, 1e6), st.integers(1, 100)), min_size=1, max_size=4))
def test_satterthwaite(parts):
    freedom = satterthwaite(*parts)
    assert freedom == pytest.approx(reference_stats.satterthwaite(parts), rel=1e-9)
    assert min(f for _, f in parts) * (1 - 1e-9) <= freedom <= sum(f for _, f in parts) * (1 + 1e-9)


def test_satterthwaite_of_no_variance_is_the_least():
    assert satterthwaite((0.0, 7), (0.0, 3)) == 3


def test_two_way_interval_against_a_loop():
    x, keyword, speaker, counts = crossed()
    times = [multiplicities(size, rng=rng, resamples=300) for rng in [generator()] for size in (5, 3)]
    drawn = reference_stats.two_way_means(x, keyword, speaker, counts, *times)
    assert len(drawn) <= 300
    parts = []
    for at, levels in enumerate((5, 3)):
        alone = [np.ones_like(t) if i != at else t for i, t in enumerate(times)]
        parts.append(
            (reference_stats.variance(reference_stats.two_way_means(x, keyword, speaker, counts, *alone)), levels - 1)
        )
    clusters = 1 + reference_stats.satterthwaite(parts)
    (found,) = two_way_bootstraps(x[:, None], keyword, speaker, rng=generator(), weights=counts, resamples=300)
    assert found == quantiles(drawn, clusters)


def test_a_resample_without_a_row_is_left_out():
    """Two keywords, each by a speaker of its own: a keyword and the other's speaker never met."""
    x, codes = np.array([1.0, 2.0]), [0, 1]
    times = [multiplicities(2, rng=rng, resamples=400) for rng in [generator()] for _ in range(2)]
    drawn = reference_stats.two_way_means(x, codes, codes, [1, 1], *times)
    assert len(drawn) < 400
    (found,) = two_way_bootstraps(x[:, None], codes, codes, rng=generator(), resamples=400)
    assert found == (min(drawn), max(drawn))


def test_two_way_columns_have_their_own_gaps():
    x, keyword, speaker, counts = crossed()
    gaps = np.where(keyword == 1, np.nan, x)
    found = two_way_bootstraps(np.stack([x, gaps, 2 * x], axis=1), keyword, speaker, rng=generator(), weights=counts)
    (alone,) = two_way_bootstraps(x[:, None], keyword, speaker, rng=generator(), weights=counts)
    assert found[0] == alone
    assert found[2] == pytest.approx(np.multiply(alone, 2))
    assert found[1] != alone


@pytest.mark.parametrize(
    ("keywords", "speakers"), [([0, 0, 0], [0, 1, 2]), ([0, 1, 2], [5, 5, 5]), ([], [])], ids=["word", "voice", "none"]
)
def test_two_way_interval_needs_two_of_either(keywords, speakers):
    values = np.arange(len(keywords), dtype=float)[:, None]
    assert np.isnan(two_way_bootstraps(values, keywords, speakers, rng=generator())).all()


def test_two_way_difference():
    x, keyword, speaker, counts = crossed()
    found = paired_difference(x + 1, 0 * x, keyword, rng=generator(), speakers=speaker, weights=counts)
    (expected,) = two_way_bootstraps((x + 1)[:, None], keyword, speaker, rng=generator(), weights=counts)
    assert found.interval == expected
    assert found.difference == pytest.approx(np.average(x + 1, weights=counts))


def test_two_way_intervals_cover_keywords_and_speakers():
    """150 data sets of 25 keywords by 8 speakers who vary as much: the pigeonhole bootstrap is conservative, so
    it may cover more than 95%, but no less, by three standard deviations; keywords alone cover far less.
    """
    rng, sets = generator(3), 150
    keyword, speaker = np.divmod(np.arange(200), 8)
    covered = np.zeros(2)
    for _ in range(sets):
        x = rng.normal(size=25)[keyword] + rng.normal(size=8)[speaker] + rng.normal(size=200)
        (two_way,) = two_way_bootstraps(x[:, None], keyword, speaker, rng=rng, resamples=500)
        one_way = cluster_bootstrap(x, keyword, rng=rng, resamples=500)
        covered += [low <= 0.0 <= high for low, high in (two_way, one_way)]
    lowest = 0.95 - 3 * math.sqrt(0.95 * 0.05 / sets)
    assert covered[0] / sets >= lowest
    assert covered[1] / sets < lowest
