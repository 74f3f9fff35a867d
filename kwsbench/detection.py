"""Decisions over pooled trials: term-weighted value under a threshold, DET.

All functions take flat arrays, one entry a trial. labels: 1 target, 0 non-target, -1 left out. Scores:
higher is better; -inf means "no alignment" and is allowed everywhere, NaN and inf are not.

Term-weighted value (NIST 2006, "The Spoken Term Detection (STD) 2006 Evaluation Plan", section 4):

    TWV = 1 - mean over queries with targets of [P_miss + beta * P_fa]

The perfect system has 1, and one that never says yes has 0. P_fa needs a number of chances to be
wrong: NIST counts one a second of speech, less the targets; without ``seconds`` it is the number of
the query's non-target trials. The two are worlds apart: where long files are few, one that always says
yes can score above 0 under seconds. So ``mtwv`` gives both floors, and both belong beside its value.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kwsbench.errors import KwsbenchError
from kwsbench.metrics import Counts, Doubles, Labels, check_trials
from kwsbench.types import FloatArray

Flags = npt.NDArray[np.bool_]


def beta(*, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    """The weight of false alarms in the TWV: (c_fa / c_miss) * (1 / p_target - 1).

    p_target: how likely a trial is a target. c_miss, c_fa: what a miss and a false alarm cost. NIST
    writes (C / V) * (1 / P - 1) with the cost C of a false alarm and the value V of a hit.
    """
    if not 0.0 < p_target < 1.0:
        raise KwsbenchError(f"p_target is {p_target}, expected a probability between 0 and 1, neither included")
    if not (0.0 < c_miss < math.inf and 0.0 <= c_fa < math.inf):
        raise KwsbenchError(f"costs are {c_miss} (miss) and {c_fa} (false alarm), expected finite ones, a miss above 0")
    return c_fa / c_miss * (1.0 / p_target - 1.0)


NIST_BETA = beta(p_target=1e-4, c_miss=1.0, c_fa=0.1)
"""999.9: NIST's STD 2006 evaluation plan, V = 1 and C = 0.1."""

SWS2013_BETA = 66.66
"""As published for MediaEval 2013, Spoken Web Search."""

QUESST_BETA = beta(p_target=0.0008, c_miss=100.0, c_fa=1.0)
"""12.49: MediaEval 2014, Query by Example Search on Speech."""

SAN2021_BETA = beta(p_target=0.0279, c_miss=10.0, c_fa=1.0)
"""3.48423: San et al. 2021 (ASRU), from NIST's scoring tool with probability .0279, correct 1, incorrect 10."""


class MaximumTwv(NamedTuple):
    """The best TWV that one threshold for all queries reaches, and its floors. NaN where no query has a target.

    value: never below 0, since to accept nothing is always possible.
    threshold: accept a trial that scores at least this much. inf: accept nothing; -inf: everything. Of
    equally good thresholds the strictest (up to rounding).
    accept_all, accept_none: what the two systems that do not listen score; accept_none is 0.
    without_targets: how many queries have no target (or no trial at all) and so do not count.
    """

    value: float
    threshold: float
    accept_all: float
    accept_none: float
    without_targets: int


class DetCurve(NamedTuple):
    """Operating points from the strictest to the laxest threshold; each float64 (distinct scores + 1,).

    thresholds: inf (accept nothing), then every distinct score, falling; accept what scores at least that.
    false_alarms, misses: rates over all trials pooled; NaN where there is no non-target, or no target.
    """

    thresholds: Doubles
    false_alarms: Doubles
    misses: Doubles


def twv(
    accepted: Flags,
    labels: Labels,
    queries: Counts,
    *,
    beta: float,
    seconds: float | Doubles | None = None,
) -> float:
    """The TWV of decisions: accepted (n,), labels (n,), queries (n,). ATWV when they are a system's own.

    queries: which query a trial is of, codes counted from 0. seconds: of speech that each query is
    searched in, one number for all or (codes,), one a code; None: count trials, see above. NaN where no
    query has a target. A query without non-targets has no false alarms.

    Raises KwsbenchError when a query has as many targets as seconds, or more.
    """
    if accepted.shape != labels.shape or accepted.dtype != np.bool_:
        raise KwsbenchError(f"accepted must be True or False for each of {labels.size} labels, in the same shape")
    check_trials(accepted.astype(np.float64), labels)
    gains = _gains(labels, queries, beta, seconds)
    return float(gains.trial[accepted].sum()) if gains.with_targets else math.nan


def mtwv(
    scores: FloatArray,
    labels: Labels,
    queries: Counts,
    *,
    beta: float,
    seconds: float | Doubles | None = None,
) -> MaximumTwv:
    """The maximum TWV over thresholds: scores (n,), labels (n,), queries (n,); the rest as for ``twv``."""
    check_scores(scores, labels)
    gains = _gains(labels, queries, beta, seconds)
    if not gains.with_targets:
        return MaximumTwv(math.nan, math.nan, math.nan, math.nan, gains.without_targets)
    trial = labels >= 0
    value, threshold = _best(scores[trial], gains.trial[trial])
    return MaximumTwv(value, threshold, float(gains.trial.sum()), 0.0, gains.without_targets)


