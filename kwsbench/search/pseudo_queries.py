"""Searches for words whose places are annotated, made beside a question, and what they tell of scores, kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from kwsbench.archive.folder import Archive
from kwsbench.search import confidence, practice
from kwsbench.search.confidence import Calibration, PseudoQuery
from kwsbench.search.ranking import Searched
from kwsbench.store import atomic_write, fingerprint
from kwsbench.types import Frames, Progress

ENOUGH = 20
"""So many searches for annotated words, at least, tell what a score means, if there are as many."""


SCORING = 2
"""Counts up when the same question has other scores; 2: examples are heard with what lies around them."""


class Learnt(msgspec.Struct, frozen=True):
    """A calibration as it is kept, or why there is none."""

    calibration: Calibration | None
    note: str


class PseudoQueries:
    """What is searched for beside a question, because the answers are known; or what was learnt before.

    tokens: the examples that are searched for, none where it was learnt before. pinned: what else the calibration
    depends on, beside the archive, the pooling and the number of examples.
    """

    def __init__(
        self, archive: Archive, folder: Path, *, examples: int, pool: str, pinned: Mapping[str, object]
    ) -> None:
        self._known = practice.lessons(archive)
        said = self._known.said
        # As many examples a word as the question has, if the archive can give that for enough words.
        offered = [confidence.choose(said, examples=count) for count in range(examples, 0, -1)]
        self._groups = next((groups for groups in offered if len(groups) >= ENOUGH), offered[-1])
        everything = {
            **pinned, "scoring": SCORING, "said": said, "stretches": self._known.stretches, "pool": pool,
            "groups": self._groups, "files": [_state(recording.path) for recording in archive.recordings],
        }  # fmt: skip
        self._path = folder / "calibrations" / f"{fingerprint(everything)[:24]}.json"
        self._learnt = _remembered(self._path)
        groups = [] if self._learnt else self._groups
        self.tokens = [practice.token(said[at], archive) for group in groups for at in group]
        self.words = f"{len({said[group[0]].word for group in self._groups})} annotated words of this archive"

    @property
    def may_tell(self) -> bool:
        """Whether there is a calibration, or can be one."""
        return bool(self._learnt.calibration if self._learnt else self.tokens)

    def learn(self, examples: Frames, searched: Searched, progress: Progress) -> Learnt:
        """The calibration, from searches for the tokens, whose frames are the examples; kept for the next time."""
        if self._learnt:
            return self._learnt
        queries, at = [], 0
        for group in self._groups:
            said = tuple(self._known.said[one] for one in group)
            queries.append(PseudoQuery(examples.read(at, at + len(group)), said))
            at += len(group)
        if queries:
            progress("learning from annotated words what scores mean", 0, 1)
        found = confidence.calibrate_on_archive(queries, self._known.said, self._known.without, searched)
        if queries:
            progress("learning from annotated words what scores mean", 1, 1)
        learnt = Learnt(found.calibration, found.note)
        with atomic_write(self._path) as file:
            file.write(msgspec.json.encode(learnt))
        return learnt


def _remembered(path: Path) -> Learnt | None:
    """What was learnt under these circumstances; None where nothing was yet, or where it cannot be read any more."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Learnt) if path.exists() else None
    except msgspec.MsgspecError:
        # A laptop that ran out of power leaves files of zeros. It is learnt again, and the file written over.
        return None


def _state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
