"""Which system is ahead, and how surely: rank intervals, groups of ties, and the halves that a choice is made on.

As in ``stats``, whole keywords are resampled, and all systems meet the same resamples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kwsbench.errors import KwsbenchError
from kwsbench.metrics import Counts, Doubles
from kwsbench.stats import LEVEL, RESAMPLES, expanded_tail, multiplicities


class RankIntervals(NamedTuple):
    """Best and worst rank of each system that the resamples leave open; 1 is best. Each int64 (systems,)."""

    low: Counts
    high: Counts


def rank_intervals(
    sums: Doubles,
    counts: npt.NDArray[Any],
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> RankIntervals:
    """The ranks that each system takes in the stated share of resamples of the keywords, tails as for intervals.

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
    tail = expanded_tail(level, _used_keywords(counts))
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
    group, tail = 1, expanded_tail(level, _used_keywords(counts))
    while len(left):
        highest = np.quantile(means[:, left] - means[:, left[:1]], 1.0 - tail, axis=0)
        tied = highest >= 0.0
        tied[0] = True
        groups[left[tied]] = group
        left, group = left[~tied], group + 1
    return groups


def _used_keywords(counts: npt.NDArray[Any]) -> int:
    """Keywords that any system has queries of."""
    return int(np.atleast_2d(counts).any(axis=0).sum())


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


def halves(keywords: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which half each keyword belongs to: bool (keywords,), equal keywords alike.

    The distinct keywords, in the order of the SHA-256 of their UTF-8 text, go to False and True in
    turn. So the split depends on nothing but the set of keywords, the halves differ by one at most,
    and neither is richer in long words or in the beginning of the alphabet.
    """
    ordered = sorted(set(keywords), key=lambda keyword: hashlib.sha256(keyword.encode()).digest())
    half_of = {keyword: bool(place % 2) for place, keyword in enumerate(ordered)}
    return np.array([half_of[keyword] for keyword in keywords], dtype=bool)
