"""What a distance must keep to: shape, range, precision, and a fast path that says the same as the slow one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kwsbench.types import Distance, FloatArray, GramDistance, NeighbourDistance

ROUNDING = 1e-3
"""A cost below 0 by no more than this is a rounding error, and not what its author meant."""


class Cost(Protocol):
    """cost() of a distance, of one that knows neighbours with the nearness filled in."""

    def __call__(self, x: FloatArray, y: FloatArray) -> FloatArray: ...


def distance_rules(distance: Distance | NeighbourDistance) -> Iterator[str]:
    """Every rule that the distance breaks, in a line each."""
    if not hasattr(distance, "cost"):
        yield "attributes: cost missing; see kwsbench.types.Distance"
        return
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((7, 12)), rng.standard_normal((11, 12))
    x[3] = 0.0
    y[4] = 0.0
    y[5] = x[2]
    domain = getattr(distance, "domain", "frames")
    if domain == "probabilities":
        x, y = _shares(x), _shares(y)
    elif domain != "frames":
        yield f"domain: {domain!r}; expected frames (the default) or probabilities"
        return
    if hasattr(distance, "neighbours"):
        yield from _neighbour_rules(distance, x, y)
        return
    yield from _cost_rules(distance.cost, x, y)
    if isinstance(distance, GramDistance):
        norms = [np.linalg.norm(z, axis=1).astype(np.float32) for z in (x, y)]
        yield from _finish_rules(distance, distance.cost, (x, y), norms)


def _shares(frames: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rows that sum to 1, some symbols of some rows impossible; rows of zeros stay."""
    positive = frames.clip(min=0)
    sums: npt.NDArray[np.float64] = np.maximum(positive.sum(axis=1, keepdims=True), 1e-300)
    return positive / sums


def _cost_rules(cost_of: Cost, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Iterator[str]:
    for dtype in (np.float64, np.float32):
        a: FloatArray = x.astype(dtype)
        b: FloatArray = y.astype(dtype)
        cost = cost_of(a, b)
        if not isinstance(cost, np.ndarray):
            yield f"shape: cost() returned {type(cost).__name__}, expected a numpy array (7, 11)"
            return
        if not np.array_equal(a, x.astype(dtype)) or not np.array_equal(b, y.astype(dtype)):
            yield "argument: cost() changes its arguments; work on a copy"
        if cost.shape != (7, 11):
            yield f"shape: (7, 12) × (11, 12) gave {cost.shape}, expected (7, 11)"
            return
        if cost.dtype != dtype:
            yield f"precision: {np.dtype(dtype)} in, {cost.dtype} out; keep the precision of the input"
        if not np.isfinite(cost).all():
            yield "finite: NaN or inf in the cost (frames of zeros were among the input); clamp the norms"
            return
        if (cost < 0).any():
            lowest = float(cost.min())
            mend = "clamp at 0: it is rounding" if lowest > -ROUNDING else "a cost has to be at least 0, best at 0"
            yield f"range: a cost of {lowest:.3g}; {mend}"


def _finish_rules(
    distance: Any,
    cost_of: Cost,
    frames: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    beside: list[npt.NDArray[np.float32]],
) -> Iterator[str]:
    """finish() on a tile of ``cosine - 1``, with what is known of each frame beside it, must give ``-cost``.

    The tile is float32, so its cosines are off by about 1e-7. Distances that behave like a square
    root near 0 (the angle, the Euclidean distance) turn that into 3e-4 for equal frames, times
    their norm.
    """
    import torch

    x, y = (torch.from_numpy(z.astype(np.float32)) for z in frames)
    of_query, of_utterance = (torch.from_numpy(values.copy()) for values in beside)
    units = [z / torch.linalg.norm(z, dim=1, keepdim=True).clamp(min=1e-12) for z in (x, y)]
    tile = units[1] @ units[0].T - 1
    distance.finish(tile, of_utterance[:, None], of_query[None, :])
    slow = cost_of(x.numpy().astype(np.float64), y.numpy().astype(np.float64)).T
    off = np.abs(-tile.numpy() - slow)
    tolerance = 2e-3 * max(1.0, float(np.abs(slow).max()))
    if not off.max() <= tolerance:
        at = np.unravel_index(np.argmax(np.nan_to_num(off, nan=np.inf)), off.shape)
        yield (
            f"finish: utterance frame {at[0]}, query frame {at[1]} costs {-tile.numpy()[at]:.6g} on the fast path "
            f"and {slow[at]:.6g} by cost(); frames of norm 0 have cosine 0"
        )
    if not np.array_equal(of_query.numpy(), beside[0]) or not np.array_equal(of_utterance.numpy(), beside[1]):
        yield "argument: finish() changes what it is told beside the tile; only the tile is its own"


def _neighbour_rules(distance: Any, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Iterator[str]:
    """Costs and the fast path under common nearness, and under the least and the largest that there is."""
    if not hasattr(distance, "finish"):
        yield "attributes: finish missing; see kwsbench.types.NeighbourDistance"
        return
    count = distance.neighbours
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        yield f"neighbours: {count!r}; expected a whole number of neighbours, at least 1"
        return
    rng = np.random.default_rng(1)
    common = [rng.uniform(0.2, 0.9, len(z)).astype(np.float32) for z in (x, y)]
    for nearness in (
        common,
        [np.full(len(z), -1, np.float32) for z in (x, y)],
        [np.ones(len(z), np.float32) for z in (x, y)],
    ):
        before = [values.copy() for values in nearness]
        cost_of = partial(distance.cost, x_nearness=nearness[0], y_nearness=nearness[1])
        problems = [*_cost_rules(cost_of, x, y)]
        if not problems:
            problems += _finish_rules(distance, cost_of, (x, y), nearness)
        if not all(np.array_equal(old, new) for old, new in zip(before, nearness, strict=True)):
            problems.append("argument: cost() changes the nearness it is given; work on a copy")
        if problems:
            yield from (f"{problem} (nearness {before[0].min():.2g} to {before[0].max():.2g})" for problem in problems)
            return
