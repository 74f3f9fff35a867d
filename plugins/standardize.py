"""Mean 0 and deviation 1 in each dimension: cepstral mean and variance normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import kwsbench
from kwsbench_plugins.center import subtract

if TYPE_CHECKING:
    import numpy.typing as npt

    from kwsbench.plugins import Register
    from kwsbench.types import Apply

_CHUNK_FRAMES = 8192


class Standardize:
    """Mean 0 and deviation 1 in each dimension (Viikki & Laurila 1998; Timkey & van Schijndel 2021)."""

    def fit(self, frames: npt.NDArray[np.float32]) -> Apply:
        """Means and deviations (of the population) of (n, d) frames, in float64.

        A dimension that does not vary is centred only. Deviations are taken around the mean, never
        as E[x²] − E[x]², which a rogue dimension ruins.
        """
        mean = frames.mean(axis=0, dtype=np.float64)
        squares = np.zeros_like(mean)
        for first in range(0, len(frames), _CHUNK_FRAMES):
            centred = frames[first : first + _CHUNK_FRAMES] - mean
            squares += np.einsum("nd,nd->d", centred, centred)
        deviation = np.sqrt(squares / len(frames))
        # Equal float32 values leave a deviation of rounding size, not exactly 0, around their float64 mean.
        constant = deviation <= 1e-12 * np.abs(mean)
        scale = np.where(constant, 1.0, 1.0 / np.where(constant, 1.0, deviation)).astype(np.float32)
        return lambda x: subtract(x, mean) * scale


@kwsbench.hookimpl
def register_transforms(register: Register) -> None:
    """Register ``standardize``."""
    register("standardize", Standardize)
