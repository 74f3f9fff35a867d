"""Detection against counting, exact arithmetic, scikit-learn and published figures."""

from __future__ import annotations

import csv
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import det_curve

from kwsbench import calibration, detection
from kwsbench.calibration import cnxe, lower_bound_cnxe, min_cnxe
from kwsbench.detection import det, mtwv, twv, ubtwv
from kwsbench.errors import KwsbenchError
from tests import reference_detection as reference

# Sums of a few dozen float64 terms of order 1, or of order beta where that is larger.
ROUNDING = 1e-10

trials = st.lists(
    st.tuples(st.sampled_from([-math.inf, 0.0, 0.5, 1.0, 2.0]), st.sampled_from([-1, 0, 0, 1]), st.integers(0, 3)),
    max_size=14,
)
betas = st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(3, 2), Fraction(9999, 10)])
denominators = st.sampled_from([None, 20, 50])


def columns(rows):
    """Lists for the oracle, and arrays for kwsbench."""
    scores, labels, queries = ([row[i] for row in rows] for i in range(3))
    return (scores, labels, queries), (
        np.array(scores, dtype=np.float32),
        np.array(labels, dtype=np.int8),
        np.array(queries, dtype=np.int64),
    )


@settings(deadline=None, max_examples=200)
@given(trials, betas, denominators)
def test_mtwv_tries_every_threshold(rows, beta, seconds):
    lists, arrays = columns(rows)
    found = mtwv(*arrays, beta=float(beta), seconds=seconds)
    expected = reference.mtwv(*lists, beta, seconds)
    with_targets = {query for _, label, query in rows if label == 1}
    assert found.without_targets == max([query for _, _, query in rows], default=-1) + 1 - len(with_targets)
    if expected is None:
        assert np.isnan(found[:4]).all()
        return
    assert found.value == pytest.approx(float(expected[0]), abs=ROUNDING)
    everything = reference.twv([True] * len(rows), *lists[1:], beta, seconds)
    assert found.accept_all == pytest.approx(float(everything), abs=ROUNDING)
    assert found.accept_none == reference.twv([False] * len(rows), *lists[1:], beta, seconds) == 0
    at_threshold = reference.twv([score >= found.threshold for score in lists[0]], *lists[1:], beta, seconds)
    assert float(at_threshold) == pytest.approx(found.value, abs=ROUNDING)


@settings(deadline=None, max_examples=200)
@given(trials, betas, denominators, st.randoms(use_true_random=False))
def test_twv_of_any_decisions(rows, beta, seconds, random):
    lists, (_, labels, queries) = columns(rows)
    accepted = [random.random() < 0.5 for _ in rows]
    found = twv(np.array(accepted, dtype=bool), labels, queries, beta=float(beta), seconds=seconds)
    expected = reference.twv(accepted, *lists[1:], beta, seconds)
    assert found == pytest.approx(math.nan if expected is None else float(expected), abs=ROUNDING, nan_ok=True)


@settings(deadline=None, max_examples=150)
@given(trials, betas, denominators)
def test_the_upper_bound_is_the_mean_of_each_query_alone(rows, beta, seconds):
    lists, arrays = columns(rows)
    found = ubtwv(*arrays, beta=float(beta), seconds=seconds)
    expected = reference.ubtwv(*lists, beta, seconds)
    assert found == pytest.approx(math.nan if expected is None else float(expected), abs=ROUNDING, nan_ok=True)
    if expected is not None:
        assert found >= mtwv(*arrays, beta=float(beta), seconds=seconds).value - ROUNDING


def test_twv_by_hand():
    """Query 0: one of two targets and one of three non-targets; query 1: its only target. Query 2 has no target."""
    labels, queries = np.array([1, 1, 0, 0, 0, 1, 0, 0, -1]), np.array([0, 0, 0, 0, 0, 1, 1, 2, 0])
    accepted = np.array([True, False, True, False, False, True, False, True, True])
    assert twv(accepted, labels, queries, beta=0.6) == pytest.approx(1 - (0.5 + 0.6 / 3) / 2)
    assert twv(accepted, labels, queries, beta=0.6, seconds=12) == pytest.approx(1 - (0.5 + 0.6 / 10) / 2)
    own = np.array([8.0, 12.0, 0.0])
    assert twv(accepted, labels, queries, beta=0.6, seconds=own) == pytest.approx(1 - (0.5 + 0.6 / 6) / 2)


