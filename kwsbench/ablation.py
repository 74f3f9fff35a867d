"""Records → what each correction does to the score, paired with no correction at all.

A change is the mean over queries of corrected minus uncorrected, on the same queries. Its interval
resamples whole keywords (see ``stats``), its p turns the sign of whole keywords at random (see
``significance``), corrected over a whole table by Holm's method. All changes of a data set meet the
same resamples and the same signs, so that a thousand cells take seconds.

Layers are chosen as the leaderboard chooses them, on one half of the keywords for the other half,
and apart for the corrected and the uncorrected side: a correction may move the best layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np
from scipy.stats import rankdata

from kwsbench import ranking, spec, stats
from kwsbench.errors import KwsbenchError, did_you_mean
from kwsbench.metrics import Doubles
from kwsbench.ranking import HEADLINE, Row
from kwsbench.results import Combination, Estimate, Isotropy, Result
from kwsbench.scoring import BOOTSTRAP_SEED
from kwsbench.significance import holm

BASELINE = "none"
MAIN = ("cosine", "sdtw")
"""The distance and the matcher that the ladder, the correlations and the figures are of."""
LADDER = "none → center → standardize → whiten"
"""From mean effects to covariance effects: remove the mean, then the scales, then the correlations."""
ROWS = "minmax"
"""The value of a matcher's ``rows`` that hides shifts and scales of the costs of a query's frame."""
AXES = ("encoder", "layer", "transform", "distance", "matcher")
PERMUTATIONS = 99_999
"""So many that the least p, 1e-5, stays significant after correction over a thousand cells."""
LEAST_CELLS = 4
"""A rank correlation of fewer cells says nothing."""


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
    """the interval over keywords and the queries' speakers; None where speakers are not told apart"""


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


class Correlation(NamedTuple):
    """Spearman's rho of a diagnostic and a metric over ``cells`` cells, and its interval over keywords."""

    group: str
    diagnostic: str
    cells: int
    rho: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Ablation:
    """All that one data set's records say about corrections."""

    dataset: str
    language: str
    speakers: int
    keywords: int
    queries: int
    metrics: tuple[str, str]
    """the one that is asked about, then the one that is shown beside it"""
    condition: str
    main: tuple[str, str]
    encoders: tuple[str, ...]
    """trained ones first"""
    controls: frozenset[str]
    """encoders without trained weights"""
    sides: tuple[Side, ...]
    """every scored cell"""
    cells: tuple[Change, ...]
    """every correction against none at the same layer"""
    answers: tuple[Change, ...]
    """every correction against none, the layer chosen for each"""
    chosen: tuple[Change, ...]
    """one an encoder: layer and correction chosen together, none among them, against none"""
    ladder: tuple[Change, ...]
    hidden: tuple[Hidden, ...]
    correlations: tuple[Correlation, ...]
    failed: tuple[str, ...]
    alone: int
    """corrected cells without an uncorrected cell of the same layer to compare them with"""


def ablations(records: Iterable[Result], *, metric: str = "map", condition: str = HEADLINE) -> list[Ablation]:
    """One for each data set, by name. Raises KwsbenchError where no record has the condition, or records differ."""
    records = list(records)
    measured = {name for record in records for name in record.conditions}
    if condition not in measured:
        known = did_you_mean(condition, sorted(measured))
        raise KwsbenchError(f"no record was scored under the condition {condition!r}. {known}")
    ranking.check_comparable(records)
    sets: dict[str, list[Result]] = {}
    for record in records:
        sets.setdefault(record.combination.dataset, []).append(record)
    return [
        _ablation(sets[name], (metric, "map" if metric == "p@n" else "p@n"), condition)
        for name in sorted(sets)
        if any(condition in record.conditions for record in sets[name])
    ]


def is_control(record: Result) -> bool:
    """Whether the encoder has no trained weights: its record names none, or says that they are random."""
    notes = record.identity.get("encoder", {}).get("provenance", {})
    weights = [str(value) for key, value in notes.items() if key.startswith("weights")]
    return not weights or any(value.startswith("random") for value in weights)


