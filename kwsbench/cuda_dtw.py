"""Dynamic time warping on a GPU: one warp for each utterance and 32 queries, one query per lane.

The recursion, its layout and its ties are those of ``kwsbench.dtw``: from the same tile of costs both
give the same answers, bit for bit. A warp goes down the query frames of one utterance frame, four at a
time; what lies above is in registers, what lies left of a cell is in shared memory. Lanes share
nothing, so no warp ever waits for another. numba's simulator (NUMBA_ENABLE_CUDASIM=1) runs all of it
on any machine, on numpy arrays.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import cuda as numba_cuda
from numba import float32
from numba.core.errors import NumbaPerformanceWarning

from kwsbench import dtw
from kwsbench.types import Alignment, Scores

# Half of it are stubs that only its compiler understands, which type checkers do not.
cuda: Any = numba_cuda

SHARED_BYTES = 48 * 1024
"""Shared memory that a block gets on every GPU unasked; what asks for more leaves a core next to no warps."""

# Unsigned, as all indices made of them: a signed one costs a test for wrap-around, and uint64 beside a
# plain integer is float64 to numba.
_NONE, _ONE, _TWO, _THREE, _FOUR = (np.uint64(n) for n in range(5))
_LANES = np.uint64(dtw.LANES)
_NEVER, _ZERO, _UNIT, _NOWHERE = (np.float32(x) for x in (-np.inf, 0, 1, -1))
_NOTHING = (_NEVER, _NOWHERE, _ZERO)


class Ragged(NamedTuple):
    """Where utterances lie in a tile, on the device: int64 (utterances + 1,) frames, int64 (utterances,) longest first.

    Warps start in that order, so that the last ones to start are short.
    """

    offsets: torch.Tensor
    order: torch.Tensor

    @classmethod
    def of(cls, offsets: npt.NDArray[np.int64], device: torch.device) -> Ragged:
        """From the offsets, on the host, of the utterances of one tile."""
        order = np.argsort(-np.diff(offsets), kind="stable")
        return cls(torch.from_numpy(offsets).to(device), torch.from_numpy(order).to(device))


def positions(layout: dtw.Layout) -> npt.NDArray[np.int64]:
    """Columns, in a tile of rows * 32, of the layout's query frames."""
    row = np.repeat(np.arange(layout.rows), layout.counts)
    lane = np.arange(len(row)) - layout.columns.astype(np.int64)[row]
    found: npt.NDArray[np.int64] = row * dtw.LANES + lane
    return found


def state_bytes(alignment: Alignment, layout: dtw.Layout) -> int:
    """Bytes that a warp holds of the last utterance frames, of each cell its score, its start and maybe its length."""
    frames = 2 if (1, 2) in alignment.steps else 1
    return layout.rows * dtw.LANES * 4 * frames * (3 if alignment.normalize == "path" else 2)


def scratch_bytes(alignment: Alignment, layout: dtw.Layout) -> int:
    """Bytes of global memory that a warp needs: none, unless its queries are too long for shared memory."""
    size = state_bytes(alignment, layout)
    return size if size > SHARED_BYTES else 0


