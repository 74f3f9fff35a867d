"""Records → rows: a configuration chosen on one half of the keywords is scored on the other half.

What is chosen may be the layer alone (one row for each transform, distance and matcher) or
everything (one row for each encoder). Choosing is done by MAP across speakers on isolated words,
once on each half; the row's figures are over all keywords, each scored by the choice made without
it. What did best on all keywords is only ever shown under the name *oracle*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kwsbench import ranks, stats
from kwsbench.errors import KwsbenchError
from kwsbench.results import Combination, ConditionResult, Estimate, Isotropy, PerKeyword, Result, number
from kwsbench.scoring import BOOTSTRAP_SEED, defined_mean

HEADLINE = "across/isolated"
GAP_KEYWORDS = 5
"""A gap needs at least so many keywords that are said both by others and by the same speaker again."""

MEANS = ("map", "p@1", "p@10", "p@n", "auc")
"""Metrics that are means over queries: they can be put together from two halves. The EER cannot."""


@dataclass(frozen=True)
class Row:
    """What was chosen from a group of cells, and how it did."""

    dataset: str
    choices: tuple[Combination, ...]
    """the choice that was made without each half; one when both agree"""
    oracle: Combination | None
    """what did best on the very keywords that it is scored on"""
    oracle_map: float | None
    heard: bool
    chosen_among: int = 0
    """cells that the choice was made from"""
    metrics: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    """condition → metric → figure"""
    per_keyword: dict[str, PerKeyword] = field(default_factory=dict)
    isotropy: Isotropy | None = None
    """after the transform, of the first choice"""
    error: str | None = None
    """of the first cell that failed"""

    def estimate(self, metric: str = "map", condition: str = HEADLINE) -> Estimate | None:
        """A figure of the row; None where it was not measured."""
        return self.metrics.get(condition, {}).get(metric)

    def value(self, metric: str = "map", condition: str = HEADLINE) -> float | None:
        """The bare figure."""
        found = self.estimate(metric, condition)
        return found.value if found else None

    def gap(self, metric: str = "map", kind: str = "isolated") -> float | None:
        """A metric within minus across speakers, a mean over the keywords of both; None where those are few."""
        across, within = (self.per_keyword.get(f"{relation}/{kind}") for relation in ("across", "within"))
        if across is None or within is None:
            return None
        a, w = (dict(zip(t.keyword, _column(t, metric).tolist(), strict=True)) for t in (across, within))
        both = [difference for word in w if word in a and not np.isnan(difference := w[word] - a[word])]
        return float(np.mean(both)) if len(both) >= GAP_KEYWORDS else None

    def chosen(self, what: str) -> str:
        """The chosen ``layer`` (``transform``, …); both, where the halves disagree."""
        return " / ".join(dict.fromkeys(getattr(choice, what) for choice in self.choices))


def by_encoder(cell: Combination) -> tuple[str, ...]:
    """Everything but the encoder is chosen."""
    return (cell.dataset, cell.encoder)


def by_configuration(cell: Combination) -> tuple[str, ...]:
    """Only the layer is chosen."""
    return (cell.dataset, cell.encoder, cell.transform, cell.distance, cell.matcher)


def rows(records: Iterable[Result], key: Callable[[Combination], tuple[str, ...]], *, metric: str = "map") -> list[Row]:
    """One row a group, best first within each data set by a metric; groups without a score last."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for record in records:
        groups.setdefault(key(record.combination), []).append(record)
    check_comparable([record for group in groups.values() for record in group])
    made = [_row(group) for group in groups.values()]
    return in_order(made, metric=metric)


def in_order(found: Iterable[Row], *, metric: str = "map") -> list[Row]:
    """By data set, best first; rows without the metric last."""

    def place(row: Row) -> tuple[str, bool, float, str]:
        value = row.value(metric)
        return row.dataset, value is None, -(value or 0.0), str(row.choices)

    return sorted(found, key=place)


def check_comparable(records: Sequence[Result]) -> None:
    """Raise KwsbenchError when records of one data set were scored by different rules or on different data."""
    scored: dict[str, list[Result]] = {}
    for record in records:
        if record.data:
            scored.setdefault(record.combination.dataset, []).append(record)
    for dataset, mine in scored.items():
        for what, found in (
            ("scoring versions", {str(record.scoring) for record in mine}),
            ("data digests", {record.data.digest[:12] for record in mine if record.data}),
            ("protocols", {record.protocol for record in mine}),
        ):
            if len(found) > 1:
                values = ", ".join(sorted(found))
                raise KwsbenchError(f"{dataset}: the board mixes {what} {values}; delete the older records, run again")
        seen: dict[str, str] = {}
        for record in mine:
            cell = str(record.combination)
            if seen.setdefault(cell, record.fingerprint) != record.fingerprint:
                raise KwsbenchError(
                    f"{cell}: two records that differ, {seen[cell][:12]} and {record.fingerprint[:12]} (another "
                    f"version, other weights or numerics); delete the older one"
                )


