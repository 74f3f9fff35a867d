"""How near each frame is to its neighbours at large: what tells hubs, near to everything, from true matches.

A frame's *nearness* is its mean cosine with the k frames nearest to it on the other side: of all
utterances for a query's frame, of all queries for an utterance's (Conneau et al. 2018, "Word
translation without parallel data", section 2.3: r_T and r_S). Frames of one recording lie apart
from their neighbours: a query that is also searched would else be its own nearest neighbour.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from kwsbench.threads import one_torch_thread, take_torch_threads
from kwsbench.tiles import runs
from kwsbench.types import Frames, FrameSource

Floats = npt.NDArray[np.float32]

# Utterance frames and query frames of a tile of cosines: 16 MiB for each worker.
_TILE_ROWS, _TILE_COLUMNS = 512, 8192
_TINY_NORM = 1e-30


class Nearness(NamedTuple):
    """Mean cosine of each frame with its nearest ones on the other side: float32 (frames,). 0 where there are none."""

    queries: Floats
    utterances: Floats


def nearness(
    queries: Frames,
    utterances: FrameSource,
    neighbours: int,
    apart: npt.NDArray[np.bool_] | None = None,
    *,
    workers: int = 1,
    block_frames: int = 65_536,
) -> Nearness:
    """Nearness of all query frames and all utterance frames; one pass over the utterances.

    apart: (queries, utterances), True for pairs that are no neighbours (of one recording). With fewer
    than ``neighbours`` frames on the other side, the mean is over those that there are.
    """
    lengths = np.asarray(utterances.lengths)
    unit = _unit(queries.values)
    columns = list(runs(queries.lengths, _TILE_COLUMNS))
    best_of_queries = np.full((len(unit), neighbours), -np.inf, np.float32)
    found: list[Floats] = [np.zeros(0, np.float32)]
    with one_torch_thread(), ThreadPoolExecutor(max(1, workers), initializer=take_torch_threads) as pool:
        for first, last in runs(lengths, block_frames):
            block = utterances.read(first, last)
            best = np.full((len(block.values), neighbours), -np.inf, np.float32)
            together = None if apart is None else apart[:, first:last]

            def one_side(span: tuple[int, int], block: Frames = block, together: Any = together) -> Floats:
                return _scan(unit, queries.offsets, span, block, together, best_of_queries)

            for part in pool.map(one_side, columns):
                best = np.partition(np.concatenate([best, part], axis=1), neighbours, axis=1)[:, neighbours:]
            found.append(_mean(best))
    return Nearness(_mean(best_of_queries), np.concatenate(found))


def _scan(
    unit: torch.Tensor,
    offsets: npt.NDArray[np.int64],
    span: tuple[int, int],
    block: Frames,
    apart: npt.NDArray[np.bool_] | None,
    best_of_queries: Floats,
) -> Floats:
    """The best cosines of a block's frames with the queries of a span (frames, k); those of the queries in place."""
    begin, stop = int(offsets[span[0]]), int(offsets[span[1]])
    mine = best_of_queries[begin:stop]
    best = np.full((len(block.values), mine.shape[1]), -np.inf, np.float32)
    for first, last in runs(block.lengths, _TILE_ROWS):
        rows = slice(int(block.offsets[first]), int(block.offsets[last]))
        cosines = (_unit(block.values[rows]) @ unit[begin:stop].T).numpy()
        if apart is not None:
            for query, utterance in np.argwhere(apart[span[0] : span[1], first:last]):
                at = block.offsets[first + utterance : first + utterance + 2] - rows.start
                to = offsets[span[0] + query : span[0] + query + 2] - begin
                cosines[at[0] : at[1], to[0] : to[1]] = -np.inf
        _keep_best(cosines, best[rows], mine)
    return best


@njit(nogil=True, cache=True)
def _keep_best(cosines: Any, of_rows: Any, of_columns: Any) -> None:
    """Put each cosine where it belongs among the best of its row and of its column, which fall from left to right."""
    k = of_rows.shape[1]
    for row in range(cosines.shape[0]):
        for column in range(cosines.shape[1]):
            value = cosines[row, column]
            if value > of_rows[row, k - 1]:
                _insert(of_rows[row], value)
            if value > of_columns[column, k - 1]:
                _insert(of_columns[column], value)


@njit(nogil=True, cache=True)
def _insert(best: Any, value: Any) -> None:
    at = len(best) - 1
    while at > 0 and best[at - 1] < value:
        best[at] = best[at - 1]
        at -= 1
    best[at] = value


def _mean(best: Floats) -> Floats:
    """(frames, k) → (frames,), without the places that nothing filled."""
    filled = best > -np.inf
    sums = np.where(filled, best, 0).sum(axis=1, dtype=np.float64)
    means: Floats = (sums / np.maximum(filled.sum(axis=1), 1)).astype(np.float32)
    return means


def _unit(values: Floats) -> torch.Tensor:
    norms = np.sqrt(np.einsum("fd,fd->f", values, values, dtype=np.float64))
    return torch.from_numpy((values / np.maximum(norms, _TINY_NORM)[:, None]).astype(np.float32))
