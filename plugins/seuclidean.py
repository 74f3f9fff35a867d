"""The Euclidean distance of frames that are brought to variance 1 within each pair of query and utterance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import kwsbench
from kwsbench_plugins.euclidean import Euclidean

if TYPE_CHECKING:
    from kwsbench.plugins import Register
    from kwsbench.types import FloatArray


class StandardizedEuclidean:
    """|x - y|, each dimension divided by its deviation over the frames of both (scipy's seuclidean; San et al. 2021).

    The deviation is that of the pair's n + m frames, query and utterance in one pile, with n + m - 1
    as divisor. So a cost depends on all frames it is asked for together, the same two frames cost
    something else in another utterance, and nothing of one pair serves the next: this distance has
    no fast path. A dimension that does not vary costs nothing.
    """

    def cost(self, x: FloatArray, y: FloatArray) -> FloatArray:
        both = np.concatenate([x, y]).astype(np.float64)
        mean = both.mean(axis=0)
        # Compared as they came: around a rounded mean, equal values have a deviation that is not quite 0.
        varies = both.max(axis=0) > both.min(axis=0)
        deviation = np.where(varies, both.std(axis=0, ddof=1), 1.0)
        x64, y64 = np.split(np.where(varies, (both - mean) / deviation, 0.0), [len(x)])
        return Euclidean().cost(x64, y64).astype(x.dtype)


@kwsbench.hookimpl
def register_distances(register: Register) -> None:
    """Register ``seuclidean``."""
    register("seuclidean", StandardizedEuclidean)
