"""Where a transform is fitted: the scope belongs to the runner and to the name, not to the plugin.

corpus        the utterances that are searched (default)
heldout       the clips of the held-out split, which are never searched
transductive  the utterances and the queries' own clips (what SUPERB's recipe does)
speaker       all that the item's speaker says in the item's split; ``query_material`` counts for how
              many queries that is other recordings, only their own source recording, or only themselves
utterance     each item itself

A correction that must know the speakers (``kwsbench.types.SpeakerTransform``) gets the same frames one
array a speaker, and takes no scope that would show it a single speaker.

No label reaches a transform. In a chain each link is fitted on what the links before it return.
Fits see at most FIT_FRAMES frames, evenly spaced, so that memory does not follow the corpus.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kwsbench.errors import KwsbenchError, PluginError
from kwsbench.plugins import Registry
from kwsbench.spec import SCOPES, Spec, format_chain
from kwsbench.trials import Trials
from kwsbench.types import Apply, Clip, Frames, SpeakerTransform, Transform

DEFAULT_SCOPE = "corpus"
MANY_SPEAKERS = ("corpus", "heldout", "transductive")
"""The scopes under which a transform sees more than one speaker."""

FIT_FRAMES = 262_144

Array = npt.NDArray[np.float32]


def scope_of(link: Spec) -> str:
    """The scope that a link of a chain names, ``corpus`` by default."""
    scope = link.params.get("scope", DEFAULT_SCOPE)
    if scope not in SCOPES:
        raise KwsbenchError(f"{link}: scope is {scope!r}, expected one of {', '.join(SCOPES)}")
    return scope


def create(link: Spec, registry: Registry) -> Transform | SpeakerTransform:
    """The transform of a link. Raises KwsbenchError when its scope can tell it nothing."""
    transform: Transform | SpeakerTransform = registry.create("transforms", without_scope(link))
    if isinstance(transform, SpeakerTransform) and scope_of(link) not in MANY_SPEAKERS:
        raise KwsbenchError(
            f"{link}: {link.name} compares speakers, and this scope shows it one at a time; "
            f"use scope={', '.join(MANY_SPEAKERS[:-1])} or {MANY_SPEAKERS[-1]}"
        )
    return transform


def without_scope(link: Spec) -> Spec:
    """The link as its plugin sees it."""
    return Spec(link.name, "", {key: value for key, value in link.params.items() if key != "scope"})


class ItemFrames(Protocol):
    """The frames of one layer, clip by clip."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]: ...

    def item(self, index: int) -> Array: ...


class Roles(Protocol):
    """Which clips are searched for and which are searched: indices of clips."""

    @property
    def clips(self) -> Sequence[Clip]: ...

    @property
    def queries(self) -> npt.NDArray[np.int64]: ...

    @property
    def utterances(self) -> npt.NDArray[np.int64]: ...


@dataclass
class FittedChain:
    """A chain of transforms fitted on one layer of one data set.

    What is fitted are plugins' functions, often lambdas: cloudpickle takes them to another process, pickle does not.
    """

    frames: ItemFrames
    trials: Roles
    chain: tuple[Spec, ...]
    links: list[_Link] = field(default_factory=list)

    def __getstate__(self) -> dict[str, Any]:
        # A copy has none of the labels that were worked out: they have a row a query and a column an utterance.
        return {**self.__dict__, "trials": replace(self.trials)}  # type: ignore[type-var]

    def apply(self, item: int) -> Array:
        """The corrected frames of one clip: (frames, dims) → (frames, k)."""
        return self.correct(self.frames.item(item), item)

    def correct(self, values: Array, item: int) -> Array:
        """Frames (frames, dims) that are none of the clips', corrected as that clip's are: (frames, k)."""
        for link in self.links:
            if len(values):
                values = link(values, item)
        return values

    def queries(self) -> Frames:
        """All queries, corrected."""
        return self._join(self.trials.queries)

    def utterances(self) -> CorrectedUtterances:
        """All utterances, corrected when they are read."""
        return CorrectedUtterances(self)

    def fit_groups(self) -> None:
        """Make the fits of all speakers, which are made when they are first needed, so that copies have them too."""
        first: dict[str, int] = {}
        for item in [*self.trials.utterances.tolist(), *self.trials.queries.tolist()]:
            if self.links and self.frames.lengths[item]:
                first.setdefault(self.trials.clips[item].speaker, item)
        for item in first.values():
            self.apply(item)

    @cached_property
    def dims(self) -> int:
        """Columns of corrected frames; clips without a frame have none of their own to go by."""
        first = int(self.trials.utterances[np.argmax(self.frames.lengths[self.trials.utterances] > 0)])
        return int(self.apply(first).shape[1])

    @cached_property
    def by_speaker(self) -> dict[tuple[str, str], list[int]]:
        """The clips of each speaker in each split, in order."""
        found: dict[tuple[str, str], list[int]] = {}
        for index, clip in enumerate(self.trials.clips):
            found.setdefault((clip.speaker, clip.split), []).append(index)
        return found

    def _join(self, items: npt.NDArray[np.int64]) -> Frames:
        empty = np.zeros((0, self.dims), np.float32)
        corrected = (self.apply(int(item)) for item in items)
        return Frames.join([values if len(values) else empty for values in corrected])


