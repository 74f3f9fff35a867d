"""Hits in time against counting ticks, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwsbench.errors import KwsbenchError
from kwsbench.localisation import hits, iou, spans_s
from tests import reference_detection as reference

TICKS_A_SECOND = 10  # tenths of a second round as decimals do; their ratios stay within a few ulp
ROUNDING = 1e-12

spans = st.tuples(st.integers(0, 30), st.integers(1, 15)).map(lambda pair: (pair[0], pair[0] + pair[1]))
trials = st.lists(st.tuples(st.none() | spans, st.lists(spans, max_size=3)), max_size=8)


def seconds(span):
    return span[0] / TICKS_A_SECOND, span[1] / TICKS_A_SECOND


def arrays(pairs):
    found = [(math.nan, math.nan) if hit is None else seconds(hit) for hit, _ in pairs]
    begin, end = np.array(found).reshape(-1, 2).T
    return begin, end, [[seconds(true) for true in truth] for _, truth in pairs]


@settings(deadline=None)
@given(trials)
def test_figures_against_counted_ticks(pairs):
    figures = hits(*arrays(pairs))
    known = [(hit, truth) for hit, truth in pairs if truth]
    ious = [reference.iou(hit, truth) if hit else 0 for hit, truth in known]
    near = [bool(hit) and reference.midpoint_near(hit, truth, TICKS_A_SECOND // 2) for hit, truth in known]
    assert figures.known == len(known)
    assert figures.hits == sum(value >= 0.5 for value in ious)
    if known:
        assert figures.mean_iou == pytest.approx(float(sum(ious) / len(known)), abs=ROUNDING)
        assert figures.hit_rate == figures.hits / len(known)
        assert figures.midpoint_rate == pytest.approx(sum(near) / len(known))
    else:
        assert np.isnan(figures[:3]).all()


@settings(deadline=None)
@given(spans, st.lists(spans, min_size=1, max_size=4))
def test_iou_takes_the_best_of_several(hit, truth):
    value = iou(*seconds(hit), [seconds(true) for true in truth])
    assert value == pytest.approx(float(reference.iou(hit, truth)), abs=ROUNDING)


@given(spans, spans)
def test_iou_is_symmetric_and_1_only_for_the_same(one, other):
    value = iou(*seconds(one), [seconds(other)])
    assert value == pytest.approx(iou(*seconds(other), [seconds(one)]), abs=ROUNDING)
    assert (value == pytest.approx(1.0, abs=ROUNDING)) == (one == other)


def test_iou_by_hand():
    assert iou(1.0, 2.0, [(1.5, 3.0)]) == 0.25
    assert iou(1.0, 2.0, [(2.0, 3.0)]) == 0.0
    assert iou(1.0, 2.0, [(0.0, 4.0), (5.0, 6.0)]) == 0.25
    assert iou(math.nan, math.nan, [(0.0, 1.0)]) == 0.0
    assert math.isnan(iou(0.0, 1.0, []))


def test_limits_are_included_in_spite_of_rounding():
    """0 to 0.2 against 0 to 0.1 is a half, and 1.1 lies 0.5 from 0.6: in binary, one falls short and one exceeds."""
    assert 0.1 / (0.2 + 0.1 - 0.1) < 0.5 < 1.1 - 0.6
    assert hits(np.array([0.0]), np.array([0.2]), [[(0.0, 0.1)]]).hit_rate == 1.0
    assert hits(np.array([1.0]), np.array([1.2]), [[(0.4, 0.6)]]).midpoint_rate == 1.0
    assert hits(np.array([1.0]), np.array([1.202]), [[(0.4, 0.6)]]).midpoint_rate == 0.0


def test_the_midpoint_may_be_right_where_the_span_is_not():
    figures = hits(np.array([1.0, 4.0]), np.array([1.2, 8.0]), [[(1.2, 1.6)], [(5.9, 6.1)]])
    assert figures.mean_iou == pytest.approx(0.2 / 4 / 2)
    assert (figures.hit_rate, figures.midpoint_rate, figures.hits, figures.known) == (0.0, 1.0, 0, 2)


def test_limits_can_be_set():
    begin, end, truth = np.array([0.0]), np.array([1.0]), [[(0.0, 4.0)]]
    assert hits(begin, end, truth, min_iou=0.25).hits == 1
    assert hits(begin, end, truth, min_iou=0.26).hits == 0
    assert hits(begin + 5.0, end + 5.0, truth, tolerance_s=1.5).midpoint_rate == 1.0
    assert hits(begin + 5.0, end + 5.0, truth, tolerance_s=1.4).midpoint_rate == 0.0


def test_frames_stand_for_one_shift_around_their_centre():
    """By hand: centres 0.0125, 0.0325, 0.0525, …; frame 1 is 0.0225 to 0.0425."""
    starts, ends = np.array([[1, -1], [0, 2]], dtype=np.int32), np.array([[1, -1], [3, 2]], dtype=np.int32)
    begin, end = spans_s(starts, ends, frame_shift_s=0.02, first_centre_s=0.0125)
    assert begin == pytest.approx(np.array([[0.0225, math.nan], [0.0025, 0.0425]]), nan_ok=True)
    assert end == pytest.approx(np.array([[0.0425, math.nan], [0.0825, 0.0625]]), nan_ok=True)


@given(st.integers(0, 10_000), st.integers(1, 500), st.sampled_from([0.01, 0.02, 0.04]))
def test_neighbouring_hits_touch(start, frames, shift):
    starts, ends = np.array([start, start + frames]), np.array([start + frames - 1, start + 2 * frames - 1])
    begin, end = spans_s(starts, ends, frame_shift_s=shift, first_centre_s=0.0125)
    assert end[0] == pytest.approx(begin[1])
    assert end - begin == pytest.approx(np.full(2, frames * shift))


def test_arguments_are_not_changed():
    starts, begin = np.array([0, -1]), np.array([0.0, math.nan])
    spans_s(starts, starts, frame_shift_s=0.02, first_centre_s=0.0125)
    hits(begin, begin + 1.0, [[(0.0, 1.0)], []])
    assert starts.tolist() == [0, -1]
    assert begin.tolist() == pytest.approx([0.0, math.nan], nan_ok=True)


def test_mistakes_are_named():
    one = np.array([1.0])
    with pytest.raises(KwsbenchError, match=r"begin_s \(1,\), end_s \(1,\) and 2 truths must be one a trial"):
        hits(one, one + 1.0, [[], []])
    with pytest.raises(KwsbenchError, match="a hit must end after it begins; see spans_s"):
        hits(one, one, [[]])
    with pytest.raises(
        KwsbenchError, match="a true span must end after it begins; correct the times in the annotation"
    ):
        hits(one, one + 1.0, [[(2.0, 2.0)]])
    with pytest.raises(KwsbenchError, match="a true span must end after it begins"):
        iou(0.0, 1.0, [(0.0, math.nan)])
    with pytest.raises(KwsbenchError, match="a hit ends before it starts; starts and ends are first and last frames"):
        spans_s(np.array([3]), np.array([2]), frame_shift_s=0.02, first_centre_s=0.0125)
