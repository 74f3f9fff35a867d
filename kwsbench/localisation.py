"""Is the word where the hit is? Spans of hits in seconds, held against the true times where they are known.

A span is (begin, end) in seconds from the start of the utterance. A word may be said several times in
an utterance; a hit is held against the occurrence that suits it best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kwsbench.errors import KwsbenchError
from kwsbench.types import FloatArray

Doubles = npt.NDArray[np.float64]
Spans = Sequence[tuple[float, float]]

ROUNDING = 1e-9
"""What reaches a limit but for the rounding of decimal seconds reaches it."""


class HitSpans(NamedTuple):
    """Where hits lie, in seconds; each float64, in the shape of the frames. NaN: no hit."""

    begin_s: Doubles
    end_s: Doubles


class HitFigures(NamedTuple):
    """How well hits are placed, over the trials whose true times are known. NaN where there is none.

    mean_iou: intersection over union with the best true span. A trial without a hit counts as 0.
    hit_rate: the share of trials whose IoU reaches the limit, hits / known.
    midpoint_rate: the share whose midpoint lies in a true span, or within the tolerance of one.
    hits: how many reach the limit. known: how many trials were looked at.
    """

    mean_iou: float
    hit_rate: float
    midpoint_rate: float
    hits: int
    known: int


def spans_s(
    starts: npt.NDArray[np.integer[Any]],
    ends: npt.NDArray[np.integer[Any]],
    *,
    frame_shift_s: float,
    first_centre_s: float,
) -> HitSpans:
    """Frames of hits, both included, as seconds: starts, ends of any one shape, -1 where there is no hit.

    Frame i is centred on first_centre_s + i * frame_shift_s and stands for the frame_shift_s around
    that, however much audio it was computed from: so neighbours touch and do not overlap, and a hit of k
    frames lasts k shifts. Raises KwsbenchError where a hit ends before it starts.
    """
    none = (starts < 0) | (ends < 0)
    if np.any(~none & (ends < starts)):
        raise KwsbenchError("a hit ends before it starts; starts and ends are first and last frames, both included")
    return HitSpans(
        np.where(none, math.nan, first_centre_s + (starts - 0.5) * frame_shift_s),
        np.where(none, math.nan, first_centre_s + (ends + 0.5) * frame_shift_s),
    )


def iou(begin_s: float, end_s: float, truth: Spans) -> float:
    """Intersection over union of one span with the best of the true spans, 0 to 1.

    0 where nothing overlaps and for no hit (NaN); NaN where truth is empty: unknown. Raises
    KwsbenchError where a span does not end after it begins.
    """
    return hits(np.array([begin_s]), np.array([end_s]), [truth]).mean_iou


def hits(
    begin_s: FloatArray,
    end_s: FloatArray,
    truths: Sequence[Spans],
    *,
    min_iou: float = 0.5,
    tolerance_s: float = 0.5,
) -> HitFigures:
    """How well the hits of positive trials are placed: begin_s, end_s (trials,), truths: the true spans of each.

    A trial without true spans (negative, or with times that nobody wrote down) is in no figure. A hit of
    NaN, no alignment, is a miss. min_iou: the IoU from which a hit counts. tolerance_s: how far from a
    true span its midpoint may lie, limits included; 0.5 s is the criterion of NIST's STD 2006
    evaluation plan. Raises KwsbenchError where a span, true or found, does not end after it begins.
    """
    if not begin_s.shape == end_s.shape == (len(truths),):
        raise KwsbenchError(
            f"begin_s {begin_s.shape}, end_s {end_s.shape} and {len(truths)} truths must be one a trial"
        )
    if np.any(end_s <= begin_s):
        raise KwsbenchError("a hit must end after it begins; see spans_s for what frames stand for")
    trial = np.repeat(np.arange(len(truths)), [len(truth) for truth in truths])
    true_begin, true_end = np.array([span for truth in truths for span in truth], dtype=np.float64).reshape(-1, 2).T
    if not np.all(true_end > true_begin):
        raise KwsbenchError("a true span must end after it begins; correct the times in the annotation")

    begin, end = begin_s[trial].astype(np.float64), end_s[trial].astype(np.float64)
    overlap = np.maximum(0.0, np.minimum(end, true_end) - np.maximum(begin, true_begin))
    middle = (begin + end) / 2.0
    near = np.maximum(true_begin - middle, middle - true_end) <= tolerance_s + ROUNDING
    best, placed = np.zeros(len(truths)), np.zeros(len(truths), dtype=bool)
    np.fmax.at(best, trial, overlap / ((end - begin) + (true_end - true_begin) - overlap))  # NaN, no hit, stays 0
    np.logical_or.at(placed, trial, near)

    known = np.unique(trial)
    if not len(known):
        return HitFigures(math.nan, math.nan, math.nan, 0, 0)
    reached = int(np.count_nonzero(best[known] >= min_iou - ROUNDING))
    return HitFigures(
        mean_iou=float(best[known].mean()),
        hit_rate=reached / len(known),
        midpoint_rate=float(placed[known].mean()),
        hits=reached,
        known=len(known),
    )
