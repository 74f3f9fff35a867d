"""How sure a number is: bootstrap over keywords, paired differences, rank intervals, halves.

Queries of one keyword are not independent (a long word is easy for everybody), so what is resampled
with replacement is whole keywords, the clusters, never single queries. Intervals are percentile
intervals: the quantiles of the statistic over resamples (Efron & Tibshirani 1993, chapter 13).
A keyword drawn twice counts twice, so a mean is a ratio of two weighted sums over keywords. With few
keywords such intervals are a little narrow: those of 40 simulated ones cover 93–94% at a nominal 95%.

One cluster has nothing to be resampled against: its interval is undefined (NaN, NaN).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kwsbench.errors import KwsbenchError
from kwsbench.metrics import Counts, Doubles, Labels, eer, equal_error
from kwsbench.types import FloatArray

RESAMPLES = 2000
LEVEL = 0.95
EER_BINS = 1000


class Interval(NamedTuple):
    """Where the statistic lies in the stated share of resamples. (NaN, NaN): undefined."""

    low: float
    high: float


UNDEFINED = Interval(float("nan"), float("nan"))


class Difference(NamedTuple):
    """Mean of a minus mean of b over the queries that both define, with its interval."""

    difference: float
    interval: Interval


class RankIntervals(NamedTuple):
    """Best and worst rank of each system that the resamples leave open; 1 is best. Each int64 (systems,)."""

    low: Counts
    high: Counts


def cluster_bootstrap(
    values: Doubles,
    clusters: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """The interval of the mean of values (queries,) when clusters (queries,) are resampled.

    NaN marks a query for which the value is undefined: it is in no sum and no count, and a cluster of
    such queries alone is not drawn at all. Undefined with fewer than two clusters.
    """
    return cluster_bootstraps(np.asarray(values)[:, np.newaxis], clusters, rng=rng, resamples=resamples, level=level)[0]


def cluster_bootstraps(
    values: Doubles,
    clusters: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> list[Interval]:
    """``cluster_bootstrap`` of each column of values (queries, metrics).

    Columns that are defined in the same clusters share their draws, which saves time and nothing else.
    """
    values = np.asarray(values, dtype=np.float64)
    cluster_of = _clusters(clusters, len(values))
    size = int(cluster_of.max(initial=-1)) + 1
    draws: dict[bytes, Doubles] = {}
    intervals = []
    for column in values.T:
        defined = ~np.isnan(column)
        counts = np.bincount(cluster_of[defined], minlength=size).astype(np.float64)
        sums = np.bincount(cluster_of[defined], weights=column[defined], minlength=size)
        used = counts > 0
        if used.sum() < 2:
            intervals.append(UNDEFINED)
            continue
        if used.tobytes() not in draws:
            drawn = multiplicities(int(used.sum()), rng=rng, resamples=resamples)
            draws[used.tobytes()] = drawn.astype(np.float64)
        times = draws[used.tobytes()]
        intervals.append(_interval((times @ sums[used]) / (times @ counts[used]), level))
    return intervals


def paired_difference(
    a: Doubles,
    b: Doubles,
    clusters: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Difference:
    """Mean of a - b over the same queries (queries,), and its interval with clusters resampled.

    Paired: a hard keyword is hard for both, and its difficulty cancels. A query that either leaves
    undefined (NaN) is left out of both.
    """
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    defined = ~np.isnan(differences)
    mean = float(differences[defined].mean()) if defined.any() else float("nan")
    return Difference(mean, cluster_bootstrap(differences, clusters, rng=rng, resamples=resamples, level=level))


def eer_interval(
    scores: FloatArray,
    labels: Labels,
    clusters: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """The interval of ``metrics.eer`` when clusters of queries are resampled.

    scores, labels: (queries, utterances), as for ``rank_rows``; clusters: (queries,). Undefined with
    fewer than two clusters that have trials, or without positives or negatives.

    Sorting every resample anew would take minutes. Scores are put into EER_BINS bins of equal
    occupation once, and a resample's operating points are then a weighted sum of the clusters' own, one
    matrix product for all. Inside a bin the curve is a straight line, which moves a resample's EER by
    no more than the share of the negatives, or of the positives, that one bin holds. A resample that drew no
    positive or no negative has no EER and is left out.
    """
    if np.isnan(eer(scores, labels)):  # checks its arguments, too
        return UNDEFINED
    query, utterance = np.nonzero(labels >= 0)
    used, cluster_of = np.unique(_clusters(clusters, len(scores))[query], return_inverse=True)
    if len(used) < 2:
        return UNDEFINED

    keys = -scores[query, utterance]
    in_order = np.sort(keys)
    edges = np.unique(in_order[np.linspace(0, len(keys) - 1, EER_BINS + 1).astype(np.int64)[1:]])
    cell = cluster_of * len(edges) + np.searchsorted(edges, keys)
    positive = labels[query, utterance] == 1

    times = multiplicities(len(used), rng=rng, resamples=resamples).astype(np.float32)

    def rates(chosen: npt.NDArray[np.bool_]) -> Doubles:
        counts = np.bincount(cell[chosen], minlength=len(used) * len(edges)).reshape(len(used), len(edges))
        accepted = (times @ np.cumsum(counts, axis=1).astype(np.float32)).astype(np.float64)
        total = accepted[:, -1:]
        shares: Doubles = np.divide(accepted, total, out=np.full(accepted.shape, np.nan), where=total > 0)
        return shares

    false_alarms, hits = rates(~positive), rates(positive)
    defined = ~np.isnan(false_alarms[:, -1] + hits[:, -1])
    if not defined.any():
        return UNDEFINED
    return _interval(equal_error(false_alarms[defined], hits[defined]), level)


def halves(keywords: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which half each keyword belongs to: bool (keywords,), equal keywords alike.

    The distinct keywords, in the order of the SHA-256 of their UTF-8 text, go to False and True in
    turn. So the split depends on nothing but the set of keywords, the halves differ by one at most,
    and neither is richer in long words or in the beginning of the alphabet.
    """
    ordered = sorted(set(keywords), key=lambda keyword: hashlib.sha256(keyword.encode()).digest())
    half_of = {keyword: bool(place % 2) for place, keyword in enumerate(ordered)}
    return np.array([half_of[keyword] for keyword in keywords], dtype=bool)


