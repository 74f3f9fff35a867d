"""What a distance must keep to: shape, range, precision, and a fast path that says the same as the slow one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from kwsbench.rules import Broken, article, call, check_signature, collect, is_float_array, to_floats
from kwsbench.types import Distance, FloatArray, GramDistance, NeighbourDistance

ROUNDING = 1e-3
"""A cost below 0 by no more than this is a rounding error, and not what its author meant."""


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
    check_signature(distance.cost, "cost", "x", "y", see="kwsbench.types.Distance")
    yield from _cost_rules(distance.cost, x, y)
    if isinstance(distance, GramDistance):
        names = ("tile", "utterance_norms", "query_norms")
        check_signature(distance.finish, "finish", *names, see="kwsbench.types.GramDistance")
        norms = [np.linalg.norm(z, axis=1).astype(np.float32) for z in (x, y)]
        yield from _finish_rules(distance, distance.cost, (x, y), norms)


def _shares(frames: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rows that sum to 1, some symbols of some rows impossible; rows of zeros stay."""
    positive = frames.clip(min=0)
    sums: npt.NDArray[np.float64] = np.maximum(positive.sum(axis=1, keepdims=True), 1e-300)
    return positive / sums


def _cost_rules(
    cost_of: Callable[..., Any], x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], *nearness: FloatArray
) -> Iterator[str]:
    """What is wrong with the costs. Raises Broken where the fast path could not agree with them anyway."""
    for dtype in (np.float64, np.float32):
        a: FloatArray = x.astype(dtype)
        b: FloatArray = y.astype(dtype)
        cost = _cost(cost_of, a, b, *nearness)
        if not np.array_equal(a, x.astype(dtype)) or not np.array_equal(b, y.astype(dtype)):
            yield "argument: cost() changes its arguments; work on a copy"
        if cost.dtype != dtype:
            yield f"precision: {np.dtype(dtype)} in, {cost.dtype} out; keep the precision of the input"
        bad = np.argwhere(~np.isfinite(cost))
        if len(bad):
            i, j = bad[0]
            silent = not x[i].any() or not y[j].any()
            mend = "clamp the norms" if silent else "put a floor under what is divided by or goes into a logarithm"
            zeros = " (a frame of zeros is among them)" if silent else ""
            raise Broken(f"finite: NaN or inf in the cost of query frame {i} and utterance frame {j}{zeros}; {mend}")
        lowest = float(cost.min())
        if lowest < -ROUNDING:
            raise Broken(f"range: a cost of {lowest:.3g}; a cost has to be at least 0, best at 0")
        if lowest < 0:
            yield f"range: a cost of {lowest:.3g}; clamp at 0: it is rounding"


def _cost(cost_of: Callable[..., Any], x: FloatArray, y: FloatArray, *nearness: FloatArray) -> FloatArray:
    """What cost() returns. Raises Broken unless it is floats (query frames, utterance frames)."""
    shape = f"{x.shape} × {y.shape}"
    expected = (len(x), len(y))
    mend = "it takes numpy arrays (n, d) and (m, d), float64 or float32, and returns (n, m)"
    cost = call(cost_of, x, y, *nearness, where=f"cost, {shape} of {x.dtype}", mend=mend)
    if not isinstance(cost, np.ndarray):
        mend = "return the costs" if cost is None else to_floats(cost)
        raise Broken(f"shape: cost() returned {article(cost)}, expected a numpy array {expected}; {mend}")
    if cost.shape != expected:
        mend = (
            "transpose it (.T)" if cost.shape == expected[::-1] else "a row for each frame of x, a column for each of y"
        )
        raise Broken(f"shape: {shape} gave {cost.shape}, expected {expected}; {mend}")
    if not is_float_array(cost):
        raise Broken(f"precision: {x.dtype} in, {cost.dtype} out; costs are floats: {to_floats(cost)}")
    return cost


