"""The figures of anybody's scored trials: how good the lists are, and how good the decisions.

Rankings (MAP and the like) are means over queries, the expected values over orders of ties of
``kwsbench.metrics``. Decisions (TWV, DET) are those of ``kwsbench.detection``, and Cnxe that of
``kwsbench.calibration``. A query without a positive has no value in either; it is left out and counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from kwsbench import calibration, detection, nist, trialfiles
from kwsbench.errors import KwsbenchError, UnknownName
from kwsbench.metrics import Counts, Doubles, eer, rank
from kwsbench.stats import LEVEL, UNDEFINED, Interval, cluster_bootstraps, expanded_tail, multiplicities
from kwsbench.trialfiles import Trials, flat

RESAMPLES = 500
"""for the MTWV; means over queries take those of ``stats``"""

MEANS = {
    "map": ("ap", "average precision, mean over queries"),
    "p@1": ("p_at_1", "the first is a positive"),
    "p@10": ("p_at_10", "positives among the first 10, over 10"),
    "p@n": ("p_at_n", "precision at the query's number of positives"),
    "r@10": ("r_at_10", "share of the positives among the first 10"),
    "r@100": ("r_at_100", "share of the positives among the first 100"),
    "auc": ("auc", "a positive outscores a negative"),
}
"""Figures that are means over queries: the field of ``QueryMetrics`` each one comes from, and what it says."""

POOLED = {
    "eer": "equal error rate, one threshold for all queries",
    "mtwv": "maximum TWV, one threshold for all queries",
    "atwv": "TWV at the decisions given",
    "ubtwv": "TWV with the best threshold of each query",
    "cnxe": "normalised cross entropy of the log likelihood ratios",
    "min_cnxe": "cnxe after the best scale and shift",
    "lower_bound_cnxe": "cnxe after the best map that never falls",
}
METRICS = (*MEANS, *POOLED)
TWV = {"mtwv", "atwv", "ubtwv"}


@dataclass(frozen=True)
class Settings:
    """What is computed, and how. An empty tuple of metrics: all that the trials allow.

    beta: the weight of a false alarm in the TWV. seconds: of speech, for P_fa; None counts trials.
    threshold: accept what scores at least that, in place of the decisions of the file. llr: the scores
    are log likelihood ratios (natural logarithm), so that Cnxe means something.
    """

    metrics: tuple[str, ...] = ()
    beta: float = detection.QUESST_BETA
    seconds: float | None = None
    threshold: float | None = None
    llr: bool = False

    def __post_init__(self) -> None:
        for name, value in (("beta", self.beta), ("seconds", self.seconds)):
            if value is not None and not 0.0 < value < math.inf:
                raise KwsbenchError(f"{name} is {value:g}, expected a number above 0")
        if self.threshold is not None and math.isnan(self.threshold):
            raise KwsbenchError("threshold is nan, expected a number; inf accepts nothing")

    @property
    def prior(self) -> float:
        """The prior that weighs errors as beta does, 1 / (1 + beta); for Cnxe."""
        return 1.0 / (1.0 + self.beta)


class Score(NamedTuple):
    """One figure, its 95% interval (NaN where it has none), and what it says."""

    name: str
    value: float
    low: float
    high: float
    what: str


class Report(NamedTuple):
    """Figures, one row a query (NaN where undefined), counts of what they rest on, and how they were computed."""

    figures: tuple[Score, ...]
    per_query: pd.DataFrame
    counts: Mapping[str, int]
    settings: Settings


def read(
    path: Path,
    *,
    qrels: Path | None = None,
    terms: Path | None = None,
    rttm: Path | None = None,
    ecf: Path | None = None,
) -> Trials:
    """Read trials: a TREC run if qrels are given, NIST's XML if terms, rttm and ecf are, else CSV or TSV."""
    given = [option for option, file in (("--terms", terms), ("--rttm", rttm), ("--ecf", ecf)) if file]
    if qrels and given:
        raise KwsbenchError(f"--qrels is for a TREC run and {', '.join(given)} for NIST's XML; give one or the other")
    if terms and rttm and ecf:
        aligned = nist.read_trials(path, terms, rttm, ecf)
        return flat(aligned.rows, seconds=aligned.seconds, only_listed=True, notes=aligned.notes)
    if given or path.suffix.lower() == ".xml":
        raise KwsbenchError(
            f"{path}: NIST's XML needs all of --terms, --rttm and --ecf; given: {', '.join(given) or 'none'}"
        )
    table = trialfiles.read_trec(path, qrels) if qrels else trialfiles.read_table(path)
    return flat(table.rows, notes=table.notes)


