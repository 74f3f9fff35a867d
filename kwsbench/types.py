"""The nouns that stages hand to one another, and the contracts of the six kinds of plugin.

Nothing here imports torch: a plugin's contract costs its author no start-up time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from kwsbench.errors import KwsbenchError

SAMPLE_RATE_HZ = 16_000

Waveform = npt.NDArray[np.float32]
"""Mono audio at 16 kHz in [-1, 1]: float32 (samples,)."""

FloatArray = npt.NDArray[np.floating[Any]]

Progress = Callable[[str, int, int], None]
"""progress(what, done, total): called by long work as it goes on; may do nothing."""


def no_progress(what: str, done: int, total: int) -> None:
    """The progress of somebody who does not look."""


@dataclass(frozen=True)
class Frames:
    """A ragged array: item i is ``values[offsets[i]:offsets[i + 1]]``, of shape (frames, dims).

    values: float32 (total_frames, dims), may be a memory map. offsets: int64 (items + 1,), from 0
    to total_frames, never falling. An item may have no frames (audio too short for the encoder).
    """

    values: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        offsets = np.asarray(self.offsets, dtype=np.int64)
        object.__setattr__(self, "offsets", offsets)
        if self.values.ndim != 2:
            raise KwsbenchError(f"frames have shape {self.values.shape}, expected (total_frames, dims)")
        if self.values.dtype != np.float32:
            raise KwsbenchError(f"frames are {self.values.dtype}, expected float32; use .astype(np.float32)")
        if offsets.ndim != 1 or len(offsets) < 1 or offsets[0] != 0 or offsets[-1] != len(self.values):
            raise KwsbenchError(f"offsets must run from 0 to {len(self.values)}, the number of frames")
        if np.any(np.diff(offsets) < 0):
            raise KwsbenchError("offsets must not fall")

    @classmethod
    def join(cls, items: Sequence[FloatArray]) -> Frames:
        """Frames of a list of (frames, dims) arrays."""
        if not items:
            raise KwsbenchError("no items: frames of nothing have no dimension")
        offsets = np.concatenate([[0], np.cumsum([len(item) for item in items])]).astype(np.int64)
        return cls(np.concatenate(items).astype(np.float32, copy=False), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, item: int) -> npt.NDArray[np.float32]:
        return self.values[self.offsets[item] : self.offsets[item + 1]]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Frames of each item: int64 (items,)."""
        return np.diff(self.offsets)

    def read(self, first: int, last: int) -> Frames:
        """Items first to last (exclusive), as Frames of their own. Copies nothing."""
        start, stop = self.offsets[first], self.offsets[last]
        return Frames(self.values[start:stop], self.offsets[first : last + 1] - start)


