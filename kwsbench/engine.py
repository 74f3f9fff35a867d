"""Scores of all pairs, tile by tile.

At 768 dimensions the matrix product of query and utterance frames is about 98% of the work, so one
tile of products serves every distance of the gram family and every alignment. Utterances are read
in blocks that fit a memory budget; a job is one group of 32 queries against a run of utterances.

A distance that knows its neighbours needs more than the tile: one more pass over all utterances,
before any score. On a GPU the tiles are made by ``kwsbench.cuda_engine``, in a pass of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from kwsbench import dtw, gpu, plugins, products, tiles
from kwsbench.errors import KwsbenchError, PluginError
from kwsbench.neighbours import Nearness, nearness
from kwsbench.spec import parse
from kwsbench.threads import one_torch_thread, take_torch_threads
from kwsbench.tiles import runs
from kwsbench.types import (
    Alignment,
    CostMatcher,
    Distance,
    Frames,
    FrameSource,
    GramDistance,
    Match,
    Matcher,
    NeighbourDistance,
    PairMatcher,
    Progress,
    Scores,
    no_progress,
)

MEMORY_BYTES = 2**30
# The square of a larger norm does not fit float32.
HUGE_NORM = 1e18

Cell = tuple[Distance | NeighbourDistance, Matcher]
Told = Callable[[Sequence[str]], None]


def score_pairs(
    queries: Frames,
    utterances: FrameSource,
    distance: str | Distance = "cosine",
    matcher: str | Matcher = "sdtw",
    workers: int = 1,
) -> Scores:
    """Score every query against every utterance: arrays of shape (queries, utterances), higher is better.

    distance and matcher are names with parameters (``sdtw:steps=asymmetric``) or objects. Under
    ``sdtw`` a score is minus the mean cost per query frame, and the span is where the query lies.

    >>> score_pairs(queries, utterances, matcher="sdtw:normalize=path").scores.argmax(axis=1)
    """
    registry = plugins.load() if isinstance(distance, str) or isinstance(matcher, str) else plugins.Registry()
    cell: Cell = (
        registry.create("distances", parse(distance)) if isinstance(distance, str) else distance,
        registry.create("matchers", parse(matcher)) if isinstance(matcher, str) else matcher,
    )
    (scores,) = score_grid(queries, utterances, [cell], workers=workers, memory_bytes=MEMORY_BYTES)
    return scores


def _nobody(_: Sequence[str]) -> None:
    """Tell nobody."""


def score_grid(  # noqa: PLR0913 - each of them is somebody's option
    queries: Frames,
    utterances: FrameSource,
    cells: Sequence[Cell],
    *,
    workers: int,
    memory_bytes: int,
    progress: Progress = no_progress,
    apart: npt.NDArray[np.bool_] | None = None,
    precision: str = "float32",
    device: str = "cpu",
    scored_on: Told = _nobody,
) -> list[Scores]:
    """Scores (queries, utterances) of each (distance, matcher), all from one pass over the utterances.

    apart: (queries, utterances), True for pairs of one recording: they are scored, but a distance that
    looks at neighbours does not look there. memory_bytes bounds what is held of the utterances (at
    least one of them is); the scores themselves and some tens of megabytes for each worker come on top.
    Neither it nor workers changes a score by more than the rounding of the matrix product, and
    precision (one of ``products.PRECISIONS``) says how coarse that is. It touches nothing else: a
    distance without ``finish`` and a matcher that is no Alignment work from the frames as they are, and
    nearness is float32. A query or utterance without frames scores -inf. Raises KwsbenchError on
    frames that are not finite or not of one dimension, and on a precision that is unknown or not to be had.

    device ``cuda`` scores on a GPU what is a matrix product and an Alignment, in one of
    ``cuda_engine.PRECISIONS``, and the rest on the CPU; ``auto`` does where there is a GPU. Where there is
    none, or it is too small, the CPU scores all, in float32 with the same answers up to rounding, and a line
    says so (none under ``auto`` without a GPU). scored_on is told where each cell was scored, cpu or cuda.
    """
    lengths = np.asarray(utterances.lengths)
    on_gpu = gpu.is_chosen(device, precision)
    check(queries, lengths, cells, "float32" if on_gpu else precision)
    block_frames = frames_within(memory_bytes, queries)
    wanted = sorted({distance.neighbours for distance, _ in cells if isinstance(distance, NeighbourDistance)})
    near = {k: nearness(queries, utterances, k, apart, workers=workers, block_frames=block_frames) for k in wanted}
    run = _Run(queries, cells, len(lengths), near, "float32" if on_gpu else precision)
    there = run.score_on_gpu(utterances, precision, progress) if on_gpu else []
    with one_torch_thread(), ThreadPoolExecutor(max(1, workers), initializer=take_torch_threads) as pool:
        for first, last in runs(lengths, block_frames) if len(there) < len(cells) else ():
            block = utterances.read(first, last)
            futures = [pool.submit(job) for job in run.jobs(block, first)]
            try:
                for done, future in enumerate(as_completed(futures), start=1):
                    future.result()
                    progress("score", first + (last - first) * done // len(futures), len(lengths))
            finally:
                for future in futures:
                    future.cancel()
    scored_on(["cuda" if index in there else "cpu" for index in range(len(cells))])
    return run.scores


def check(queries: Frames, lengths: npt.NDArray[np.int64], cells: Sequence[Cell], precision: str) -> None:
    """Raise KwsbenchError on what cannot be scored, as far as it is seen without the utterances' frames."""
    for distance, matcher in cells:
        _check_cell(distance, matcher)
    products.check(precision, queries.values.shape[1])
    if len(lengths) and lengths.max() >= dtw.MAX_FRAMES:
        raise KwsbenchError(
            f"utterance {lengths.argmax()} has {lengths.max()} frames, expected < {dtw.MAX_FRAMES}; cut it"
        )