@dataclass(frozen=True)
class CorrectedUtterances:
    """The search split as the engine reads it: a kwsbench.types.FrameSource."""

    fitted: FittedChain

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Frames of each utterance."""
        return self.fitted.frames.lengths[self.fitted.trials.utterances]

    def read(self, first: int, last: int) -> Frames:
        """Utterances first to last (exclusive), corrected."""
        return self.fitted._join(self.fitted.trials.utterances[first:last])  # noqa: SLF001 - two halves of one idea


def fit(frames: ItemFrames, trials: Roles, chain: tuple[Spec, ...], registry: Registry) -> FittedChain:
    """Fit every link of a chain in turn, each when it is first needed. A scope that cannot be is told at once."""
    transforms = [create(link, registry) for link in chain]
    fitted = FittedChain(frames, trials, chain)
    if not frames.lengths[trials.utterances].any():
        raise KwsbenchError(f"{format_chain(chain)}: every utterance is too short for the encoder; nothing to fit on")
    for spec, transform in zip(chain, transforms, strict=True):
        fitted.links.append(_Link(fitted, len(fitted.links), transform, spec, scope_of(spec)))
    return fitted


def query_material(trials: Trials) -> dict[str, int]:
    """Under a speaker scope: how many queries are corrected by which material of their speaker."""
    recordings: dict[str, Counter[str]] = {}
    for utterance in trials.utterances:
        clip = trials.clips[utterance]
        recordings.setdefault(clip.speaker, Counter())[clip.recording] += 1
    counts = Counter({"other_recordings": 0, "source_recording": 0, "itself": 0})
    for query in trials.queries:
        clip = trials.clips[query]
        mine = recordings[clip.speaker]
        alone = "source_recording" if mine[clip.recording] > 1 else "itself"
        counts["other_recordings" if len(mine) > 1 else alone] += 1
    return dict(counts)


@dataclass
class _Link:
    """One transform of the chain, fitted once for each group of items that its scope makes."""

    owner: FittedChain
    position: int
    transform: Transform | SpeakerTransform
    spec: Spec
    scope: str
    fits: dict[str | tuple[str, str], Apply] = field(default_factory=dict)

    def __call__(self, values: Array, item: int) -> Array:
        if self.scope == "utterance" and not isinstance(self.transform, SpeakerTransform):
            return self._checked(self.transform.fit(values), values)
        key, items = self._material(item)
        if key not in self.fits:
            self.fits[key] = self._fit(items())
        return self._checked(self.fits[key], values)

    def _fit(self, items: Sequence[int]) -> Apply:
        """The transform fitted on these clips."""
        if not items:
            raise KwsbenchError(f"{self.spec}: the data set has no clips with split 'heldout' to fit on")
        total = int(self.owner.frames.lengths[list(items)].sum())
        if not total:
            raise KwsbenchError(f"{self.spec}: every clip that it is fitted on is too short for the encoder")
        if not isinstance(self.transform, SpeakerTransform):
            return self.transform.fit(self._before(items, step=-(-total // FIT_FRAMES)))
        speakers: dict[str, list[int]] = {}
        for index in items:
            if self.owner.frames.lengths[index]:
                speakers.setdefault(self.owner.trials.clips[index].speaker, []).append(index)
        # Each speaker's first frame is kept, so that nobody is thinned away: one frame more than the even share.
        step = -(-total // max(1, FIT_FRAMES - len(speakers)))
        return self.transform.fit_speakers([self._before(said, step=step) for said in speakers.values()])

    def _material(self, item: int) -> tuple[str | tuple[str, str], Callable[[], Sequence[int]]]:
        """What the transform of this item is fitted on: a key for its group, and the group's clips."""
        clips, trials = self.owner.trials.clips, self.owner.trials
        if self.scope == "speaker":
            who = clips[item].speaker, clips[item].split
            return who, lambda: self.owner.by_speaker[who]
        if self.scope == "heldout":
            return "heldout", lambda: [i for i, clip in enumerate(clips) if clip.split == "heldout"]
        # Every query is itself a clip of the search split, so its frames are among the utterances'.
        # Under `corpus` it is there as an utterance that others search; `transductive` adds its
        # weight a second time, as recipes do that pool queries and documents.
        if self.scope == "transductive":
            return "transductive", lambda: [*trials.utterances.tolist(), *trials.queries.tolist()]
        return "corpus", trials.utterances.tolist

    def _before(self, items: Sequence[int], *, step: int) -> Array:
        """Every step-th frame of a group of clips as the links before this one return them."""
        # Copied item by item: views would keep the files of all items mapped, or all corrected frames in memory.
        total = int(self.owner.frames.lengths[list(items)].sum())
        kept: Array | None = None
        at = skip = 0
        for index in items:
            values = self.owner.frames.item(index)
            for link in self.owner.links[: self.position]:
                if len(values):
                    values = link(values, index)
            if len(values):
                thinned = values[skip::step]
                if kept is None:
                    kept = np.empty((-(-total // step), values.shape[1]), np.float32)
                kept[at : at + len(thinned)] = thinned
                at += len(thinned)
                skip = (skip - len(values)) % step
        if kept is None:
            raise KwsbenchError(f"{self.spec}: every clip that it is fitted on is too short for the encoder")
        return kept

    def _checked(self, apply: Apply, values: Array) -> Array:
        corrected = np.asarray(apply(np.array(values, np.float32)), np.float32)
        if corrected.ndim != 2 or len(corrected) != len(values):
            raise PluginError(
                f"transform {self.spec} returned shape {corrected.shape} for {values.shape}; frames must stay in number"
            )
        if not np.isfinite(corrected).all():
            raise PluginError(f"transform {self.spec} returned NaN or infinity; run kwsbench check on its plugin")
        return corrected
