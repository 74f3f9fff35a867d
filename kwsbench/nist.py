"""NIST's files for spoken term detection, also used by MediaEval's SWS and QUESST, as a table of trials.

What a system found (``stdlist`` or ``kwslist``), what it was asked for (``termlist`` or ``kwlist``),
what was said (RTTM) and which speech counts (ECF). A detection is right if its midpoint lies within
0.5 s of an occurrence of its term, in the same file and channel; one detection for one occurrence.

Source: NIST Spoken Term Detection 2006 Evaluation Plan, and the OpenKWS13 plan that followed it. Where
their tool (STDEval, KWSEval in F4DE) differs from this module, docs/scoring.md says so.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from kwsbench.errors import KwsbenchError
from kwsbench.nist_files import (
    ROUNDING_S,
    Channel,
    Lexeme,
    Span,
    Transcript,
    read_detections,
    read_excerpts,
    read_terms,
    read_transcript,
)

TOLERANCE_S = 0.5
MAX_GAP_S = 0.5


class Aligned(NamedTuple):
    """Trials after alignment, a row each, as ``trialfiles.TrialTable`` has them, and T.

    rows: query (the term's id), keyword (its text), reference (file/channel and begin), label,
    prediction, and decision where the system stated it. Occurrences that nothing matches are positives
    with prediction -inf; detections that match nothing are negatives. seconds: T, the speech that counts.
    """

    rows: pd.DataFrame
    notes: tuple[str, ...]
    seconds: float


def read_trials(detections: Path, terms: Path, rttm: Path, ecf: Path) -> Aligned:
    """Read the four files and align what was found with what was said.

    Occurrences and detections that do not lie in an excerpt as a whole are left out, and so are
    detections of terms that are not asked for; the notes count them. Raises KwsbenchError for files
    that are not what they should be, naming the line or, inside XML, the term.
    """
    asked = read_terms(terms)
    excerpts = read_excerpts(ecf)
    transcript = read_transcript(rttm)
    found = read_detections(detections)
    counts: Counter[str] = Counter()
    counts["detections of terms that are not in the term list, left out"] = sum(
        len(hits) for term, hits in found.items() if term not in asked
    )
    rows: list[tuple[str, str, str, int, float, bool]] = []
    stated = False
    for term, text in asked.items():
        said = find_occurrences(text, transcript)
        occurrences = [span for span in said if excerpts.hold(span)]
        hits = [hit for hit in found.get(term, ()) if excerpts.hold(hit.span)]
        counts["occurrences outside the excerpts, left out"] += len(said) - len(occurrences)
        counts["detections outside the excerpts, left out"] += len(found.get(term, ())) - len(hits)
        counts["terms with neither an occurrence nor a detection, left out"] += not hits and not occurrences
        stated = stated or any(hit.accepted is not None for hit in hits)
        matched = align(occurrences, [hit.span for hit in hits], [hit.score for hit in hits])
        for hit, occurrence in zip(hits, matched, strict=True):
            label = int(occurrence is not None)
            rows.append((term, text.casefold(), hit.span.place, label, hit.score, bool(hit.accepted)))
        missed = [occurrence for at, occurrence in enumerate(occurrences) if at not in set(matched)]
        rows.extend((term, text.casefold(), span.place, 1, -math.inf, False) for span in missed)
    if not rows:
        raise KwsbenchError(f"{detections}: no trial: no term of {terms} is said in {rttm} or found inside {ecf}")
    table = pd.DataFrame(rows, columns=["query", "keyword", "reference", "label", "prediction", "decision"])
    notes = tuple(f"{what}: {count}" for what, count in counts.items() if count)
    return Aligned(table if stated else table.drop(columns="decision"), notes, excerpts.seconds)


def align(occurrences: Sequence[Span], detections: Sequence[Span], scores: Sequence[float]) -> list[int | None]:
    """Which occurrence each detection of one term is, None for none; no occurrence is taken twice.

    The best score chooses first (ties: the one listed first) and takes, of the occurrences left whose
    span widened by TOLERANCE_S holds its midpoint, the one whose own midpoint is nearest (ties: the first).
    """
    reach_s = TOLERANCE_S + ROUNDING_S
    left: dict[Channel, list[int]] = defaultdict(list)
    for at, occurrence in enumerate(occurrences):
        left[occurrence.channel].append(at)
    matched: list[int | None] = [None] * len(detections)
    for hit in sorted(range(len(detections)), key=lambda at: -scores[at]):
        channel, begin_s, end_s = detections[hit]
        middle_s = (begin_s + end_s) / 2
        near = [
            at
            for at in left[channel]
            if occurrences[at].begin_s - reach_s <= middle_s <= occurrences[at].end_s + reach_s
        ]
        if near:
            taken = min(near, key=lambda at: abs(occurrences[at].begin_s + occurrences[at].end_s - 2 * middle_s))
            left[channel].remove(taken)
            matched[hit] = taken
    return matched


def find_occurrences(text: str, transcript: Transcript) -> list[Span]:
    """Where the words of a term are said in a row, with gaps under MAX_GAP_S: spans, in the order of the lines.

    Case does not count; fragments and filled pauses between two words are passed over.
    """
    words = text.casefold().split()
    spans = []
    for line, place in transcript.starts.get(words[0], ()):
        lexemes = transcript.lines[line]
        end_s = _end(words, islice(lexemes, place, None))
        if end_s is not None:
            spans.append(lexemes[place].span._replace(end_s=end_s))
    return spans


def _end(words: Sequence[str], lexemes: Iterable[Lexeme]) -> float | None:
    """Where the words end that begin at the first lexeme; None where other words come or the gap is too long."""
    said, last_s = 0, math.inf
    for lexeme in lexemes:
        if lexeme.span.begin_s - last_s > MAX_GAP_S - ROUNDING_S:
            return None
        last_s = lexeme.span.end_s
        if lexeme.spoken:
            if lexeme.word != words[said]:
                return None
            said += 1
            if said == len(words):
                return last_s
    return None
