"""Which clip says which keyword: the words of transcripts, compared as a linguist would."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from kwsbench.types import Clip


def words(text: str) -> tuple[str, ...]:
    """The words of a transcript, as they are compared: NFC, case-folded, outer punctuation stripped.

    Only Unicode's punctuation (P*) goes, and only at the edges of a word: tone letters, length
    marks and modifier letters of IPA are kept.
    """
    stripped = (_strip_punctuation(word) for word in unicodedata.normalize("NFC", text).casefold().split())
    return tuple(word for word in stripped if word)


def occurrences(clips: Sequence[Clip], keywords: Sequence[str]) -> dict[str, set[int]]:
    """The indices of the clips that say each keyword: are it, or hold its words in a row."""
    said = [words(clip.transcript or clip.keyword or "") for clip in clips]
    clips_with: dict[str, set[int]] = {}
    for index, transcript in enumerate(said):
        for word in transcript:
            clips_with.setdefault(word, set()).add(index)
    found: dict[str, set[int]] = {}
    for keyword in keywords:
        wanted = tuple(keyword.split())
        # Only clips that hold every word of it can hold them in a row.
        candidates = set.intersection(*(clips_with.get(word, set()) for word in wanted))
        found[keyword] = {index for index in candidates if _in_a_row(wanted, said[index])}
    for index, clip in enumerate(clips):
        if clip.keyword in found:
            found[clip.keyword].add(index)
    return found


def across_speakers(clips: Sequence[Clip]) -> bool:
    """Whether any keyword of one speaker is said by another one: whether there is anything to score."""
    search = [clip for clip in clips if clip.split == "search"]
    found = occurrences(search, sorted({clip.keyword for clip in search if clip.keyword}))
    return any(len({search[index].speaker for index in indices}) > 1 for indices in found.values())


def _in_a_row(wanted: tuple[str, ...], said: tuple[str, ...]) -> bool:
    return any(said[i : i + len(wanted)] == wanted for i in range(len(said) - len(wanted) + 1))


def _strip_punctuation(word: str) -> str:
    start, stop = 0, len(word)
    while start < stop and unicodedata.category(word[start]).startswith("P"):
        start += 1
    while stop > start and unicodedata.category(word[stop - 1]).startswith("P"):
        stop -= 1
    return word[start:stop]
