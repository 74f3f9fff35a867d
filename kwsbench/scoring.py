"""Scores → what a record says: metrics under each condition, with intervals and chance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kwsbench import metrics, stats
from kwsbench.results import ConditionResult, Estimate, PerKeyword, number
from kwsbench.trials import CONDITIONS, NO_TRIAL, POSITIVE, Condition, Labels, Trials

METRICS = {"ap": "map", "p_at_1": "p@1", "p_at_10": "p@10", "p_at_n": "p@n", "auc": "auc"}
"""The names in a record of the means over queries of the metrics of one query."""

BOOTSTRAP_SEED = 0
"""One seed for all cells, so that every cell of a data set is resampled by the same keywords."""


class _Prepared(NamedTuple):
    """What does not change from cell to cell."""

    columns: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    labels: Labels
    keywords: list[str]
    codes: npt.NDArray[np.int64]
    chance: dict[str, npt.NDArray[np.float64]]


class Scorer:
    """Evaluates the scores of any cell of one data set."""

    def __init__(self, trials: Trials) -> None:
        self.trials = trials
        self._conditions = {condition: self._prepare(condition) for condition in CONDITIONS}

    def evaluate(self, scores: npt.NDArray[np.float32]) -> dict[str, ConditionResult]:
        """scores (queries, utterances) → results by condition; conditions without positives are left out."""
        found = {}
        for condition, prepared in self._conditions.items():
            if len(prepared.rows):
                found[str(condition)] = self._evaluate(scores[np.ix_(prepared.rows, prepared.columns)], prepared)
        return found

    def _prepare(self, condition: Condition) -> _Prepared:
        """Keep the queries that have a positive under this condition, and the utterances of its kind."""
        labels = self.trials.labels(condition)
        columns = np.flatnonzero((labels != NO_TRIAL).any(axis=0))
        rows = np.flatnonzero((labels == POSITIVE).any(axis=1))
        labels = labels[np.ix_(rows, columns)]
        keywords = [self.trials.keywords[row] for row in rows]
        _, codes = np.unique(keywords, return_inverse=True) if keywords else ([], np.zeros(0, np.int64))
        chance = metrics.chance((labels == POSITIVE).sum(axis=1), (labels != NO_TRIAL).sum(axis=1))
        return _Prepared(columns, rows, labels, keywords, codes, chance)

    def _evaluate(self, scores: npt.NDArray[np.float32], prepared: _Prepared) -> ConditionResult:
        rows = metrics.rank_rows(scores, prepared.labels)
        columns = np.stack([rows[name] for name in METRICS], axis=1)
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        intervals = stats.cluster_bootstraps(columns, prepared.codes, rng=rng)
        estimates = {
            METRICS[name]: _estimate(defined_mean(rows[name]), interval, defined_mean(prepared.chance[name]))
            for name, interval in zip(METRICS, intervals, strict=True)
        }
        equal_error = metrics.eer(scores, prepared.labels)
        interval = stats.eer_interval(scores, prepared.labels, prepared.codes, rng=rng)
        estimates["eer"] = _estimate(equal_error, interval, 0.5)
        return ConditionResult(
            queries=len(prepared.rows),
            queries_without_positives=len(self.trials.queries) - len(prepared.rows),
            trials=int((prepared.labels != NO_TRIAL).sum()),
            positives=int((prepared.labels == POSITIVE).sum()),
            metrics=estimates,
            per_keyword=_per_keyword(rows, prepared),
        )


def _per_keyword(rows: dict[str, npt.NDArray[np.float64]], prepared: _Prepared) -> PerKeyword:
    """Means over the queries of each keyword; None where it is undefined for all of them."""
    names = sorted(set(prepared.keywords))
    queries = np.bincount(prepared.codes, minlength=len(names))
    by_metric = {}
    for name, metric in METRICS.items():
        defined = ~np.isnan(rows[name])
        sums = np.bincount(prepared.codes[defined], weights=rows[name][defined], minlength=len(names))
        counts = np.bincount(prepared.codes[defined], minlength=len(names))
        by_metric[metric] = [number(s / n) if n else None for s, n in zip(sums, counts, strict=True)]
    return PerKeyword(keyword=names, queries=queries.tolist(), metrics=by_metric)


def _estimate(value: float, interval: stats.Interval, chance: float) -> Estimate:
    return Estimate(value=number(value), low=number(interval.low), high=number(interval.high), chance=number(chance))


def defined_mean(values: npt.NDArray[np.float64]) -> float:
    """The mean of the values that are defined; NaN when none is."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