def rank_intervals(
    sums: Doubles,
    counts: npt.NDArray[Any],
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> RankIntervals:
    """The ranks that each system takes in the stated share of resamples of the keywords.

    sums: (systems, keywords), a metric summed over each keyword's queries; counts: how many queries
    those were, (systems, keywords) or, if the same for all, (keywords,). All systems meet the same
    resamples. Systems that tie in a resample share all of the ranks that they cover. With fewer than
    two keywords nothing is known, and every rank stays open.
    """
    means = _resampled_means(sums, counts, rng, resamples)
    systems = len(sums)
    if not len(means):
        return RankIntervals(np.ones(systems, dtype=np.int64), np.full(systems, systems, dtype=np.int64))
    best = np.empty(means.shape, dtype=np.int64)
    worst = np.empty(means.shape, dtype=np.int64)
    for resample, row in enumerate(-means):
        in_order = np.sort(row)
        best[resample] = np.searchsorted(in_order, row, side="left") + 1
        worst[resample] = np.searchsorted(in_order, row, side="right")
    tail = (1.0 - level) / 2.0
    return RankIntervals(
        np.quantile(best, tail, axis=0, method="inverted_cdf").astype(np.int64),
        np.quantile(worst, 1.0 - tail, axis=0, method="inverted_cdf").astype(np.int64),
    )


def tie_groups(
    sums: Doubles,
    counts: npt.NDArray[Any],
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Counts:
    """The group of each system, from 1, the best: int64 (systems,). Arguments as for ``rank_intervals``.

    The best system leads the first group. Whoever's paired difference to the leader has an interval
    that reaches 0 is in it; the best of the rest leads the next, and so on. A system with few queries
    may so be in a higher group than one with a better mean. The intervals are not corrected for the
    number of systems. With fewer than two keywords nothing separates anybody: one group.
    """
    means = _resampled_means(sums, counts, rng, resamples)
    groups = np.ones(len(sums), dtype=np.int64)
    if not len(means):
        return groups
    totals = np.broadcast_to(counts, np.shape(sums)).sum(axis=1)
    left = np.argsort(-np.sum(sums, axis=1) / totals, kind="stable")
    group = 1
    while len(left):
        highest = np.quantile(means[:, left] - means[:, left[:1]], 1.0 - (1.0 - level) / 2.0, axis=0)
        tied = highest >= 0.0
        tied[0] = True
        groups[left[tied]] = group
        left, group = left[~tied], group + 1
    return groups


def multiplicities(clusters: int, *, rng: np.random.Generator, resamples: int) -> Counts:
    """How often each cluster is drawn in each resample: int64 (resamples, clusters), every row sums to clusters."""
    drawn = rng.integers(clusters, size=(resamples, clusters)) + np.arange(resamples)[:, np.newaxis] * clusters
    return np.bincount(drawn.ravel(), minlength=resamples * clusters).reshape(resamples, clusters)


def _resampled_means(sums: Doubles, counts: npt.NDArray[Any], rng: np.random.Generator, resamples: int) -> Doubles:
    """Each system's mean in each resample: (resamples, systems), no rows with fewer than two keywords."""
    sums = np.asarray(sums, dtype=np.float64)
    counts = np.broadcast_to(np.asarray(counts, dtype=np.float64), sums.shape)
    if np.isnan(sums).any() or np.any(counts.sum(axis=1) == 0):
        raise KwsbenchError("a system without a defined score cannot be ranked; leave failed systems out")
    used = counts.any(axis=0)
    if used.sum() < 2:
        return np.empty((0, len(sums)))
    times = multiplicities(int(used.sum()), rng=rng, resamples=resamples).astype(np.float64)
    totals = times @ counts[:, used].T
    complete = np.all(totals > 0, axis=1)
    # A matrix product may round equal columns differently; that must not order systems that are equal.
    means: Doubles = np.round((times[complete] @ sums[:, used].T) / totals[complete], 12)
    return means


def _interval(samples: Doubles, level: float) -> Interval:
    low, high = np.quantile(samples, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(float(low), float(high))


def _clusters(clusters: npt.ArrayLike, queries: int) -> Counts:
    """Clusters numbered from 0 without gaps: int64 (queries,)."""
    clusters = np.asarray(clusters)
    if clusters.shape != (queries,):
        raise KwsbenchError(f"{clusters.size} clusters for {queries} queries, expected one a query")
    return np.unique(clusters, return_inverse=True)[1]
