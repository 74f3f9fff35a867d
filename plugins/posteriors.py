"""Distances between posteriors: frames that say how probable each of d symbols is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

import kwsbench
from kwsbench.errors import KwsbenchError

if TYPE_CHECKING:
    import numpy.typing as npt

    from kwsbench.plugins import Register
    from kwsbench.types import FloatArray


class KullbackLeibler:
    """Kullback-Leibler divergence in nats, of smoothed posteriors; 0 for equal frames, and only for them.

    ``symmetric`` is [KL(x‖y) + KL(y‖x)] / 2, half of Jeffreys's divergence; ``forward`` is KL(x‖y), where x is the
    query's frame: symbols that the query holds for impossible cost nothing. At most log(d / smoothing).

    smoothing: the share of a uniform distribution that is mixed into each frame, so that no symbol is impossible.
    """

    domain = "probabilities"

    def __init__(self, *, kind: Literal["symmetric", "forward"] = "symmetric", smoothing: float = 1e-5) -> None:
        _check_smoothing("kl", smoothing)
        self._kind = kind
        self._smoothing = smoothing

    def cost(self, x: FloatArray, y: FloatArray) -> FloatArray:
        p, q = (_smooth(posteriors("kl", z), self._smoothing) for z in (x, y))
        log_p, log_q = np.log(p), np.log(q)
        # Σ p log p - Σ p log q: all pairs in one matrix product.
        cost = np.sum(p * log_p, axis=1)[:, None] - p @ log_q.T
        if self._kind == "symmetric":
            cost = (cost + np.sum(q * log_q, axis=1)[None, :] - log_p @ q.T) / 2
        # By Gibbs's inequality only rounding lies below 0.
        return cost.clip(min=0).astype(x.dtype)


class NegLogDot:
    """-log(x·y), of smoothed posteriors: two frames that are drawn from are of one symbol with probability x·y.

    A frame is at 0 from itself only where it is certain; two that do not know are far apart, however alike. At
    most log(d / (2·smoothing - smoothing²)). Source: Hazen, Shen & White (2009), "Query-by-example spoken term
    detection using phonetic posteriorgram templates".

    smoothing: the share of a uniform distribution that is mixed into each frame (their λ), so that frames with no
    symbol in common have a product.
    """

    domain = "probabilities"

    def __init__(self, *, smoothing: float = 1e-5) -> None:
        _check_smoothing("neglog-dot", smoothing)
        self._smoothing = smoothing

    def cost(self, x: FloatArray, y: FloatArray) -> FloatArray:
        p, q = (_smooth(posteriors("neglog-dot", z), self._smoothing) for z in (x, y))
        # Of two frames that are certain, the product may round to more than 1.
        return (-np.log(p @ q.T)).clip(min=0).astype(x.dtype)


def posteriors(who: str, frames: FloatArray) -> npt.NDArray[np.float64]:
    """(n, d) → (n, d) float64, each row at least 0 and of sum 1; a row of zeros says nothing, and is uniform.

    Raises KwsbenchError on a row that is no share of anything: negative, NaN or infinite.
    """
    rows = frames.astype(np.float64)
    good = (rows >= 0) & np.isfinite(rows)  # false for NaN
    if not good.all():
        raise KwsbenchError(
            f"{who}: a frame holds {rows[~good][0]:.3g}, and a probability is at least 0; use posteriors "
            f"(ctc@posteriors:checkpoint=HUB_ID) without a transform that centres, or another distance (cosine)"
        )
    total = rows.sum(axis=1, keepdims=True)
    shares: npt.NDArray[np.float64] = np.where(total > 0, rows, 1.0) / np.where(total > 0, total, rows.shape[1])
    return shares


def _smooth(rows: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float64]:
    return (1 - share) * rows + share / rows.shape[1]


def _check_smoothing(who: str, smoothing: float) -> None:
    if not 0 < smoothing < 1:
        raise KwsbenchError(f"{who}: smoothing={smoothing:g} must be more than 0 and less than 1; costs stay finite so")


@kwsbench.hookimpl
def register_distances(register: Register) -> None:
    """Register ``kl`` and ``neglog-dot``."""
    register("kl", KullbackLeibler)
    register("neglog-dot", NegLogDot)
