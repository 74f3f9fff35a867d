"""How evenly frames use their space: mean cosine, participation ratio, IsoScore.

Mean cosine sees a common offset (every frame points the same way); IsoScore is centred and sees only
how unequal the variances are. Neither shows what the other does: report one of each.

All of it is float64, read block by block: X may be a memory map far larger than memory. Frames whose
values are NaN or infinite are an error. Undefined is NaN; how many frames are enough is the caller's
to judge (with fewer frames than dimensions the covariance has not full rank, and IsoScore is low for
that reason alone: it cannot exceed (frames - 2) / (dims - 1)).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kwsbench.errors import KwsbenchError
from kwsbench.types import FloatArray

Doubles = npt.NDArray[np.float64]

BLOCK_VALUES = 2**21
"""Values of X held as float64 at a time: 16 MiB."""


class MeanCosines(NamedTuple):
    """Mean cosine of pairs of frames from one group, and from two different ones. NaN: no such pair."""

    within: float
    between: float


def mean_cosine(X: FloatArray) -> float:  # noqa: N803 - X is what the formula calls it
    """The mean cosine of all pairs of different frames of X (frames, dims). NaN for fewer than two frames.

    A frame of zeros has no direction: it counts as a frame whose cosine with any other is 0. So with N
    frames, of which N' are not zero, it is (||sum of unit frames||² - N') / (N (N - 1)): the squared
    norm of the sum holds every ordered pair's cosine, and N' ones of frames with themselves.
    Source: Ethayarajh (2019), "How contextual are contextualized word representations?".
    """
    frames = len(_matrix(X))
    if frames < 2:
        return float("nan")
    total, nonzero = np.zeros(X.shape[1]), 0
    for _, block in _blocks(X):
        nonzero += _to_unit_norm(block)
        total += block.sum(axis=0)
    return float((total @ total - nonzero) / (frames * (frames - 1)))


def mean_cosine_within_between(X: FloatArray, groups: npt.ArrayLike) -> MeanCosines:  # noqa: N803
    """Mean cosines of pairs of frames within a group, and between groups (recordings, speakers).

    X: (frames, dims). groups: (frames,), any labels. Frames of zeros as in ``mean_cosine``. One sum of
    unit frames a group is enough: the sums' squared norms hold the pairs within, the squared norm of
    the grand total all pairs.
    """
    _, group_of = np.unique(np.asarray(groups), return_inverse=True)
    if group_of.shape != (len(_matrix(X)),):
        raise KwsbenchError(f"{group_of.size} groups for {len(X)} frames, expected one a frame")
    sizes = np.bincount(group_of)
    sums, nonzero = np.zeros((len(sizes), X.shape[1])), 0
    for start, block in _blocks(X):
        nonzero += _to_unit_norm(block)
        members = group_of[start : start + len(block)]
        order = np.argsort(members, kind="stable")
        present, firsts = np.unique(members[order], return_index=True)
        sums[present] += np.add.reduceat(block[order], firsts, axis=0)

    total = sums.sum(axis=0)
    in_groups = float(np.einsum("ij,ij->", sums, sums))
    pairs_within = int(np.sum(sizes * (sizes - 1)))
    pairs_between = int(len(X) ** 2 - np.sum(sizes**2))
    return MeanCosines(
        within=(in_groups - nonzero) / pairs_within if pairs_within else float("nan"),
        between=float(total @ total - in_groups) / pairs_between if pairs_between else float("nan"),
    )


def participation_ratio(X: FloatArray) -> float:  # noqa: N803
    """(sum of λ)² / sum of λ² over the eigenvalues λ of X's covariance; X (frames, dims).

    How many dimensions the variance effectively fills: 1 (one direction) to dims (all alike). NaN for
    fewer than two frames or frames that are all the same. The sums are the covariance's trace and its
    squared Frobenius norm, so no eigenvalue is computed; neither changes if the smaller matrix of
    inner products between frames takes the covariance's place where frames are fewer than dimensions.
    """
    frames, dims = _matrix(X).shape
    if frames < 2 or dims < 1:
        return float("nan")
    # All is measured from the first frame: a common offset, however large, is gone before any sum is
    # rounded, and frames that are all the same give exactly zero.
    origin = X[0].astype(np.float64)
    mean = np.zeros(dims)
    for _, block in _blocks(X):
        mean += np.sum(block - origin, axis=0) / frames
    if frames < dims:  # small enough to hold at once: fewer than dims² values
        centred = np.concatenate([block - origin for _, block in _blocks(X)]) - mean
        products = centred @ centred.T
    else:
        products = np.zeros((dims, dims))
        for _, block in _blocks(X):
            centred = block - origin - mean
            products += centred.T @ centred
    trace = float(np.trace(products))
    if trace == 0.0:
        return float("nan")
    products /= trace  # so that no square overflows or vanishes
    return float(1.0 / np.einsum("ij,ij->", products, products))


def isoscore(X: FloatArray) -> float:  # noqa: N803
    """IsoScore of X (frames, dims): 0 (one direction) to 1 (all directions alike).

    (PR - 1) / (dims - 1), with PR the participation ratio; NaN wherever that is, and for one dimension.
    Source: Rudman et al. (2022), "IsoScore: measuring the uniformity of embedding space utilization",
    whose definition simplifies to this: their defect is that of the variances, scaled to norm √dims,
    from the vector of ones, and its square is linear in (sum of λ)/√(sum of λ²).
    """
    dims = _matrix(X).shape[1]
    return (participation_ratio(X) - 1.0) / (dims - 1) if dims > 1 else float("nan")


def _blocks(X: FloatArray) -> Iterator[tuple[int, Doubles]]:  # noqa: N803
    """(first frame, float64 copy) of stretches of X, of at most BLOCK_VALUES values."""
    rows = max(1, BLOCK_VALUES // max(1, X.shape[1]))
    for start in range(0, len(X), rows):
        block = np.array(X[start : start + rows], dtype=np.float64)
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            bad = start + int(np.argmin(finite))
            raise KwsbenchError(f"frame {bad} holds NaN or inf; isotropy needs finite features")
        yield start, block


def _to_unit_norm(block: Doubles) -> int:
    """Scale the rows of a block, in place, to unit norm, zeros excepted; how many are not zero."""
    norms = np.sqrt(np.einsum("ij,ij->i", block, block))
    nonzero = norms > 0.0
    block /= np.where(nonzero, norms, 1.0)[:, np.newaxis]
    return int(nonzero.sum())


def _matrix(X: npt.NDArray[Any]) -> npt.NDArray[Any]:  # noqa: N803
    if X.ndim != 2:
        raise KwsbenchError(f"frames have shape {X.shape}, expected (frames, dims)")
    return X
