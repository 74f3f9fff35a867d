"""What a correction of scores must keep to: shape, -inf where it was, and estimates from the used pairs alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from kwsbench.rules import Broken, apart, article, call, check_signature, is_float_array, to_floats
from kwsbench.types import FloatArray, ScoreNorm


def score_rules(norm: ScoreNorm) -> Iterator[str]:
    """Every rule that the correction breaks, in a line each."""
    if not hasattr(norm, "normalize"):
        yield "attributes: normalize missing; see kwsbench.types.ScoreNorm"
        return
    check_signature(norm.normalize, "normalize", "scores", "used", see="kwsbench.types.ScoreNorm")
    scores = -np.random.default_rng(0).random((6, 9)).astype(np.float32)
    scores[2, 3] = scores[4, 7] = -np.inf
    used = np.isfinite(scores)
    np.fill_diagonal(used, val=False)
    scores[np.arange(6), np.arange(6)] = 0.0
    problems = [*_rules(norm, scores, used, "6 queries × 9 utterances")]
    yield from problems
    if problems:
        return
    outlier = np.where(used | ~np.isfinite(scores), scores, np.float32(1000))
    with_outlier = _normalize(norm, outlier, used.copy(), "a score of 1000 that is not used")
    changed = with_outlier[used] != _normalize(norm, scores.copy(), used.copy(), "6 queries × 9 utterances")[used]
    if changed.any():
        yield (
            f"used: pairs that are not used changed {int(changed.sum())} of the others; "
            "estimate from scores[used] alone, for a query's own recording is an outlier"
        )
    none, one = np.zeros_like(used), np.zeros_like(used)
    one[:, 8] = True
    equal = np.where(np.isfinite(scores), np.float32(-0.1), scores)
    for what, values, mask in (
        ("no pair used", scores, none),
        ("one used score a query", scores, one),
        ("one used score an utterance", scores, np.repeat(np.arange(6)[:, None] == 0, 9, axis=1) & used),
        ("equal scores", equal, used),
        ("no alignment at all", np.full_like(scores, -np.inf), none),
        ("one query and one utterance", scores[:1, 8:], used[:1, 8:]),
    ):
        yield from _rules(norm, values, mask, what)


def _rules(norm: ScoreNorm, scores: npt.NDArray[np.float32], used: npt.NDArray[np.bool_], what: str) -> Iterator[str]:
    given, mask = scores.copy(), used.copy()
    result = _normalize(norm, given, mask, what)
    if not np.array_equal(given, scores) or not np.array_equal(mask, used):
        yield f"argument ({what}): normalize() changes its arguments; work on a copy"
    missing = np.isneginf(scores)
    if not np.isneginf(result[missing]).all():
        yield f"missing ({what}): -inf became {result[missing][~np.isneginf(result[missing])][0]}; -inf stays -inf"
    if not np.isfinite(result[~missing]).all():
        bad = result[~missing][~np.isfinite(result[~missing])][0]
        yield (
            f"finite ({what}): a finite score became {bad}; where fewer than two scores are used or "
            "they do not vary, divide by 1"
        )
    again = _normalize(norm, scores.copy(), used.copy(), what)
    if not np.array_equal(again, result, equal_nan=True):
        known = np.isfinite(result) & np.isfinite(again)
        seen = f" (it differs {apart(again[known], result[known])})" if known.any() else ""
        yield f"determinism ({what}): the same scores give another result{seen}; seed what is random"


def _normalize(norm: ScoreNorm, scores: npt.NDArray[np.float32], used: npt.NDArray[np.bool_], what: str) -> FloatArray:
    """What normalize() returns. Raises Broken unless it is floats in the shape of the scores."""
    shape = scores.shape
    mend = f"normalize() must take any (queries, utterances), here {shape}, -inf among the scores and no pair used"
    result = call(norm.normalize, scores, used, where=f"normalize, {what}", mend=mend)
    if not isinstance(result, np.ndarray) or result.shape != shape:
        seen = f"{result.shape}" if isinstance(result, np.ndarray) else article(result)
        raise Broken(f"shape ({what}): {seen}, expected a numpy array {shape}, one score out for each one in")
    if not is_float_array(result):
        raise Broken(f"precision ({what}): {result.dtype} out; scores are floats: {to_floats(result)}")
    return np.asarray(result)
