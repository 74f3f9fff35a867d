"""Scores of a few queries: utterances side by side in the lanes of the kernel, where the engine has queries.

The engine lays 32 queries on an utterance at once, and one that is alone leaves 31 lanes empty. Here one query is laid
on 32 utterances of like length at once, which to the kernel are one utterance and 32 copies of the query. Products,
costs and kernel are the engine's, so scores differ from its own by the rounding of the product at most.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from kwsbench import dtw, engine, products, tiles
from kwsbench.dtw import LANES
from kwsbench.errors import KwsbenchError
from kwsbench.neighbours import Nearness, nearness
from kwsbench.threads import one_torch_thread, take_torch_threads
from kwsbench.types import (
    Alignment,
    Distance,
    Frames,
    FrameSource,
    GramDistance,
    Matcher,
    NeighbourDistance,
    Scores,
)

FEW_QUERIES = 8
"""With more the engine is faster. Its time over this one's, 45 frames a query, utterances of 700 frames: with one query
6.7 at 39 dimensions, 2.2 at 256, 1.2 at 1024; with eight 2.1, 1.2, 1.0; with sixteen 1.4, 1.1, 1.0. From 256 dimensions
on the product is what takes long, and it is the same in both. Utterances of 50 frames: with one query 3.1, 1.7, 1.1;
with eight 1.1, 1.0, 0.9."""


def score(
    queries: Frames,
    utterances: FrameSource,
    distance: Distance | NeighbourDistance,
    matcher: Matcher,
    *,
    workers: int,
    memory_bytes: int,
    near: Nearness | None = None,
) -> Scores:
    """Scores (queries, utterances) of every pair: ``engine.score_grid``'s, whichever of the two ways is faster.

    near: nearness of all frames, for a distance that looks at neighbours, if it is known already. Memory and errors
    are as in the engine.
    """
    if not _fits(queries, distance, matcher):
        cells: list[engine.Cell] = [(distance, matcher)]
        return engine.score_grid(queries, utterances, cells, workers=workers, memory_bytes=memory_bytes)[0]
    lengths = np.asarray(utterances.lengths)
    engine.check(queries, lengths, [(distance, matcher)], "float32")
    block_frames = engine.frames_within(memory_bytes, queries)
    if isinstance(distance, NeighbourDistance) and near is None:
        near = nearness(queries, utterances, distance.neighbours, workers=workers, block_frames=block_frames)
    run = _Run(queries, distance, matcher, len(lengths), near)
    with one_torch_thread(), ThreadPoolExecutor(max(1, workers), initializer=take_torch_threads) as pool:
        for first, last in tiles.runs(lengths, block_frames):
            block = utterances.read(first, last)
            ready = run.ready(block, first)
            by_length = np.argsort(-block.lengths, kind="stable")[: np.count_nonzero(block.lengths)]
            groups = [by_length[at : at + LANES] for at in range(0, len(by_length), LANES)]

            def job(items: npt.NDArray[np.int64], ready: tiles.Side = ready, at: Any = (block.offsets, first)) -> None:
                run.align(ready, items, *at)

            list(pool.map(job, groups))
    return run.scores


def _fits(queries: Frames, distance: object, matcher: object) -> bool:
    """Few queries; costs made of products; paths that end anywhere, by costs that are not scaled over the utterance.

    All lanes end in one frame to the kernel, so neither the utterance's last frame nor all of its costs are at hand.
    """
    few = len(queries) <= FEW_QUERIES and len(queries.values) > 0
    product = isinstance(distance, GramDistance | NeighbourDistance)
    return few and product and isinstance(matcher, Alignment) and not matcher.whole and matcher.rows == "none"


class _Run:
    """The queries made ready, and the scores that jobs fill in."""

    def __init__(self, queries: Frames, distance: Any, alignment: Any, utterances: int, near: Nearness | None) -> None:
        self.scores = engine.no_scores(len(queries), utterances)
        self._queries = queries
        self._distance = distance
        self._alignment = alignment
        self._near = near
        self._side = self._made(queries, "query", 0, None if near is None else near.queries, extra=-1)
        self._workspace = products.Workspace()
        self._seen = 0

    def ready(self, block: Frames, first: int) -> tiles.Side:
        """The next block of utterances, made ready for the product."""
        dims = self._queries.values.shape[1], block.values.shape[1]
        if dims[0] != dims[1]:
            raise KwsbenchError(
                f"queries have {dims[0]} dimensions, utterances {dims[1]}; "
                "use the same encoder, layer and transforms for both"
            )
        here = slice(self._seen, self._seen + len(block.values))
        self._seen = here.stop
        return self._made(
            block, "utterance", first, None if self._near is None else self._near.utterances[here], extra=1
        )

    def align(
        self, block: tiles.Side, items: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], first: int
    ) -> None:
        """All queries on up to 32 utterances of a block, of falling length: a tile of each at a time."""
        begins, lengths = offsets[items], np.diff(offsets)[items]
        longest, columns = int(lengths[0]), len(self._queries.values)
        queries = self._side.unit.values.T
        of_columns = self._side.known(self._distance)[None, :]
        of_frames = block.known(self._distance)
        rows = {query: length for query, length in enumerate(self._queries.lengths.tolist()) if length}
        layouts = {query: dtw.pack(np.arange(LANES + 1) * length)[0] for query, length in rows.items()}
        aligners = {
            query: dtw.Aligner(self._alignment, layout, np.array([0, longest])) for query, layout in layouts.items()
        }
        size = min(dtw.tile_frames(layout, longest) for layout in layouts.values())
        for done in range(0, longest, size):
            counts = np.clip(lengths - done, 0, size)
            counts = counts[: np.count_nonzero(counts)]
            starts = np.cumsum(counts) - counts
            froms = begins[: len(counts)] + done
            costs = self._workspace.floats("costs", int(counts.sum()), columns)
            tensor = torch.from_numpy(costs)
            for at, start, count in zip(froms.tolist(), starts.tolist(), counts.tolist(), strict=True):
                torch.mm(block.unit.values[at : at + count], queries, out=tensor[start : start + count])
            frames = np.repeat(froms - starts, counts) + np.arange(len(costs))
            self._distance.finish(tensor, of_frames[torch.from_numpy(frames)][:, None], of_columns)
            for query, aligner in aligners.items():
                tile = self._workspace.floats("tile", int(counts[0]), layouts[query].rows * LANES)
                _spread(costs, starts, counts, int(self._queries.offsets[query]), rows[query], tile)
                aligner.feed(tile)
        for query, aligner in aligners.items():
            for whole, found in zip(self.scores, aligner.scores(), strict=True):
                whole[query, first + items] = found[: len(items), 0]

    def _made(
        self, frames: Frames, what: str, first: int, near: npt.NDArray[np.float32] | None, *, extra: float
    ) -> tiles.Side:
        norms = engine.norms_of(frames, what, first)
        of_neighbours = {} if near is None else {self._distance.neighbours: near}
        return tiles.side(frames.values, norms, of_neighbours, np.arange(len(norms)), extra=extra, precision="float32")


@njit(nogil=True, cache=True)
def _spread(costs: Any, starts: Any, counts: Any, first: Any, rows: Any, tile: Any) -> None:
    """Costs (frames of all lanes, query frames) of one query, which begins in column first, into a spread tile.

    Where a lane has no frame, the last row is -inf, so that no path ends there; what stands in the others does not
    matter. Indices are unsigned, or the reads are not vectorised.
    """
    line, columns = costs.reshape(-1), np.uint64(costs.shape[1])
    padding = tile.shape[1] // LANES - rows
    at = np.zeros(LANES, np.uint64)
    for frame in range(len(tile)):
        target = tile[frame]
        for lane in range(len(counts)):
            if frame < counts[lane]:
                at[lane] = np.uint64(starts[lane] + frame) * columns + np.uint64(first)
        target[: padding * LANES] = 0
        for row in range(rows):
            to, of_row = np.uint64((padding + row) * LANES), np.uint64(row)
            for lane in range(LANES):
                target[to + np.uint64(lane)] = line[at[lane] + of_row]
        for lane in range(LANES):
            if lane >= len(counts) or frame >= counts[lane]:
                target[len(target) - LANES + lane] = -np.inf
