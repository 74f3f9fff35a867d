"""Slow, obvious oracles for scored trials: TWV at every threshold, NIST's alignment. Nothing here calls kwsbench."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction


def twv(trials, threshold, beta, seconds):
    """1 - the mean over queries with positives of [P_miss + beta * P_fa].

    trials: (query, label, score, listed); listed False: an occurrence that nobody can accept.
    """
    losses = []
    for query in sorted({trial[0] for trial in trials}):
        mine = [trial for trial in trials if trial[0] == query]
        positives = sum(label for _, label, _, _ in mine)
        negatives = len(mine) - positives
        if not positives:
            continue
        accepted = [label for _, label, score, listed in mine if listed and score >= threshold]
        chances = negatives if seconds is None else Fraction(seconds) - positives
        false_alarms = len(accepted) - sum(accepted)
        p_fa = Fraction(false_alarms) / chances if false_alarms else 0
        losses.append(1 - Fraction(sum(accepted), positives) + Fraction(beta) * p_fa)
    return float(1 - sum(losses) / len(losses))


def mtwv(trials, beta, seconds):
    """(the greatest TWV, the strictest threshold that reaches it)."""
    thresholds = [math.inf, *sorted({score for _, _, score, listed in trials if listed}, reverse=True)]
    values = [twv(trials, threshold, beta, seconds) for threshold in thresholds]
    return max(values), thresholds[values.index(max(values))]


def align(occurrences, detections):
    """Greedy: while a free detection matches a free occurrence, pair the best detection with the nearest one.

    occurrences: (place, begin, end); detections: (place, begin, end, score). Returns the occurrence of each.
    """
    result = {}
    while True:
        pairs = []
        for d, (place, begin, end, score) in enumerate(detections):
            for o, (where, first, last) in enumerate(occurrences):
                middle = (begin + end) / 2
                if (
                    place == where
                    and first - 0.5 <= middle <= last + 0.5
                    and d not in result
                    and o not in result.values()
                ):
                    pairs.append((-score, d, abs((first + last) / 2 - middle), o))
        if not pairs:
            return [result.get(d) for d in range(len(detections))]
        _, d, _, o = min(pairs)
        result[d] = o


def occurrences(words, lexemes):
    """Spans of the words said in a row; lexemes: (word, begin, end, kind) of one speaker, in time.

    Fragments and filled pauses end nothing but may fill a gap, so gaps are measured between neighbours of any kind.
    """
    spans = []
    for start in range(len(lexemes)):
        for stop in range(start + 1, len(lexemes) + 1):
            part = lexemes[start:stop]
            spoken = [lexeme[0] for lexeme in part if lexeme[3] == "lex"]
            ends = part[0][3] == "lex" and part[-1][3] == "lex"
            gaps = [after[1] - before[2] for before, after in itertools.pairwise(part)]
            if spoken == words and ends and all(gap < 0.5 for gap in gaps):
                spans.append((part[0][1], part[-1][2]))
    return spans
