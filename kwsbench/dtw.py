"""Dynamic time warping of 32 queries at once, one per SIMD lane.

All is max-plus: a tile holds ``-cost``, so a path's score is a sum and a better one is larger. Rows
are query frames, shorter queries of a group are padded **at the front** so that all end in the last
row, and each cell of the recursion carries, beside its score, the utterance frame where its path
began (and its number of cells, where that divides the score): the hit's span costs no backtracking.

Subsequence DTW: Müller, Information Retrieval for Music and Motion (2007), section 4.4. Step
patterns: Sakoe & Chiba (1978).
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from kwsbench.errors import KwsbenchError
from kwsbench.types import Alignment, FloatArray, Match, Scores

# Two 512-bit registers of float32. A global, so that the compiler sees loops of constant length.
LANES = 32
# Query frames per pass of the innermost loop: registers are then reused instead of stored and read back.
ROWS = 4
# Start frames are carried as float32, which holds every integer up to here.
MAX_FRAMES = 2**24
# float32 cells of a tile: small enough for a core's share of the cache, large enough for the matrix product.
TILE_CELLS = 2**19

STEPS = ((1, 0), (1, 1), (0, 1), (1, 2), (2, 1))
"""Steps that the kernels know, (query frames back, utterance frames back), in the order that wins ties."""

# Numbers of a row and lane: three of a cell, for three frames.
_MOST_PLANES = 9
_NEVER = np.float32(-np.inf)


class Layout(NamedTuple):
    """Where up to 32 queries lie in a tile. Lanes go from the longest query to the shortest.

    A *compact* tile has one column per query frame, row after row; ``counts`` (rows,) lanes reach
    into a row, the first of them in column ``columns[row]``. A *spread* tile has all 32 lanes of
    every row, zero where a lane's query has not begun. ``frames`` (sum of counts,) are the query
    frames (rows of ``Frames.values``) of the compact columns.
    """

    queries: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    counts: npt.NDArray[np.uint32]
    columns: npt.NDArray[np.uint32]
    frames: npt.NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Rows of the tile: frames of the longest query, rounded up to a multiple of 4."""
        return len(self.counts)


def pack(offsets: npt.NDArray[np.int64]) -> list[Layout]:
    """Groups of at most 32 queries of like length, from the offsets of their Frames. Empty ones are left out."""
    lengths = np.diff(offsets)
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] > 0]
    return [_layout(offsets, order[first : first + LANES]) for first in range(0, len(order), LANES)]