class FrameSource(Protocol):
    """Frames that are read piece by piece, so that memory never follows the corpus. Frames is one."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]: ...

    def read(self, first: int, last: int) -> Frames: ...


class Match(NamedTuple):
    """Where a query lies best in an utterance. start and end are frames of the utterance, both included."""

    cost: float
    start: int
    end: int


class Scores(NamedTuple):
    """Every query against every utterance, shape (queries, utterances). A higher score is better.

    scores: float32, -inf where no alignment exists. starts, ends: int32, first and last utterance
    frame of the best hit (both included), -1 where there is none.
    """

    scores: npt.NDArray[np.float32]
    starts: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int32]


# ── plugins ──────────────────────────────────────────────────────────────────────────────────────


@runtime_checkable
class Encoder(Protocol):
    """One waveform in, one (frames, dims) matrix per layer out.

    layers: their names, in order. Frame i is centred on ``first_centre_s + i * frame_shift_s``.
    min_samples: what one frame needs; shorter audio never reaches ``encode``.

    Optional attributes, what is taken for granted without them in parentheses:

    - ``provenance``: mapping of strings that pin the weights and the numerics, part of every fingerprint (none).
    - ``languages``: ISO 639 codes heard in training; tables mark a data set in one of them (none).
    - ``licence``: of the weights, for people: ``CC-BY-NC 4.0`` ("").
    - ``concurrent``: several threads may call ``encode`` at once (False).
    - ``encode_batch(waves, layers)`` and ``batch_s``: what ``encode`` gives for each of several waveforms, equal up
      to rounding, and how many seconds of audio it likes to be given together (one waveform at a time).
    - ``longest_s``: longer audio is refused, and must be encoded in windows (any length).
    - ``sample_rate_hz``: the rate of the audio that it is given (16000). ``min_samples`` counts at this rate.
    - ``to(device)``: move to a torch device (the CPU alone). ``needs_gpu``: refuse to run without one (False).
    """

    layers: Sequence[str]
    frame_shift_s: float
    first_centre_s: float
    min_samples: int

    def encode(self, samples: Waveform, layers: Sequence[str]) -> Mapping[str, FloatArray]:
        """Features of the layers asked for, each (frames, dims), finite, all of the same length."""
        ...


def sample_rate_hz(encoder: Encoder) -> int:
    """The rate of the audio that an encoder is given."""
    return int(getattr(encoder, "sample_rate_hz", SAMPLE_RATE_HZ))


Apply = Callable[[npt.NDArray[np.float32]], FloatArray]


@runtime_checkable
class Transform(Protocol):
    """A correction that is fitted on frames and then applied to frames. The runner owns what it is fitted on."""

    def fit(self, frames: npt.NDArray[np.float32]) -> Apply:
        """Learn from (n, dims) frames, return the function (m, dims) → (m, k). No argument is changed.

        Use float64 for means and covariances. n may be small (one utterance) under narrow scopes.
        """
        ...


@runtime_checkable
class SpeakerTransform(Protocol):
    """A correction that must know which frames are of one speaker; what is said it never knows."""

    def fit_speakers(self, speakers: Sequence[npt.NDArray[np.float32]]) -> Apply:
        """Learn from one (n, dims) array a speaker, return the function (m, dims) → (m, k).

        Under the scopes ``corpus``, ``heldout`` and ``transductive``; one speaker's frames alone say
        nothing about how speakers differ. No argument is changed.
        """
        ...


@runtime_checkable
class Distance(Protocol):
    """The cost of laying one frame on another.

    Optional attribute ``domain``: ``probabilities`` for a distance of frames that are at least 0 and sum to 1 (as
    posteriors do), which refuses others; ``frames`` (taken for granted) for one of any frames.
    """

    def cost(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """(n, d) × (m, d) → (n, m): finite, ≥ 0, in the precision of its input (the slow, obvious way)."""
        ...


@runtime_checkable
class GramDistance(Distance, Protocol):
    """A distance that is a function of the cosine and the two norms: one shared product serves all of them."""

    def finish(self, tile: Any, utterance_norms: Any, query_norms: Any) -> None:
        """Turn a tile of ``cosine - 1`` into ``-cost``, in place.

        The tile's rows lie apart in memory: no ``view(-1)``, and ``reshape`` would change a copy.

        tile: torch.float32 (utterance_frames, query_columns), in [-2, 0] up to rounding (a few ulp
        above 0 happens: clamp where it matters). Norms are (utterance_frames, 1) and (1, query_columns).
        """
        ...


@runtime_checkable
class NeighbourDistance(Protocol):
    """A distance that knows how near each frame is to its neighbours at large, so that it can make up for hubs.

    A frame's *nearness* is its mean cosine with the ``neighbours`` frames nearest to it on the other
    side: of all utterances for a query's frame, of all queries for an utterance's. Pairs that are of
    one recording are no neighbours.
    """

    neighbours: int

    def cost(self, x: FloatArray, y: FloatArray, x_nearness: FloatArray, y_nearness: FloatArray) -> FloatArray:
        """(n, d) × (m, d), with nearness (n,) and (m,) → (n, m): finite, ≥ 0."""
        ...

    def finish(self, tile: Any, utterance_nearness: Any, query_nearness: Any) -> None:
        """Turn a tile of ``cosine - 1`` into ``-cost``, in place; shapes as for ``GramDistance``."""
        ...


@dataclass(frozen=True)
class Alignment:
    """A dynamic time warping recipe as data, run by the fast kernels.

    steps: predecessors (query frames back, utterance frames back), each 0–2, all of weight 1.
    whole: lay the query on the whole utterance; otherwise anywhere inside it (subsequence DTW).
    normalize: divide the cost of the path by the query's frames, by the path's cells, or not.
    rows: ``minmax`` scales each query frame's costs over the utterance to [0, 1] before aligning (a
    row of equal costs becomes 0), as SUPERB's query by example does.
    """

    steps: tuple[tuple[int, int], ...] = ((1, 0), (1, 1), (0, 1))
    whole: bool = False
    normalize: Literal["query", "path", "none"] = "query"
    rows: Literal["none", "minmax"] = "none"


@runtime_checkable
class CostMatcher(Protocol):
    """Any other way to lay a query on an utterance, given the costs of one pair. Slow, and free."""

    def match(self, cost: FloatArray) -> Match:
        """(query_frames, utterance_frames), at least one of each → the best Match."""
        ...


@runtime_checkable
class PairMatcher(Protocol):
    """A matcher without alignment: it sees whole blocks of frames (pooling, retrieval, chance)."""

    def score(self, queries: Frames, utterances: Frames, distance: Distance, *, first_utterance: int) -> Scores:
        """Scores of all queries against a block of the search set that begins at utterance ``first_utterance``."""
        ...


Matcher = Alignment | CostMatcher | PairMatcher


@runtime_checkable
class ScoreNorm(Protocol):
    """A correction of finished scores, so that queries or utterances can be compared with one another."""

    def normalize(self, scores: npt.NDArray[np.float32], used: npt.NDArray[np.bool_]) -> FloatArray:
        """scores (queries, utterances), higher is better → the same shape. No argument is changed.

        used: the pairs to estimate from; False for a query and its own recording, whose score is an
        outlier, and where no alignment exists (-inf). Every score is corrected, used or not; -inf stays.
        """
        ...


@dataclass(frozen=True)
class Clip:
    """One stretch of speech of a data set: a file, or a span of one.

    keyword: set when the clip is one spoken keyword and nothing else (it can be a query).
    transcript: the words said, separated by spaces; None when unknown (then nothing is known
    to be absent, and the clip is no trial of any keyword but its own).
    maybe: keywords that may be heard although the labels do not say so (inflected homophones):
    such trials are left out and counted.
    split: "search" (utterances and queries) or "heldout" (only transforms are fitted on it).
    """

    id: str
    path: Path
    speaker: str
    recording: str
    keyword: str | None = None
    transcript: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    maybe: tuple[str, ...] = ()
    split: Literal["search", "heldout"] = "search"


@dataclass(frozen=True)
class Dataset:
    """Clips with labels. ``language`` is an ISO 639 code ("" when unknown), ``notes`` go into each record."""

    name: str
    clips: tuple[Clip, ...]
    language: str = ""
    notes: Mapping[str, str | int] | None = None


@runtime_checkable
class DatasetSource(Protocol):
    """Where a data set comes from."""

    @property
    def prepared(self) -> bool:
        """Whether load() can answer without fetching anything."""
        ...

    def load(self, progress: Progress = no_progress) -> Dataset:
        """The data set, prepared first where that is needed (fetched, decoded, checked)."""
        ...