def _finish_rules(
    distance: Any,
    cost_of: Callable[..., Any],
    frames: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    beside: list[npt.NDArray[np.float32]],
    *nearness: FloatArray,
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
    # As the engine hands it over: rows that lie apart in memory.
    tile = torch.empty(len(y), len(x) + 7)[:, 7:].copy_(units[1] @ units[0].T - 1)
    before = tile.numpy().astype(np.float64)
    call(
        distance.finish,
        tile,
        of_utterance[:, None],
        of_query[None, :],
        where=f"finish, a tile of {tuple(tile.shape)}",
        mend="all three are torch tensors: use their own methods, those of the tile in place (tile.mul_, tile.clamp_), "
        "and no numpy",
    )
    wide = x.numpy().astype(np.float64), y.numpy().astype(np.float64)
    slow = _cost(cost_of, *wide, *nearness).T.astype(np.float64)
    fast = -tile.numpy().astype(np.float64)
    off = np.abs(fast - slow)
    tolerance = 2e-3 * max(1.0, float(np.abs(slow).max()))
    if not off.max() <= tolerance:
        at = np.unravel_index(np.argmax(np.nan_to_num(off, nan=np.inf)), off.shape)
        zero = bool((np.linalg.norm(x, axis=1)[at[1]] == 0) or (np.linalg.norm(y, axis=1)[at[0]] == 0))
        yield (
            f"finish: utterance frame {at[0]}, query frame {at[1]} costs {fast[at]:.6g} on the fast path "
            f"and {slow[at]:.6g} by cost(); {_mend_finish(fast, slow, before, tolerance, zero=zero)}"
        )
    if not np.array_equal(of_query.numpy(), beside[0]) or not np.array_equal(of_utterance.numpy(), beside[1]):
        yield "argument: finish() changes what it is told beside the tile; only the tile is its own"


def _mend_finish(
    fast: npt.NDArray[np.float64],
    slow: npt.NDArray[np.float64],
    before: npt.NDArray[np.float64],
    tolerance: float,
    *,
    zero: bool,
) -> str:
    """The likeliest reason why the fast path and the slow one differ; zero: where they differ most, a norm is 0."""
    if not np.isfinite(fast).all():
        return "put a floor under what is divided by, rooted or goes into a logarithm"
    if np.abs(fast + slow).max() <= tolerance:
        return "the tile must become -cost: change its sign"
    if np.array_equal(fast, -before):
        return (
            "the tile is as it was: change it in place (tile.mul_, tile.copy_), what finish() returns is not looked at"
        )
    if zero:
        return "frames of norm 0 have cosine 0, so their tile is -1"
    factor = float((fast * slow).sum() / (slow**2).sum())
    if np.abs(fast - factor * slow).max() <= tolerance:
        return f"the fast path is {factor:.3g} times cost(): scale one of them"
    return "the tile is cosine - 1, (utterance frames, query frames), and must become -cost()"


def _neighbour_rules(distance: Any, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Iterator[str]:
    """Costs and the fast path under common nearness, and under the least and the largest that there is."""
    see = "kwsbench.types.NeighbourDistance"
    if not hasattr(distance, "finish"):
        yield f"attributes: finish missing; see {see}"
        return
    count = distance.neighbours
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        yield f"neighbours: {count!r}; expected a whole number of neighbours, at least 1"
        return
    check_signature(distance.cost, "cost", "x", "y", "x_nearness", "y_nearness", see=see)
    check_signature(distance.finish, "finish", "tile", "utterance_nearness", "query_nearness", see=see)
    rng = np.random.default_rng(1)
    common = [rng.uniform(0.2, 0.9, len(z)).astype(np.float32) for z in (x, y)]
    for nearness in (
        common,
        [np.full(len(z), -1, np.float32) for z in (x, y)],
        [np.ones(len(z), np.float32) for z in (x, y)],
    ):
        before = [values.copy() for values in nearness]
        problems = collect(_nearness_rules(distance, x, y, nearness))
        if not all(np.array_equal(old, new) for old, new in zip(before, nearness, strict=True)):
            problems = ["argument: cost() changes the nearness it is given; work on a copy"]
        if problems:
            yield from (f"{problem} (nearness {before[0].min():.2g} to {before[0].max():.2g})" for problem in problems)
            return


def _nearness_rules(
    distance: Any, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], nearness: list[npt.NDArray[np.float32]]
) -> Iterator[str]:
    yield from _cost_rules(distance.cost, x, y, *nearness)
    yield from _finish_rules(distance, distance.cost, (x, y), nearness, *nearness)
