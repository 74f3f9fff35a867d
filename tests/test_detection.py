"""Detection and calibration against counting, exact arithmetic, scikit-learn and published figures."""

from __future__ import annotations

import csv
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import det_curve, log_loss

from kwsbench import calibration, detection
from kwsbench.calibration import cnxe, lower_bound_cnxe, min_cnxe
from kwsbench.detection import det, mtwv, twv, ubtwv
from kwsbench.errors import KwsbenchError
from tests import reference_detection as reference

# Sums of a few dozen float64 terms of order 1, or of order beta where that is larger.
ROUNDING = 1e-10
PRIOR = calibration.QUESST_PRIOR

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


def two_classes(targets, nontargets):
    """Scores and labels of these two lists of scores."""
    scores = np.array([*targets, *nontargets], dtype=np.float64)
    return scores, np.array([1] * len(targets) + [0] * len(nontargets), dtype=np.int8)


values = st.integers(-20, 20).map(lambda value: value / 4)
classes = st.tuples(st.lists(values, min_size=1, max_size=12), st.lists(values, min_size=1, max_size=12))
priors = st.sampled_from([0.01, PRIOR, 0.5, 0.9])


# ── term-weighted value ──────────────────────────────────────────────────────────────────────────


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


# ── cross entropy ────────────────────────────────────────────────────────────────────────────────


@settings(deadline=None, max_examples=150)
@given(classes, priors)
def test_cnxe_is_surprise_over_the_entropy_of_the_prior(lists, prior):
    llr, labels = two_classes(*lists)
    expected = reference.cnxe(llr.tolist(), labels.tolist(), prior)
    assert cnxe(llr, labels, prior=prior) == pytest.approx(expected, abs=ROUNDING)


def test_cnxe_is_scikit_learns_log_loss_weighted():
    rng = np.random.default_rng(0)
    llr, labels = rng.normal(size=200), rng.integers(0, 2, 200)
    posterior = 1 / (1 + np.exp(-llr) * (1 - PRIOR) / PRIOR)
    weights = np.where(labels == 1, PRIOR / np.mean(labels == 1), (1 - PRIOR) / np.mean(labels == 0))
    entropy = -PRIOR * math.log(PRIOR) - (1 - PRIOR) * math.log(1 - PRIOR)
    assert cnxe(llr, labels, prior=PRIOR) == pytest.approx(
        log_loss(labels, posterior, sample_weight=weights) / entropy, abs=ROUNDING
    )


@given(classes, priors)
def test_who_knows_nothing_has_cnxe_1(lists, prior):
    llr, labels = two_classes(*lists)
    assert cnxe(0 * llr, labels, prior=prior) == pytest.approx(1.0, abs=ROUNDING)
    assert min_cnxe(0 * llr + 7, labels, prior=prior) == (1.0, 0.0, 0.0)
    assert lower_bound_cnxe(0 * llr + 7, labels, prior=prior) == pytest.approx(1.0, abs=ROUNDING)


def test_cnxe_of_certainty():
    """Right: nothing is left open. Wrong about everything: 1000 nats for each, without overflow."""
    llr, labels = np.array([1000.0, -1000.0]), np.array([1, 0])
    assert cnxe(llr, labels, prior=0.5) == 0.0
    assert cnxe(-llr, labels, prior=0.5) == pytest.approx(1000 / math.log(2))


