"""Subtract the mean: cepstral mean normalisation, and the first step of every isotropy correction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import kwsbench

if TYPE_CHECKING:
    import numpy.typing as npt

    from kwsbench.plugins import Register
    from kwsbench.types import Apply


class Center:
    """Subtract the mean frame (Atal 1974; for embeddings: Mu & Viswanath 2018, step 1)."""

    def fit(self, frames: npt.NDArray[np.float32]) -> Apply:
        """Mean of (n, d) frames in float64 → subtract it. One frame becomes zero."""
        mean = frames.mean(axis=0, dtype=np.float64)
        return lambda x: subtract(x, mean)


def subtract(x: npt.NDArray[np.float32], mean: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """``x - mean`` as float32, the difference taken in float64 without a float64 copy of x.

    A dimension with mean 50 and deviation 0.1 loses three digits when its mean is rounded first.
    """
    return np.subtract(x, mean, out=np.empty(x.shape, np.float32), casting="same_kind")


@kwsbench.hookimpl
def register_transforms(register: Register) -> None:
    """Register ``center``."""
    register("center", Center)
