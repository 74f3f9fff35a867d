"""Search that does not read everything: all utterances by short, coarse frames, then the best share of them exactly.

Coarse frames are means of neighbouring frames (``pool``), their shares along the principal directions (``dims``), or
both. Scores, starts and ends of hits are those of an exhaustive search, of the full frames; what a coarse stage can do
wrong is to leave an utterance out. How often it does, and what is gained, is measured by ``benchmarks/coarse.py``.

An item is kept or left out as a whole: cut long recordings in windows first (items of a FrameSource; a hit's frames
count from its window's first), on multiples of ``pool`` if their coarse frames are to be parts of the recording's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from kwsbench import dtw
from kwsbench.engine import MEMORY_BYTES, score_grid
from kwsbench.errors import KwsbenchError
from kwsbench.isotropy import read_blocks
from kwsbench.store import fingerprint
from kwsbench.threads import one_torch_thread
from kwsbench.types import (
    Alignment,
    CostMatcher,
    Distance,
    Frames,
    FrameSource,
    GramDistance,
    NeighbourDistance,
    Scores,
)

KEEP = 0.12
"""The share of utterances that is scored exactly."""

LEAST = 3
"""At least so many times the hits asked for are scored exactly, however few that share is."""


FEW_QUERIES = 8
"""So few leave most lanes of the engine's kernel empty; utterances are laid in the lanes instead."""

# A frame of a smaller norm counts as silence, as in the engine: its cosine with everything is 0.
_TINY_NORM = 1e-30
_NO_HIT = (-np.inf, -1, -1)


