"""Whether a few utterances are everybody's answer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kwsbench.errors import KwsbenchError
from kwsbench.types import FloatArray

EQUAL_COUNTS = 1e-12
"""Counts that differ by no more, a query, are the same: what rounding leaves of shared places."""


def hubness(scores: FloatArray, k: int = 10, *, used: npt.NDArray[np.bool_] | None = None) -> float:
    """Skewness of N_k, how many queries have an utterance among their k best; scores (queries, utterances).

    Above 0: a few utterances are everybody's answer, whatever was asked. Higher scores are better; -inf
    never counts, nor do pairs where ``used`` (queries, utterances) is False. Utterances that are tied at
    the k-th place share the places left, as they would on average if ties were broken at random; a query
    with fewer than k utterances counts all of them. An utterance of no pair that counts is left out. NaN
    where all N_k are equal or there are none. NaN scores, and a k below 1, are errors.
    Source: Radovanović, Nanopoulos & Ivanović (2010), "Hubs in space".
    """
    if k < 1:
        raise KwsbenchError(f"hubness counts the k best, k at least 1, got {k}")
    if np.isnan(scores).any():
        raise KwsbenchError("scores hold NaN; hubness needs a number or -inf for every pair")
    counted = scores > -np.inf if used is None else used & (scores > -np.inf)
    occurrences = np.zeros(scores.shape[1])
    for row, counts in zip(scores, counted, strict=True):
        columns = np.flatnonzero(counts)
        places = min(k, len(columns))
        if not places:
            continue
        values = row[columns]
        last = np.partition(values, -places)[-places]
        better, tied = values > last, values == last
        occurrences[columns] += better + tied * (places - better.sum()) / tied.sum()
    occurrences = occurrences[counted.any(axis=0)]
    if not len(occurrences) or np.ptp(occurrences) <= EQUAL_COUNTS * len(scores):
        return float("nan")
    centred = occurrences - occurrences.mean()
    return float(np.mean(centred**3) / np.mean(centred**2) ** 1.5)
