"""Drop rogue dimensions: the few whose large mean decides every cosine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import kwsbench
from kwsbench.errors import KwsbenchError

if TYPE_CHECKING:
    import numpy.typing as npt

    from kwsbench.plugins import Register
    from kwsbench.types import Apply


class DropRogue:
    """Drop the k dimensions whose mean is farthest from 0 (Timkey & van Schijndel 2021).

    They rank dimensions by their share of the mean cosine. For frames of about the same norm that
    is the square of the dimension's mean, so the order is the same. The dimensions that stay are
    not changed: their means, too, are as they were.
    """

    def __init__(self, *, k: int = 3) -> None:
        if k < 0:
            raise KwsbenchError(f"rogue:k={k} must not be negative; it is the number of dimensions to drop")
        self.k = k

    def fit(self, frames: npt.NDArray[np.float32]) -> Apply:
        """Means of (n, d) frames, in float64 → the function (m, d) → (m, d - k). Ties drop the first dimension."""
        dims = frames.shape[1]
        if self.k >= dims:
            raise KwsbenchError(f"rogue:k={self.k} leaves nothing of {dims} dimensions; take a smaller k")
        mean = frames.mean(axis=0, dtype=np.float64)
        largest_first = np.argsort(-np.abs(mean), kind="stable")
        kept = np.sort(largest_first[self.k :])
        return lambda x: x[:, kept]


@kwsbench.hookimpl
def register_transforms(register: Register) -> None:
    """Register ``rogue``."""
    register("rogue", DropRogue)
