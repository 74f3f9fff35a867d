"""Whether a paired difference could be chance: the permutation test over keywords, and Holm's correction.

An interval says how large a difference may be; this says how often one as large would come of systems
that do not differ. The two rest on other assumptions and rarely disagree.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from kwsbench.errors import KwsbenchError
from kwsbench.metrics import Doubles

PERMUTATIONS = 9999
EXACT_CLUSTERS = 13
"""2 ** 13 signs are fewer than PERMUTATIONS: so few clusters are enumerated, and more are sampled."""

_BLOCK = 1000  # permutations at a time, so that memory does not follow their number


def permutation_p(
    differences: Doubles,
    clusters: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    rng: np.random.Generator,
    permutations: int = PERMUTATIONS,
) -> float:
    """The two-sided p of the weighted mean of paired differences (rows,), signs of whole clusters (rows,) flipped.

    If the two systems do not differ, which of them is called a is a coin's toss for each keyword, and
    all its differences change sign together. p is the share of such tosses whose mean is at least as far
    from 0 as the one observed. With EXACT_CLUSTERS clusters or fewer all tosses are enumerated; with
    more, that many are drawn and the observed one counts as one more: (1 + b) / (1 + permutations), which
    is never 0 (Davison & Hinkley 1997, chapter 4).

    weights: (rows,), how many queries each row stands for. NaN marks a row without a difference: left
    out. NaN without any row; 1 with one cluster, or where all differences are 0. k clusters cannot give
    a p below 2 ** (1 - k): five or fewer never reach 5%.
    """
    differences = np.asarray(differences, dtype=np.float64)
    clusters = np.asarray(clusters)
    weight = np.ones(len(differences)) if weights is None else np.asarray(weights, dtype=np.float64)
    for what, found in (("clusters", clusters), ("weights", weight)):
        if found.shape != differences.shape:
            raise KwsbenchError(f"{found.size} {what} for {differences.size} differences, expected one each")
    defined = ~np.isnan(differences) & (weight > 0)
    if not defined.any():
        return float("nan")
    names, cluster_of = np.unique(clusters[defined], return_inverse=True)
    # The total weight is the same under all signs, so sums do for means.
    sums = np.bincount(cluster_of, weights=(weight * differences)[defined])
    # A sum in another order differs by rounding; equal ones must count as equal.
    observed = abs(sums.sum()) - 1e-12 * np.abs(sums).sum()
    if len(names) <= EXACT_CLUSTERS:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(names))))
        return float(np.mean(np.abs(signs @ sums) >= observed))
    further = 0
    for first in range(0, permutations, _BLOCK):
        size = (min(_BLOCK, permutations - first), len(names))
        signs = 2.0 * rng.integers(2, size=size, dtype=np.int8) - 1.0
        further += int(np.sum(np.abs(signs @ sums) >= observed))
    return (1 + further) / (1 + permutations)


def holm(p_values: npt.ArrayLike) -> Doubles:
    """p-values (tests,) corrected for their number, so that any below 5% is wrong at most once in 20 families.

    The smallest is multiplied by the number of tests, the next by one less, and so on; none may fall
    below one before it, nor exceed 1. NaN, a test that was not made, stays NaN and does not count.
    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or np.any((p < 0) | (p > 1)):
        raise KwsbenchError("p-values must be a list of numbers between 0 and 1, or NaN")
    order = np.argsort(p)[: int(np.sum(~np.isnan(p)))]  # NaN sorts last
    adjusted = np.full(len(p), np.nan)
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return adjusted