def settle(
    trials: Trials, *, beta: float | None = None, seconds: float | None = None, **rest: Any
) -> tuple[Settings, list[str]]:
    """Settings with what was not given filled in, and a sentence for each assumption that this makes.

    beta: QUESST 2014's; seconds: the file's own, else none. rest: other fields of Settings.
    """
    settings = Settings(
        beta=detection.QUESST_BETA if beta is None else beta,
        seconds=trials.seconds if seconds is None else seconds,
        **rest,
    )
    weighed = set(settings.metrics or METRICS) - MEANS.keys() - {"eer"}
    said = []
    if beta is None and weighed:
        said.append(f"no --beta: {settings.beta:.2f}, that of QUESST 2014")
    if settings.seconds is None and weighed & TWV:
        said.append("no --seconds: P_fa is a share of each query's negative trials, not of seconds of speech")
    return settings, said


def score(trials: Trials, settings: Settings, *, rng: np.random.Generator) -> Report:
    """The figures asked for, with 95% intervals where they are means over queries, or MTWV.

    Intervals resample the clusters (``stats.cluster_bootstraps``; for MTWV ``mtwv_interval``). Raises
    KwsbenchError where a figure is asked for that the trials do not allow, or no query has a positive.
    """
    accepted = trials.accepted if settings.threshold is None else trials.listed & (trials.scores >= settings.threshold)
    wanted = _wanted(trials, settings, has_decisions=accepted is not None)
    _check_targets(trials, settings.seconds)

    rows = _per_query(trials, settings, accepted, wanted)
    averaged = [name for name in wanted if name in rows]
    intervals = cluster_bootstraps(rows[averaged].to_numpy(np.float64), trials.clusters, rng=rng)
    spread = dict(zip(averaged, intervals, strict=True))
    figures: list[Score] = []
    for name in wanted:
        if name == "mtwv":
            figures += _mtwv(trials, settings, rng)
        elif name in spread:
            what = MEANS[name][1] if name in MEANS else POOLED[name]
            figures.append(Score(name, float(rows[name].mean()), *spread[name], what))
        else:
            figures.append(Score(name, _pooled(name, trials, settings.prior), *UNDEFINED, POOLED[name]))
    without = int((rows["positives"] == 0).sum())
    counts = {
        "queries": len(trials.names) - without,
        "queries without a positive, left out": without,
        "trials": len(trials.labels),
        "positives": int(trials.labels.sum()),
        "trials without a score (-inf)": int(np.isneginf(trials.scores).sum()),
    }
    if len(set(trials.clusters)) < len(trials.names):
        counts["keywords, which intervals resample"] = len(set(trials.clusters))
    return Report(tuple(figures), rows, counts, settings)


class Sweep(NamedTuple):
    """Trials from the strictest threshold to the laxest: what accepting each adds to the TWV.

    query, gain: (n,), listed trials by falling score; gain adds up to 1 - P_miss - beta * P_fa of the
    query, 0 if it has no positive. last: (n,), True at the last of equal scores. with_targets: (queries,).
    """

    query: Counts
    gain: Doubles
    last: npt.NDArray[np.bool_]
    thresholds: Doubles
    with_targets: npt.NDArray[np.bool_]

    def best(self, weight: Doubles) -> tuple[float, float]:
        """The maximum TWV and its threshold, queries (queries,) weighed; (0, inf) if nothing is worth accepting."""
        total = float(weight @ self.with_targets)
        sums = np.cumsum(self.gain * weight[self.query])[self.last]
        if not sums.size or sums.max() <= 0.0:
            return 0.0, math.inf
        return float(sums.max()) / total, float(self.thresholds[self.last][np.argmax(sums)])


def sweep(trials: Trials, *, beta: float, seconds: float | None) -> Sweep:
    """The trials in the order that a falling threshold accepts them.

    ``detection.mtwv`` sweeps alike, but cannot tell an occurrence that was not listed (only_listed) from
    a trial that scores -inf, and would accept it at the threshold -inf.
    """
    targets = np.bincount(trials.queries[trials.labels == 1], minlength=len(trials.names))
    negatives = np.bincount(trials.queries[trials.labels == 0], minlength=len(trials.names))
    chances = negatives if seconds is None else seconds - targets
    order = np.argsort(-trials.scores, kind="stable")
    order = order[trials.listed[order]]
    query, positive, found = trials.queries[order], trials.labels[order] == 1, trials.scores[order]
    counted = targets[query] > 0
    gain = np.zeros(len(order))
    hit, alarm = counted & positive, counted & ~positive
    gain[hit] = 1.0 / targets[query[hit]]
    gain[alarm] = -beta / chances[query[alarm]]
    last = np.append(found[1:] != found[:-1], True)[: len(found)]  # tied trials are accepted together
    return Sweep(query, gain, last, found, targets > 0)


def mtwv_interval(swept: Sweep, clusters: Sequence[str], *, rng: np.random.Generator) -> Interval:
    """The interval of the MTWV when clusters (queries,) are resampled, the threshold chosen anew each time.

    Each resample takes the best threshold for its own queries, as the MTWV does, so the interval holds
    the luck of that choice as well. Clusters without a positive are not drawn. Undefined with fewer than
    two others. The tails are those of ``stats.expanded_tail``.
    """
    cluster_of = np.unique(clusters, return_inverse=True)[1]
    drawable, place = np.unique(cluster_of[swept.with_targets], return_inverse=True)
    if len(drawable) < 2:
        return UNDEFINED
    samples = []
    for times in multiplicities(len(drawable), rng=rng, resamples=RESAMPLES):
        weight = np.zeros(len(cluster_of))
        weight[swept.with_targets] = times[place]
        samples.append(swept.best(weight)[0])
    tail = expanded_tail(LEVEL, len(drawable))
    low, high = np.quantile(samples, [tail, 1.0 - tail])
    return Interval(float(low), float(high))