def test_the_strictest_of_equally_good_thresholds():
    """The trial of a query without targets and the one left out change nothing, so 3 is as good as 1 or 2."""
    scores, labels = np.array([3.0, 2.0, 1.0, 0.0]), np.array([1, 0, -1, 0])
    assert mtwv(scores, labels, np.array([0, 1, 0, 0]), beta=1.0).threshold == 3.0


def test_accepting_nothing_is_a_threshold():
    assert mtwv(*columns([(1.0, 0, 0), (0.0, 1, 0)])[1], beta=1.5) == (0.0, math.inf, -0.5, 0.0, 0)


def test_queries_whose_scores_cannot_be_compared():
    rows = [(9.0, 1, 0), (8.0, 0, 0), (2.0, 1, 1), (1.0, 0, 1)]
    assert ubtwv(*columns(rows)[1], beta=4.0) == 1.0
    assert mtwv(*columns(rows)[1], beta=4.0).value == 0.5


def test_with_seconds_accepting_everything_can_pay():
    """Two targets and one non-target in an hour of speech: who always says yes is hardly ever charged."""
    found = mtwv(*columns([(0.0, 1, 0), (0.0, 1, 0), (0.0, 0, 0)])[1], beta=1.0, seconds=3602)
    assert found == pytest.approx((1 - 1 / 3600, 0.0, 1 - 1 / 3600, 0.0, 0))


@pytest.mark.parametrize(
    ("name", "speech_s", "published", "by_trials"),
    [("gup-wat", 1940, 0.5601, 0.385), ("mwf-jm", 809, 0.5217, 0.348), ("wbp-jk", 367, 0.4210, 0.340)],
)
def test_the_published_mtwv_of_san_et_al(shared, name, speech_s, published, by_trials):
    """San et al. 2021 (ASRU), scores of wav2vec2-large, layer 11, and the MTWVs that NIST's tool gave them."""
    path = shared / "data" / "san2021" / f"{name}.csv"
    if not path.is_file():
        pytest.skip(f"{path.name}, published scores of San et al., is not in the folder of test data")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = np.array([float(row["prediction"]) for row in rows])
    labels = np.array([int(row["label"]) for row in rows])
    queries = np.unique([row["query"] for row in rows], return_inverse=True)[1]
    assert mtwv(scores, labels, queries, beta=3.48423, seconds=speech_s).value == pytest.approx(published, abs=5e-5)
    assert mtwv(scores, labels, queries, beta=3.48423).value == pytest.approx(by_trials, abs=5.001e-4)


def test_beta_of_the_evaluations():
    assert pytest.approx(999.9) == detection.NIST_BETA
    assert detection.SWS2013_BETA == 66.66
    assert pytest.approx(12.49) == detection.QUESST_BETA
    assert pytest.approx(3.48423, abs=5e-6) == detection.SAN2021_BETA
    assert detection.beta(p_target=0.5) == 1.0
    p, c_miss, c_fa = 0.0008, 100, 1
    assert pytest.approx(p * c_miss / (p * c_miss + (1 - p) * c_fa)) == calibration.QUESST_PRIOR
    assert pytest.approx(0.0741289, abs=1e-7) == calibration.QUESST_PRIOR  # published cut off, not rounded


@settings(deadline=None)
@given(trials)
def test_det_counts_at_every_threshold(rows):
    (scores, labels, _), arrays = columns(rows)
    curve, expected = det(*arrays[:2]), reference.det(scores, labels)
    for column, points in zip(curve, zip(*expected, strict=True), strict=True):
        wanted = [math.nan if point is None else point for point in points]
        assert column.tolist() == pytest.approx(wanted, abs=ROUNDING, nan_ok=True)


def test_det_is_scikit_learns():
    """It leaves out points at either end where nothing changes any more; ours hold every one."""
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 20, 300).astype(np.float64), rng.integers(0, 2, 300)
    curve = det(scores, labels)
    ours = {point[0]: point[1:] for point in zip(*(column.tolist() for column in curve), strict=True)}
    false_alarms, misses, thresholds = det_curve(labels, scores)
    assert len(thresholds) > 15
    for threshold, false_alarm, miss in zip(thresholds, false_alarms, misses, strict=True):
        assert ours[threshold] == pytest.approx((false_alarm, miss), abs=ROUNDING)


