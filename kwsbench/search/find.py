"""One search, from the question to the answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kwsbench import encoding
from kwsbench.archive.annotations import Problem
from kwsbench.archive.folder import Archive, open_archive
from kwsbench.errors import KwsbenchError
from kwsbench.search import confidence, judgements, page, profiles, query
from kwsbench.search.choice import Chosen
from kwsbench.search.corpus import Corpus, Cuts, Work, cut, gather
from kwsbench.search.costs import Costs
from kwsbench.search.nouns import Evidence, Found, Hit, Token
from kwsbench.search.pseudo_queries import PseudoQueries
from kwsbench.search.ranking import Places, RankedHit, Ranking, Searched, rank
from kwsbench.store import fingerprint
from kwsbench.types import Alignment, Frames

BEYOND = 4
"""So many times the hits asked for are ranked, to tell how many of the word lie behind them."""

_TAKES_PART = ("encoder", "transform", "distance", "matcher")


class Question(NamedTuple):
    """What is searched, where, with what. least: hits of a lower confidence are left out."""

    asked: tuple[str, ...]
    archive: Path
    chosen: Chosen
    pool: str = "best"
    top: int = 50
    least: float = 0.0
    judged: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What was found, and what it takes to show why."""

    found: Found
    archive: Archive
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    corpus: Corpus
    ranking: Ranking
    searched: Searched
    search_s: float
    """seconds from encoded frames to ranked hits"""

    @cached_property
    def _costs(self) -> Costs:
        return Costs(self.ranking.queries, self.searched.frames, self.searched.distance)

    def evidence(self, hit: Hit) -> Evidence | None:
        """The costs of a hit's example over the piece that it lies in, near the hit; None of a matcher without path."""
        searched = self.searched
        if not isinstance(searched.matcher, Alignment):
            return None
        ranked: RankedHit = self.ranking.hits[hit.rank - 1]
        (costs,) = self._costs(ranked.piece, range(ranked.token, ranked.token + 1))
        cells = profiles.path(costs, searched.matcher, ranked.last)
        first, stop = max(0, ranked.first - len(costs)), ranked.last + 1 + len(costs)
        start_s = searched.places.starts_s[ranked.piece] + searched.first_centre_s + first * searched.frame_shift_s
        return Evidence(costs[:, first:stop], cells - np.array([0, first]), float(start_s), searched.frame_shift_s)

    def write_page(self, out: Path, audio: page.Sound) -> Path:
        """The page of hits (kwsbench.search.page)."""
        return page.write(self.found, self.evidence, out, audio=audio)

    def summary(self) -> Iterator[str]:
        """What the search was, in lines for people."""
        hours = self.found.audio_s / 3600
        count = len(self.archive.recordings)
        yield (
            f"searched {hours:.2f} h in {count} recording{'s' * (count != 1)} within {self.search_s:.2f} s "
            f"({hours / max(self.search_s, 1e-9):.1f} h of audio a second)"
        )
        used = ", ".join(self.found.settings[name] for name in _TAKES_PART)
        yield f"{used}: {self.found.settings['chosen']}"
        yield from self.notes
        if self.found.expected is not None:
            yield (
                f"confidence learnt from {self.found.calibrated_on}; some {self.found.expected:.0f} of the first "
                f"{len(self.ranking.hits)} places are likely to be the word"
            )


