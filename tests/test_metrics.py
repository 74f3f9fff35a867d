"""Metrics against brute force over every order of ties, and against libraries where nothing is tied."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from kwsbench.errors import KwsbenchError
from kwsbench.metrics import QueryMetrics, chance, eer, equal_error, rank, rank_rows
from tests import reference_detection
from tests import reference_metrics as reference
from tests.tied_lists import ROUNDING, columns, tied_lists


def oracle(scores, labels):
    """Every metric of one query, by name."""
    recalls = {f"r_at_{k}": reference_detection.recall_at(scores, labels, k) for k in (10, 100)}
    return reference.expected_metrics(scores, labels) | recalls


@settings(deadline=None, max_examples=150)
@given(tied_lists)
def test_ties_count_with_their_expected_value_over_all_orders(pairs):
    scores, labels = columns(pairs)
    expected = oracle(scores.tolist(), labels.tolist())
    assert rank(scores, labels)._asdict() == pytest.approx(expected, abs=ROUNDING, nan_ok=True)


@pytest.mark.parametrize("k", [10, 100])
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_recall_where_a_tie_lies_across_the_last_rank(k, data):
    """Up to six items from three scores, below k - 3 items that are not tied."""
    above = data.draw(st.lists(st.sampled_from([0, 0, 1]), min_size=k - 3, max_size=k - 3))
    scores, labels = columns([(1000.0 + i, label) for i, label in enumerate(above)] + data.draw(tied_lists))
    expected = reference_detection.recall_at(scores.tolist(), labels.tolist(), k)
    assert rank(scores, labels)._asdict()[f"r_at_{k}"] == pytest.approx(expected, abs=ROUNDING, nan_ok=True)


def test_recall_by_hand():
    """Twelve positives: the first ten ranks hold ten of them at most."""
    labels = np.array([1] * 12 + [0] * 108)
    best, tied = rank(-np.arange(120.0), labels), rank(np.zeros(120), labels)
    assert (best.r_at_10, best.r_at_100) == pytest.approx((10 / 12, 1.0))
    assert (tied.r_at_10, tied.r_at_100) == pytest.approx((10 / 120, 100 / 120))
    assert chance(12, 120)["r_at_10"] == pytest.approx([10 / 120])


@settings(deadline=None, max_examples=50)
@given(st.lists(tied_lists, min_size=1, max_size=5))
def test_rows_do_not_touch_each_other(rows):
    width = max(len(row) for row in rows)
    scores, labels = columns([pair for row in rows for pair in row + [(math.nan, -1)] * (width - len(row))])
    together = rank_rows(scores.reshape(-1, width), labels.reshape(-1, width))
    for i, row in enumerate(rows):
        alone = rank(*columns(row))
        assert [values[i] for values in together.values()] == pytest.approx(list(alone), abs=ROUNDING, nan_ok=True)


@given(st.integers(0, 7), st.integers(0, 5))
def test_chance_is_a_list_tied_throughout(positives, negatives):
    labels = np.array([[1] * positives + [0] * negatives], dtype=np.int8)
    by_chance, tied = chance(positives, positives + negatives), rank_rows(np.zeros(labels.shape), labels)
    assert list(by_chance) == list(tied) == list(QueryMetrics._fields)
    for name, values in by_chance.items():
        assert values == pytest.approx(tied[name], abs=ROUNDING, nan_ok=True)


def test_chance_by_enumeration():
    """Two positives among five items: all orders, weighed alike."""
    expected = oracle([0] * 5, [1, 1, 0, 0, 0])
    assert {name: values[0] for name, values in chance(2, 5).items()} == pytest.approx(expected, abs=ROUNDING)
    assert chance([2, 0, 3], [5, 4, 3])["p_at_n"] == pytest.approx([0.4, math.nan, 1.0], nan_ok=True)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn_without_ties(seed):
    rng = np.random.default_rng(seed)
    scores = rng.permutation(400).reshape(4, 100).astype(np.float32)
    labels = (rng.random((4, 100)) < 0.1).astype(np.int8)
    labels[:, 0] = 1
    rows = rank_rows(scores, labels)
    for i in range(4):
        assert rows["ap"][i] == pytest.approx(average_precision_score(labels[i], scores[i]), abs=ROUNDING)
        assert rows["auc"][i] == pytest.approx(roc_auc_score(labels[i], scores[i]), abs=ROUNDING)


@pytest.mark.parametrize("seed", range(5))
def test_auc_agrees_with_scikit_learn_on_ties(seed):
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 4, 60).astype(np.float64), rng.integers(0, 2, 60)
    assert rank(scores, labels).auc == pytest.approx(roc_auc_score(labels, scores), abs=ROUNDING)


def test_agrees_with_trec_eval_without_ties():
    """Lists of 5 to 150 items, so that P@10 meets lists that are shorter than its page, and R@100 longer ones."""
    ir_measures = pytest.importorskip("ir_measures")
    rng = np.random.default_rng(0)
    peers = {
        "ap": ir_measures.AP,
        "p_at_1": ir_measures.P @ 1,
        "p_at_10": ir_measures.P @ 10,
        "p_at_n": ir_measures.Rprec,
        "r_at_10": ir_measures.R @ 10,
        "r_at_100": ir_measures.R @ 100,
    }
    ours: dict[str, list[float]] = {name: [] for name in peers}
    qrels, run = {}, {}
    for query in range(12):
        size = int(rng.integers(5, 40)) if query % 2 else int(rng.integers(40, 150))
        scores, labels = rng.permutation(size).astype(np.float32), rng.integers(0, 2, size)
        labels[0] = 1
        metrics = rank(scores, labels)
        for name, values in ours.items():
            values.append(metrics._asdict()[name])
        qrels[str(query)] = {str(i): int(label) for i, label in enumerate(labels)}
        run[str(query)] = {str(i): float(score) for i, score in enumerate(scores)}
    theirs = ir_measures.calc_aggregate(peers.values(), qrels, run)
    for name, measure in peers.items():
        assert np.mean(ours[name]) == pytest.approx(theirs[measure], abs=ROUNDING)


def test_scores_are_not_rounded_to_float32():
    """trec_eval compares as float32 and so would see a tie here."""
    scores, labels = np.array([1.0, 1.0 + 1e-12]), np.array([0, 1])
    assert np.float32(scores[0]) == np.float32(scores[1])
    assert rank(scores, labels).ap == 1.0
    assert rank(scores.astype(np.float32), labels).ap == 0.75
    assert eer(scores, labels) == 0.0


def test_a_query_without_positives_has_no_metrics():
    """Averaged in as 0 it would pull every mean down; NaN cannot be overlooked."""
    rows = rank_rows(np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), np.array([[0, 0], [-1, -1], [0, 1]]))
    for values in rows.values():
        assert np.isnan(values[:2]).all()
        assert not np.isnan(values[2])


def test_nothing_but_positives():
    assert rank(np.array([2.0, 1.0, 1.0]), np.array([1, 1, 1])) == pytest.approx(
        (1, 1, 0.3, 1, math.nan, 1, 1), nan_ok=True
    )


def test_a_list_of_one_item():
    assert rank(np.array([0.0]), np.array([True])) == pytest.approx((1, 1, 0.1, 1, math.nan, 1, 1), nan_ok=True)
    assert np.isnan(rank(np.array([0.0]), np.array([False]))).all()


def test_no_queries_and_no_utterances():
    assert [values.shape for values in rank_rows(np.empty((0, 3)), np.empty((0, 3), dtype=np.int8)).values()] == [
        (0,)
    ] * len(QueryMetrics._fields)
    assert np.isnan(rank(np.empty(0), np.empty(0, dtype=np.int8))).all()


def test_no_alignment_ranks_last_and_ties_with_its_like():
    metrics = rank(np.array([-np.inf, -1e30, -np.inf]), np.array([1, 0, 0]))
    assert metrics.ap == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert metrics.auc == 0.25


def test_negative_zero_ties_with_zero():
    assert rank(np.array([0.0, -0.0]), np.array([0, 1])).auc == 0.5


def test_what_is_no_trial_is_not_looked_at():
    scores = np.array([np.nan, np.inf, 0.5, -np.inf, -np.inf])
    assert rank(scores, np.array([-1, -1, 1, -1, 0])) == pytest.approx((1.0, 1.0, 0.1, 1.0, 1.0, 1.0, 1.0))


def test_only_the_order_of_scores_matters():
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 5, (6, 30)).astype(np.float64), rng.integers(-1, 2, (6, 30))
    plain, shuffle = rank_rows(scores, labels), rng.permutation(30)
    for other in (rank_rows(np.exp(scores), labels), rank_rows(scores[:, shuffle], labels[:, shuffle])):
        for name, values in plain.items():
            assert values == pytest.approx(other[name], abs=ROUNDING, nan_ok=True)
    assert eer(scores, labels) == eer(np.exp(scores), labels) == eer(scores[:, shuffle], labels[:, shuffle])


def test_arguments_are_not_changed():
    scores, labels = np.array([[0.0, 2.0, 1.0]], dtype=np.float32), np.array([[1, 0, -1]], dtype=np.int8)
    kept = scores.copy(), labels.copy()
    rank_rows(scores, labels)
    eer(scores, labels)
    assert np.array_equal(scores, kept[0])
    assert np.array_equal(labels, kept[1])


@pytest.mark.parametrize("function", [rank_rows, eer])
def test_mistakes_are_named(function):
    labels = np.zeros((2, 3), dtype=np.int8)
    scores = np.zeros((2, 3), dtype=np.float32)
    scores[1, 2] = np.nan
    with pytest.raises(KwsbenchError, match=r"1 scores are NaN, the first at \[1, 2\]; a pair without alignment"):
        function(scores, labels)
    with pytest.raises(KwsbenchError, match=r"scores \(3, 2\) and labels \(2, 3\) must have the same shape"):
        function(scores.T, labels)
    with pytest.raises(KwsbenchError, match="labels must be"):
        function(np.zeros((2, 3)), labels + 2)


@pytest.mark.parametrize(("positives", "trials"), [(3, 2), (-1, 2), ([1, 1], [2])])
def test_chance_of_impossible_counts(positives, trials):
    with pytest.raises(KwsbenchError, match="between 0 and the number of trials"):
        chance(positives, trials)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from([-math.inf, 0.0, 1.0, 2.0, 3.0]), st.sampled_from([-1, 0, 1])),
        min_size=1,
        max_size=12,
    )
)
def test_eer_against_exact_arithmetic(pairs):
    scores, labels = columns(pairs)
    assert eer(scores, labels) == pytest.approx(
        reference.eer(scores.tolist(), labels.tolist()), abs=ROUNDING, nan_ok=True
    )


@settings(deadline=None)
@given(tied_lists)
def test_eer_of_the_opposite_scores_is_the_complement(pairs):
    scores, labels = columns(pairs)
    scores = np.where(np.isinf(scores), np.float32(-1), scores)
    assert eer(-scores, labels) == pytest.approx(1 - eer(scores, labels), abs=ROUNDING, nan_ok=True)


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([3, 2, 1, 0], [1, 1, 0, 0], 0.0),
        ([3, 2, 1, 0], [0, 0, 1, 1], 1.0),
        ([5, 5, 5], [1, 0, 0], 0.5),
        ([3, 2, 1, 0], [1, 0, 1, 0], 0.5),
        ([2, 1, 1, 0], [1, 1, 0, 0], 0.25),  # half of the tied positive is missed, half of the negative accepted
        ([1, 0], [1, 1], math.nan),
        ([1, 0], [0, 0], math.nan),
        ([], [], math.nan),
    ],
)
def test_eer_by_hand(scores, labels, expected):
    value = eer(np.array(scores, dtype=np.float32), np.array(labels, dtype=np.int8))
    assert value == pytest.approx(expected, nan_ok=True)


def test_equal_error_of_many_curves_at_once():
    false_alarms, hits = np.array([[0.0, 1.0], [0.5, 1.0]]), np.array([[1.0, 1.0], [0.5, 1.0]])
    assert equal_error(false_alarms, hits) == pytest.approx([0.0, 0.5])