def test_no_targets_leave_twv_undefined():
    nothing = np.empty(0), np.empty(0, dtype=np.int8), np.empty(0, dtype=np.int64)
    assert mtwv(*nothing, beta=1.0) == pytest.approx((*[math.nan] * 4, 0), nan_ok=True)
    assert math.isnan(ubtwv(*nothing, beta=1.0))
    assert math.isnan(twv(np.empty(0, dtype=bool), *nothing[1:], beta=1.0))
    assert mtwv(*columns([(1.0, 0, 0), (0.0, -1, 1)])[1], beta=1.0).without_targets == 2


def test_a_query_of_nothing_but_targets_has_no_false_alarms():
    assert mtwv(*columns([(1.0, 1, 0), (0.0, 1, 0)])[1], beta=999.9) == (1.0, 0.0, 1.0, 0.0, 0)


def test_true_and_false_are_labels_too():
    (_, (scores, labels, queries)) = columns([(1.0, 1, 0), (0.5, 0, 0), (0.0, 1, 0)])
    assert mtwv(scores, labels == 1, queries, beta=0.5) == mtwv(scores, labels, queries, beta=0.5)
    assert cnxe(scores, labels == 1, prior=0.5) == cnxe(scores, labels, prior=0.5)


def test_arguments_are_not_changed():
    _, arrays = columns([(1.0, 1, 0), (-math.inf, 0, 0), (0.5, -1, 1)])
    kept = [column.copy() for column in arrays]
    mtwv(*arrays, beta=1.0, seconds=10)
    ubtwv(*arrays, beta=1.0)
    det(*arrays[:2])
    for figure in (cnxe, min_cnxe, lower_bound_cnxe):
        figure(*arrays[:2], prior=0.5)
    assert all(np.array_equal(column, copy) for column, copy in zip(arrays, kept, strict=True))


@pytest.mark.parametrize("function", [mtwv, ubtwv])
def test_mistakes_in_pooled_trials_are_named(function):
    scores, labels, queries = columns([(1.0, 1, 0), (0.5, 1, 1), (0.0, 1, 1), (0.0, 0, 1)])[1]
    with pytest.raises(KwsbenchError, match=r"^query 1 has 2 targets in 2 s of speech; give the seconds that were"):
        function(scores, labels, queries, beta=1.0, seconds=2)
    with pytest.raises(KwsbenchError, match=r"^query 0 has 1 targets in 0\.5 s of speech"):
        function(scores, labels, queries, beta=1.0, seconds=np.array([0.5, 9.0]))
    with pytest.raises(KwsbenchError, match=r"^seconds must be one number or 2, one a query"):
        function(scores, labels, queries, beta=1.0, seconds=np.ones(3))
    for codes in (queries[:2], queries - 1, queries.astype(float)):
        with pytest.raises(KwsbenchError, match="queries must be 4 codes, integers from 0, one a trial"):
            function(scores, labels, codes, beta=1.0)
    with pytest.raises(KwsbenchError, match="1 scores are inf; only -inf"):
        function(np.array([np.inf, 0, 0, 0]), labels, queries, beta=1.0)
    with pytest.raises(KwsbenchError, match="1 scores are NaN"):
        function(np.array([np.nan, 0, 0, 0]), labels, queries, beta=1.0)


def test_mistakes_in_decisions_and_costs_are_named():
    labels = np.array([1, 0])
    for accepted in (np.array([True]), np.array([1, 0])):
        with pytest.raises(KwsbenchError, match="accepted must be True or False for each of 2 labels"):
            twv(accepted, labels, labels, beta=1.0)
    for p_target in (0.0, 1.0, math.nan):
        with pytest.raises(KwsbenchError, match=f"p_target is {p_target}, expected a probability"):
            detection.beta(p_target=p_target)
    with pytest.raises(KwsbenchError, match=r"costs are 0\.0 \(miss\) and 1\.0 \(false alarm\), expected finite ones"):
        detection.beta(p_target=0.5, c_miss=0.0)