def ubtwv(
    scores: FloatArray,
    labels: Labels,
    queries: Counts,
    *,
    beta: float,
    seconds: float | Doubles | None = None,
) -> float:
    """The upper-bound TWV: every query under the threshold that is best for it (Szöke 2010). Arguments as for ``mtwv``.

    What it exceeds the MTWV by is lost because scores of different queries cannot be compared.
    """
    check_scores(scores, labels)
    gains = _gains(labels, queries, beta, seconds)
    if not gains.with_targets:
        return math.nan
    trial = labels >= 0
    scores, queries, gain = scores[trial], queries[trial], gains.trial[trial]
    order = np.argsort(queries)
    borders = np.flatnonzero(np.diff(queries[order])) + 1
    return float(sum(_best(scores[member], gain[member])[0] for member in np.split(order, borders)))


def det(scores: FloatArray, labels: Labels) -> DetCurve:
    """The detection error trade-off (Martin et al. 1997): one point a distinct score, and accept-none.

    scores (n,), labels (n,). Rates, not normal deviates: the axes are the plot's business.
    """
    check_scores(scores, labels)
    trial = labels >= 0
    levels, level = np.unique(-scores[trial], return_inverse=True)
    target = labels[trial] == 1
    hits = np.append(0, np.cumsum(np.bincount(level[target], minlength=len(levels))))
    false_alarms = np.append(0, np.cumsum(np.bincount(level[~target], minlength=len(levels))))
    undefined = np.full(len(hits), math.nan)
    return DetCurve(
        thresholds=np.append(math.inf, -levels.astype(np.float64)),
        false_alarms=false_alarms / false_alarms[-1] if false_alarms[-1] else undefined,
        misses=1.0 - hits / hits[-1] if hits[-1] else undefined,
    )


class _Gains(NamedTuple):
    """trial (n,): what accepting it adds to the TWV; 0 where it is left out or its query has no target."""

    trial: Doubles
    with_targets: int
    without_targets: int


def _gains(labels: Labels, queries: Counts, beta: float, seconds: float | Doubles | None) -> _Gains:
    """1 - P_miss - beta * P_fa is a sum over accepted trials: 1/targets for a hit, -beta/chances for a false alarm."""
    if queries.shape != labels.shape or queries.dtype.kind not in "iu" or np.any(queries < 0):
        raise KwsbenchError(f"queries must be {labels.size} codes, integers from 0, one a trial")
    codes = int(queries.max()) + 1 if queries.size else 0
    targets = np.bincount(queries[labels == 1], minlength=codes)
    if seconds is None:
        chances = np.bincount(queries[labels == 0], minlength=codes).astype(np.float64)
    else:
        if np.ndim(seconds) and np.shape(seconds) != targets.shape:
            raise KwsbenchError(f"seconds must be one number or {codes}, one a query")
        chances = np.broadcast_to(np.asarray(seconds, dtype=np.float64), targets.shape) - targets
        for query in np.flatnonzero((targets > 0) & ~(chances > 0.0)):
            raise KwsbenchError(
                f"query {query} has {targets[query]} targets in {chances[query] + targets[query]:g} s of speech; "
                "give the seconds that were searched, or leave them out to count trials"
            )
    with_targets = int(np.count_nonzero(targets))
    of_query = targets[queries]
    hits, alarms = labels == 1, (labels == 0) & (of_query > 0)
    trial = np.zeros(labels.shape)
    trial[hits] = 1.0 / of_query[hits] / with_targets if with_targets else 0.0
    trial[alarms] = -beta / chances[queries[alarms]] / with_targets if with_targets else 0.0
    return _Gains(trial, with_targets, codes - with_targets)


def _best(scores: FloatArray, gains: Doubles) -> tuple[float, float]:
    """The greatest sum of gains over trials that score at least a threshold, and that threshold.

    To accept none is (0, inf).
    """
    order = np.argsort(-scores)
    ordered = scores[order]
    last = np.append(ordered[1:] != ordered[:-1], True)  # tied trials are accepted together
    sums = np.cumsum(gains[order])[last]
    place = int(np.argmax(sums))
    if sums[place] <= 0.0:
        return 0.0, math.inf
    return float(sums[place]), float(ordered[last][place])


def check_scores(scores: FloatArray, labels: Labels) -> None:
    """As ``check_trials``, and no score is inf."""
    check_trials(scores, labels)
    infinite = np.count_nonzero(np.isposinf(scores) & (labels >= 0))
    if infinite:
        raise KwsbenchError(f"{infinite} scores are inf; only -inf (no alignment) has a meaning, clip the others")