def _wanted(trials: Trials, settings: Settings, *, has_decisions: bool) -> list[str]:
    """The metrics asked for, or all that the trials allow; in the order of METRICS."""
    why_not: dict[str, str] = {}
    missed = int(np.count_nonzero(~trials.listed))
    if missed:  # an occurrence that was not listed has no rank, and no evidence
        reason = f"needs a score for every occurrence, but {missed} were not listed; use mtwv, atwv or ubtwv"
        why_not = dict.fromkeys(set(METRICS) - TWV, reason)
    if not has_decisions:
        why_not["atwv"] = "needs decisions: a decision for each trial, or --threshold"
    if not settings.llr:
        why_not["cnxe"] = "needs log likelihood ratios; say that the scores are some with --llr, or use min_cnxe"
    for name in settings.metrics:
        if name not in METRICS:
            raise UnknownName("metric", name, METRICS)
        if name in why_not:
            raise KwsbenchError(f"{name} {why_not[name]}")
    return [name for name in METRICS if name in (settings.metrics or METRICS) and name not in why_not]


def _check_targets(trials: Trials, seconds: float | None) -> None:
    targets = np.bincount(trials.queries[trials.labels == 1], minlength=len(trials.names))
    if not targets.any():
        raise KwsbenchError("no trial is a positive, so there is nothing to find; check the labels")
    most = int(np.argmax(targets))
    if seconds is not None and targets[most] >= seconds:
        raise KwsbenchError(
            f"query {trials.names[most]!r} has {targets[most]} positives in {seconds:g} s of speech; give --seconds "
            "of all that was searched"
        )


def _per_query(
    trials: Trials, settings: Settings, accepted: npt.NDArray[np.bool_] | None, wanted: Sequence[str]
) -> pd.DataFrame:
    """A row a query: name, keyword (if it has one), counts, and the figures wanted that are means over queries."""
    order = np.argsort(trials.queries, kind="stable")
    borders = np.cumsum(np.bincount(trials.queries, minlength=len(trials.names)))[:-1]
    rows = []
    for code, mine in enumerate(np.split(order, borders)):
        scores, labels = trials.scores[mine], trials.labels[mine]
        row: dict[str, str | int | float] = {"query": trials.names[code]}
        if trials.clusters != trials.names:
            row["keyword"] = trials.clusters[code]
        row |= {"trials": len(mine), "positives": int(labels.sum())}
        if set(wanted) & MEANS.keys():
            found = rank(scores, labels)
            row |= {name: getattr(found, field) for name, (field, _) in MEANS.items() if name in wanted}
        alone = np.zeros(len(mine), np.int64)
        if "atwv" in wanted and accepted is not None:
            row["atwv"] = detection.twv(accepted[mine], labels, alone, beta=settings.beta, seconds=settings.seconds)
        if "ubtwv" in wanted:
            name = (trials.names[code],)
            part = replace(trials, names=name, clusters=name, queries=alone, labels=labels, scores=scores)
            best, _ = sweep(part, beta=settings.beta, seconds=settings.seconds).best(np.ones(1))
            row["ubtwv"] = best if labels.any() else math.nan
        rows.append(row)
    return pd.DataFrame(rows)


def _mtwv(trials: Trials, settings: Settings, rng: np.random.Generator) -> list[Score]:
    """The MTWV, and beside it its threshold and what the two systems score that do not listen."""
    swept = sweep(trials, beta=settings.beta, seconds=settings.seconds)
    value, threshold = swept.best(np.ones(len(trials.names)))
    accept_all = float(swept.gain.sum()) / int(swept.with_targets.sum())
    return [
        Score("mtwv", value, *mtwv_interval(swept, trials.clusters, rng=rng), POOLED["mtwv"]),
        Score("mtwv threshold", threshold, *UNDEFINED, "accept what scores at least this (inf: nothing)"),
        Score("accept all", accept_all, *UNDEFINED, "TWV of a system that always says yes"),
        Score("accept none", 0.0, *UNDEFINED, "TWV of a system that never says yes"),
    ]


def _pooled(name: str, trials: Trials, prior: float) -> float:
    if name == "eer":
        return eer(trials.scores, trials.labels)
    if name == "cnxe":
        return calibration.cnxe(trials.scores, trials.labels, prior=prior)
    if name == "min_cnxe":
        return calibration.min_cnxe(trials.scores, trials.labels, prior=prior).value
    return calibration.lower_bound_cnxe(trials.scores, trials.labels, prior=prior)
