"""From scores to the probability that the word is there, learnt from words whose places in the archive are known.

Levelled scores of different words mean the same (``pooling``), so what holds for words that are annotated is taken to
hold for the one that is looked for. Probabilities are those of hits in such lists, rare words and all, not evidence to
be weighed with a prior.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from kwsbench.calibration import logistic
from kwsbench.errors import KwsbenchError
from kwsbench.search import peaks
from kwsbench.search.ranking import RankedHit, Search, Searched, as_query
from kwsbench.types import FloatArray, Frames

FEWEST = 5
"""With fewer hits that are the word, or fewer that are not, nothing is fitted."""

TRUE, FALSE, UNKNOWN = 1, 0, -1

Doubles = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]
Item = TypeVar("Item")


class Calibration(NamedTuple):
    """A score's probability: the logistic function of scale * score + shift, scale >= 0.

    true, false: so many hits of either kind it was fitted on. No probability leaves what so many cases can show, by the
    rule of succession: 1 / (false + 2) to (true + 1) / (true + 2).
    """

    scale: float
    shift: float
    true: int
    false: int

    def __call__(self, scores: FloatArray) -> Doubles:
        """Scores (n,) → probabilities (n,), never 0 or 1, and never falling where scores rise."""
        log_odds = self.scale * scores.astype(np.float64) + self.shift
        found: Doubles = np.exp(-np.logaddexp(0.0, -log_odds))
        return np.clip(found, 1 / (self.false + 2), (self.true + 1) / (self.true + 2))


class Said(NamedTuple):
    """A word, and where an annotation says that it is said."""

    word: str
    recording: int
    start_s: float
    end_s: float


class PseudoQuery(NamedTuple):
    """Examples of a word that is annotated, asked for as if it were not: their frames, one item each, and places."""

    examples: Frames
    said: tuple[Said, ...]


class Calibrated(NamedTuple):
    """calibration: None where nothing could be fitted, and note says why. scores, labels: what it was fitted on."""

    calibration: Calibration | None
    note: str
    scores: Doubles
    labels: Labels


def fit(scores: FloatArray, labels: npt.NDArray[np.integer]) -> Calibration | None:
    """The logistic regression of labels (n,), 1 or 0, on scores (n,); None with fewer than FEWEST of either.

    Targets are (true + 1) / (true + 2) and 1 / (false + 2), so that there is a finite best scale even where all true
    hits outscore all others. Source: Platt, "Probabilistic outputs for support vector machines" (1999), section 2.2.
    Scores that tell nothing, or the opposite, have scale 0.
    """
    if scores.shape != labels.shape or not np.isfinite(scores).all() or not np.isin(labels, (TRUE, FALSE)).all():
        raise KwsbenchError(f"{len(scores)} scores, {len(labels)} labels: expected finite ones, and 1 or 0 for each")
    true, false = int(np.count_nonzero(labels)), int(np.count_nonzero(labels == FALSE))
    if min(true, false) < FEWEST:
        return None
    target = np.where(labels == TRUE, (true + 1) / (true + 2), 1 / (false + 2))
    base = float(target.mean())
    nothing = Calibration(0.0, float(np.log(base / (1 - base))), true, false)
    centre = float(np.median(scores))
    spread = float(np.abs(scores - centre).mean())
    if spread == 0:
        return nothing
    x = (scores - centre).astype(np.float64) / spread
    # Each hit counts as true with its target's weight, and as false with the rest.
    weights = np.concatenate([target, 1 - target]) / len(x)
    _, (slope, intercept) = logistic(np.concatenate([x, x]), np.repeat([1.0, -1.0], len(x)), weights, nothing.shift)
    if slope <= 0:
        return nothing
    return Calibration(slope / spread, intercept - slope * centre / spread, true, false)


def expected(confidences: FloatArray) -> float:
    """How many of the hits are likely to be the word: the sum of their probabilities."""
    return float(np.sum(confidences, dtype=np.float64))


def choose(said: Sequence[Said], *, most_words: int = 30, most_queries: int = 3, examples: int = 1) -> list[list[int]]:
    """Pseudo-queries as indices of said: at most so many words, of each so many queries of so many examples.

    Words that are said more often than a query has examples, evenly from the rare to the frequent ones; their examples
    evenly over the archive. Always the same ones.
    """
    by_word: dict[str, list[int]] = defaultdict(list)
    for index in sorted(range(len(said)), key=lambda index: said[index][1:]):
        by_word[said[index].word].append(index)
    words = sorted((word for word, mine in by_word.items() if len(mine) > examples), key=lambda w: (len(by_word[w]), w))
    chosen = []
    for word in _evenly(words, most_words):
        mine = by_word[word]
        queries = min(most_queries, len(mine) // examples)
        spread = _evenly(mine, queries * examples)
        chosen += [spread[first::queries] for first in range(queries)]
    return chosen


def calibrate_on_archive(
    queries: Sequence[PseudoQuery],
    said: Sequence[Said],
    annotated: Callable[[str], Mapping[int, peaks.Spans]],
    searched: Searched,
    *,
    top: int = 50,
) -> Calibrated:
    """A calibration for searches of this archive with these settings, from searches whose answers are known.

    queries: as many examples each as the searches will have. said: all places of their words. annotated: of a word
    and each recording, the stretches in which it is nowhere but where said has it. A query's own recordings are left
    out where its word is said elsewhere too; else its examples alone. Lists that could not be levelled are no basis:
    their scores mean something else for every word.
    """
    if not queries:
        return _nothing("no annotated word is said twice")
    ready = [as_query(query.examples, searched) for query in queries]
    joined = Frames.join([part[item] for part in ready for item in range(len(part))])
    search = Search(joined, searched)
    scores: list[float] = []
    labels: list[Labels] = []
    first, note = 0, ""
    for query, part in zip(queries, ready, strict=True):
        tokens = range(first, first := first + len(part))
        word = [one for one in said if one.word == query.said[0].word]
        ranking = search.rank(tokens, top=top, leave_out=_own(query, word))
        if ranking.note:
            note = ranking.note
            continue
        scores += [hit.score for hit in ranking.hits]
        labels.append(label(ranking.hits, word, annotated(query.said[0].word)))
    if not labels:
        return _nothing(note)
    found, known = np.array(scores), np.concatenate(labels)
    found, known = found[known != UNKNOWN], known[known != UNKNOWN]
    calibration = fit(found, known)
    true = int(np.count_nonzero(known))
    few = f"{true} hits of annotated words are right and {len(known) - true} wrong; {FEWEST} of each are needed"
    return Calibrated(calibration, "" if calibration else few, found, known)


def label(hits: Sequence[RankedHit], word: Sequence[Said], annotated: Mapping[int, peaks.Spans]) -> Labels:
    """Which hits (hits,) are the word: 1, it shares more than half of the shorter span with a place where it is said.

    0: it does not, and more than half of it is annotated. -1: less is, and nobody knows.
    """
    places: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for one in word:
        places[one.recording].append((one.start_s, one.end_s))
    found = np.full(len(hits), UNKNOWN, np.int8)
    for at, hit in enumerate(hits):
        if any(_same(hit, span) for span in places[hit.recording]):
            found[at] = TRUE
        elif _covered(hit, annotated.get(hit.recording, ())) > (hit.end_s - hit.start_s) / 2:
            found[at] = FALSE
    return found


def _own(query: PseudoQuery, word: Sequence[Said]) -> dict[int, list[tuple[float, float]]]:
    """What a pseudo-query must not find: its recordings, or where the word is said nowhere else, its examples."""
    own = {one.recording for one in query.said}
    if any(one.recording not in own for one in word):
        return {recording: [(-np.inf, np.inf)] for recording in own}
    spans = defaultdict(list)
    for one in query.said:
        spans[one.recording].append((one.start_s, one.end_s))
    return dict(spans)


def _same(hit: RankedHit, span: tuple[float, float]) -> bool:
    return bool(peaks.same_place(np.array([hit.start_s]), np.array([hit.end_s]), span)[0])


def _covered(hit: RankedHit, spans: peaks.Spans) -> float:
    """Seconds of a hit that lie in some of the spans, which may overlap."""
    covered, until = 0.0, hit.start_s
    for begin, end in sorted(spans):
        covered += max(0.0, min(end, hit.end_s) - max(begin, until))
        until = max(until, min(end, hit.end_s))
    return covered


def _evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of the items, in order, the first and the last among them where there are two."""
    if len(items) <= most:
        return list(items)
    return [items[round(at)] for at in np.linspace(0, len(items) - 1, most)]


def _nothing(note: str) -> Calibrated:
    return Calibrated(None, note, np.zeros(0), np.zeros(0, np.int8))
