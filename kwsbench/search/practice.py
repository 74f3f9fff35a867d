"""What an archive's own annotations can teach of scores: its words one by one, and where each is said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kwsbench.archive.annotations import Annotation
from kwsbench.archive.folder import Archive, Recording, same_place
from kwsbench.labels import words
from kwsbench.search.confidence import Said
from kwsbench.search.nouns import Token
from kwsbench.search.peaks import Spans

SHORTEST_S, LONGEST_S = 0.15, 3.0
"""What is shorter is hardly a word that somebody would search for; what is longer is a sentence, or a mistake."""


@dataclass(frozen=True)
class Lessons:
    """What is annotated in an archive: words at known places, and longer stretches of which the words are known."""

    said: list[Said]
    stretches: dict[int, list[tuple[float, float, tuple[str, ...]]]]
    """of each recording: start_s, end_s and the words, of everything annotated"""

    def without(self, word: str) -> dict[int, Spans]:
        """Of each recording, where the word is not said, but for places in ``said``."""
        return {
            recording: [(start_s, end_s) for start_s, end_s, text in mine if len(text) == 1 or word not in text]
            for recording, mine in self.stretches.items()
        }


def lessons(archive: Archive) -> Lessons:
    """What an archive's annotations can teach; tiers whose times are not their own teach nothing."""
    said: list[Said] = []
    stretches: dict[int, list[tuple[float, float, tuple[str, ...]]]] = {}
    for number, recording in enumerate(archive.recordings):
        mine = (annotation for annotation in _words(recording) if _searchable(annotation))
        said += [Said(words(one.text)[0], number, one.start_s, one.end_s) for one in mine]
        stretches[number] = [
            (annotation.start_s, annotation.end_s, text)
            for tier in recording.tiers()
            if tier.aligned
            for annotation in tier.annotations
            if (text := words(annotation.text))
        ]
    return Lessons(said, stretches)


def token(one: Said, archive: Archive) -> Token:
    """The place of a word as an example of it."""
    return Token(archive.recordings[one.recording].path, one.start_s, one.end_s, one.word)


def _words(recording: Recording) -> Iterable[Annotation]:
    """Annotations of one word each, of tiers whose times are their own; what two tiers have at one place, once."""
    kept: dict[str, list[Annotation]] = {}
    for tier in recording.tiers():
        for annotation in tier.annotations if tier.aligned else ():
            text = words(annotation.text)
            if len(text) == 1 and annotation.end_s > annotation.start_s:
                same = kept.setdefault(text[0], [])
                if not any(same_place(annotation, other) for other in same):
                    same.append(annotation)
    return sorted((a for same in kept.values() for a in same), key=lambda a: (a.start_s, a.end_s))


def _searchable(annotation: Annotation) -> bool:
    return SHORTEST_S <= annotation.end_s - annotation.start_s <= LONGEST_S
