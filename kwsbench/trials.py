"""Trials: which (query, utterance) pairs count, under which condition, and what was left out.

A condition is a relation between the two speakers and a kind of utterance:
``across`` (somebody else) or ``within`` (the same person), and ``isolated`` (the utterance is one
spoken keyword) or ``inside`` (it is longer). They are never ranked in one list.

Left out of every condition, and counted: the query's own recording; utterances that may hold the
keyword although the labels do not say so (``Clip.maybe``); utterances whose words are unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kwsbench.errors import KwsbenchError
from kwsbench.labels import occurrences
from kwsbench.types import Clip

POSITIVE, NEGATIVE, NO_TRIAL = 1, 0, -1

Labels = npt.NDArray[np.int8]


class Condition(NamedTuple):
    """across or within speakers, isolated or inside."""

    relation: str
    kind: str

    def __str__(self) -> str:
        return f"{self.relation}/{self.kind}"


CONDITIONS = tuple(Condition(r, k) for k in ("isolated", "inside") for r in ("across", "within"))


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

    @cached_property
    def keywords(self) -> list[str]:
        """The keyword of each query."""
        return [str(self.clips[query].keyword) for query in self.queries]

    def labels(self, condition: Condition) -> Labels:
        """int8 (queries, utterances): POSITIVE, NEGATIVE or NO_TRIAL under this condition."""
        kind = np.array([self._kind(u) == condition.kind for u in self.utterances])
        same_speaker = self._same(lambda clip: clip.speaker)
        wanted = same_speaker if condition.relation == "within" else ~same_speaker
        return np.where(wanted & kind, self._labels, NO_TRIAL).astype(np.int8)

    @cached_property
    def left_out(self) -> dict[str, int]:
        """Pairs that are no trial under any condition, by reason."""
        reasons = Counter[str]()
        own = self._same(lambda clip: clip.recording)
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
        labels[self._same(lambda clip: clip.recording)] = NO_TRIAL
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


def build(clips: Sequence[Clip], *, name: str) -> Trials:
    """Every keyword clip against every clip of the search split.

    Raises KwsbenchError when no keyword is said by two speakers.
    """
    search = [index for index, clip in enumerate(clips) if clip.split == "search"]
    keywords = sorted({str(clips[index].keyword) for index in search if clips[index].keyword})
    searched = [clips[index] for index in search]
    positives = {keyword: {search[at] for at in found} for keyword, found in occurrences(searched, keywords).items()}
    candidates = [index for index in search if clips[index].keyword]
    queries = [query for query in candidates if _has_target(clips, query, positives)]
    trials = Trials(
        clips,
        np.array(queries, np.int64),
        np.array(search, np.int64),
        positives,
        len(candidates) - len(queries),
    )
    across = [trials.labels(condition) for condition in CONDITIONS if condition.relation == "across"]
    for label, what in (
        (POSITIVE, "no keyword is said by two speakers, so nothing can be searched across speakers"),
        (NEGATIVE, "every utterance holds every keyword, so there is nothing to be told apart"),
    ):
        if not any((labels == label).any() for labels in across):
            raise KwsbenchError(f"{name}: {what}")
    return trials


def _has_target(clips: Sequence[Clip], query: int, positives: Mapping[str, set[int]]) -> bool:
    found = positives[str(clips[query].keyword)]
    return any(clips[index].recording != clips[query].recording for index in found)
