"""Ranks instead of values: the cosine becomes Spearman's correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import kwsbench

if TYPE_CHECKING:
    import numpy.typing as npt

    from kwsbench.plugins import Register
    from kwsbench.types import Apply


class Rank:
    """Replace each frame's values by their ranks within the frame (Zhelezniak et al. 2019).

    The cosine of two results is Spearman's rho of the two frames over their dimensions, and a rogue
    dimension is worth no more than the rank it has. Nothing is learnt: every scope gives the same.
    """

    def fit(self, frames: npt.NDArray[np.float32]) -> Apply:
        """(n, d) frames are not looked at."""
        return ranks


def ranks(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Ranks of each row of (n, d) around their mean, from -(d - 1)/2 to (d - 1)/2; ties share the average rank.

    A frame of equal values, silence among them, becomes zero. Ranks are multiples of a half, exact
    in float32.
    """
    from scipy.stats import rankdata

    centred = rankdata(x, method="average", axis=1) - (x.shape[1] + 1) / 2
    return np.asarray(centred, np.float32)


@kwsbench.hookimpl
def register_transforms(register: Register) -> None:
    """Register ``rank``."""
    register("rank", Rank)
