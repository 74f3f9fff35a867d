"""Listening time against every order of ties."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwsbench import metrics
from kwsbench.errors import KwsbenchError
from kwsbench.metrics import listening
from tests import reference_detection
from tests.tied_lists import ROUNDING, columns, tied_lists

SHARES = (Fraction(1, 2), Fraction(4, 5), Fraction(19, 20), Fraction(1))


@settings(deadline=None, max_examples=150)
@given(tied_lists, st.lists(st.integers(1, 9), min_size=6, max_size=6))
def test_listening_is_the_expected_time_over_all_orders_of_ties(pairs, durations):
    scores, labels = columns(pairs)
    heard = listening(scores[np.newaxis], labels[np.newaxis], np.array(durations[: len(pairs)], np.float64), SHARES)
    expected = [
        reference_detection.listening(scores.tolist(), labels.tolist(), durations[: len(pairs)], share)
        for share in SHARES
    ]
    assert heard[0] == pytest.approx(expected, abs=ROUNDING, nan_ok=True)


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(0, 8))
def test_listening_to_equal_durations_in_random_order(positives, negatives):
    """The j-th of p positives among g items comes on average after j(g + 1)/(p + 1) of them."""
    items = positives + negatives
    labels = np.array([[1] * positives + [0] * negatives])
    shares = [j / positives for j in range(1, positives + 1)]
    heard = listening(np.zeros(labels.shape), labels, np.full(items, 2.5), shares)
    expected = [j * (items + 1) / (positives + 1) / items for j in range(1, positives + 1)]
    assert heard[0] == pytest.approx(expected, abs=ROUNDING)


def test_listening_by_hand():
    """10 s to hear in all. First query: 1 + 2 s until the first positive, everything until both."""
    scores = np.array([[4.0, 3.0, 2.0, 1.0], [1.0, -np.inf, -np.inf, np.nan], [1.0, 2.0, 3.0, 4.0]])
    labels = np.array([[0, 1, 0, 1], [0, 1, 0, -1], [0, 0, 0, -1]])
    heard = listening(scores, labels, np.array([1.0, 2.0, 3.0, 4.0]))
    assert heard.shape == (3, 3)
    assert heard[0] == pytest.approx([0.3, 1.0, 1.0])
    assert heard[1] == pytest.approx([(1 + 2 + 3 / 2) / 6] * 3)  # the tied negative comes first half of the time
    assert np.isnan(heard[2]).all()


def test_shares_are_not_led_astray_by_rounding():
    """0.07 * 100 is 7.000000000000001 in binary, and 7 positives are 7% of 100."""
    assert 0.07 * 100 > 7
    labels, durations = np.ones((1, 100), dtype=np.int8), np.ones(100)
    assert listening(-np.arange(100.0)[np.newaxis], labels, durations, [0.07, 1e-12]) == pytest.approx(
        np.array([[0.07, 0.01]])
    )


def test_listening_to_nothing():
    assert listening(np.empty((0, 2)), np.empty((0, 2), np.int8), np.ones(2)).shape == (0, 3)
    assert np.isnan(listening(np.zeros((1, 0)), np.zeros((1, 0), np.int8), np.ones(0))).all()
    assert np.isnan(listening(np.zeros((1, 2)), np.array([[1, -1]]), np.array([0.0, 1.0]))).all()


def test_listening_looks_at_a_few_queries_at_a_time(monkeypatch):
    """Blocks of one query, of two with the last one alone, and all at once; a query without positives in between."""
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, size=(6, 9)).astype(np.float32)
    labels = rng.integers(-1, 2, size=(6, 9))
    labels[2] = 0
    durations = rng.random(9)
    at_once = listening(scores, labels, durations)
    assert np.isnan(at_once).all(axis=1).tolist() == [False, False, True, False, False, False]
    for trials in (1, 18):
        monkeypatch.setattr(metrics, "LISTENING_TRIALS", trials)
        assert np.array_equal(listening(scores, labels, durations), at_once, equal_nan=True)
    for row in range(6):
        alone = listening(scores[row : row + 1], labels[row : row + 1], durations)
        assert np.array_equal(alone[0], at_once[row], equal_nan=True)


def test_listening_names_mistakes():
    scores, labels = np.zeros((1, 2)), np.array([[1, 0]])
    for durations in ([1.0], [1.0, -1.0], [1.0, np.nan]):
        with pytest.raises(KwsbenchError, match="durations must be 2 numbers of seconds >= 0, one an utterance"):
            listening(scores, labels, np.array(durations))
    for share in (0.0, 1.1, math.nan):
        with pytest.raises(KwsbenchError, match="shares of the positives to find must be above 0 and up to 1"):
            listening(scores, labels, np.ones(2), [0.5, share])
    with pytest.raises(KwsbenchError, match="1 scores are NaN"):
        listening(np.array([[np.nan, 1.0]]), labels, np.ones(2))
