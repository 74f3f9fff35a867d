"""Cross entropies against their formulas, scikit-learn and every scale and shift."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from kwsbench import calibration
from kwsbench.calibration import cnxe, lower_bound_cnxe, min_cnxe
from kwsbench.detection import det
from kwsbench.errors import KwsbenchError
from tests import reference_detection as reference

# Sums of a few dozen float64 terms of order 1.
ROUNDING = 1e-10
PRIOR = calibration.QUESST_PRIOR


def two_classes(targets, nontargets):
    """Scores and labels of these two lists of scores."""
    scores = np.array([*targets, *nontargets], dtype=np.float64)
    return scores, np.array([1] * len(targets) + [0] * len(nontargets), dtype=np.int8)


values = st.integers(-20, 20).map(lambda value: value / 4)
classes = st.tuples(st.lists(values, min_size=1, max_size=12), st.lists(values, min_size=1, max_size=12))
priors = st.sampled_from([0.01, PRIOR, 0.5, 0.9])


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


@pytest.mark.parametrize("labels", [[], [1], [0, 0], [-1, -1], [1, 1, -1]])
def test_a_class_that_is_empty_leaves_cnxe_undefined(labels):
    scores, labels = np.arange(float(len(labels))), np.array(labels, dtype=np.int8)
    assert math.isnan(cnxe(scores, labels, prior=0.5))
    assert np.isnan(min_cnxe(scores, labels, prior=0.5)).all()
    assert math.isnan(lower_bound_cnxe(scores, labels, prior=0.5))


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
