"""The best places of an archive, as if every frame of it had been looked at, of which only the best pieces are.

The engine's best hit in a piece is more than any end there can score. So pieces are opened, their profiles made, from
the best on, and no longer when the next one's best is less than the best end that is still free: a threshold algorithm
(Fagin, Lotem & Naor 2003, "Optimal aggregation algorithms for middleware"). For the N best hits it opens little more
than N pieces.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kwsbench import utterance_lanes
from kwsbench.engine import MEMORY_BYTES
from kwsbench.errors import KwsbenchError
from kwsbench.localisation import spans_s
from kwsbench.search import peaks, profiles
from kwsbench.search.costs import Costs
from kwsbench.search.pooling import Levels, Pooled, barycentre, bounds, check_pool, levels, pooled
from kwsbench.types import Alignment, Distance, Frames, FrameSource, Matcher, NeighbourDistance, Scores

# The engine multiplies the same frames in other tiles: its scores and those of a profile differ by rounding, about 1e-6
# of them. A thousand times as much opens a piece in a hundred more than needed.
_SLACK = 1e-3
# Where a piece held more than it promised by that, others may by some more.
_SAFETY = 4.0


class Places(NamedTuple):
    """Of each piece: which recording it is cut from, and from where to where there. Each (pieces,)."""

    recordings: npt.NDArray[np.int64]
    starts_s: npt.NDArray[np.float64]
    ends_s: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Searched:
    """What is searched, and how: pieces and their places, what lays a token on them, and how several are pooled.

    Frame i of a piece is centred ``first_centre_s + i * frame_shift_s`` after it begins.
    """

    frames: FrameSource
    places: Places
    distance: Distance | NeighbourDistance
    matcher: Matcher
    frame_shift_s: float
    first_centre_s: float
    pool: str = "best"
    workers: int = 1
    memory_bytes: int = MEMORY_BYTES

    def __post_init__(self) -> None:
        check_pool(self.pool)
        if isinstance(self.matcher, Alignment):
            profiles.check(self.matcher)
        self._check_places()

    def _check_places(self) -> None:
        """Raise KwsbenchError unless each frame of each piece stands for some time of the piece."""
        lengths = np.asarray(self.frames.lengths)
        if any(len(part) != len(lengths) for part in self.places):
            counts = ", ".join(str(len(part)) for part in self.places)
            raise KwsbenchError(f"{len(lengths)} pieces, but places of {counts}; give each piece one")
        last_s = self.first_centre_s + (lengths - 1.5) * self.frame_shift_s
        late = (lengths > 0) & (last_s >= self.places.ends_s - self.places.starts_s)
        if late.any():
            piece = int(np.argmax(late))
            length_s = self.places.ends_s[piece] - self.places.starts_s[piece]
            raise KwsbenchError(
                f"piece {piece} lasts {length_s:g} s, too short for its {lengths[piece]} frames of "
                f"{self.frame_shift_s:g} s; check its place and the encoder's frame shift"
            )


class RankedHit(NamedTuple):
    """One place, in seconds of its recording.

    score: pooled, and levelled where the Ranking's note is empty. token: the one that suits best, whose path runs from
    frame ``first`` to frame ``last`` of the piece, both included.
    """

    recording: int
    start_s: float
    end_s: float
    score: float
    token: int
    piece: int
    first: int
    last: int


class Ranking(NamedTuple):
    """Hits, best first, no two of which overlap; note: why scores are not levelled, "" where they are.

    queries: the tokens that were laid on the pieces: those that were given, or the one that they were averaged to.
    """

    hits: tuple[RankedHit, ...]
    note: str
    queries: Frames


def rank(
    tokens: Frames, searched: Searched, *, top: int = 50, leave_out: Mapping[int, peaks.Spans] | None = None
) -> Ranking:
    """The ``top`` best places of all pieces for a word, of which each item of tokens is an example.

    What an exhaustive search would rank first, exactly: of all ends of all pieces the best one, then the best whose
    span overlaps none before it (``peaks``), in the time of the recording, since pieces may overlap. Ties go to the
    earlier piece, then to the earlier end. A hit from frame a to frame b lasts from ``first_centre_s + (a - 1/2) *
    frame_shift_s`` to ``first_centre_s + (b + 1/2) * frame_shift_s`` after its piece's start, within the piece.

    leave_out: of each recording, the spans that are to be no hits, the query itself or what was rejected before; nor is
    what shares more than half of the shorter with one. A matcher that is no Alignment has one hit a piece, its best.
    """
    queries = as_query(tokens, searched)
    return Search(queries, searched).rank(range(len(queries)), top=top, leave_out=leave_out)


def as_query(tokens: Frames, searched: Searched) -> Frames:
    """The tokens as they are laid on pieces: averaged to one, or as they are. Raises KwsbenchError on an empty one."""
    if not len(tokens) or not tokens.lengths.all():
        what = f"example {np.argmin(tokens.lengths)} has no frames" if len(tokens) else "no example of the word"
        raise KwsbenchError(f"{what}; give a longer recording of it")
    return barycentre(tokens, searched.distance) if searched.pool == "barycentre" and len(tokens) > 1 else tokens


class Search:
    """Tokens of one query, or of many, scored against all pieces once: any of them are then ranked at little cost."""

    def __init__(self, queries: Frames, searched: Searched) -> None:
        self._queries = queries
        self._searched = searched
        self._lengths = np.asarray(searched.frames.lengths)
        how = {"workers": searched.workers, "memory_bytes": searched.memory_bytes}
        self._costs = Costs(queries, searched.frames, searched.distance, **how)
        self._scores = utterance_lanes.score(
            queries, searched.frames, searched.distance, searched.matcher, near=self._costs.near, **how
        )

    def rank(self, tokens: range, *, top: int, leave_out: Mapping[int, peaks.Spans] | None = None) -> Ranking:
        """The ranking of a query of some of the tokens, as they are: averaging came before."""
        peaks.check_top(top)
        places, pool, matcher = self._searched.places, self._searched.pool, self._searched.matcher
        leave_out = leave_out or {}
        if pool == "mean" and len(tokens) > 1 and not isinstance(matcher, Alignment):
            name = type(matcher).__name__
            raise KwsbenchError(f"pool=mean, but {name} gives one hit a piece, each token its own; take pool=best")
        best = self._scores.scores[tokens.start : tokens.stop]
        level = levels(best)
        bound = bounds(best, level, pool)
        finite = np.where(np.isfinite(best), np.abs(best), 0)
        slack = float((_SLACK * finite.max(axis=1, initial=0) / level.spreads).max())

        taken: dict[int, list[tuple[float, float]]] = {}
        order = [piece for piece in np.argsort(-bound, kind="stable").tolist() if bound[piece] > -np.inf]
        order = [piece for piece in order if not self._left_out(piece, leave_out)]
        opened: dict[int, _Opened] = {}
        free: list[tuple[float, int, int]] = []
        hits: list[RankedHit] = []

        def offer(piece: int) -> None:
            end = opened[piece].candidates.best(taken.setdefault(int(places.recordings[piece]), []))
            if end is not None:
                heapq.heappush(free, (-float(opened[piece].profile.scores[end]), piece, end))

        at = 0
        while len(hits) < top:
            while at < len(order) and (not free or bound[order[at]] + slack >= -free[0][0]):
                piece = order[at]
                opened[piece] = self._open(piece, tokens, level, leave_out)
                slack = max(slack, _SAFETY * float(opened[piece].profile.scores.max() - bound[piece]))
                offer(piece)
                at += 1
            if not free:
                break
            _, piece, end = heapq.heappop(free)
            spans = taken[int(places.recordings[piece])]
            if opened[piece].candidates.best(spans) == end:  # it may have been taken by another piece since
                hit = self._hit(piece, end, opened[piece])
                hits.append(hit)
                spans.append((hit.start_s, hit.end_s))
            offer(piece)
        return Ranking(tuple(hits), level.note, self._queries.read(tokens.start, tokens.stop))

    def _open(self, piece: int, tokens: range, level: Levels, leave_out: Mapping[int, peaks.Spans]) -> _Opened:
        how, places = self._searched, self._searched.places
        if isinstance(how.matcher, Alignment):
            found = [profiles.profile(cost, how.matcher) for cost in self._costs(piece, tokens)]
        else:
            found = [_one_hit(self._scores, token, piece, int(self._lengths[piece])) for token in tokens]
        whole = pooled(found, level, how.pool)
        # An end without a path has start -1: any span will do, since it is no candidate.
        spans = spans_s(
            np.maximum(whole.starts, 0),
            np.arange(len(whole.starts)),
            frame_shift_s=how.frame_shift_s,
            first_centre_s=how.first_centre_s,
        )
        start_s, end_s = places.starts_s[piece], places.ends_s[piece]
        begins, ends = (np.clip(start_s + side, start_s, end_s) for side in spans)
        scores = whole.scores.copy()
        for span in leave_out.get(int(places.recordings[piece]), ()):
            scores[peaks.same_place(begins, ends, span)] = -np.inf
        return _Opened(whole, begins, ends, peaks.Candidates(scores, begins, ends))

    def _hit(self, piece: int, end: int, opened: _Opened) -> RankedHit:
        profile = opened.profile
        return RankedHit(
            int(self._searched.places.recordings[piece]),
            float(opened.begins[end]),
            float(opened.ends[end]),
            float(profile.scores[end]),
            int(profile.tokens[end]),
            piece,
            int(profile.starts[end]),
            end,
        )

    def _left_out(self, piece: int, spans: Mapping[int, peaks.Spans]) -> bool:
        """Whether all of a piece is no hit, so that it need not be opened."""
        places = self._searched.places
        start_s, end_s = places.starts_s[piece], places.ends_s[piece]
        here = spans.get(int(places.recordings[piece]), ())
        return any(begin <= start_s and end_s <= end for begin, end in here)


class _Opened(NamedTuple):
    """A piece that was looked at: its profile, where each end's span lies in the recording, and which are free."""

    profile: Pooled
    begins: npt.NDArray[np.float64]
    ends: npt.NDArray[np.float64]
    candidates: peaks.Candidates


def _one_hit(scores: Scores, token: int, piece: int, frames: int) -> profiles.Profile:
    """The profile of a matcher that gives its best hit alone."""
    found = profiles.Profile(np.full(frames, -np.inf, np.float32), np.full(frames, -1, np.int32))
    end = scores.ends[token, piece]
    if end >= 0:
        found.scores[end], found.starts[end] = scores.scores[token, piece], scores.starts[token, piece]
    return found