def _ablation(records: Sequence[Result], metrics: tuple[str, str], condition: str) -> Ablation:
    good = [record for record in records if condition in record.conditions]
    picture = Picture(good, metrics, condition)
    cells = {record.combination: picture.cell(record) for record in good}
    main = _main(cells)
    nested = {
        ranking.by_configuration(row.choices[0])[1:]: picture.chosen(row, cells)
        for row in ranking.rows(good, ranking.by_configuration)
    }
    blind = {
        (side.encoder, side.distance, side.matcher): side
        for row in ranking.rows(good, lambda cell: (cell.dataset, cell.encoder, cell.distance, cell.matcher))
        for side in [picture.chosen(row, cells)]
    }
    controls = frozenset(record.combination.encoder for record in good if is_control(record))
    encoders = sorted({cell.encoder for cell in cells}, key=lambda name: (name in controls, name))
    bases = {cell: cells[base] for cell in cells if (base := _uncorrected(cell)) in cells and base != cell}
    corrected = [cell for cell in cells if cell.transform != BASELINE]
    answers = [
        (nested[encoder, BASELINE, *how], side)
        for (encoder, transform, *how), side in nested.items()
        if transform != BASELINE and (encoder, BASELINE, *how) in nested
    ]
    compare = picture.compare
    data = next(record.data for record in good if record.data)
    return Ablation(
        dataset=records[0].combination.dataset,
        language=data.language,
        speakers=data.speakers,
        keywords=len(picture.keywords),
        queries=int(picture.counts.sum()),
        metrics=metrics,
        condition=condition,
        main=main,
        encoders=tuple(encoders),
        controls=controls,
        sides=tuple(cells.values()),
        cells=compare([(base, cells[cell]) for cell, base in bases.items()]),
        answers=compare(answers, two_way=True),
        chosen=compare(
            [(nested[e, BASELINE, *main], blind[e, *main]) for e in encoders if (e, BASELINE, *main) in nested],
            two_way=True,
        ),
        ladder=compare(sorted(_ladder(nested, main), key=lambda pair: encoders.index(pair[0].encoder)), two_way=True),
        hidden=picture.hidden([pair for pair in answers if pair[0].distance == main[0]]),
        correlations=tuple(_correlations(picture, cells.values(), encoders, controls, main)),
        failed=tuple(f"{record.combination}: {record.error}" for record in records if record.error is not None),
        alone=len(corrected) - len(bases),
    )


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
        half_of = dict(zip(everywhere, stats.halves(everywhere), strict=True))
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
        if two_way and "" not in self.speakers and len(set(self.speakers)) > 1:
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


def _ladder(nested: dict[tuple[str, ...], Side], main: tuple[str, str]) -> Iterable[Pair]:
    """The steps of the ladder that both ends were run of, each scope apart."""
    names = LADDER.split(" → ")
    sides = {(encoder, *_step(transform)): side for (encoder, transform, *how), side in nested.items()
             if tuple(how) == main and _step(transform)}  # fmt: skip
    for encoder, scope in sorted({(encoder, scope) for encoder, name, scope in sides if name != names[0]}):
        rungs = [sides.get((encoder, name, "" if name == names[0] else scope)) for name in names]
        yield from ((low, high) for low, high in pairwise(rungs) if low and high)


def _step(transform: str) -> tuple[str, str] | tuple[()]:
    """A transform that is a rung of the ladder as (name, scope), else empty."""
    first, *rest = spec.parse_chain(transform)
    if rest or first.name not in LADDER.split(" → ") or set(first.params) - {"scope"}:
        return ()
    return first.name, first.params.get("scope", "")


def _correlations(
    picture: Picture, sides: Iterable[Side], encoders: Sequence[str], controls: frozenset[str], main: tuple[str, str]
) -> Iterable[Correlation]:
    """Each diagnostic against the first metric, within each encoder and across them; isotropy is taken as fixed."""
    mine = [side for side in sides if (side.distance, side.matcher) == main]
    names = sorted({name for side in mine if side.isotropy for name in side.isotropy.figures})
    groups: dict[str, Callable[[Side], bool]] = {
        encoder: lambda side, encoder=encoder: side.encoder == encoder  # type: ignore[misc]
        for encoder in encoders
    }
    groups |= {"all with trained weights": lambda side: side.encoder not in controls, "all": lambda _: True}
    for group, belongs in groups.items():
        for name in [*names, "hubness"]:
            used = [side for side in mine if belongs(side) and side.figure(name) is not None]
            if len(used) < LEAST_CELLS:
                continue
            scores = picture.resampled([side.columns[picture.metrics[0]] for side in used])
            rho = spearman(np.array([side.figure(name) for side in used], np.float64), scores)
            if not np.isnan(rho[0]):
                tail = stats.expanded_tail(stats.LEVEL, len(picture.keywords)) if len(picture.keywords) > 1 else 0.0
                low, high = np.nanquantile(rho[1:], [tail, 1.0 - tail])
                yield Correlation(group, name, len(used), *np.round([rho[0], low, high], 9).tolist())


def spearman(fixed: Doubles, varying: Doubles) -> Doubles:
    """Spearman's rho of fixed (n,) with each row of varying (m, n): (m,); NaN where either is constant.

    Ties share their mean rank. Source: Spearman (1904); the Pearson correlation of the ranks.
    """
    x = rankdata(fixed) - (len(fixed) + 1) / 2
    y = rankdata(varying, axis=1) - (len(fixed) + 1) / 2
    return _ratio(y @ x, np.sqrt((x @ x) * (y * y).sum(axis=1)))


def _main(cells: Iterable[Combination]) -> tuple[str, str]:
    """The distance and matcher of the ladder and the figures: MAIN, or what most corrected cells have."""
    counts = Counter((cell.distance, cell.matcher) for cell in cells if cell.transform != BASELINE)
    return MAIN if MAIN in counts or not counts else counts.most_common(1)[0][0]


def _uncorrected(cell: Combination) -> Combination:
    return msgspec.structs.replace(cell, transform=BASELINE)


def _unscaled(matcher: str) -> str:
    """The same matcher without scaling the costs by row."""
    found = spec.parse(matcher)
    kept = {key: value for key, value in found.params.items() if (key, value) != ("rows", ROWS)}
    return str(spec.Spec(found.name, found.layers, kept))


def _ratio(sums: Doubles, counts: Doubles) -> Doubles:
    """NaN where the count is 0."""
    shares: Doubles = np.divide(sums, counts, out=np.full(np.shape(sums), np.nan), where=counts > 0)
    return shares
