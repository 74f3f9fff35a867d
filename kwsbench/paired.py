"""Many cells against many others on the same queries: changes with intervals and p, all in one go.

Every cell of a data set is put on the same groups of queries, and all changes meet the same resamples
and the same signs (see ``ablation`` for what is compared with what).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from kwsbench import ranks, spec, stats
from kwsbench.metrics import Doubles
from kwsbench.ranking import Row
from kwsbench.results import Combination, Estimate, Isotropy, Result
from kwsbench.scoring import BOOTSTRAP_SEED
from kwsbench.significance import holm

ROWS = "minmax"
"""The value of a matcher's ``rows`` that hides shifts and scales of the costs of a query's frame."""
AXES = ("encoder", "layer", "transform", "distance", "matcher")
PERMUTATIONS = 99_999
"""So many that the least p, 1e-5, stays significant after correction over a thousand cells."""
LEAST_SPEAKERS = 6
"""An interval over fewer speakers of queries covers too little where speakers differ (benchmarks/coverage.md)."""


class Effect(NamedTuple):
    """What a change does to one metric. NaN where it is undefined; p_holm is corrected over its whole table."""

    base: float
    value: float
    change: float
    low: float
    high: float
    p: float
    p_holm: float
    two_way: stats.Interval | None = None
    """the interval over keywords and the queries' speakers; None where those are fewer than LEAST_SPEAKERS"""


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two that are compared: a cell, or what was chosen from several. columns: metric → (groups,)."""

    encoder: str
    layer: str
    transform: str
    distance: str
    matcher: str
    columns: dict[str, Doubles]
    isotropy: Isotropy | None
    """after the transform, as is hubness; of the first choice, where the halves chose differently"""
    hubness: float | None = None
    estimate: Estimate | None = None
    """of the first metric; None for what was put together from two cells"""

    def figure(self, name: str) -> float | None:
        """A diagnostic of the frames, or ``hubness``; None where it was not measured."""
        if name == "hubness":
            return self.hubness
        return self.isotropy.figure(name) if self.isotropy else None


Pair = tuple[Side, Side]
"""What is compared: without the correction, and with it."""


class Change(NamedTuple):
    """One line of a table: from ``base`` to ``side``, metric → effect."""

    base: Side
    side: Side
    effects: dict[str, Effect]


class Hidden(NamedTuple):
    """A correction's change on raw costs and on costs that were scaled by row, and raw minus scaled."""

    raw: Change
    scaled: Change
    difference: Effect