def rank_spans(ranked: Sequence[Row], metric: str = "map", condition: str = HEADLINE) -> dict[int, str]:
    """The ranks that resampling the keywords leaves open to rows of one data set, by index: ``1–3``."""
    usable = [
        i for i, row in enumerate(ranked) if condition in row.per_keyword and row.value(metric, condition) is not None
    ]
    if not usable:
        return {}
    tables = {i: ranked[i].per_keyword[condition] for i in usable}
    means = np.stack([_column(tables[i], metric) for i in usable])
    # A keyword for which a metric is undefined (AUC without negatives) has no weight.
    counts = np.where(np.isnan(means), 0.0, np.array(tables[usable[0]].queries, np.float64))
    sums = np.nan_to_num(means) * counts
    spans = ranks.rank_intervals(sums, counts, rng=np.random.default_rng(BOOTSTRAP_SEED))
    pairs = zip(usable, spans.low.tolist(), spans.high.tolist(), strict=True)
    return {i: str(low) if low == high else f"{low}–{high}" for i, low, high in pairs}


# ── the nested choice ────────────────────────────────────────────────────────────────────────────


def _row(group: list[Result]) -> Row:
    good = sorted((r for r in group if r.error is None and r.conditions), key=lambda r: str(r.combination))
    failed = [record for record in group if record.error is not None]
    error = f"{len(failed)} of {len(group)} cells failed: {failed[0].error}" if failed else None
    if not good:
        return Row(group[0].combination.dataset, (group[0].combination,), None, None, heard=False, error=error)
    conditions = good[0].conditions
    headline = HEADLINE if HEADLINE in conditions else next(iter(conditions))
    half_of = _halves(good)
    on_all, on_false, on_true = (
        max(good, key=lambda record, part=part: _map_on(record.conditions[headline], half_of, part))  # type: ignore[misc]
        for part in (None, False, True)
    )
    metrics, per_keyword = {}, {}
    for name in on_false.conditions:
        metrics[name], per_keyword[name] = _cross(on_false.conditions[name], on_true.conditions[name], half_of)
    return Row(
        dataset=on_all.combination.dataset,
        choices=tuple(dict.fromkeys((on_false.combination, on_true.combination))),
        oracle=on_all.combination,
        oracle_map=on_all.conditions[headline].metrics["map"].value,
        heard=bool(on_all.data and on_all.data.heard),
        chosen_among=len(good),
        metrics=metrics,
        per_keyword=per_keyword,
        isotropy=on_false.isotropy.get("after"),
        error=error,
    )


def _halves(records: Sequence[Result]) -> dict[str, bool]:
    """The half of every keyword of any condition: a keyword is in the same half under all of them."""
    keywords = sorted({word for r in records for found in r.conditions.values() for word in found.per_keyword.keyword})
    return dict(zip(keywords, ranks.halves(keywords).tolist(), strict=True))


def _map_on(found: ConditionResult, half_of: dict[str, bool], part: bool | None) -> float:  # noqa: FBT001
    """MAP over the keywords of one half (part None: of both)."""
    table = found.per_keyword
    mine = np.array([part is None or half_of[keyword] == part for keyword in table.keyword])
    counts = np.array(table.queries)[mine]
    return float(np.average(_column(table, "map")[mine], weights=counts)) if counts.sum() else 0.0


def _cross(
    chosen_on_false: ConditionResult, chosen_on_true: ConditionResult, half_of: dict[str, bool]
) -> tuple[dict[str, Estimate], PerKeyword]:
    """Each half of the keywords as scored by what was chosen on the other half."""
    if chosen_on_false is chosen_on_true:
        return chosen_on_false.metrics, chosen_on_false.per_keyword
    a, b = chosen_on_false.per_keyword, chosen_on_true.per_keyword
    half = np.array([half_of[keyword] for keyword in a.keyword])
    columns = {metric: np.where(half, _column(a, metric), _column(b, metric)) for metric in MEANS}
    queries = np.array(a.queries)
    codes = np.repeat(np.arange(len(queries)), queries)
    repeated = np.stack([np.repeat(columns[metric], queries) for metric in MEANS], axis=1)
    intervals = stats.cluster_bootstraps(repeated, codes, rng=np.random.default_rng(BOOTSTRAP_SEED))
    estimates = {
        metric: Estimate(
            value=number(defined_mean(repeated[:, at])),
            low=number(interval.low),
            high=number(interval.high),
            chance=chosen_on_false.metrics[metric].chance,
        )
        for at, (metric, interval) in enumerate(zip(MEANS, intervals, strict=True))
    }
    named = {metric: [number(value) for value in column] for metric, column in columns.items()}
    return estimates, PerKeyword(keyword=a.keyword, queries=a.queries, metrics=named)


def _column(table: PerKeyword, metric: str) -> npt.NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in table.metrics[metric]], np.float64)
