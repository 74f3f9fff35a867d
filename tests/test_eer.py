"""Intervals of the equal error rate: exact where scores fit the bins, and against a search of all bins."""

from __future__ import annotations

import numpy as np
import pytest

from kwsbench import eer as eers
from kwsbench.eer import EER_BINS, eer_interval
from kwsbench.metrics import eer, equal_error
from kwsbench.stats import (
    multiplicities,
)
from tests import reference_metrics as reference
from tests.draws import generator, quantiles, trials


def exact_eers(scores, labels, clusters, times):
    return reference.resampled(lambda chosen: eer(scores[chosen], labels[chosen]), clusters.tolist(), times)


@pytest.mark.parametrize("tied", [False, True])
def test_eer_interval_is_exact_while_scores_fit_the_bins(tied):
    scores, labels, clusters = trials(0, 20, 45)
    scores[3, :20] = -np.inf
    if tied:
        scores = np.round(scores, 1)
    assert labels.size < EER_BINS
    times = multiplicities(7, rng=generator(), resamples=60)
    found = eer_interval(scores, labels, clusters, rng=generator(), resamples=60)
    assert found == quantiles(exact_eers(scores, labels, clusters, times), 7)


def test_eer_interval_with_binned_scores():
    """A bin moves a resample's EER by at most the share of its negatives that lie in the bin.

    That share is 1/EER_BINS of all trials, over 90% negatives; and a resample that repeats the queries
    which fill the bin may raise it, here at most 7-fold for 7 keywords, in practice by far less: 2.
    """
    scores, labels, clusters = trials(1, 60, 300)
    scores[5, :20] = -np.inf
    times = multiplicities(7, rng=generator(), resamples=40)
    exact = quantiles(exact_eers(scores, labels, clusters, times), 7).expected
    found = eer_interval(scores, labels, clusters, rng=generator(), resamples=40)
    assert found == pytest.approx(tuple(exact), abs=2 / EER_BINS / 0.9)
    assert found.low < eer(scores, labels) < found.high


def eers_at_every_bin(scores, labels, clusters, times):
    """The EER of each resample that has one, from the operating points at all EER_BINS bins, trial by trial."""
    query, utterance = np.nonzero(labels >= 0)
    keys, positive = -scores[query, utterance], labels[query, utterance] == 1
    edges = sorted({np.sort(keys)[int(at)] for at in np.linspace(0, len(keys) - 1, EER_BINS + 1)[1:]})
    lowest = [next(bin_ for bin_, edge in enumerate(edges) if key <= edge) for key in keys]
    found = []
    for drawn in times:
        counts = np.zeros((2, len(edges)))
        for bin_, is_positive, cluster in zip(lowest, positive, clusters[query], strict=True):
            counts[int(is_positive), bin_] += drawn[cluster]
        rates = np.cumsum(counts, axis=1)
        if rates[:, -1].all():
            found.append(equal_error(*(rates / rates[:, -1:])))
    return np.array(found)


@pytest.mark.parametrize("sign", [1, -1, 0, 20])
@pytest.mark.parametrize("digits", [7, 1])
def test_eer_interval_finds_the_crossing_that_a_search_of_all_bins_finds(sign, digits, monkeypatch):
    """Good, reversed and random scores, and classes that do not overlap; tied ones fill fewer bins than a stride.

    The same sums of whole numbers and the same line: only the quantile is computed elsewhere. Strides of 1
    and 2 put many crossings at the first bin after a stretch, where the line begins in the one before.
    """
    scores, labels, clusters = trials(3, 14, 110)
    rng = generator(5)
    scores = np.round(sign * (labels == 1) + rng.normal(size=labels.shape), digits).astype(np.float32)
    scores[3, :20] = -np.inf
    times = multiplicities(7, rng=generator(), resamples=25)
    expected = quantiles(eers_at_every_bin(scores, labels, clusters, times), 7)
    for stride in (1, 2, eers.EER_STRIDE):
        monkeypatch.setattr(eers, "EER_STRIDE", stride)
        assert eer_interval(scores, labels, clusters, rng=generator(), resamples=25) == expected


def test_eer_interval_takes_flags_for_labels():
    scores, labels, clusters = trials(0, 20, 45)
    flags = labels == 1
    found = eer_interval(scores, flags, clusters, rng=generator(), resamples=50)
    assert found == eer_interval(scores, flags.astype(np.int8), clusters, rng=generator(), resamples=50)


def test_eer_interval_where_it_is_undefined():
    scores, labels, clusters = trials(0, 20, 45)
    assert np.isnan(eer_interval(scores, labels, np.zeros(20), rng=generator())).all()
    assert np.isnan(eer_interval(scores, np.zeros_like(labels), clusters, rng=generator())).all()
    only_one = np.where(clusters[:, np.newaxis] == 2, labels, -1)
    assert np.isnan(eer_interval(scores, only_one, clusters, rng=generator())).all()


def test_eer_interval_leaves_out_resamples_of_one_class():
    scores, labels = np.array([[3.0, 1.0], [2.0, 0.0]]), np.array([[1, 1], [0, 0]])
    # A resample has an EER if both keywords are in it, and then it is that of the whole.
    assert eer_interval(scores, labels, [0, 1], rng=generator(), resamples=50) == pytest.approx((0.5, 0.5))
