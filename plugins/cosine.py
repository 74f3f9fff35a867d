"""The cosine distance, and three functions of it that weigh small and large angles otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import kwsbench

if TYPE_CHECKING:
    from kwsbench.plugins import Register
    from kwsbench.types import FloatArray


class Cosine:
    """1 - cosine, in [0, 2]. Silence (a frame of zeros) is at 1 from everything."""

    def cost(self, x: FloatArray, y: FloatArray) -> FloatArray:
        return (1 - _cosine(x, y)).astype(x.dtype)

    def finish(self, tile: Any, utterance_norms: Any, query_norms: Any) -> None:
        tile.clamp_(max=0)


class Angular:
    """The angle as a share of half a turn, arccos(cosine) / pi, in [0, 1]: a metric."""

    def cost(self, x: FloatArray, y: FloatArray) -> FloatArray:
        return (np.arccos(_cosine(x, y)) / np.pi).astype(x.dtype)

    def finish(self, tile: Any, utterance_norms: Any, query_norms: Any) -> None:
        tile.add_(1).clamp_(-1, 1).acos_().mul_(-1 / np.pi)


class ExpCosine:
    """exp(1 - cosine) - 1, in [0, 6.39]: large angles cost more (s3prl's cosine_exp, SUPERB query by example)."""

    def cost(self, x: FloatArray, y: FloatArray) -> FloatArray:
        return np.expm1(1 - _cosine(x, y)).astype(x.dtype)

    def finish(self, tile: Any, utterance_norms: Any, query_norms: Any) -> None:
        tile.clamp_(max=0).neg_().expm1_().neg_()


class NegLogCosine:
    """-log((1 + cosine) / 2), in [0, 16.6]: opposite frames cost most.

    s3prl's cosine_neg_log is -log(cosine): undefined from a right angle on, hence barred there for
    normalised features, whose cosines are as often negative as positive. Frames are normalised here.
    """

    def cost(self, x: FloatArray, y: FloatArray) -> FloatArray:
        return (-np.log(np.maximum((1 + _cosine(x, y)) / 2, _FLOOR))).astype(x.dtype)

    def finish(self, tile: Any, utterance_norms: Any, query_norms: Any) -> None:
        tile.mul_(0.5).add_(1).clamp_(_FLOOR, 1).log_()


# The rounding of float32: a smaller (1 + cosine) / 2 is no longer told from 0.
_FLOOR = 2.0**-24


def _cosine(x: FloatArray, y: FloatArray) -> FloatArray:
    """(n, d) × (m, d) → (n, m) in float64, in [-1, 1]."""
    x, y = (frames.astype(np.float64) for frames in (x, y))
    x, y = (frames / np.maximum(np.linalg.norm(frames, axis=1, keepdims=True), 1e-30) for frames in (x, y))
    return np.clip(x @ y.T, -1, 1)


@kwsbench.hookimpl
def register_distances(register: Register) -> None:
    register("cosine", Cosine)
    register("angular", Angular)
    register("exp-cosine", ExpCosine)
    register("neglog-cosine", NegLogCosine)