class Picture:
    """The scores of one data set on common groups of queries (one keyword by one speaker), and its resamples."""

    def __init__(self, records: Sequence[Result], metrics: tuple[str, str], condition: str) -> None:
        self.metrics, self.condition = metrics, condition
        queries: dict[tuple[str, str], int] = {}
        for record in records:
            table = record.conditions[condition].groups
            queries |= dict(zip(zip(table.keyword, table.speaker, strict=True), table.queries, strict=True))
        self.place = {group: at for at, group in enumerate(sorted(queries))}
        self.counts = np.array([queries[group] for group in self.place], np.float64)
        self.keywords, self.keyword_of = np.unique([keyword for keyword, _ in self.place], return_inverse=True)
        self.speakers = [speaker for _, speaker in self.place]
        everywhere = sorted({word for r in records for c in r.conditions.values() for word in c.groups.keyword})
        half_of = dict(zip(everywhere, ranks.halves(everywhere), strict=True))
        self.half = np.array([half_of[keyword] for keyword, _ in self.place])
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        self.times = stats.multiplicities(len(self.keywords), rng=rng, resamples=stats.RESAMPLES).astype(np.float64)

    def cell(self, record: Result) -> Side:
        """A record as a side; NaN for groups that it does not have."""
        found, cell = record.conditions[self.condition], record.combination
        places = [self.place[group] for group in zip(found.groups.keyword, found.groups.speaker, strict=True)]
        columns = {metric: np.full(len(self.place), np.nan) for metric in self.metrics}
        for metric, column in columns.items():
            column[places] = np.array(found.groups.metrics[metric], np.float64)  # None becomes NaN
        name = (cell.encoder, cell.layer, cell.transform, cell.distance, cell.matcher)
        estimate = found.metrics[self.metrics[0]]
        return Side(*name, columns, record.isotropy.get("after"), found.hubness, estimate)

    def chosen(self, row: Row, cells: dict[Combination, Side]) -> Side:
        """A row of the nested choice as a side: each half of the keywords by what the other half chose."""
        one, other = cells[row.choices[0]], cells[row.choices[-1]]
        columns = {name: np.where(self.half, one.columns[name], other.columns[name]) for name in self.metrics}
        encoder, layer, transform, distance, matcher = (row.chosen(axis) for axis in AXES)
        return Side(encoder, layer, transform, distance, matcher, columns, one.isotropy, one.hubness)

    def compare(self, pairs: Sequence[Pair], *, two_way: bool = False) -> tuple[Change, ...]:
        """One table: a change for each (base, side), p corrected over all of them, metric by metric."""
        found = {
            metric: self.effects([b.columns[metric] for b, _ in pairs], [s.columns[metric] for _, s in pairs], two_way)
            for metric in self.metrics
        }
        return tuple(
            Change(base, side, {metric: found[metric][at] for metric in self.metrics})
            for at, (base, side) in enumerate(pairs)
        )

    def hidden(self, pairs: Sequence[Pair]) -> tuple[Hidden, ...]:
        """What scaling the costs by row does to each correction's change, where both were run."""
        by_name = {(s.encoder, s.transform, s.distance, s.matcher): (b, s) for b, s in pairs}
        both = [
            (by_name[name], (base, side))
            for base, side in pairs
            if (matcher := _unscaled(side.matcher)) != side.matcher
            and (name := (side.encoder, side.transform, side.distance, matcher)) in by_name
        ]
        raw, scaled = (self.compare([pair[which] for pair in both]) for which in (0, 1))
        metric = self.metrics[0]
        small, large = (
            [s.columns[metric] - b.columns[metric] for b, s in (pair[which] for pair in both)] for which in (1, 0)
        )
        return tuple(map(Hidden, raw, scaled, self.effects(small, large)))

    def effects(self, bases: Sequence[Doubles], values: Sequence[Doubles], two_way: bool = False) -> list[Effect]:  # noqa: FBT001, FBT002
        """Mean of values minus mean of bases, each (groups,), over the groups that both define; p over all of them."""
        if not bases:
            return []
        a, b = np.stack(bases, axis=1), np.stack(values, axis=1)
        difference = b - a
        weight = np.where(np.isnan(difference), 0.0, self.counts[:, np.newaxis])
        means = [_ratio((np.nan_to_num(x) * weight).sum(axis=0), weight.sum(axis=0)) for x in (a, b)]
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        intervals = stats.cluster_bootstraps(difference, self.keyword_of, rng=rng, weights=self.counts)
        sums = np.stack([self._by_keyword(x) for x in (np.nan_to_num(difference) * weight).T])
        p = np.where(np.isnan(np.array(intervals)[:, 0]), np.nan, permutation_ps(sums))
        wide: list[stats.Interval | None] = [None] * len(bases)
        if two_way and len(set(self.speakers) - {""}) >= LEAST_SPEAKERS:
            wide = list(
                stats.two_way_bootstraps(difference, self.keyword_of, self.speakers, rng=rng, weights=self.counts)
            )
        columns = np.column_stack([*means, means[1] - means[0], np.array(intervals), p, holm(p)])
        found = [Effect(*line) for line in columns.round(9).tolist()]
        return [effect._replace(two_way=interval) for effect, interval in zip(found, wide, strict=True)]

    def resampled(self, columns: Sequence[Doubles]) -> Doubles:
        """The mean of each column (groups,), first as it is, then in every resample: (1 + resamples, columns)."""
        weights = [np.where(np.isnan(column), 0.0, self.counts) for column in columns]
        sums = [self._by_keyword(np.nan_to_num(c) * w) for c, w in zip(columns, weights, strict=True)]
        times = np.vstack([np.ones(len(self.keywords)), self.times])
        # A matrix product may round equal columns differently; that must not order cells that are equal.
        return np.round(_ratio(times @ np.transpose(sums), times @ np.transpose([*map(self._by_keyword, weights)])), 12)

    def _by_keyword(self, values: Doubles) -> Doubles:
        return np.bincount(self.keyword_of, weights=values, minlength=len(self.keywords)).astype(np.float64)


def permutation_ps(sums: Doubles, *, permutations: int = PERMUTATIONS) -> Doubles:
    """``significance.permutation_p`` of each row of sums (changes, keywords), weighted changes summed by keyword.

    All rows meet the same random signs, one matrix product for a whole table. A row of zeros has p = 1.
    """
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    # A sum in another order differs by rounding; equal ones must count as equal.
    found = np.abs(sums.sum(axis=1)) - 1e-12 * np.abs(sums).sum(axis=1)
    beyond = np.zeros(len(sums), np.float64)
    for first in range(0, permutations, 10_000):
        signs = rng.integers(2, size=(min(10_000, permutations - first), sums.shape[1])) * 2.0 - 1.0
        beyond += (np.abs(signs @ sums.T) >= found).sum(axis=0)
    p: Doubles = np.divide(1.0 + beyond, 1.0 + permutations)
    return p


def spearman(fixed: Doubles, varying: Doubles) -> Doubles:
    """Spearman's rho of fixed (n,) with each row of varying (m, n): (m,); NaN where either is constant.

    Ties share their mean rank. Source: Spearman (1904); the Pearson correlation of the ranks.
    """
    x = rankdata(fixed) - (len(fixed) + 1) / 2
    y = rankdata(varying, axis=1) - (len(fixed) + 1) / 2
    return _ratio(y @ x, np.sqrt((x @ x) * (y * y).sum(axis=1)))


def _unscaled(matcher: str) -> str:
    """The same matcher without scaling the costs by row."""
    found, *norms = spec.parse_chain(matcher)
    kept = {key: value for key, value in found.params.items() if (key, value) != ("rows", ROWS)}
    return spec.format_chain((spec.Spec(found.name, found.layers, kept), *norms))


def _ratio(sums: Doubles, counts: Doubles) -> Doubles:
    """NaN where the count is 0."""
    shares: Doubles = np.divide(sums, counts, out=np.full(np.shape(sums), np.nan), where=counts > 0)
    return shares
