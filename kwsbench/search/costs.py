"""Costs of tokens and single pieces of an archive, as the engine has them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kwsbench import products, tiles
from kwsbench.engine import MEMORY_BYTES
from kwsbench.errors import PluginError
from kwsbench.neighbours import Nearness, nearness
from kwsbench.threads import one_torch_thread
from kwsbench.types import Distance, Frames, FrameSource, GramDistance, NeighbourDistance

Floats = npt.NDArray[np.float32]


class Costs:
    """Costs (query_frames, frames) of any token and any piece; pieces are read when they are asked for.

    A distance with ``finish`` is made of one product, on one thread, as in the engine. Its ``cost`` would say the same,
    but twenty times as slowly: a product so small waits longer for a second thread than it takes.

    near: nearness of the frames of all tokens and pieces, None for a distance that does not look at neighbours.
    """

    def __init__(
        self,
        tokens: Frames,
        frames: FrameSource,
        distance: Distance | NeighbourDistance,
        *,
        workers: int = 1,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._tokens = tokens
        self._frames = frames
        self._distance: Any = distance
        self.near: Nearness | None = None
        if isinstance(distance, NeighbourDistance):
            block = memory_bytes // (tokens.values.shape[1] * 8 + 16)
            self.near = nearness(tokens, frames, distance.neighbours, workers=workers, block_frames=block)
            self._firsts = np.concatenate([[0], np.cumsum(np.asarray(frames.lengths))])
        self._side = None
        if isinstance(distance, GramDistance | NeighbourDistance):
            self._side = _side(tokens.values, self._known(queries=True), extra=-1)

    def __call__(self, piece: int, tokens: range | None = None) -> list[Floats]:
        """Costs of the tokens (all of them: None) and one piece, float32 (query_frames, frames) each."""
        tokens = range(len(self._tokens)) if tokens is None else tokens
        values = self._frames.read(piece, piece + 1).values
        if self._side is None:
            return [self._slow(token, values) for token in tokens]
        offsets = self._tokens.offsets
        first, last = int(offsets[tokens.start]), int(offsets[tokens.stop])
        queries = self._side.part(slice(first, last))
        pieces = _side(values, self._known(queries=False, piece=piece), extra=1)
        tile = np.empty((len(values), last - first), np.float32)
        with one_torch_thread():
            products.product(pieces.unit, queries.unit, tile, 0, products.Workspace())
            known = pieces.known(self._distance)[:, None], queries.known(self._distance)[None, :]
            self._distance.finish(torch.from_numpy(tile), *known)
        bounds = offsets[tokens.start : tokens.stop + 1] - first
        return [np.negative(tile[:, begin:end].T) for begin, end in pairwise(bounds)]

    def _known(self, *, queries: bool, piece: int = 0) -> dict[int, Floats]:
        """Nearness of the frames of all tokens, or of a piece, where the distance wants it."""
        if self.near is None:
            return {}
        here = slice(None) if queries else slice(int(self._firsts[piece]), int(self._firsts[piece + 1]))
        return {self._distance.neighbours: (self.near.queries if queries else self.near.utterances)[here]}

    def _slow(self, token: int, values: Floats) -> Floats:
        cost = np.asarray(self._distance.cost(self._tokens[token], values), np.float32)
        if cost.shape != (len(self._tokens[token]), len(values)) or not np.isfinite(cost).all():
            raise PluginError(f"{type(self._distance).__name__}: costs of a wrong shape, or not finite")
        return cost


def _side(values: Floats, near: dict[int, Floats], *, extra: float) -> tiles.Side:
    norms = np.sqrt(np.einsum("fd,fd->f", values, values, dtype=np.float64))
    return tiles.side(values, norms, near, np.arange(len(values)), extra=extra, precision="float32")
