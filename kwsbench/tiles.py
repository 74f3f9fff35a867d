"""The fast path: one tile of products serves every distance and every alignment.

A job is one group of 32 queries against a run of whole utterances. Its products are made tile by
tile; each *finish* (a distance, with its rows scaled or not) turns them into costs in place, and the
alignments that want those costs take them from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from kwsbench import dtw, products
from kwsbench.types import Alignment, GramDistance, NeighbourDistance, Scores

# Utterance frames of one job: many tiles, so that starting one costs nothing, yet enough jobs for all workers.
JOB_FRAMES = 4096


class Side(NamedTuple):
    """Frames ready for the product, and what is known of each, (frames,)."""

    unit: products.Unit
    norms: torch.Tensor
    nearness: Mapping[int, torch.Tensor]
    """neighbours → mean cosine with so many nearest frames of the other side"""

    def known(self, distance: GramDistance | NeighbourDistance) -> torch.Tensor:
        """What the distance wants to know of each frame: its nearness, or its norm."""
        return self.nearness[distance.neighbours] if isinstance(distance, NeighbourDistance) else self.norms

    def part(self, frames: slice) -> Side:
        """Some of the frames."""
        return Side(self.unit.part(frames), self.norms[frames], {k: v[frames] for k, v in self.nearness.items()})


class Finish(NamedTuple):
    """One way from cosines to costs, and the alignments (by the index of their cells) that want these costs."""

    distance: GramDistance | NeighbourDistance
    rows: str
    alignments: dict[int, Alignment]


def side(
    values: npt.NDArray[np.float32],
    norms: npt.NDArray[np.float64],
    nearness: Mapping[int, npt.NDArray[np.float32]],
    order: npt.NDArray[np.int64],
    *,
    extra: float,
    precision: str,
) -> Side:
    """Frames in the given order; extra is -1 for queries, 1 for utterances."""
    return Side(
        products.unit(values, norms, order, extra=extra, precision=precision),
        torch.from_numpy(norms[order].astype(np.float32)),
        {k: torch.from_numpy(known[order]) for k, known in nearness.items()},
    )


def align(
    layout: dtw.Layout,
    queries: Side,
    utterances: Side,
    offsets: npt.NDArray[np.int64],
    finishes: Sequence[Finish],
    workspace: products.Workspace,
) -> dict[int, Scores]:
    """Scores (queries of the layout, utterances) by the index of their cells.

    queries: in the order of the layout's compact columns. offsets: int64 (utterances + 1,), from 0.
    """
    frames, width, line = int(offsets[-1]), len(layout.frames), layout.rows * dtw.LANES
    size = dtw.tile_frames(layout, frames)
    bounds = {at: _Bounds(offsets, width) for at, finish in enumerate(finishes) if finish.rows == "minmax"}
    # Compact columns stand at the right of a line: rows that all lanes reach, which are most, are in place there.
    start = line - width
    lines = [workspace.floats(name, size, line) for name in ("lines", "copies")]
    # Products that are looked at twice are kept, except those of a very long utterance.
    kept = workspace.floats("kept", frames, width) if bounds and frames <= JOB_FRAMES else None
    tiles = [slice(first, min(first + size, frames)) for first in range(0, frames, size)]

    # Asking a distance for its kind, a protocol, takes as long as aligning a small tile: once, not for each.
    known = [(utterances.known(finish.distance)[:, None], queries.known(finish.distance)) for finish in finishes]
    views = [torch.from_numpy(array)[:, start:] for array in lines]

    def cosines(tile: slice) -> torch.Tensor:
        into = lines[0][: tile.stop - tile.start]
        products.product(utterances.unit.part(tile), queries.unit, into, start, workspace)
        return views[0][: len(into)]

    def finished(at: int, tile: slice, cosine: torch.Tensor, into: int) -> torch.Tensor:
        costs = views[into][: len(cosine)]
        if costs.data_ptr() != cosine.data_ptr():
            costs.copy_(cosine)
        of_utterances, of_queries = known[at]
        finishes[at].distance.finish(costs, of_utterances[tile], of_queries[None, :])
        return costs

    for tile in tiles if bounds else []:
        cosine = cosines(tile)
        if kept is not None:
            kept[tile] = cosine.numpy()
        for at, bound in bounds.items():
            bound.see(finished(at, tile, cosine, 1), tile)
    aligners = {
        index: dtw.Aligner(alignment, layout, offsets)
        for finish in finishes
        for index, alignment in finish.alignments.items()
    }
    for tile in tiles:
        cosine = cosines(tile) if kept is None else torch.from_numpy(kept[tile])
        for at, finish in enumerate(finishes):
            # Distances finish in place, so all but the last need a copy.
            into = 1 if at < len(finishes) - 1 else 0
            costs = finished(at, tile, cosine, into)
            if at in bounds:
                bounds[at].scale(costs, tile)
            spread = lines[into][: len(costs)]
            _spread(spread, layout.columns, layout.counts, start)
            for index in finish.alignments:
                aligners[index].feed(spread)
    return {index: aligner.scores() for index, aligner in aligners.items()}


class _Bounds:
    """The highest and lowest -cost of each query frame in each utterance."""

    def __init__(self, offsets: npt.NDArray[np.int64], width: int) -> None:
        utterances = len(offsets) - 1
        self._utterance = np.repeat(np.arange(utterances), np.diff(offsets))
        self._low = np.full((utterances, width), np.inf, np.float32)
        self._high = np.full((utterances, width), -np.inf, np.float32)

    def see(self, costs: torch.Tensor, tile: slice) -> None:
        """Take note of some frames' costs."""
        utterance, values = self._utterance[tile], costs.numpy()
        firsts = np.flatnonzero(np.diff(utterance, prepend=-1))
        here = utterance[firsts]
        self._low[here] = np.minimum(self._low[here], np.minimum.reduceat(values, firsts, axis=0))
        self._high[here] = np.maximum(self._high[here], np.maximum.reduceat(values, firsts, axis=0))

    def scale(self, costs: torch.Tensor, tile: slice) -> None:
        """Bring the costs of each query frame over its utterance to [0, 1], in place; equal costs to 0."""
        utterance = self._utterance[tile]
        high, low = self._high[utterance], self._low[utterance]
        costs.sub_(torch.from_numpy(high)).div_(torch.from_numpy(np.where(high > low, high - low, np.float32(1))))


@njit(nogil=True, cache=True)
def _spread(lines: Any, columns: Any, counts: Any, start: Any) -> None:
    """Make lines whose compact columns begin at ``start`` spread ones, in place (``dtw.Layout``).

    A row never moves to the right, since the rows below it hold at most 32 columns each: going
    downwards, nothing is overwritten that is still to be moved.
    """
    for frame in range(len(lines)):
        line = lines[frame]
        for row in range(len(counts)):
            count, source, target = counts[row], start + columns[row], row * dtw.LANES
            if count == dtw.LANES:  # then all rows below it too
                break
            for lane in range(count):
                line[target + lane] = line[source + lane]
            for lane in range(count, dtw.LANES):
                line[target + lane] = 0