def regression(scores, labels, prior):
    """The Cnxe of scikit-learn's unpenalised logistic regression, classes weighted by the prior."""
    per_class = {1: prior * len(labels) / np.sum(labels == 1), 0: (1 - prior) * len(labels) / np.sum(labels == 0)}
    model = LogisticRegression(C=math.inf, class_weight=per_class, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    model.fit(scores[:, np.newaxis], labels)
    slope, intercept = model.coef_[0, 0], model.intercept_[0]
    return reference.cnxe(
        (slope * scores + intercept - math.log(prior / (1 - prior))).tolist(), labels.tolist(), prior
    ), slope


@pytest.mark.parametrize("prior", [0.01, PRIOR, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_min_cnxe_is_scikit_learns_logistic_regression(seed, prior):
    rng = np.random.default_rng(seed)
    scores, labels = two_classes(rng.normal(1.0, 1.0, 30), rng.normal(0.0, 0.5, 200))
    expected, slope = regression(scores, labels, prior)
    found = min_cnxe(scores, labels, prior=prior)
    assert found.value == pytest.approx(expected, abs=1e-8)
    assert found.scale == pytest.approx(slope, rel=1e-4)


@settings(deadline=None, max_examples=150)
@given(classes, priors, st.floats(0.0, 20.0), st.floats(-20.0, 20.0))
def test_no_scale_and_shift_beat_the_minimum_nor_any_map_the_bound(lists, prior, scale, shift):
    scores, labels = two_classes(*lists)
    found, bound = min_cnxe(scores, labels, prior=prior), lower_bound_cnxe(scores, labels, prior=prior)
    assert 0.0 <= bound <= found.value + ROUNDING
    assert found.value <= min(1.0, cnxe(scale * scores + shift, labels, prior=prior)) + ROUNDING
    if math.isfinite(found.scale):
        assert cnxe(found.scale * scores + found.shift, labels, prior=prior) == pytest.approx(found.value, abs=ROUNDING)
        assert found.scale >= 0.0
    else:
        assert math.isnan(found.shift)
        assert min(lists[0]) >= max(lists[1])


@settings(deadline=None, max_examples=150)
@given(classes, priors)
def test_the_lower_bound_by_the_max_min_formula(lists, prior):
    scores, labels = two_classes(*lists)
    expected = reference.lower_bound_cnxe(scores.tolist(), labels.tolist(), prior)
    assert lower_bound_cnxe(scores, labels, prior=prior) == pytest.approx(expected, abs=ROUNDING)


def test_the_lower_bound_by_hand():
    """One target stands above all, the other ties with both non-targets."""
    scores, labels = two_classes([2, 0], [0, 0])
    # with a prior of 1/2 the posterior of the tied three is (1/4) / (1/4 + 1/2)
    expected = -(math.log2(1 / 3) / 4 + math.log2(2 / 3) / 2)
    assert lower_bound_cnxe(scores, labels, prior=0.5) == pytest.approx(expected)


@pytest.mark.parametrize("factor", [1e-200, 1e-3, 1e8, 1e300])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_min_cnxe_does_not_depend_on_scale_and_shift(factor, offset):
    rng = np.random.default_rng(0)
    scores, labels = two_classes(rng.normal(1.0, 1.0, 30), rng.normal(0.0, 1.0, 100))
    plain, other = (min_cnxe(s, labels, prior=PRIOR) for s in (scores, (scores + offset) * factor))
    assert other.value == pytest.approx(plain.value, abs=1e-9)
    assert other.scale * factor == pytest.approx(plain.scale, rel=1e-5)


def test_an_outlier_does_not_stop_the_search():
    """One non-target a million times as far away as the rest are apart: it is certain, and the rest decide."""
    rng = np.random.default_rng(0)
    targets, nontargets = rng.normal(1.0, 1.0, 30), rng.normal(0.0, 1.0, 100)
    found = min_cnxe(*two_classes(targets, [*nontargets, -1e6]), prior=0.5)
    near = min_cnxe(*two_classes(targets, [*nontargets, -1e2]), prior=0.5)
    assert found.value == pytest.approx(near.value, abs=1e-9)


def test_classes_that_overlap_by_a_hair():
    """The best scale is finite, and more than a thousand times what the spread of scores suggests."""
    scores, labels = two_classes([1.0, *range(2, 50)], [1.0001, *range(-50, 0)])
    found = min_cnxe(scores, labels, prior=0.5)
    bound = lower_bound_cnxe(scores, labels, prior=0.5)
    assert math.isfinite(found.scale)
    assert bound <= found.value <= bound + 1e-4
    for scale, shift in ((1.01, 0.0), (0.99, 0.0), (1.0, 1e-3), (1.0, -1e-3)):
        around = cnxe(scale * (found.scale * scores + found.shift) + shift, labels, prior=0.5)
        assert around >= found.value - ROUNDING


@pytest.mark.parametrize("touching", [False, True])
def test_separable_classes_want_an_infinite_scale(touching):
    """Targets that tie with the best non-target are all that remains open."""
    scores, labels = two_classes([1.0, 2.0, 3.0], [0.0, -1.0, 1.0 if touching else 0.5])
    found = min_cnxe(scores, labels, prior=0.5)
    # tied at 1: a third of either class, so posterior 1/2 and 1 bit for a third
    assert found == pytest.approx((1 / 3 if touching else 0.0, math.inf, math.nan), nan_ok=True)
    finite = cnxe(1000.0 * (scores - (1.0 if touching else 0.75)), labels, prior=0.5)
    assert finite == pytest.approx(found.value, abs=ROUNDING)


def test_scores_the_wrong_way_round_are_worth_nothing():
    """Their sign is not calibration's to turn."""
    scores, labels = two_classes([0.0, 1.0, 0.5], [1.0, 2.0, 3.0])
    assert min_cnxe(scores, labels, prior=PRIOR) == (1.0, 0.0, 0.0)


def test_no_alignment_counts_as_the_lowest_score():
    llr, labels = np.array([3.0, -np.inf, 1.0, -2.0, -np.inf, -9.0]), np.array([1, 1, 0, 0, 0, -1])
    lowest = np.array([3.0, -2.0, 1.0, -2.0, -2.0, -9.0])
    assert cnxe(llr, labels, prior=0.5) == cnxe(lowest, labels, prior=0.5)
    assert min_cnxe(llr, labels, prior=0.5) == min_cnxe(lowest, labels, prior=0.5)
    nothing = np.full(6, -np.inf)
    assert cnxe(nothing, labels, prior=0.5) == pytest.approx(1.0)
    assert min_cnxe(nothing, labels, prior=0.5) == (1.0, 0.0, 0.0)
    assert lower_bound_cnxe(nothing, labels, prior=0.5) == pytest.approx(1.0)


def test_no_alignment_is_a_level_of_its_own_where_only_order_counts():
    scores, labels = np.array([0.0, 0.0, -np.inf]), np.array([1, 0, 0])
    assert lower_bound_cnxe(scores, labels, prior=0.5) == pytest.approx(
        reference.lower_bound_cnxe(scores.tolist(), labels.tolist(), 0.5)
    )
    assert lower_bound_cnxe(scores, labels, prior=0.5) < min_cnxe(scores, labels, prior=0.5).value
    assert det(scores, labels).thresholds.tolist() == [math.inf, 0.0, -math.inf]


@given(classes)
@example(([0.0], [0.0]))
def test_what_is_left_out_changes_nothing(lists):
    scores, labels = two_classes(*lists)
    more = np.concatenate([scores, [np.nan, np.inf, -np.inf]]), np.concatenate([labels, [-1, -1, -1]]).astype(np.int8)
    for figure in (cnxe, min_cnxe, lower_bound_cnxe):
        assert figure(*more, prior=0.3) == pytest.approx(figure(scores, labels, prior=0.3), nan_ok=True)


# ── detection error trade-off ────────────────────────────────────────────────────────────────────


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


# ── edges and mistakes ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("labels", [[], [1], [0, 0], [-1, -1], [1, 1, -1]])
def test_a_class_that_is_empty_leaves_cnxe_undefined(labels):
    scores, labels = np.arange(float(len(labels))), np.array(labels, dtype=np.int8)
    assert math.isnan(cnxe(scores, labels, prior=0.5))
    assert np.isnan(min_cnxe(scores, labels, prior=0.5)).all()
    assert math.isnan(lower_bound_cnxe(scores, labels, prior=0.5))


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


@pytest.mark.parametrize("function", [cnxe, min_cnxe, lower_bound_cnxe])
def test_mistakes_in_evidence_are_named(function):
    scores, labels = two_classes([1.0], [0.0])
    for prior in (0.0, 1.0, math.nan):
        with pytest.raises(KwsbenchError, match=f"prior is {prior}, expected a probability between 0 and 1"):
            function(scores, labels, prior=prior)
    with pytest.raises(KwsbenchError, match="1 scores are inf; only -inf"):
        function(np.array([np.inf, 0.0]), labels, prior=0.5)
    with pytest.raises(KwsbenchError, match="labels must be 1"):
        function(scores, labels + 1, prior=0.5)


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
