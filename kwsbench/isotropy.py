"""How evenly frames use their space.

Mean cosine, the shares of its dimensions and the partition score see a common offset (every frame
points the same way); IsoScore, the participation ratio and the effective rank are centred and see only
how unequal the variances are. Neither shows what the other does: report one of each.

All of it is float64, read block by block: X may be a memory map far larger than memory. Frames whose
values are NaN or infinite are an error. Undefined is NaN; how many frames are enough is the caller's
to judge (with fewer frames than dimensions the covariance has not full rank, and IsoScore is low for
that reason alone: it cannot exceed (frames - 2) / (dims - 1)).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    frames = len(matrix(X))
    if frames < 2:
        return float("nan")
    total, nonzero = np.zeros(X.shape[1]), 0
    for _, block in read_blocks(X):
        nonzero += to_unit_norm(block)
        total += block.sum(axis=0)
    return float((total @ total - nonzero) / (frames * (frames - 1)))


def mean_cosine_within_between(X: FloatArray, groups: npt.ArrayLike) -> MeanCosines:  # noqa: N803
    """Mean cosines of pairs of frames within a group, and between groups (recordings, speakers).

    X: (frames, dims). groups: (frames,), any labels. Frames of zeros as in ``mean_cosine``. One sum of
    unit frames a group is enough: the sums' squared norms hold the pairs within, the squared norm of
    the grand total all pairs.
    """
    group_of = _codes(groups, len(matrix(X)))
    sizes = np.bincount(group_of)
    sums, nonzero = np.zeros((len(sizes), X.shape[1])), 0
    for start, block in read_blocks(X):
        nonzero += to_unit_norm(block)
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


class Spread(NamedTuple):
    """Second-order moments of frames about their mean.

    mean: (dims,). scatter: (dims, dims), the sum over frames of (x - mean)(x - mean)ᵀ.
    fourth: the sum over frames of ||x - mean||⁴.
    """

    frames: int
    mean: Doubles
    scatter: Doubles
    fourth: float


def spread(X: FloatArray) -> Spread:  # noqa: N803
    """The moments that all centred figures are made of; X (frames, dims), no frame at all gives zeros."""
    frames, dims = matrix(X).shape
    # All is measured from the first frame: a common offset, however large, is gone before any sum is
    # rounded, and frames that are all the same give exactly zero.
    origin = X[0].astype(np.float64) if frames else np.zeros(dims)
    offset, scatter, fourth = np.zeros(dims), np.zeros((dims, dims)), 0.0
    for _, block in read_blocks(X):
        offset += np.sum(block - origin, axis=0) / frames
    for _, block in read_blocks(X):
        centred = block - origin - offset
        scatter += centred.T @ centred
        fourth += float(np.sum(np.einsum("ij,ij->i", centred, centred) ** 2))
    return Spread(frames, origin + offset, scatter, fourth)


def participation_ratio(X: FloatArray) -> float:  # noqa: N803
    """(sum of λ)² / sum of λ² over the eigenvalues λ of X's covariance; X (frames, dims).

    How many dimensions the variance effectively fills: 1 (one direction) to dims (all alike). NaN for
    fewer than two frames or frames that are all the same. Few frames bias it downwards: see
    ``participation_ratio_half``.
    """
    return participation_of(spread(X).scatter)


def participation_of(scatter: Doubles) -> float:
    """The participation ratio of a covariance (dims, dims), of any scale. NaN for zeros.

    The sums are the trace and the squared Frobenius norm, so no eigenvalue is computed.
    """
    trace = float(np.trace(scatter))
    if trace == 0.0:
        return float("nan")
    scaled = scatter / trace  # so that no square overflows or vanishes
    return float(1.0 / np.einsum("ij,ij->", scaled, scaled))


def participation_ratio_half(X: FloatArray, items: npt.ArrayLike) -> float:  # noqa: N803
    """The participation ratio of half the data: the frames of every second item, beginning with the first.

    X: (frames, dims). items: (frames,), which clip each frame is of, in the order of their labels. N
    independent frames estimate at most N - 1 dimensions, and of Gaussian ones with participation ratio R
    about 1 / (1/R + 1/N). A figure that is much higher on all frames than on half of them is therefore
    still rising, and says how much was measured rather than what is there. Items stay whole because
    neighbouring frames are alike: every second frame would look like all of them. NaN for fewer than two
    items, and as ``participation_ratio``.
    """
    codes = _codes(items, len(matrix(X)))
    if codes.max(initial=0) < 1:
        return float("nan")
    return participation_ratio(X[codes % 2 == 0])


def isoscore(X: FloatArray) -> float:  # noqa: N803
    """IsoScore of X (frames, dims): 0 (one direction) to 1 (all directions alike).

    (PR - 1) / (dims - 1), with PR the participation ratio; NaN wherever that is, and for one dimension.
    Source: Rudman et al. (2022), "IsoScore: measuring the uniformity of embedding space utilization",
    whose definition simplifies to this: their defect is that of the variances, scaled to norm √dims,
    from the vector of ones, and its square is linear in (sum of λ)/√(sum of λ²).
    """
    return isoscore_of(spread(X).scatter)


def isoscore_of(scatter: Doubles) -> float:
    """IsoScore of a covariance (dims, dims), of any scale. NaN for zeros and for one dimension."""
    dims = len(scatter)
    return (participation_of(scatter) - 1.0) / (dims - 1) if dims > 1 else float("nan")


def isoscore_star(
    X: FloatArray,  # noqa: N803
    *,
    shrinkage: float | None = None,
    reference_covariance: Doubles | None = None,
) -> float:
    """IsoScore of (1 - ζ) C + ζ C₀: the covariance C of X (frames, dims), shrunk towards a reference C₀.

    For few frames, whose own covariance looks less even than it is. shrinkage: ζ, 0 (plain IsoScore) to
    1 (the reference's IsoScore). reference_covariance: (dims, dims), best of a larger sample of the same
    space. Without one it is the identity times the mean variance: Rudman and Eickhoff's code advises the
    plain identity, which would make the figure depend on the features' unit. Without ζ it is Ledoit and
    Wolf's (2004) for that target, which vanishes as frames grow; it takes frames for independent, so
    it is too small for neighbouring frames of speech. NaN as ``isoscore``. A ζ outside [0, 1], a
    reference of another shape and a reference without ζ are errors.
    Source: Rudman & Eickhoff (2024), "Stable anisotropic regularization"; ζ as in their code.
    """
    moments = spread(X)
    dims = len(moments.scatter)
    if shrinkage is None:
        if reference_covariance is not None:
            raise KwsbenchError("a reference covariance needs a shrinkage too: give one between 0 and 1")
        return isoscore_star_of(moments, ledoit_wolf_shrinkage(moments))
    if not 0.0 <= shrinkage <= 1.0:
        raise KwsbenchError(f"shrinkage {shrinkage} is outside [0, 1]; 0 is plain IsoScore, 1 the reference's")
    if reference_covariance is None:
        return isoscore_star_of(moments, shrinkage)
    if reference_covariance.shape != (dims, dims):
        raise KwsbenchError(f"the reference covariance has shape {reference_covariance.shape}, expected {(dims, dims)}")
    if moments.frames < 2 or not moments.scatter.any():
        return float("nan")
    # Unbiased, as the reference is taken to be.
    return isoscore_of((1 - shrinkage) * moments.scatter / (moments.frames - 1) + shrinkage * reference_covariance)


def isoscore_star_of(moments: Spread, shrinkage: float) -> float:
    """IsoScore* towards the identity times the mean variance, from moments."""
    dims = len(moments.scatter)
    level = np.trace(moments.scatter) / max(1, dims)
    return isoscore_of((1 - shrinkage) * moments.scatter + shrinkage * level * np.eye(dims))


def ledoit_wolf_shrinkage(moments: Spread) -> float:
    """The ζ in [0, 1] with the least expected error towards the identity times the mean variance.

    1 when nothing tells the covariance from a multiple of the identity; 0 for no spread at all.
    Source: Ledoit & Wolf (2004), "A well-conditioned estimator for large-dimensional covariance
    matrices", section 3: min(b², d²) / d², with d² = ||C - μI||² and b² = mean ||xxᵀ - C||² / N.
    """
    frames, dims = moments.frames, len(moments.scatter)
    trace = float(np.trace(moments.scatter))
    if trace == 0.0:
        return 0.0
    # In units of the trace, so that no fourth power overflows.
    squares = participation_of(moments.scatter) ** -1
    distance = squares - 1 / dims
    noise = moments.fourth / trace**2 - squares / frames
    return float(min(max(noise, 0.0), distance) / distance) if distance > 0.0 else 1.0


def effective_rank(X: FloatArray) -> float:  # noqa: N803
    """exp of the entropy of σ / sum of σ, the singular values of X (frames, dims) less its mean.

    1 (one direction) to the rank. It weighs small directions more than the participation ratio does,
    which takes the σ². Of the centred frames: a common offset would count as a direction. NaN for fewer
    than two frames or frames that are all the same. Eigenvalues below dims · 2e-16 of the largest are
    rounding, and count as zero.
    Source: Roy & Vetterli (2007), "The effective rank: a measure of effective dimensionality".
    """
    return effective_rank_of(spread(X).scatter)


def effective_rank_of(scatter: Doubles) -> float:
    """The effective rank of a covariance (dims, dims), of any scale. NaN for zeros."""
    if not scatter.any():
        return float("nan")
    eigenvalues = np.linalg.eigvalsh(scatter)
    smallest = len(eigenvalues) * np.finfo(np.float64).eps * eigenvalues[-1]
    singular = np.sqrt(eigenvalues[eigenvalues > smallest])
    shares = singular / singular.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))


def partition_isotropy(X: FloatArray) -> float:  # noqa: N803
    """min Z(c) / max Z(c) over the eigenvectors c of XᵀX, with Z(c) = sum over frames x of exp(c·x).

    0 (anisotropic) to 1; X (frames, dims) is neither centred nor scaled, so long frames or a common
    offset bring it near 0, and it underflows to 0 where log Z differ by more than 745. NaN for no frame.
    An eigenvector is as good as its negative, yet Z differs: both are taken, so that the figure does not
    hang on a solver's choice of sign. Where eigenvalues repeat, their eigenvectors (and so the figure)
    are not unique. Exact to about 1e-6 of itself: the exponentials are float32.
    Source: Arora et al. (2016), "A latent variable model approach to PMI-based word embeddings", for Z;
    Mu & Viswanath (2018), "All-but-the-top", for the eigenvectors.
    """
    return partition_of(X, spread(X))


def partition_of(X: FloatArray, moments: Spread) -> float:  # noqa: N803
    """The partition score of frames whose moments are known."""
    if not moments.frames or not len(moments.mean):
        return float("nan")
    second = moments.scatter + moments.frames * np.outer(moments.mean, moments.mean)
    _, directions = np.linalg.eigh(second)
    log_z = np.full((2, len(second)), -np.inf)
    for _, block in read_blocks(X):
        along = block @ directions
        for row, signed in enumerate((along, -along)):
            top = signed.max(axis=0)
            exponentials = np.exp((signed - top).astype(np.float32))
            log_z[row] = np.logaddexp(log_z[row], top + np.log(exponentials.sum(axis=0, dtype=np.float64)))
    return float(np.exp(log_z.min() - log_z.max()))


def norm_spread(X: FloatArray) -> float:  # noqa: N803
    """Standard deviation of the frames' norms over their mean; X (frames, dims). NaN without any length.

    0: all frames are of one length, and cosine loses nothing that Euclidean distance has.
    """
    norms = np.concatenate([np.zeros(0), *(np.sqrt(np.einsum("ij,ij->i", b, b)) for _, b in read_blocks(matrix(X)))])
    return float(norms.std() / norms.mean()) if norms.any() else float("nan")


def rows_per_block(dims: int) -> int:
    """How many frames of so many dimensions BLOCK_VALUES values are; at least one."""
    return max(1, BLOCK_VALUES // max(1, dims))


def read_blocks(X: FloatArray) -> Iterator[tuple[int, Doubles]]:  # noqa: N803
    """(first frame, float64 copy) of stretches of X, of at most BLOCK_VALUES values."""
    rows = rows_per_block(X.shape[1])
    for start in range(0, len(X), rows):
        yield start, finite_doubles(X[start : start + rows], range(start, len(X)))


def finite_doubles(rows: npt.NDArray[Any], numbers: Sequence[int] | npt.NDArray[np.int64]) -> Doubles:
    """A float64 copy of some frames, which must be finite; numbers: what the error calls them."""
    block = np.array(rows, dtype=np.float64)
    finite = np.isfinite(block).all(axis=1)
    if not finite.all():
        bad = numbers[int(np.argmin(finite))]
        raise KwsbenchError(f"frame {bad} holds NaN or inf; use finite features")
    return block


def to_unit_norm(block: Doubles) -> int:
    """Scale the rows of a block, in place, to unit norm, zeros excepted; how many are not zero."""
    norms = np.sqrt(np.einsum("ij,ij->i", block, block))
    nonzero = norms > 0.0
    block /= np.where(nonzero, norms, 1.0)[:, np.newaxis]
    return int(nonzero.sum())


def matrix(X: npt.NDArray[Any]) -> npt.NDArray[Any]:  # noqa: N803
    """X itself, which must be (frames, dims)."""
    if X.ndim != 2:
        raise KwsbenchError(f"frames have shape {X.shape}, expected (frames, dims)")
    return X


def _codes(groups: npt.ArrayLike, frames: int) -> npt.NDArray[np.intp]:
    """Groups as numbers from 0, in the order of their labels; one a frame."""
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    if codes.shape != (frames,):
        raise KwsbenchError(f"{codes.size} groups for {frames} frames, expected one a frame")
    return codes
