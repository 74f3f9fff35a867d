"""What a matcher must keep to: hits inside the utterance, a finite cost, scores that do not depend on blocks."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any

import numpy as np

from kwsbench.rules import Broken, article, call, check_signature
from kwsbench.types import Alignment, CostMatcher, FloatArray, Frames, Match, PairMatcher, Scores


def alignment_rules(alignment: Alignment) -> Iterator[str]:
    """Every rule that the recipe breaks, in a line each."""
    steps = alignment.steps
    expected = "each is (query frames back, utterance frames back), 0-2, and never (0, 0)"
    if not isinstance(steps, tuple | list) or not steps or not all(_is_step(step) for step in steps):
        yield f"steps: {steps}; {expected}"
    elif not any(i for i, _ in steps):
        yield f"steps: {steps}; none advances in the query: add one like (1, 1)"
    if alignment.normalize not in ("query", "path", "none"):
        yield f"normalize: {alignment.normalize!r}; expected query, path or none"
    if alignment.rows not in ("none", "minmax"):
        yield f"rows: {alignment.rows!r}; expected none or minmax"
    if not isinstance(alignment.whole, bool):
        yield f"whole: {alignment.whole!r}; expected True (the whole utterance) or False (anywhere inside it)"


def _is_step(step: Any) -> bool:
    pair = isinstance(step, tuple | list) and len(step) == 2
    return pair and all(_is_whole(back) and 0 <= back <= 2 for back in step) and tuple(step) != (0, 0)


def cost_matcher_rules(matcher: CostMatcher) -> Iterator[str]:
    """Every rule that match() breaks, in a line each."""
    check_signature(matcher.match, "match", "cost", see="kwsbench.types.CostMatcher")
    rng = np.random.default_rng(0)
    for n, m in ((1, 1), (1, 9), (6, 1), (6, 30), (30, 6)):
        cost = rng.random((n, m)).astype(np.float32)
        given = cost.copy()
        where = f"query of {n} frame{'s' * (n > 1)} in an utterance of {m}"
        match = _match(matcher, given, where)
        if not np.array_equal(given, cost):
            yield f"argument ({where}): match() changes the costs; work on a copy"
        if not np.isfinite(match.cost):
            yield f"finite ({where}): cost {match.cost}; every query must get a cost, longer than the utterance or not"
            continue
        if not 0 <= match.start <= match.end < m:
            last = "; end is the last frame itself, not the one behind it" if match.end == m else ""
            yield f"span ({where}): {match.start}–{match.end}; 0 <= start <= end < {m}, both included{last}"
        again = _match(matcher, cost.copy(), where)
        if again != match:
            yield (
                f"determinism ({where}): the same costs give cost {match.cost:.4g} at {match.start}–{match.end}, then "
                f"{again.cost:.4g} at {again.start}–{again.end}; seed what is random, keep no state between calls"
            )


def _match(matcher: CostMatcher, cost: FloatArray, where: str) -> Match:
    """What match() returns. Raises Broken unless it is a Match of a number and two whole ones."""
    mend = f"match() must take any (query frames, utterance frames), here {cost.shape}, either of them 1 or the longer"
    match = call(matcher.match, cost, where=f"match, {where}", mend=mend)
    if not isinstance(match, Match):
        raise Broken(f"type ({where}): returned {article(match)}, expected kwsbench.Match(cost, start, end)")
    if not isinstance(match.cost, Real):
        raise Broken(f"type ({where}): the cost of the Match is {article(match.cost)}; expected a number: float(…)")
    for name in ("start", "end"):
        frame = getattr(match, name)
        if not _is_whole(frame):
            told = f"{frame!r}, {article(frame)}" if isinstance(frame, Real) else article(frame)
            raise Broken(f"type ({where}): the {name} of the Match is {told}; frames are whole numbers: int(…)")
    return match


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


class _Cosine:
    """The distance that pair matchers are checked with."""

    def cost(self, x: FloatArray, y: FloatArray) -> FloatArray:
        norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)[None, :]
        return np.asarray(np.clip(1 - x @ y.T / np.maximum(norms, 1e-12), 0, 2))


def pair_matcher_rules(matcher: PairMatcher) -> Iterator[str]:
    """Every rule that score() breaks, in a line each."""
    names = ("queries", "utterances", "distance")
    check_signature(matcher.score, "score", *names, see="kwsbench.types.PairMatcher", first_utterance="0")
    rng = np.random.default_rng(0)
    queries = Frames.join([rng.standard_normal((n, 8)).astype(np.float32) for n in (1, 4, 30)])
    utterances = Frames.join([rng.standard_normal((n, 8)).astype(np.float32) for n in (1, 12, 20, 7)])
    before = queries.values.copy(), utterances.values.copy()
    whole = _score(matcher, queries, utterances, 0)
    if not all(np.array_equal(old, new.values) for old, new in zip(before, (queries, utterances), strict=True)):
        raise Broken("argument: score() changes the frames it is given; work on a copy")
    for field, part, dtype in zip(Scores._fields, whole, (np.float32, np.int32, np.int32), strict=True):
        if part.dtype != dtype:
            expected = np.dtype(dtype)
            yield f"precision: {field} are {part.dtype} where kwsbench.Scores says {expected}; .astype(np.{expected})"
    bad = np.argwhere(np.isnan(whole.scores) | (whole.scores == np.inf))
    if len(bad):
        query, utterance = bad[0]
        raise Broken(
            f"finite: query {query} of {len(queries[query])} frames scores {whole.scores[query, utterance]} in "
            f"utterance {utterance} of {utterances.lengths[utterance]}; a score is never NaN or "
            "+inf, and -inf means that there is no alignment"
        )
    inside = (whole.starts >= 0) & (whole.starts <= whole.ends) & (whole.ends < utterances.lengths)
    outside = np.argwhere(~inside & ~((whole.starts == -1) & (whole.ends == -1)))
    if len(outside):
        query, utterance = outside[0]
        yield (
            f"span: query {query} hits {whole.starts[query, utterance]}–{whole.ends[query, utterance]} of utterance "
            f"{utterance}, and so leaves its utterance of {utterances.lengths[utterance]} frames; 0 <= start <= end < "
            "frames, both included, or -1 and -1"
        )
    if not np.array_equal(_score(matcher, queries, utterances, 0).scores, whole.scores):
        yield "determinism: the same frames give other scores the second time; seed what is random, keep no state"
        return
    halves = [_score(matcher, queries, utterances.read(a, b), a) for a, b in ((0, 1), (1, len(utterances)))]
    cut = np.concatenate([half.scores for half in halves], axis=1)
    # Where there is no alignment, in both or in one: far from every score, and no inf to subtract.
    one, other = (np.maximum(scores, np.float32(-1e30)) for scores in (cut, whole.scores))
    off = np.abs(one - other)
    if off.max() > 1e-4 * max(1e-6, float(np.abs(other[other > -1e30]).max(initial=0))):
        query, utterance = np.unravel_index(np.argmax(off), off.shape)
        yield (
            f"blocks: query {query} scores {whole.scores[query, utterance]:.4g} in utterance {utterance} among all, "
            f"{cut[query, utterance]:.4g} in a block of some: the scores depend on how the search set is cut into "
            "blocks; look at each pair alone, and use first_utterance as the position"
        )


def _score(matcher: PairMatcher, queries: Frames, utterances: Frames, first: int) -> Scores:
    """What score() returns. Raises Broken unless it is Scores of three arrays (queries, utterances)."""
    where = f"{len(queries)} queries × {len(utterances)} utterances"
    expected = (len(queries), len(utterances))
    mend = "score() must take items of any number of frames, be it one"
    found = call(
        matcher.score,
        queries,
        utterances,
        _Cosine(),
        first_utterance=first,
        where=f"score, {where}",
        mend=mend,
    )
    if not isinstance(found, Scores):
        raise Broken(f"type: score() returned {article(found)}, expected kwsbench.Scores(scores, starts, ends)")
    for field, part in zip(Scores._fields, found, strict=True):
        if not isinstance(part, np.ndarray) or part.shape != expected:
            raise Broken(f"shape: {where} must give {field} of {expected}, got {article(part)}; a row for each query")
    return found