def _layout(offsets: npt.NDArray[np.int64], queries: npt.NDArray[np.int64]) -> Layout:
    lengths = np.diff(offsets)[queries]
    rows = -(-int(lengths[0]) // ROWS) * ROWS
    counts = np.array([np.count_nonzero(lengths >= rows - row) for row in range(rows)])
    columns = np.concatenate([[0], np.cumsum(counts)[:-1]])
    ends = offsets[queries + 1]
    frames = np.concatenate([ends[:count] - (rows - row) for row, count in enumerate(counts)])
    # Unsigned, so that the compiler need not test indices made of them for wrap-around.
    return Layout(queries, lengths, counts.astype(np.uint32), columns.astype(np.uint32), frames)


def aligned(*shape: int) -> npt.NDArray[np.float32]:
    """Zeros that begin at a cache line: the kernels run at half speed on vectors that straddle two."""
    size = int(np.prod(shape))
    memory = np.zeros(size + 16, dtype=np.float32)
    first = -(memory.ctypes.data // 4) % 16
    return memory[first : first + size].reshape(shape)


class Aligner:
    """The alignment of one group of queries with utterances that arrive tile by tile, their rows scaled already.

    offsets: int64 (utterances + 1,), the utterances' first frames in the stream of all of them. A
    tile may begin and end anywhere: the state carries over.
    """

    def __init__(self, alignment: Alignment, layout: Layout, offsets: npt.NDArray[np.int64]) -> None:
        check(alignment)
        steps = tuple(step in alignment.steps for step in STEPS)
        self._kernel = _kernel(steps, whole=alignment.whole, counted=alignment.normalize == "path")
        self._normalize = alignment.normalize
        self._layout = layout
        self._offsets = np.ascontiguousarray(offsets, dtype=np.int64)
        self._frame = 0
        padding = np.zeros(LANES, dtype=np.float32)
        padding[: len(layout.lengths)] = layout.rows - layout.lengths
        self._inputs = (_seeds(layout), padding)
        utterances = len(offsets) - 1
        self._outputs = (
            aligned((layout.rows + 2) * _MOST_PLANES * LANES),
            aligned(3, LANES),
            np.full((utterances, LANES), _NEVER, dtype=np.float32),
            np.full((utterances, LANES), -1, dtype=np.int32),
            np.full((utterances, LANES), -1, dtype=np.int32),
        )

    def feed(self, tile: npt.NDArray[np.float32]) -> None:
        """Take the next frames of the stream: a spread tile (frames, rows * 32) of -cost."""
        self._kernel(tile, self._frame, self._offsets, self._inputs, self._outputs)
        self._frame += len(tile)

    def scores(self) -> Scores:
        """What was found so far, (queries of the layout, utterances)."""
        lanes = len(self._layout.queries)
        _, _, scores, starts, ends = self._outputs
        found = Scores(scores[:, :lanes].T, starts[:, :lanes].T, ends[:, :lanes].T)
        if self._normalize == "query":
            return found._replace(scores=(found.scores / self._layout.lengths[:, None]).astype(np.float32))
        return found


def align(cost: FloatArray, alignment: Alignment) -> Match:
    """The best Match of one pair, by the kernel that the engine uses.

    cost: (query_frames, utterance_frames). For a CostMatcher that only changes the costs first.
    An alignment that does not exist has cost inf and frames -1.
    """
    n, m = cost.shape
    if alignment.rows == "minmax":
        low, high = cost.min(axis=1, keepdims=True), cost.max(axis=1, keepdims=True)
        cost = (cost - low) / np.where(high > low, high - low, 1)
    (layout,) = pack(np.array([0, n]))
    aligner = Aligner(alignment, layout, np.array([0, m]))
    compact = -np.ascontiguousarray(cost.T, dtype=np.float32)
    tile = aligned(tile_frames(layout, m), layout.rows * LANES)
    for first in range(0, m, len(tile)):
        part = compact[first : first + len(tile)]
        spread(part, layout, tile)
        aligner.feed(tile[: len(part)])
    found = aligner.scores()
    return Match(-float(found.scores[0, 0]), int(found.starts[0, 0]), int(found.ends[0, 0]))


def tile_frames(layout: Layout, most: int) -> int:
    """Frames of a tile: fewer when the queries are longer, so that its memory does not follow them."""
    return max(1, min(most, max(16, TILE_CELLS // (layout.rows * LANES))))


def spread(compact: npt.NDArray[np.float32], layout: Layout, tile: npt.NDArray[np.float32]) -> None:
    """Copy a compact tile (frames, query frames) into the first frames of a spread one that began as zeros."""
    _spread_compiled(compact, layout.columns, layout.counts, tile)


def check(alignment: Alignment) -> None:
    """Raise KwsbenchError where the kernels do not know the recipe."""
    unknown = [step for step in alignment.steps if step not in STEPS]
    if unknown or not alignment.steps:
        what = f"step {unknown[0]}" if unknown else "no step"
        raise KwsbenchError(
            f"an alignment has {what}; use some of {', '.join(map(str, STEPS))}, or write a CostMatcher"
        )
    if alignment.normalize not in ("query", "path", "none"):
        raise KwsbenchError(f"an alignment has normalize={alignment.normalize!r}; use query, path or none")
    if alignment.rows not in ("none", "minmax"):
        raise KwsbenchError(f"an alignment has rows={alignment.rows!r}; use none or minmax")


def _seeds(layout: Layout) -> npt.NDArray[np.float32]:
    """What a path may begin with, (2, rows * 32): 0 in each query's first frame and -inf elsewhere; -inf."""
    seeds = aligned(2, layout.rows * LANES)
    seeds[:] = _NEVER
    lanes = np.arange(len(layout.lengths))
    seeds[0, (layout.rows - layout.lengths) * LANES + lanes] = 0
    return seeds


def _spread(compact: Any, columns: Any, counts: Any, tile: Any) -> None:
    for frame in range(len(compact)):
        source, target = compact[frame], tile[frame]
        for row in range(len(counts)):
            first, count, at = columns[row], counts[row], row * LANES
            if count == LANES:  # almost always; a loop of constant length is five times as fast
                for lane in range(LANES):
                    target[at + lane] = source[first + lane]
            else:
                for lane in range(count):
                    target[at + lane] = source[first + lane]


def _better_of_two(v: Any, start: Any, cells: Any, state: Any, at: int, to_start: int, to_cells: int) -> Any:
    """The better of a candidate and the cell of the state that begins at ``at``; on a tie, the candidate."""
    other, other_start, other_cells = state[at], state[at + to_start], state[at + to_cells]
    start = other_start if other > v else start
    cells = other_cells if other > v else cells
    v = max(v, other)
    return v, start, cells


def _one_cell(state: Any, tile: Any, seed: Any, here: Any, at: int, column: int, flags: Any) -> None:
    """One step of the recursion, max-plus.

    ``state[at]`` is the cell two query rows above, so that every index is a sum of positive numbers:
    a negative one costs a wrap-around test, and the loop over lanes is then no longer vectorised.
    A row holds its cells for the last frames (newest first), each a score, a start and a length.
    """
    up, both, left, skip_utterance, skip_query, seeded, counted = flags
    to_start = LANES
    to_cells = 2 * LANES if counted else LANES
    past = to_cells + LANES
    row = (3 if skip_utterance else 2) * past
    above = at + row
    here_at = above + row
    old = state[here_at]
    old_start = state[here_at + to_start]
    old_cells = state[here_at + to_cells]
    if seeded:
        v = seed[column]
        start = here
        cells = np.float32(0)
        if up:
            v, start, cells = _better(v, start, cells, state, above, to_start, to_cells)
    else:
        v = state[above]
        start = state[above + to_start]
        cells = state[above + to_cells]
    if both:
        v, start, cells = _better(v, start, cells, state, above + past, to_start, to_cells)
    if left:
        v, start, cells = _better(v, start, cells, state, here_at, to_start, to_cells)
    if skip_utterance:
        v, start, cells = _better(v, start, cells, state, above + 2 * past, to_start, to_cells)
    if skip_query:
        v, start, cells = _better(v, start, cells, state, at + past, to_start, to_cells)
    if skip_utterance:
        state[here_at + 2 * past] = state[here_at + past]
        state[here_at + 2 * past + to_start] = state[here_at + past + to_start]
        if counted:
            state[here_at + 2 * past + to_cells] = state[here_at + past + to_cells]
    state[here_at + past] = old
    state[here_at + past + to_start] = old_start
    if counted:
        state[here_at + past + to_cells] = old_cells
    state[here_at] = v + tile[column]
    state[here_at + to_start] = start
    if counted:
        state[here_at + to_cells] = cells + np.float32(1)


def _one_frame(state: Any, line: Any, seed: Any, here: Any, flags: Any, row: int) -> None:
    """All rows of one utterance frame; ``row`` is the size of one in the state."""
    if not flags[5]:
        for lane in range(LANES):
            state[row + LANES + lane] = here
    for four in range(len(line) // (ROWS * LANES)):
        at, column = four * ROWS * row, four * ROWS * LANES
        for lane in range(LANES):
            _cell(state, line, seed, here, at + lane, column + lane, flags)
            _cell(state, line, seed, here, at + row + lane, column + LANES + lane, flags)
            _cell(state, line, seed, here, at + 2 * row + lane, column + 2 * LANES + lane, flags)
            _cell(state, line, seed, here, at + 3 * row + lane, column + 3 * LANES + lane, flags)


def _clear(state: Any, best: Any, flags: Any, row: int) -> None:
    """Forget the last utterance."""
    state[:] = _NEVER
    best[0] = _NEVER
    best[1:] = -1
    if not flags[5]:
        for lane in range(LANES):
            state[row + lane] = 0
            if flags[6]:
                state[row + 2 * LANES + lane] = 0


def _keep_best(state: Any, best: Any, padding: Any, here: Any, flags: Any, last: int) -> None:
    """Note the paths that end here, where they are better than all before; ``last`` is the last row."""
    for lane in range(LANES):
        v = state[last + lane]
        if flags[6]:
            cells = state[last + 2 * LANES + lane]
            # Without seeds, each padded row on the path counted as a cell.
            v /= max(cells if flags[5] else cells - padding[lane], np.float32(1))
        if v > best[0, lane]:
            best[0, lane] = v
            best[1, lane] = state[last + LANES + lane]
            best[2, lane] = here


_spread_compiled = njit(nogil=True, cache=True)(_spread)
# Inlined for certain: the flags are then constants, and the loops over lanes are vectorised.
_inlined = njit(nogil=True, forceinline=True)
_better, _cell, _frame = _inlined(_better_of_two), _inlined(_one_cell), _inlined(_one_frame)
_reset, _note = _inlined(_clear), _inlined(_keep_best)


@cache
def _kernel(steps: tuple[bool, ...], *, whole: bool, counted: bool) -> Any:
    """The kernel of a recipe, compiled when first needed and kept on disk by numba."""
    up, _, _, skip_utterance, skip_query = steps
    # Padded rows cost 0. Where a path can run straight down them, and its first step into the query
    # cannot jump over the first frame, the row above the tile is a free start for every lane (and faster).
    # Otherwise a path begins by being seeded in its query's first frame.
    seeded = whole or not up or skip_query
    flags = (*steps, seeded, counted)
    row = (3 if skip_utterance else 2) * (3 if counted else 2) * LANES

    def kernel(tile: Any, begin: int, offsets: Any, inputs: Any, outputs: Any) -> None:
        seeds, padding = inputs
        state, best, scores, starts, ends = outputs
        last_row = (tile.shape[1] // LANES + 1) * row
        utterance = np.searchsorted(offsets, begin, "right") - 1
        frame = 0
        while frame < len(tile):
            first, stop = offsets[utterance] - begin, offsets[utterance + 1] - begin
            if frame == first:
                _reset(state, best, flags, row)
            while frame < min(stop, len(tile)):
                here = np.float32(frame - first)
                _frame(state, tile[frame], seeds[1 if whole and frame > first else 0], here, flags, row)
                frame += 1
                if not whole or frame == stop:
                    _note(state, best, padding, here, flags, last_row)
            if frame == stop:
                scores[utterance], starts[utterance], ends[utterance] = best[0], best[1], best[2]
            utterance += 1

    return njit(nogil=True, cache=True)(kernel)
