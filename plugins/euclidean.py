"""The Euclidean distance and its square: here the norms of frames count too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import kwsbench

if TYPE_CHECKING:
    from kwsbench.plugins import Register
    from kwsbench.types import FloatArray


class SquaredEuclidean:
    """|x - y|², the square of the Euclidean distance."""

    def cost(self, x: FloatArray, y: FloatArray) -> FloatArray:
        x64, y64 = x.astype(np.float64), y.astype(np.float64)
        squares = (x64**2).sum(axis=1)[:, None] + (y64**2).sum(axis=1)[None, :]
        return np.maximum(squares - 2 * (x64 @ y64.T), 0).astype(x.dtype)

    def finish(self, tile: Any, utterance_norms: Any, query_norms: Any) -> None:
        # |x - y|² = (|x| - |y|)² + 2|x||y|(1 - cosine): both terms ≥ 0, nothing large cancels.
        tile.mul_(utterance_norms).mul_(query_norms * 2)
        tile.sub_((utterance_norms - query_norms).square_()).clamp_(max=0)


class Euclidean:
    """|x - y|, the Euclidean distance."""

    def cost(self, x: FloatArray, y: FloatArray) -> FloatArray:
        return np.sqrt(SquaredEuclidean().cost(x.astype(np.float64), y)).astype(x.dtype)

    def finish(self, tile: Any, utterance_norms: Any, query_norms: Any) -> None:
        SquaredEuclidean().finish(tile, utterance_norms, query_norms)
        tile.neg_().sqrt_().neg_()


@kwsbench.hookimpl
def register_distances(register: Register) -> None:
    register("euclidean", Euclidean)
    register("sqeuclidean", SquaredEuclidean)
