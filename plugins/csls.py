"""Cross-domain similarity local scaling: the cosine, made up for frames that are near to everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kwsbench
from kwsbench.errors import KwsbenchError
from kwsbench_plugins.cosine import Cosine

if TYPE_CHECKING:
    from kwsbench.plugins import Register
    from kwsbench.types import FloatArray


class CSLS:
    """1 - CSLS/2, the cosine distance plus the mean nearness of both frames to their k neighbours.

    Conneau et al. (2018, equation 3) set CSLS = 2·cos - r - r', where r is a frame's mean cosine with its
    k nearest on the other side. 1 - CSLS/2 orders pairs as CSLS does, on the scale of the cosine
    distance: 1 - cos + (r + r')/2, at most 3. A cost must not be negative, so it is clamped at 0, which
    only frames reach whose k nearest point away from them on average (r + r' < 0).
    """

    def __init__(self, *, k: int = 10) -> None:
        if k < 1:
            raise KwsbenchError(f"csls:k={k} must be at least 1; it is the number of neighbours")
        self.neighbours = k

    def cost(self, x: FloatArray, y: FloatArray, x_nearness: FloatArray, y_nearness: FloatArray) -> FloatArray:
        nearness = (x_nearness[:, None] + y_nearness[None, :]) / 2
        return (Cosine().cost(x, y) + nearness).clip(min=0).astype(x.dtype)

    def finish(self, tile: Any, utterance_nearness: Any, query_nearness: Any) -> None:
        tile.sub_(utterance_nearness / 2).sub_(query_nearness / 2).clamp_(max=0)


@kwsbench.hookimpl
def register_distances(register: Register) -> None:
    """Register ``csls``."""
    register("csls", CSLS)