def search(question: Question, work: Work) -> Answer:
    """Find the places of a word in an archive. work.folder is the root of all caches. Raises KwsbenchError."""
    chosen = question.chosen
    archive = open_archive(question.archive, progress=work.progress)
    work = replace(work, folder=_folder(work.folder, archive))
    judged = [one for path in question.judged for one in judgements.read(path)]
    accepted = _accepted(judged, archive)
    query.read(question.asked, archive)  # a slip is told before hours of recordings are cut
    cuts = cut(archive, work)
    problems = (*archive.problems, *cuts.problems)
    archive = _readable(archive, cuts)
    here = {recording.path for recording in archive.recordings}
    accepted = [token for token in accepted if token.path in here]
    tokens = tuple(dict.fromkeys([*query.read(question.asked, archive), *accepted]))
    described = encoding.describe(chosen.made[0], chosen.encoder.without_layers(), work.registry)
    pinned = {
        "pieces": [clip.id for clip in cuts.clips], "how": [str(part) for part in chosen[:4]], "encoder": described,
    }  # fmt: skip
    lessons = PseudoQueries(archive, work.folder, examples=len(tokens), pool=question.pool, pinned=pinned)
    corpus = gather(archive, cuts.clips, (*tokens, *lessons.tokens), chosen, work)
    searched = corpus.searched(chosen, question.pool, work)
    examples = corpus.examples
    asked = examples.read(0, len(tokens))
    _warm(asked, searched)
    top = question.top * (BEYOND if lessons.may_tell else 1)
    started = time.perf_counter()
    ranking = rank(asked, searched, top=top, leave_out=_known(tokens, judged, archive))
    search_s = time.perf_counter() - started
    learnt = lessons.learn(examples.read(len(tokens), len(examples)), searched, work.progress)
    sure: list[float | None] = [None] * len(ranking.hits)
    if learnt.calibration and not ranking.note:
        sure = list(learnt.calibration(np.array([hit.score for hit in ranking.hits])).tolist())
    hits = [_hit(at, hit, one, archive) for at, (hit, one) in enumerate(zip(ranking.hits, sure, strict=True), start=1)]
    kept = [
        hit for hit in hits[: question.top] if (1.0 if hit.confidence is None else hit.confidence) >= question.least
    ]
    told = [p for p in sure if p is not None]
    found = Found(
        query=", ".join(_shown(one) for one in question.asked),
        tokens=tokens,
        hits=tuple(kept),
        archive=archive.folder,
        audio_s=archive.audio_s,
        settings={
            "encoder": str(chosen.encoder),
            "transform": chosen.transform,
            "distance": chosen.distance,
            "matcher": chosen.matcher,
            "pooling": question.pool,
            "chosen": chosen.why,
        },
        calibrated_on=lessons.words if told else "",
        expected=confidence.expected(np.array(told)) if told else None,
    )
    why = "" if told else f"no confidence: {ranking.note or learnt.note}"
    notes = tuple(note for note in (why or ranking.note, _of(judged)) if note)
    return Answer(found, archive, problems, notes, corpus, ranking, searched, search_s)


def _readable(archive: Archive, cuts: Cuts) -> Archive:
    """The archive without recordings that break off: their annotations teach nothing, and stop nobody's search."""
    broken = {problem.path for problem in cuts.problems}
    return replace(archive, recordings=tuple(one for one in archive.recordings if one.path not in broken))


def _warm(tokens: Frames, searched: Searched) -> None:
    """Have the kernels loaded, which takes as long as to search some hours: the examples are laid on themselves."""
    count = len(tokens)
    anywhere = Places(np.zeros(count, np.int64), np.zeros(count), np.full(count, np.inf))
    rank(tokens, replace(searched, frames=tokens, places=anywhere), top=1)


def _folder(cache: Path, archive: Archive) -> Path:
    return cache / "archives" / fingerprint({"archive": str(archive.folder.resolve())})[:24]


def _accepted(judged: Sequence[judgements.Judgement], archive: Archive) -> list[Token]:
    """Hits that people accepted, as examples of the word."""
    paths = {recording.name: recording.path for recording in archive.recordings}
    gone = next((one.recording for one in judged if one.recording not in paths), None)
    if gone is not None:
        raise KwsbenchError(f"judgements name {gone}, which is not in {archive.folder}; are they of another archive?")
    return [Token(paths[one.recording], one.start_s, one.end_s) for one in judged if one.judgement == "yes"]


def _known(
    tokens: Sequence[Token], judged: Sequence[judgements.Judgement], archive: Archive
) -> dict[int, list[tuple[float, float]]]:
    """What is no hit: the examples themselves, and what people have judged."""
    numbers = {recording.name: at for at, recording in enumerate(archive.recordings)}
    paths = {recording.path.resolve(): at for at, recording in enumerate(archive.recordings)}
    known: dict[int, list[tuple[float, float]]] = {}
    for token in tokens:
        at = paths.get(token.path.resolve())
        if at is not None:
            whole = archive.recordings[at].duration_s
            known.setdefault(at, []).append((token.start_s or 0.0, whole if token.end_s is None else token.end_s))
    for one in judged:
        if one.recording in numbers:
            known.setdefault(numbers[one.recording], []).append((one.start_s, one.end_s))
    return known


def _shown(asked: str) -> str:
    """What was asked for, without the folders in which it lies."""
    return asked.replace("\\", "/").rpartition("/")[2]


def _of(judged: Sequence[judgements.Judgement]) -> str:
    yes = sum(one.judgement == "yes" for one in judged)
    return f"{yes} accepted hits are examples now, and {len(judged)} judged places are left out" if judged else ""


def _hit(rank_: int, hit: RankedHit, sure: float | None, archive: Archive) -> Hit:
    recording = archive.recordings[hit.recording]
    text, speaker = archive.said(recording, hit.start_s, hit.end_s)
    return Hit(rank_, recording.name, recording.path, hit.start_s, hit.end_s, hit.score, sure, text, speaker, hit.token)
