"""The fast path: one tile of products serves every distance and every alignment.

A job is one group of 32 queries against a run of whole utterances. Its products are made tile by
tile; each *finish* (a distance, with its rows scaled or not) turns them into costs in place, and the
alignments that want those costs take them from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from kwsbench import dtw
from kwsbench.types import Alignment, GramDistance, NeighbourDistance, Scores

# Utterance frames of one job: many tiles, so that starting one costs nothing, yet enough jobs for all workers.
JOB_FRAMES = 4096
# A frame of a smaller norm counts as silence: its cosine with everything is 0.
TINY_NORM = 1e-30
# Frames made ready at a time, so that what is in between stays small.
_CHUNK_FRAMES = 256


class Side(NamedTuple):
    """Frames ready for the product: each of norm 1, with one more dimension; and what is known of each, (frames,)."""

    values: torch.Tensor
    norms: torch.Tensor
    nearness: Mapping[int, torch.Tensor]
    """neighbours → mean cosine with so many nearest frames of the other side"""

    def known(self, distance: GramDistance | NeighbourDistance) -> torch.Tensor:
        """What the distance wants to know of each frame: its nearness, or its norm."""
        return self.nearness[distance.neighbours] if isinstance(distance, NeighbourDistance) else self.norms

    def part(self, frames: slice) -> Side:
        """Some of the frames."""
        return Side(self.values[frames], self.norms[frames], {k: v[frames] for k, v in self.nearness.items()})


class Finish(NamedTuple):
    """One way from cosines to costs, and the alignments (by the index of their cells) that want these costs."""

    distance: GramDistance | NeighbourDistance
    rows: str
    alignments: dict[int, Alignment]


def side(
    values: npt.NDArray[np.float32],
    norms: npt.NDArray[np.float64],
    nearness: Mapping[int, npt.NDArray[np.float32]],
    extra: float,
    order: npt.NDArray[np.int64],
) -> Side:
    """Frames in the given order, of norm 1, with one more dimension: -1 in queries, 1 in utterances.

    A product of the two is then cosine - 1.
    """
    norms = norms[order]
    unit = np.empty((len(order), values.shape[1] + 1), dtype=np.float32)
    unit[:, -1] = extra
    for first in range(0, len(order), _CHUNK_FRAMES):
        part = slice(first, first + _CHUNK_FRAMES)
        divisor = np.maximum(norms[part], TINY_NORM)[:, None]
        np.divide(values[order[part]], divisor, out=unit[part, :-1], casting="unsafe")
    return Side(
        torch.from_numpy(unit),
        torch.from_numpy(norms.astype(np.float32)),
        {k: torch.from_numpy(known[order]) for k, known in nearness.items()},
    )


def align(
    layout: dtw.Layout, queries: Side, utterances: Side, offsets: npt.NDArray[np.int64], finishes: Sequence[Finish]
) -> dict[int, Scores]:
    """Scores (queries of the layout, utterances) by the index of their cells.

    queries: in the order of the layout's compact columns. offsets: int64 (utterances + 1,), from 0.
    """
    frames, width = int(offsets[-1]), len(layout.frames)
    size = dtw.tile_frames(layout, frames)
    bounds = {at: _Bounds(offsets, width) for at, finish in enumerate(finishes) if finish.rows == "minmax"}
    # Products that are looked at twice are kept, except those of a very long utterance.
    keep = bool(bounds) and frames <= JOB_FRAMES
    product = torch.empty((frames if keep else size) * width)
    scratch = torch.empty(size * width)
    spread = dtw.aligned(size, layout.rows * dtw.LANES)
    tiles = [slice(first, min(first + size, frames)) for first in range(0, frames, size)]

    def cosines(tile: slice, *, kept: bool) -> torch.Tensor:
        n, at = tile.stop - tile.start, tile.start * width if keep else 0
        view = product[at : at + n * width].view(n, width)
        if not kept:
            torch.mm(utterances.values[tile], queries.values.T, out=view)
        return view

    def finished(finish: Finish, tile: slice, cosine: torch.Tensor, *, copy: bool) -> torch.Tensor:
        costs = scratch[: cosine.numel()].view(cosine.shape).copy_(cosine) if copy else cosine
        known = utterances.known(finish.distance)[tile, None], queries.known(finish.distance)[None, :]
        finish.distance.finish(costs, *known)
        return costs

    for tile in tiles if bounds else []:
        cosine = cosines(tile, kept=False)
        for at, bound in bounds.items():
            bound.see(finished(finishes[at], tile, cosine, copy=True), tile)
    aligners = {
        index: dtw.Aligner(alignment, layout, offsets)
        for finish in finishes
        for index, alignment in finish.alignments.items()
    }
    for tile in tiles:
        cosine = cosines(tile, kept=keep)
        for at, finish in enumerate(finishes):
            # Distances finish in place, so all but the last need a copy.
            costs = finished(finish, tile, cosine, copy=at < len(finishes) - 1)
            if at in bounds:
                bounds[at].scale(costs, tile)
            dtw.spread(costs.numpy(), layout, spread)
            for index in finish.alignments:
                aligners[index].feed(spread[: len(costs)])
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
