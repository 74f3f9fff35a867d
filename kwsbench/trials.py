"""Trials: which (query, utterance) pairs count, under which condition, and what was left out.

A condition is a relation between the two speakers and a kind of utterance:
``across`` (somebody else) or ``within`` (the same person), and ``isolated`` (the utterance is one
spoken keyword) or ``inside`` (it is longer). Under the *strict* protocol they are never ranked in
one list. What was published before ranks all utterances in one list, the condition ``any/any``:
under *pooled* without the query's own recording, under *pooled+self* with it, so that a figure can
be laid beside the published one.

Left out of every condition, and counted: the query's own recording (but for pooled+self);
utterances that may hold the keyword although the labels do not say so (``Clip.maybe``); utterances
whose words are unknown.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kwsbench.errors import KwsbenchError
from kwsbench.labels import occurrences
from kwsbench.types import Clip

POSITIVE, NEGATIVE, NO_TRIAL = 1, 0, -1

Labels = npt.NDArray[np.int8]


class Condition(NamedTuple):
    """across or within speakers (or any), isolated or inside (or any)."""

    relation: str
    kind: str

    def __str__(self) -> str:
        return f"{self.relation}/{self.kind}"


CONDITIONS = tuple(Condition(r, k) for k in ("isolated", "inside") for r in ("across", "within"))

PROTOCOLS = {"strict": CONDITIONS, "pooled": (Condition("any", "any"),), "pooled+self": (Condition("any", "any"),)}
"""Which lists are ranked under each protocol."""


@dataclass(frozen=True)
class Trials:
    """Queries and utterances as indices of the data set's clips, and the labels of their pairs."""

    clips: Sequence[Clip]
    queries: npt.NDArray[np.int64]
    utterances: npt.NDArray[np.int64]
    positives: Mapping[str, set[int]]
    """keyword → the clips that say it"""
    queries_left_out: int
    """keyword clips of words that nobody else says and that the speaker does not say again"""
    protocol: str = "strict"

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What is ranked."""
        return PROTOCOLS[self.protocol]

    @cached_property
    def keywords(self) -> list[str]:
        """The keyword of each query."""
        return [str(self.clips[query].keyword) for query in self.queries]

    def labels(self, condition: Condition) -> Labels:
        """int8 (queries, utterances): POSITIVE, NEGATIVE or NO_TRIAL under this condition."""
        same_speaker = self._same(lambda clip: clip.speaker)
        wanted = {"within": same_speaker, "across": ~same_speaker, "any": True}[condition.relation]
        kind = np.array([condition.kind in (self._kind(u), "any") for u in self.utterances])
        return np.where(wanted & kind, self._labels, NO_TRIAL).astype(np.int8)

    @cached_property
    def apart(self) -> npt.NDArray[np.bool_]:
        """(queries, utterances): pairs of one recording, which are no trials (none under pooled+self)."""
        if self.protocol == "pooled+self":
            return np.zeros((len(self.queries), len(self.utterances)), bool)
        return self._same(lambda clip: clip.recording)

    @cached_property
    def known_spans(self) -> dict[tuple[str, int], list[tuple[float, float]]]:
        """(keyword, column) → where the keyword lies in that longer utterance, in seconds from its begin.

        Known where a keyword was cut from the utterance: its clip is a span of the same file, inside the
        utterance's own.
        """
        spoken: dict[Path, list[Clip]] = {}
        for clip in self.clips:
            if clip.keyword and clip.start_s is not None and clip.end_s is not None:
                spoken.setdefault(clip.path, []).append(clip)
        found: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for column, utterance in enumerate(self.utterances):
            whole = self.clips[utterance]
            begin, end = whole.start_s or 0.0, math.inf if whole.end_s is None else whole.end_s
            for word in spoken.get(whole.path, ()) if not whole.keyword else ():
                if begin <= float(word.start_s or 0) and float(word.end_s or 0) <= end:
                    span = (float(word.start_s or 0) - begin, float(word.end_s or 0) - begin)
                    found.setdefault((str(word.keyword), column), []).append(span)
        return found

    @cached_property
    def left_out(self) -> dict[str, int]:
        """Pairs that are no trial under any condition, by reason."""
        reasons = Counter[str]()
        own = self.apart
        reasons["own_recording"] = int(own.sum())
        reasons["maybe"] = int((self._maybe & ~own).sum())
        reasons["unknown_words"] = int(((self._labels == NO_TRIAL) & ~own & ~self._maybe).sum())
        return dict(reasons)

    @cached_property
    def _labels(self) -> Labels:
        """Labels before any condition."""
        labels = np.full((len(self.queries), len(self.utterances)), NEGATIVE, np.int8)
        # An isolated keyword is known in full; any other clip only as far as its transcript goes.
        unknown = [not self.clips[u].transcript and not self.clips[u].keyword for u in self.utterances]
        labels[:, np.array(unknown, bool)] = NO_TRIAL
        labels[self._maybe] = NO_TRIAL
        column = {int(utterance): at for at, utterance in enumerate(self.utterances)}
        for row, keyword in enumerate(self.keywords):
            labels[row, [column[index] for index in self.positives[keyword]]] = POSITIVE
        labels[self.apart] = NO_TRIAL
        return labels

    @cached_property
    def _maybe(self) -> npt.NDArray[np.bool_]:
        maybe = np.zeros((len(self.queries), len(self.utterances)), bool)
        rows: dict[str, list[int]] = {}
        for row, keyword in enumerate(self.keywords):
            rows.setdefault(keyword, []).append(row)
        for column, utterance in enumerate(self.utterances):
            for keyword in self.clips[utterance].maybe:
                if utterance not in self.positives.get(keyword, ()):
                    maybe[rows.get(keyword, []), column] = True
        return maybe

    def _kind(self, clip: int) -> str:
        return "isolated" if self.clips[clip].keyword else "inside"

    def _same(self, what: Callable[[Clip], str]) -> npt.NDArray[np.bool_]:
        """(queries, utterances): whether both clips share their speaker, or their recording."""
        of = [what(clip) for clip in self.clips]
        _, codes = np.unique(of, return_inverse=True)
        return np.asarray(codes[self.queries][:, None] == codes[self.utterances][None, :])


def build(clips: Sequence[Clip], *, name: str, protocol: str = "strict") -> Trials:
    """Every keyword clip against every clip of the search split.

    Raises KwsbenchError when no keyword is said by two speakers (under pooled: twice).
    """
    search = [index for index, clip in enumerate(clips) if clip.split == "search"]
    keywords = sorted({str(clips[index].keyword) for index in search if clips[index].keyword})
    searched = [clips[index] for index in search]
    positives = {keyword: {search[at] for at in found} for keyword, found in occurrences(searched, keywords).items()}
    candidates = [index for index in search if clips[index].keyword]
    own = protocol == "pooled+self"
    queries = [query for query in candidates if own or _has_target(clips, query, positives)]
    trials = Trials(
        clips,
        np.array(queries, np.int64),
        np.array(search, np.int64),
        positives,
        len(candidates) - len(queries),
        protocol,
    )
    said = "by two speakers, so nothing can be searched across speakers" if protocol == "strict" else "twice"
    needed = [trials.labels(condition) for condition in trials.conditions if condition.relation != "within"]
    for label, what in (
        (POSITIVE, f"no keyword is said {said}"),
        (NEGATIVE, "every utterance holds every keyword, so there is nothing to be told apart"),
    ):
        if not any((labels == label).any() for labels in needed):
            raise KwsbenchError(f"{name}: {what}")
    return trials


def _has_target(clips: Sequence[Clip], query: int, positives: Mapping[str, set[int]]) -> bool:
    found = positives[str(clips[query].keyword)]
    return any(clips[index].recording != clips[query].recording for index in found)
