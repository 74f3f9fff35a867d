"""Whitening: every direction of the space gets the same variance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

import kwsbench
from kwsbench.errors import KwsbenchError
from kwsbench_plugins.center import subtract

if TYPE_CHECKING:
    import numpy.typing as npt

    from kwsbench.plugins import Register
    from kwsbench.types import Apply

_CHUNK_FRAMES = 8192

# Eigenvalues under this share of the largest are rounding errors of a float64 eigh, not variance.
RANK_TOLERANCE = 1e-12


class Whiten:
    """Equal variance in all directions, PCA or ZCA, softened by eps, optionally cut to k (Su et al. 2021).

    Scales direction i of the centred frames by (λ_i + eps·mean λ)^(−1/2). PCA leaves the frames in
    the basis of the eigenvectors, ZCA turns them back (Kessy, Lewin & Strimmer 2018): at full rank
    both give the same cosines.

    eps is in units of the mean eigenvalue, so that it means the same for every encoder. At the
    default a direction with a thousandth of the average variance ends with half of unit variance,
    those above a tenth are within 1% of it, and a direction that holds nothing (fewer frames than
    dimensions, a telephone's missing band) is amplified 32 times more than an average one instead
    of without bound. eps=0 is exact whitening.

    shrinkage=ledoit-wolf moves the covariance C to (1 - a)·C + a·mean λ·I first, with the a in [0, 1] that
    is expected to come nearest to the true covariance (Ledoit & Wolf 2004): much for few frames, next
    to nothing for many. A fixed a is the same as eps = a / (1 - a), up to a scale that no cosine sees;
    eps comes on top of it. Their estimate takes frames to be independent draws; neighbouring frames of
    speech are not, so it shrinks rather too little.

    k keeps the k directions of most variance, 0 all of them: (n, k) out under PCA, and (n, d) of
    rank k under ZCA.
    """

    def __init__(
        self,
        *,
        kind: Literal["pca", "zca"] = "zca",
        eps: float = 1e-3,
        k: int = 0,
        shrinkage: Literal["none", "ledoit-wolf"] = "none",
    ) -> None:
        if eps < 0 or k < 0:
            raise KwsbenchError(f"whiten: eps={eps} and k={k} must not be negative")
        self.kind = kind
        self.eps = eps
        self.k = k
        self.shrinkage = shrinkage

    def fit(self, frames: npt.NDArray[np.float32]) -> Apply:
        """Mean and covariance of (n, d) frames, in float64 → the whitening map.

        With eps=0, directions without variance become 0. Frames that are all equal (or a single
        one) have no direction at all: they are only centred.
        """
        dims = frames.shape[1]
        if self.k > dims:
            raise KwsbenchError(f"whiten:k={self.k} asks for more directions than the frames have dimensions ({dims})")
        mean, covariance = moments(frames)
        if self.shrinkage == "ledoit-wolf":
            a = ledoit_wolf(frames, mean, covariance)
            covariance = (1 - a) * covariance + a * np.trace(covariance) / dims * np.eye(dims)
        values, vectors = principal(covariance)
        keep = self.k or dims
        if values[0] <= 0:
            scale = np.ones(keep)
        else:
            variance = values[:keep] + self.eps * values.mean()
            scale = np.where(variance > RANK_TOLERANCE * values[0], 1.0, 0.0)
            scale /= np.sqrt(np.where(scale > 0, variance, 1.0))
        matrix = vectors[:, :keep] * scale
        if self.kind == "zca":
            matrix = matrix @ vectors[:, :keep].T
        matrix32 = matrix.astype(np.float32)
        return lambda x: subtract(x, mean) @ matrix32


def moments(
    frames: npt.NDArray[np.float32], *, centered: bool = True
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(mean (d,), covariance (d, d)) of (n, d) frames; not centred: (zeros, second moments around 0).

    Two passes, in float64, chunk by chunk: a float32 covariance, or one taken as E[xxᵀ] − μμᵀ, is
    off by a factor of three for a dimension with mean 50 and deviation 0.1, and a float64 copy of
    all frames would double or triple the memory.
    """
    dims = frames.shape[1]
    mean = frames.mean(axis=0, dtype=np.float64) if centered else np.zeros(dims)
    products = np.zeros((dims, dims))
    for first in range(0, len(frames), _CHUNK_FRAMES):
        chunk = frames[first : first + _CHUNK_FRAMES] - mean
        products += chunk.T @ chunk
    return mean, products / len(frames)


def ledoit_wolf(
    frames: npt.NDArray[np.float32], mean: npt.NDArray[np.float64], covariance: npt.NDArray[np.float64]
) -> float:
    """The shrinkage a in [0, 1] of (n, d) frames with these moments (Ledoit & Wolf 2004, section 3.3).

    a = b² / d²: d² is how far the covariance C lies from m·I, m its mean eigenvalue, and b² how far the
    n outer products x·xᵀ of centred frames lie from C on average, over n, and at most d². Squared
    distances are Frobenius's. From Σ‖x·xᵀ - C‖² = Σ‖x‖⁴ - n·‖C‖², one pass in float64 is enough, chunk by
    chunk. A covariance that is m·I already is not shrunk: 0.
    """
    dims, count = len(covariance), len(frames)
    spread = float(np.sum((covariance - np.trace(covariance) / dims * np.eye(dims)) ** 2))
    if spread <= RANK_TOLERANCE * float(np.sum(covariance**2)):
        return 0.0
    fourth = 0.0
    for first in range(0, count, _CHUNK_FRAMES):
        chunk = frames[first : first + _CHUNK_FRAMES] - mean
        fourth += float(np.sum(np.einsum("nd,nd->n", chunk, chunk) ** 2))
    noise = (fourth / count - float(np.sum(covariance**2))) / count
    return min(max(noise, 0.0) / spread, 1.0)


def principal(covariance: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Eigenvalues (d,), falling and ≥ 0, and eigenvectors (d, d) in columns.

    Values under RANK_TOLERANCE of the largest are exactly 0. A vector's sign is that of its largest
    entry, so that it does not depend on the LAPACK in use.
    """
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    values = np.where(values > RANK_TOLERANCE * max(values[0], 0.0), values, 0.0)
    return values, vectors * np.where(largest < 0, -1.0, 1.0)


@kwsbench.hookimpl
def register_transforms(register: Register) -> None:
    """Register ``whiten``."""
    register("whiten", Whiten)