def frames_within(memory_bytes: int, queries: Frames) -> int:
    """Utterance frames of a block: as they came, and made ready for the product."""
    dims: int = queries.values.shape[1]
    return memory_bytes // (dims * 8 + 16)


class _Run:
    """The queries made ready, and the scores that jobs fill in."""

    def __init__(
        self, queries: Frames, cells: Sequence[Cell], utterances: int, near: Mapping[int, Nearness], precision: str
    ) -> None:
        self.queries = queries
        self.scores = [no_scores(len(queries), utterances) for _ in cells]
        self._cells = cells
        self._near = near
        self._precision = precision
        self._workspace = products.Workspace()
        self._slow: list[int] = []
        self._pooled: list[int] = []
        shared: dict[tuple[int, str], tiles.Finish] = {}
        for index, (distance, matcher) in enumerate(cells):
            if not isinstance(matcher, Alignment):
                (self._pooled if isinstance(matcher, PairMatcher) else self._slow).append(index)
            elif isinstance(distance, GramDistance | NeighbourDistance):
                finish = tiles.Finish(distance, matcher.rows, {})
                shared.setdefault((id(distance), matcher.rows), finish).alignments[index] = matcher
            else:
                self._slow.append(index)
        self._finishes = list(shared.values())
        self._layouts = dtw.pack(queries.offsets)
        self._norms = norms_of(queries, "query", 0)
        self._seen = 0

    @cached_property
    def _side(self) -> tiles.Side:
        """The queries, made ready when the first tile is multiplied."""
        order = np.concatenate([layout.frames for layout in self._layouts])
        of_queries = {k: found.queries for k, found in self._near.items()}
        return tiles.side(self.queries.values, self._norms, of_queries, order, extra=-1, precision=self._precision)

    def score_on_gpu(self, utterances: FrameSource, precision: str, progress: Progress) -> list[int]:
        """Score all cells that have a fast path, so that ``jobs`` leaves them out: which; none, if they do not fit."""
        found = gpu.score(self.queries, utterances, self._finishes, self._near, precision=precision, progress=progress)
        for index, scores in found.items():
            self.scores[index] = scores
        if found:
            self._finishes = []
        return list(found)

    def jobs(self, block: Frames, first: int) -> Iterator[Callable[[], None]]:
        """The work on the next block of utterances, in pieces that may run at the same time."""
        if block.values.shape[1] != self.queries.values.shape[1]:
            raise KwsbenchError(
                f"queries have {self.queries.values.shape[1]} dimensions, utterances {block.values.shape[1]}; "
                "use the same encoder, layer and transforms for both"
            )
        norms = norms_of(block, "utterance", first)
        here = slice(self._seen, self._seen + len(norms))
        self._seen = here.stop
        near = {k: found.utterances[here] for k, found in self._near.items()}
        for index in self._pooled:
            yield lambda index=index: self._pool(index, block, first)  # type: ignore[misc]
        for index in self._slow:
            for item in range(len(block)):
                yield (
                    lambda index=index, item=item: self._one_by_one(index, block, item, first, near)  # type: ignore[misc]
                )
        if self._finishes and len(block.values):
            utterances = tiles.side(
                block.values, norms, near, np.arange(len(norms)), extra=1, precision=self._precision
            )
            stretches = list(runs(block.lengths, tiles.JOB_FRAMES))
            column = 0
            for layout in self._layouts:
                queries = self._side.part(slice(column, column + len(layout.frames)))
                column += len(layout.frames)
                for begin, end in stretches:
                    offsets = block.offsets[begin : end + 1]
                    yield (
                        lambda layout=layout, queries=queries, offsets=offsets, at=first + begin: self._align(  # type: ignore[misc]
                            layout, queries, utterances, offsets, at
                        )
                    )

    def _align(
        self,
        layout: dtw.Layout,
        queries: tiles.Side,
        utterances: tiles.Side,
        offsets: npt.NDArray[np.int64],
        first: int,
    ) -> None:
        """Every shared product's distances and alignments, of one group of queries and the utterances at offsets."""
        mine = utterances.part(slice(int(offsets[0]), int(offsets[-1])))
        aligned = tiles.align(layout, queries, mine, offsets - offsets[0], self._finishes, self._workspace)
        for index, found in aligned.items():
            for whole, part in zip(self.scores[index], found, strict=True):
                whole[layout.queries, first : first + len(offsets) - 1] = part

    def _one_by_one(
        self, index: int, block: Frames, item: int, first: int, near: Mapping[int, npt.NDArray[np.float32]]
    ) -> None:
        """A distance or a matcher that is a plain function: all queries against one utterance of a block."""
        distance, matcher = self._cells[index]
        scores, starts, ends = self.scores[index]
        utterance, at = block[item], first + item
        for query in range(len(self.queries) if len(utterance) else 0):
            if not len(self.queries[query]):
                continue
            known = []
            if isinstance(distance, NeighbourDistance):
                mine, its = self.queries.offsets[query : query + 2], block.offsets[item : item + 2]
                k = distance.neighbours
                known = [self._near[k].queries[mine[0] : mine[1]], near[k][its[0] : its[1]]]
            cost = _cost(distance, self.queries[query], utterance, *known)
            match = dtw.align(cost, matcher) if isinstance(matcher, Alignment) else _match(matcher, cost)
            scores[query, at], starts[query, at], ends[query, at] = -match.cost, match.start, match.end

    def _pool(self, index: int, block: Frames, first: int) -> None:
        """A matcher without alignment: all queries against a block."""
        distance, matcher = self._cells[index]
        found = matcher.score(self.queries, block, distance, first_utterance=first)  # type: ignore[union-attr, arg-type]
        nothing = (self.queries.lengths == 0)[:, None] | (block.lengths == 0)[None, :]
        for whole, part, none in zip(self.scores[index], found, (-np.inf, -1, -1), strict=True):
            if np.shape(part) != nothing.shape:
                raise PluginError(f"{_name(matcher)}: scores of shape {np.shape(part)}, expected {nothing.shape}")
            whole[:, first : first + len(block)] = np.where(nothing, none, part)


