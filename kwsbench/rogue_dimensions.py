"""Whether a few dimensions make the cosine: what each adds to the mean cosine, and what is left without some.

Frames are read as in ``isotropy``, whose ``mean_cosine`` it is: float64, block by block, finite.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kwsbench.errors import KwsbenchError
from kwsbench.isotropy import Doubles, finite_doubles, matrix, read_blocks, rows_per_block, to_unit_norm
from kwsbench.types import FloatArray

EQUAL_COSINES = 1e-12
"""Cosines that differ by no more are the same: what rounding leaves of sums over a few thousand dimensions."""


def dimension_contributions(X: FloatArray) -> Doubles:  # noqa: N803
    """What each dimension adds to the mean cosine: (dims,), the mean over pairs of x_i y_i / (|x| |y|).

    X: (frames, dims). Over all pairs of different frames; they sum to ``isotropy.mean_cosine``. NaN for fewer
    than two frames. No pair is formed: ((sum of u_i)² - sum of u_i²) / (N (N - 1)) over the unit frames u.
    Source: Timkey & van Schijndel (2021), "All bark and no bite" (there of sampled pairs).
    """
    frames, dims = matrix(X).shape
    if frames < 2:
        return np.full(dims, np.nan)
    total, squares = np.zeros(dims), np.zeros(dims)
    for _, block in read_blocks(X):
        to_unit_norm(block)
        total += block.sum(axis=0)
        squares += np.einsum("ij,ij->j", block, block)
    contributions: Doubles = (total**2 - squares) / (frames * (frames - 1))
    return contributions


def dimension_shares(X: FloatArray) -> Doubles:  # noqa: N803
    """Each dimension's share of the mean cosine: (dims,), summing to 1; X (frames, dims).

    1/dims each: no dimension rules. NaN for fewer than two frames or a mean cosine of exactly 0; near 0
    (centred frames) shares are large, of both signs, and say nothing. Source: Timkey & van Schijndel (2021).
    """
    return shares_of(dimension_contributions(X))


def shares_of(contributions: Doubles) -> Doubles:
    """Contributions (dims,) over their sum; NaN where that is 0."""
    total = contributions.sum()
    shares: Doubles = contributions / total if total != 0.0 else np.full(len(contributions), np.nan)
    return shares


def rogue_dimensions(X: FloatArray, k: int) -> npt.NDArray[np.int64]:  # noqa: N803
    """The k dimensions that add most to the mean cosine, the greatest first; X (frames, dims).

    By contribution, as Timkey & van Schijndel (2021) do, not by size: none can be below -1 / (frames - 1),
    so a dimension that rules is always positive. Ties: the lower index first. Too large a k and fewer
    than two frames are errors.
    """
    frames, dims = matrix(X).shape
    if frames < 2:
        raise KwsbenchError(f"rogue dimensions need at least two frames, got {frames}")
    if not 0 <= k <= dims:
        raise KwsbenchError(f"{k} rogue dimensions of {dims}; ask for 0 to {dims}")
    return np.argsort(-dimension_contributions(X), kind="stable")[:k]


def cosine_r2_without(
    X: FloatArray,  # noqa: N803
    dims_removed: Sequence[int] | npt.NDArray[np.int64],
    rng: np.random.Generator,
    *,
    pairs: int = 10_000,
) -> float:
    """Squared Pearson correlation of pairs' cosines with and without some dimensions; X (frames, dims).

    Near 1: the dimensions did not matter. Near 0: they were what the cosine saw. Over ``pairs`` pairs of
    different frames, drawn with replacement (standard error at most 0.008 for 10,000). Frames of
    zeros as in ``isotropy.mean_cosine``. NaN for fewer than two frames, and where either kind of cosine is the
    same for all pairs. Source: Timkey & van Schijndel (2021).
    """
    frames, dims = matrix(X).shape
    removed = np.asarray(dims_removed, dtype=np.int64)
    if removed.size and not (removed.min() >= 0 and removed.max() < dims):
        raise KwsbenchError(f"cannot remove dimensions {removed.tolist()} of {dims}; they count from 0")
    if frames < 2:
        return float("nan")
    first = rng.integers(frames, size=pairs)
    second = (first + rng.integers(1, frames, size=pairs)) % frames
    whole, reduced = np.empty(pairs), np.empty(pairs)
    rows = rows_per_block(dims)
    for start in range(0, pairs, rows):
        span = slice(start, start + rows)
        x, y = (finite_doubles(X[frames_of], frames_of) for frames_of in (first[span], second[span]))
        for cosines in (whole, reduced):
            to_unit_norm(x)
            to_unit_norm(y)
            cosines[span] = np.einsum("ij,ij->i", x, y)
            x[:, removed] = y[:, removed] = 0.0
    if min(np.ptp(whole), np.ptp(reduced)) <= EQUAL_COSINES:
        return float("nan")
    return float(np.corrcoef(whole, reduced)[0, 1] ** 2)
