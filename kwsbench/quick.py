"""A small part of a data set, for a first number within a minute: the same part every time, never a leaderboard's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from kwsbench import audio
from kwsbench.types import Clip, Dataset

BUDGET_S = 60.0
"""Seconds of audio that are kept of each: spoken keywords, longer utterances, clips held out."""


def sample(dataset: Dataset) -> Dataset:
    """One minute each of keywords, of the utterances that they are heard in, and of held-out clips.

    Keywords that one speaker alone says are left out. The others come in an order that has nothing to do with
    their spelling, each with one recording by every speaker before any has two. The data set is renamed, so
    that its records never stand beside those of the whole.
    """
    lengths_s = {path: audio.duration_s(path) for path in {clip.path for clip in dataset.clips}}
    clips = sorted(dataset.clips, key=lambda clip: clip.id)
    words = _fill(_keyword_clips(clips), lengths_s)
    spoken = {clip.keyword for clip in words}
    others = [clip for clip in clips if clip.split == "search" and clip.keyword is None]
    # Those that hold a keyword first: the rest can only be wrong answers.
    others.sort(key=lambda clip: (not spoken & set((clip.transcript or "").lower().split()), _mixed(clip.id)))
    heldout = sorted((clip for clip in clips if clip.split == "heldout"), key=lambda clip: _mixed(clip.id))
    kept = [*words, *_fill(others, lengths_s), *_fill(heldout, lengths_s)]
    return replace(dataset, name=f"{dataset.name}-quick", clips=tuple(kept))


def _keyword_clips(clips: Iterable[Clip]) -> Iterator[Clip]:
    takes: dict[str, dict[str, list[Clip]]] = {}
    for clip in clips:
        if clip.keyword is not None and clip.split == "search":
            takes.setdefault(clip.keyword, {}).setdefault(clip.speaker, []).append(clip)
    shared = [takes[keyword] for keyword in sorted(takes, key=_mixed) if len(takes[keyword]) > 1]
    rounds = (zip_longest(*speakers.values()) for speakers in shared)
    for one_take_of_each in zip_longest(*rounds, fillvalue=()):
        for said in one_take_of_each:
            yield from (clip for clip in said if clip is not None)


def _fill(clips: Iterable[Clip], lengths_s: Mapping[Path, float]) -> list[Clip]:
    """Clips in order until the budget is spent; the first one always."""
    kept: list[Clip] = []
    left_s = BUDGET_S
    for clip in clips:
        end_s = lengths_s[clip.path] if clip.end_s is None else clip.end_s
        left_s -= end_s - (clip.start_s or 0.0)
        if left_s < 0 and kept:
            break
        kept.append(clip)
    return kept


def _mixed(text: str) -> str:
    """A key that sorts without regard to spelling, the same on every machine."""
    return hashlib.sha256(text.encode()).hexdigest()