class Hits(NamedTuple):
    """The best utterances of each query, best first: (queries, top). starts and ends are frames, both included.

    Where a query matches fewer utterances, utterance, start and end are -1 and the score is -inf.
    """

    utterances: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    starts: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Coarse:
    """A map from frames to fewer and shorter ones.

    pool: so many neighbouring frames become their mean; an item's last few may be fewer. directions: float32
    (dims, kept), orthonormal columns, or None. Both are linear, so their order does not matter.
    """

    pool: int = 2
    directions: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.pool < 1:
            raise KwsbenchError(f"pool={self.pool}: expected the number of frames to average, at least 1")

    @classmethod
    def fit(cls, frames: npt.NDArray[np.float32], *, pool: int = 2, dims: int = 0) -> Coarse:
        """Coarse frames of ``dims`` directions, those of most energy in frames (n, d); 0 keeps all dimensions.

        The frames are not centred: cosines are angles at the origin, and moving it would change them.
        """
        if not 0 <= dims <= frames.shape[1]:
            raise KwsbenchError(f"dims={dims}: the frames have {frames.shape[1]} dimensions; use fewer, or 0 for all")
        return cls(pool, _principal(frames, dims) if dims else None)

    @property
    def key(self) -> str:
        """What pins the map, for names of files."""
        directions = None if self.directions is None else self.directions.tobytes().hex()
        return fingerprint({"pool": self.pool, "directions": directions})[:16]

    def lengths(self, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many coarse frames items of so many frames have: (items,)."""
        return -(-lengths // self.pool)

    def __call__(self, frames: Frames) -> Frames:
        """The coarse frames of each item, items in order."""
        lengths = self.lengths(frames.lengths)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        values = frames.values
        if self.pool > 1 and len(values):
            item = np.repeat(np.arange(len(frames)), lengths)
            firsts = frames.offsets[item] + (np.arange(offsets[-1]) - offsets[item]) * self.pool
            sizes = np.minimum(firsts + self.pool, frames.offsets[item + 1]) - firsts
            values = np.add.reduceat(values, firsts, axis=0) / sizes[:, None].astype(np.float32)
        if self.directions is not None:
            values = values @ self.directions
        return Frames(values, offsets)


@dataclass(frozen=True)
class CoarseSource:
    """A FrameSource's coarse frames, made when they are read."""

    source: FrameSource
    coarse: Coarse

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Coarse frames of each item: int64 (items,)."""
        return self.coarse.lengths(self.source.lengths)

    def read(self, first: int, last: int) -> Frames:
        """Items first to last (exclusive)."""
        return self.coarse(self.source.read(first, last))


def search(  # noqa: PLR0913 - options, each by its name
    queries: Frames,
    utterances: FrameSource,
    coarse: Coarse,
    distance: Distance,
    matcher: Alignment | CostMatcher,
    *,
    keep: float = KEEP,
    top: int = 10,
    coarse_utterances: FrameSource | None = None,
    apart: npt.NDArray[np.bool_] | None = None,
    workers: int = 1,
) -> Hits:
    """The best ``top`` utterances of each query among those that a coarse stage keeps: arrays (queries, top).

    keep: the share of utterances that each query is scored against exactly, LEAST * top of them at least; with 1
    nothing is left out and the coarse stage is not run. coarse_utterances: their coarse frames, where they are
    there already. apart: (queries, utterances), True for pairs that are no hits (a query's own recording).
    Ties go to the earlier utterance. Raises KwsbenchError for a distance that needs all utterances to score one,
    and for a matcher that does not align: both are exact only when nothing is left out.
    """
    _check(distance, matcher, keep, top)
    lengths = np.asarray(utterances.lengths)
    shape = (len(queries), len(lengths))
    if apart is not None and apart.shape != shape:
        raise KwsbenchError(f"apart has shape {apart.shape}, expected {shape}")
    count = min(len(lengths), max(math.ceil(keep * len(lengths)), LEAST * top))
    kept = np.ones(shape, dtype=bool) if apart is None else ~apart
    if count < len(lengths):
        source = coarse_utterances or CoarseSource(utterances, coarse)
        if not np.array_equal(source.lengths, coarse.lengths(lengths)):
            raise KwsbenchError("coarse_utterances are not of these utterances; make them anew with this Coarse")
        rough = score(coarse(queries), source, distance, matcher, workers=workers)
        order = np.argsort(np.where(kept, -rough.scores, np.inf), axis=1, kind="stable")[:, :count]
        chosen = np.zeros_like(kept)
        np.put_along_axis(chosen, order, values=True, axis=1)
        kept &= chosen
        exact = _score_kept(queries, utterances, kept, distance, matcher)
    else:
        exact = score(queries, utterances, distance, matcher, workers=workers)
    masked: list[Any] = [
        np.where(kept, part, np.array(no, part.dtype)) for part, no in zip(exact, _NO_HIT, strict=True)
    ]
    best = np.argsort(-masked[0], axis=1, kind="stable")[:, :top]
    hits = [np.take_along_axis(part, best, axis=1) for part in masked]
    return Hits(np.where(np.isneginf(hits[0]), -1, best), *hits)


def score(
    queries: Frames,
    utterances: FrameSource,
    distance: Distance,
    matcher: Alignment | CostMatcher,
    *,
    workers: int = 1,
) -> Scores:
    """Scores (queries, utterances) of every pair: the engine's, or for a few queries the same in another way."""
    if len(queries) > FEW_QUERIES or not _fits_lanes(distance, matcher):
        cells = [(distance, matcher)]
        return score_grid(queries, utterances, cells, workers=workers, memory_bytes=MEMORY_BYTES)[0]
    everything = np.ones((len(queries), len(utterances.lengths)), dtype=bool)
    return _score_kept(queries, utterances, everything, distance, matcher)


def _check(distance: Distance, matcher: object, keep: float, top: int) -> None:
    if not 0 < keep <= 1 or top < 1:
        raise KwsbenchError(f"keep={keep:g}, top={top}: expected a share in (0, 1] and at least one hit")
    if isinstance(distance, NeighbourDistance):
        raise KwsbenchError(
            f"{type(distance).__name__} looks at neighbours among all utterances, so no share of them scores exactly; "
            "search exhaustively with score_pairs"
        )
    if not isinstance(matcher, Alignment | CostMatcher):
        raise KwsbenchError(f"{type(matcher).__name__} aligns no frames; search exhaustively with score_pairs")


def _score_kept(
    queries: Frames,
    utterances: FrameSource,
    kept: npt.NDArray[np.bool_],
    distance: Distance,
    matcher: Alignment | CostMatcher,
) -> Scores:
    """Exact scores (queries, utterances) of the pairs that are kept, -inf for the others. Utterances are read once."""
    lengths = np.asarray(utterances.lengths)
    found = Scores(
        np.full(kept.shape, -np.inf, np.float32), np.full(kept.shape, -1, np.int32), np.full(kept.shape, -1, np.int32)
    )
    wanted = np.flatnonzero(np.any(kept, axis=0) & (lengths > 0))
    most = MEMORY_BYTES // (queries.values.shape[1] * 8 + 16)
    chunk = np.cumsum(lengths[wanted]) // most
    with one_torch_thread():
        for items in np.split(wanted, np.flatnonzero(np.diff(chunk)) + 1) if len(wanted) else []:
            block = _gather(utterances, items)
            ready = _Unit.of(block) if _fits_lanes(distance, matcher) else None
            for query in np.flatnonzero(queries.lengths).tolist():
                mine = np.flatnonzero(kept[query, items])
                if not len(mine):
                    continue
                one = queries.read(query, query + 1)
                if ready is not None:
                    part = _align_lanes(one, ready, block.offsets, mine, distance, matcher)
                else:
                    cells = [(distance, matcher)]
                    grid = score_grid(one, _gather(block, mine), cells, workers=1, memory_bytes=MEMORY_BYTES)[0]
                    part = Scores(*(values[0] for values in grid))
                for whole, values in zip(found, part, strict=True):
                    whole[query, items[mine]] = values
    return found


def _gather(source: FrameSource, items: npt.NDArray[np.intp]) -> Frames:
    """Some items of a source, in rising order, of which neighbours are read together."""
    runs = np.split(items, np.flatnonzero(np.diff(items) > 1) + 1)
    parts = [source.read(int(run[0]), int(run[-1]) + 1) for run in runs]
    if len(parts) == 1:
        return parts[0]
    offsets = np.concatenate([[0], np.cumsum(np.concatenate([part.lengths for part in parts]))])
    return Frames(np.concatenate([part.values for part in parts]), offsets)


def _fits_lanes(distance: Distance, matcher: object) -> bool:
    """Whether utterances can be laid in the lanes: ends of their own, and no costs that depend on the others."""
    subsequence = isinstance(matcher, Alignment) and not matcher.whole and matcher.rows == "none"
    return subsequence and isinstance(distance, GramDistance)


class _Unit(NamedTuple):
    """Frames of norm 1, float32 (frames, dims), and what their norms (frames,) were."""

    values: torch.Tensor
    norms: torch.Tensor

    @classmethod
    def of(cls, frames: Frames) -> _Unit:
        norms = np.sqrt(np.einsum("fd,fd->f", frames.values, frames.values, dtype=np.float64))
        if not np.isfinite(norms).all():
            raise KwsbenchError(f"frame {np.argmin(np.isfinite(norms))} of a block is not finite; check its encoder")
        unit = (frames.values / np.maximum(norms, _TINY_NORM)[:, None]).astype(np.float32)
        return cls(torch.from_numpy(unit), torch.from_numpy(norms.astype(np.float32)))


def _align_lanes(
    query: Frames,
    utterances: _Unit,
    offsets: npt.NDArray[np.int64],
    items: npt.NDArray[np.intp],
    distance: Any,
    alignment: Any,
) -> Scores:
    """Scores (items,) of one query with some utterances of a block, 32 of like length at a time in the kernel's lanes.

    To the kernel these are 32 copies of the query in one utterance; behind the end of its own, a lane's costs are
    infinite, so no path ends there.
    """
    frames = len(query.values)
    (layout,) = dtw.pack(np.arange(dtw.LANES + 1) * frames)
    unit = _Unit.of(query)
    found = Scores(np.empty(len(items), np.float32), np.empty(len(items), np.int32), np.empty(len(items), np.int32))
    by_length = np.argsort(-np.diff(offsets)[items], kind="stable")
    for group in (by_length[at : at + dtw.LANES] for at in range(0, len(items), dtw.LANES)):
        firsts, lasts = offsets[items[group]], offsets[items[group] + 1]
        longest = int((lasts - firsts).max())
        aligner = dtw.Aligner(alignment, layout, np.array([0, longest]))
        size = dtw.tile_frames(layout, longest)
        tile = dtw.aligned(size, layout.rows * dtw.LANES)
        for begin in range(0, longest, size):
            here = np.minimum(firsts + begin, lasts)
            counts = np.minimum(lasts - here, size)
            starts = np.cumsum(counts) - counts
            rows = torch.from_numpy(np.repeat(here - starts, counts) + np.arange(counts.sum()))
            product = torch.mm(utterances.values[rows], unit.values.T).sub_(1)
            distance.finish(product, utterances.norms[rows, None], unit.norms[None, :])
            fed = tile[: min(size, longest - begin)]
            _lay(product.numpy(), starts, counts, layout.rows - frames, fed)
            aligner.feed(fed)
        for whole, part in zip(found, aligner.scores(), strict=True):
            whole[group] = part[: len(group), 0]
    return found


def _lay_loops(product: Any, starts: Any, counts: Any, padding: int, tile: Any) -> None:
    """Costs of each lane's utterance frames (frames, query frames) into a tile (frames, rows * 32)."""
    for frame in range(len(tile)):
        target = tile[frame]
        for lane in range(len(starts)):
            if frame < counts[lane]:
                source = product[starts[lane] + frame]
                for row in range(len(source)):
                    target[(padding + row) * 32 + lane] = source[row]
            else:
                target[padding * 32 + lane :: 32] = -np.inf


_lay = njit(nogil=True, cache=True)(_lay_loops)


def _principal(frames: npt.NDArray[np.float32], dims: int) -> npt.NDArray[np.float32]:
    """The directions of most energy of frames (n, d), float32 (d, dims): eigenvectors of their second moments."""
    moments = np.zeros((frames.shape[1], frames.shape[1]))
    for _, block in read_blocks(frames):
        moments += block.T @ block
    _, vectors = np.linalg.eigh(moments)
    return np.ascontiguousarray(vectors[:, ::-1][:, :dims], dtype=np.float32)