def _check_cell(distance: object, matcher: object) -> None:
    if not isinstance(distance, Distance):
        raise KwsbenchError(f"{_name(distance)} is no distance: it has no cost(x, y)")
    if isinstance(matcher, Alignment):
        dtw.check(matcher)
    elif not isinstance(matcher, CostMatcher | PairMatcher):
        raise KwsbenchError(f"{_name(matcher)} is no matcher: it has neither match(cost) nor score(queries, …)")
    elif isinstance(matcher, PairMatcher) and isinstance(distance, NeighbourDistance):
        raise KwsbenchError(f"{_name(matcher)} aligns no frames, so {_name(distance)} has no neighbours to look at")


def _cost(
    distance: Any, query: npt.NDArray[np.float32], utterance: npt.NDArray[np.float32], *known: npt.NDArray[np.float32]
) -> Any:
    cost = np.asarray(distance.cost(query, utterance, *known))
    if cost.shape != (len(query), len(utterance)):
        expected = (len(query), len(utterance))
        raise PluginError(f"{_name(distance)}: costs of shape {cost.shape}, expected {expected}")
    if not np.isfinite(cost).all():
        raise PluginError(f"{_name(distance)}: costs that are not finite; clamp them")
    return cost


def _match(matcher: Any, cost: Any) -> Match:
    match = Match(*matcher.match(cost))
    if np.isnan(match.cost):
        raise PluginError(f"{_name(matcher)}: a cost that is NaN; return inf where nothing matches")
    return match if np.isfinite(match.cost) else Match(np.inf, -1, -1)


def norms_of(frames: Frames, what: str, first: int) -> npt.NDArray[np.float64]:
    """Norms of all frames, float64 (frames,). Raises KwsbenchError on a frame that is not finite."""
    norms: npt.NDArray[np.float64] = np.sqrt(np.einsum("fd,fd->f", frames.values, frames.values, dtype=np.float64))
    good = norms < HUGE_NORM  # false for NaN
    if not good.all():
        frame = int(np.argmin(good))
        item = int(np.searchsorted(frames.offsets, frame, "right")) - 1
        frame -= int(frames.offsets[item])
        raise KwsbenchError(
            f"{what} {first + item}: frame {frame} is not finite (or its norm is past {HUGE_NORM:.0e}); "
            "check its encoder and transforms"
        )
    return norms


def no_scores(queries: int, utterances: int) -> Scores:
    shape = (queries, utterances)
    return Scores(
        np.full(shape, -np.inf, dtype=np.float32),
        np.full(shape, -1, dtype=np.int32),
        np.full(shape, -1, dtype=np.int32),
    )


def _name(thing: object) -> str:
    return thing.__name__ if isinstance(thing, type) else type(thing).__name__