def align(
    tile: torch.Tensor, utterances: Ragged, layout: dtw.Layout, alignment: Alignment, *, warps: int = 1024
) -> Scores:
    """Scores on the host, (queries of the layout, utterances), from a tile of -cost (frames, rows * 32) on the device.

    What the tile holds before a query's first frame does not matter. Queries too long for shared
    memory keep their state in global memory, for at most so many warps at a time: slower, same answers.
    """
    dtw.check(alignment)
    count, spilled = len(utterances.order), scratch_bytes(alignment, layout) > 0
    steps = tuple(step in alignment.steps for step in dtw.STEPS)
    kernel = _kernel(steps, whole=alignment.whole, counted=alignment.normalize == "path", spilled=spilled)
    at_once = min(warps, count) if spilled else count
    size = state_bytes(alignment, layout)
    scratch = torch.empty(at_once * size // 4 if spilled else 1, device=tile.device)
    padding = np.full(dtw.LANES, layout.rows, dtype=np.int64)
    padding[: len(layout.lengths)] = layout.rows - layout.lengths
    found = torch.empty((3, count, dtw.LANES), device=tile.device)
    inputs = (tile.view(-1), utterances.offsets, torch.from_numpy(padding).to(tile.device), scratch, found.view(-1))
    for first in range(0, count, max(1, at_once)):
        order = utterances.order[first : first + at_once]
        launch(kernel, len(order), 0 if spilled else size, order, *inputs, rows=layout.rows)
    values = found[:, :, : len(layout.lengths)].transpose(1, 2).cpu().numpy()
    scores = np.ascontiguousarray(values[0])
    if alignment.normalize == "query":
        scores = (scores / layout.lengths[:, None]).astype(np.float32)
    return Scores(scores, values[1].astype(np.int32), values[2].astype(np.int32))


def scale_rows(tile: torch.Tensor, utterances: Ragged, rows: int) -> None:
    """Bring the costs of each query frame over each utterance to [0, 1], in place; equal costs to 0."""
    launch(_scale_kernel(), len(utterances.order) * rows, 0, utterances.offsets, tile.view(-1), rows=rows)


def launch(kernel: Any, blocks: int, shared: int, *tensors: torch.Tensor, rows: int) -> None:
    """One warp per block, on torch's current stream. Views are made anew: a kept one keeps its memory from torch."""
    if not blocks:
        return
    on_gpu = tensors[0].is_cuda
    stream = cuda.external_stream(torch.cuda.current_stream().cuda_stream) if on_gpu else 0
    views = [cuda.as_cuda_array(tensor, sync=False) if on_gpu else tensor.numpy() for tensor in tensors]
    with warnings.catch_warnings():
        # numba warns of a grid too small to fill the GPU: the last tile may well be.
        warnings.simplefilter("ignore", NumbaPerformanceWarning)
        configured = kernel[blocks, dtw.LANES, stream, shared]
    configured(np.uint64(rows), *views)


def _better_of_two(cell: Any, other: Any) -> Any:
    """The better of two cells (score, start, length); on a tie, the first."""
    return other if other[0] > cell[0] else cell


@cache
def _scale_kernel() -> Any:
    """The kernel of scale_rows: a warp for each utterance and row."""

    def kernel(rows: Any, offsets: Any, tile: Any) -> None:
        block, lane = np.uint64(cuda.blockIdx.x), np.uint64(cuda.threadIdx.x)
        utterance, row = block // rows, block % rows
        width = rows * _LANES
        first, stop = np.uint64(offsets[utterance]), np.uint64(offsets[utterance + _ONE])
        column = row * _LANES + lane
        low, high = -_NEVER, _NEVER
        for frame in range(first, stop):
            value = tile[frame * width + column]
            # The compiler for CUDA knows no min and max of two floats, although the simulator does.
            low = value if value < low else low  # noqa: FURB136
            high = value if value > high else high  # noqa: FURB136
        divisor = high - low if high > low else _UNIT
        for frame in range(first, stop):
            at = frame * width + column
            tile[at] = (tile[at] - high) / divisor

    return cuda.jit(kernel)


def _row_function(steps: tuple[bool, ...], *, seeded: bool, counted: bool) -> Any:
    """One cell of a recipe's recursion, for the device, and how far apart rows lie in the state."""
    up, both, left, skip_utterance, skip_query = steps
    older = (_THREE if counted else _TWO) * _LANES
    better = cuda.jit(device=True)(_better_of_two)

    def load_cell(state: Any, at: Any) -> Any:
        return state[at], state[at + _LANES], state[at + _TWO * _LANES] if counted else _ZERO

    def store_cell(state: Any, at: Any, cell: Any) -> None:
        state[at] = cell[0]
        state[at + _LANES] = cell[1]
        if counted:
            state[at + _TWO * _LANES] = cell[2]

    load, store = cuda.jit(device=True)(load_cell), cuda.jit(device=True)(store_cell)

    def row(state: Any, at: Any, cost: Any, begin: Any, above: Any) -> Any:
        """One step of the recursion, with cost in ``state[at]``'s row: what is above the next row's cell.

        above: this frame's cell in the row above; that row's cells at the last frame and the one before;
        the last frame's cell two rows above. begin: a path that begins here.
        """
        here, past, past2, higher = above
        now = load(state, at)
        before = load(state, at + older) if skip_utterance else _NOTHING
        cell = begin if seeded else here
        if seeded and up:
            cell = better(cell, here)
        if both:
            cell = better(cell, past)
        if left:
            cell = better(cell, now)
        if skip_utterance:
            cell = better(cell, past2)
            store(state, at + older, now)
        if skip_query:
            cell = better(cell, higher)
        cell = (cell[0] + cost, cell[1], cell[2] + _UNIT if counted else _ZERO)
        store(state, at, cell)
        return cell, now, before, past

    return cuda.jit(device=True)(row), older * (_TWO if skip_utterance else _ONE)


@cache
def _kernel(steps: tuple[bool, ...], *, whole: bool, counted: bool, spilled: bool) -> Any:
    """The kernel of a recipe, compiled when first used; lengths are arguments, so one serves them all."""
    up, _, _, _, skip_query = steps
    # As in kwsbench.dtw: free starts above the tile where padding cannot mislead a path, else a seed in the first row.
    seeded = whole or not up or skip_query
    step, stride = _row_function(steps, seeded=seeded, counted=counted)

    def one_row(state: Any, at: Any, cost: Any, row: Any, pad: Any, begins: Any, now: Any, above: Any) -> Any:
        begin = (begins if row == pad else _NEVER, now, _ZERO)
        return step(state, at, cost if row >= pad else _ZERO, begin, above)

    padded = cuda.jit(device=True)(one_row)

    def one_frame(state: Any, base: Any, rows: Any, tile: Any, column: Any, pad: Any, begins: Any, now: Any) -> Any:
        """All rows of one utterance frame, the first of them in ``tile[column]``: the last row's cell."""
        above = (_NOTHING if seeded else (_ZERO, now, _ZERO), _NOTHING, _NOTHING, _NOTHING)
        at = base
        for four in range(rows // _FOUR):
            row = np.uint64(four) * _FOUR
            # All four are asked for before the first is needed.
            cost0, cost1 = tile[column], tile[column + _LANES]
            cost2, cost3 = tile[column + _TWO * _LANES], tile[column + _THREE * _LANES]
            above = padded(state, at, cost0, row, pad, begins, now, above)
            above = padded(state, at + stride, cost1, row + _ONE, pad, begins, now, above)
            above = padded(state, at + _TWO * stride, cost2, row + _TWO, pad, begins, now, above)
            above = padded(state, at + _THREE * stride, cost3, row + _THREE, pad, begins, now, above)
            at += _FOUR * stride
            column += _FOUR * _LANES
        return above[0]

    frame_of = cuda.jit(device=True)(one_frame)

    def one_warp(
        state: Any, base: Any, rows: Any, utterance: Any, tile: Any, offsets: Any, padding: Any, found: Any
    ) -> None:
        """All of one utterance; ``base`` is the lane's first number in the state."""
        lane = np.uint64(cuda.threadIdx.x)
        first, stop = np.uint64(offsets[utterance]), np.uint64(offsets[utterance + _ONE])
        pad = np.uint64(padding[lane])
        for at in range(base, base + rows * stride, _LANES):
            state[at] = _NEVER
        best, start, end = _NEVER, _NOWHERE, _NOWHERE
        for frame in range(first, stop):
            now = np.float32(frame - first)
            begins = _NEVER if whole and frame > first else _ZERO
            column = frame * rows * _LANES + lane
            score, began, cells = frame_of(state, base, rows, tile, column, pad, begins, now)
            if not whole or frame + _ONE == stop:
                if counted:
                    # Without seeds, each padded row on the path counted as a cell.
                    cells = cells if seeded else cells - np.float32(pad)
                    score /= cells if cells > _UNIT else _UNIT  # noqa: FURB136 - see _scale_kernel
                if score > best:
                    best, start, end = score, began, now
        place, plane = utterance * _LANES + lane, (np.uint64(len(offsets)) - _ONE) * _LANES
        found[place], found[place + plane], found[place + _TWO * plane] = best, start, end

    warp = cuda.jit(device=True)(one_warp)

    def in_shared(rows: Any, order: Any, tile: Any, offsets: Any, padding: Any, scratch: Any, found: Any) -> None:  # noqa: ARG001 - as in_global's
        state = cuda.shared.array(0, float32)
        utterance = np.uint64(order[cuda.blockIdx.x])
        warp(state, np.uint64(cuda.threadIdx.x), rows, utterance, tile, offsets, padding, found)

    def in_global(rows: Any, order: Any, tile: Any, offsets: Any, padding: Any, scratch: Any, found: Any) -> None:
        block = np.uint64(cuda.blockIdx.x)
        base = block * rows * stride + np.uint64(cuda.threadIdx.x)
        warp(scratch, base, rows, np.uint64(order[block]), tile, offsets, padding, found)

    return cuda.jit(in_global if spilled else in_shared)
