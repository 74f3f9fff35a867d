"""All-but-the-top: remove the few directions that all frames share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import kwsbench
from kwsbench.errors import KwsbenchError
from kwsbench_plugins.center import subtract
from kwsbench_plugins.whiten import moments, principal

if TYPE_CHECKING:
    import numpy.typing as npt

    from kwsbench.plugins import Register
    from kwsbench.types import Apply


class AllButTheTop:
    """Centre, then project out the d directions of most variance (Mu & Viswanath 2018).

    d=0 takes their rule of thumb, a hundredth of the dimensions and at least one.
    centered=false keeps the mean and removes the top directions of the second moments around 0, of
    which the mean is usually the first (the variant of Timkey & van Schijndel 2021, who set d=3).
    """

    def __init__(self, *, d: int = 0, centered: bool = True) -> None:
        if d < 0:
            raise KwsbenchError(f"abtt:d={d} must not be negative; 0 means a hundredth of the dimensions")
        self.d = d
        self.centered = centered

    def fit(self, frames: npt.NDArray[np.float32]) -> Apply:
        """Top directions of (n, d) frames, in float64 → remove them. Only directions with variance are removed."""
        dims = frames.shape[1]
        remove = self.d or max(1, dims // 100)
        if remove >= dims:
            raise KwsbenchError(f"abtt:d={remove} leaves nothing of {dims} dimensions; take a smaller d")
        mean, products = moments(frames, centered=self.centered)
        values, vectors = principal(products)
        top = vectors[:, :remove][:, values[:remove] > 0].astype(np.float32)

        def apply(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            centred = subtract(x, mean)
            return centred - (centred @ top) @ top.T

        return apply


@kwsbench.hookimpl
def register_transforms(register: Register) -> None:
    """Register ``abtt``."""
    register("abtt", AllButTheTop)
