"""Slow, obvious oracles for metrics, stats and isotropy. Nothing here calls kwsbench."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np


def average_precision(ordered):
    """Mean over positives of the precision at their rank; ordered: labels, best first."""
    precisions = [Fraction(sum(ordered[: i + 1]), i + 1) for i, positive in enumerate(ordered) if positive]
    return sum(precisions) / len(precisions)


def precision_at(ordered, k):
    return Fraction(sum(ordered[:k]), k)


def auc(ordered):
    """Share of (positive, negative) pairs in the right order."""
    won = [
        i < j for i, positive in enumerate(ordered) if positive for j, other in enumerate(ordered) if not other
    ]  # i is a positive's rank, j a negative's
    return Fraction(sum(won), len(won))


def orders(scores, labels):
    """Every order of the labels, best first, that the scores allow: all permutations within ties."""
    groups = []
    for score in sorted(set(scores), reverse=True):
        members = [int(label) for other, label in zip(scores, labels, strict=True) if other == score]
        groups.append(list(itertools.permutations(members)))
    for choice in itertools.product(*groups):
        yield [label for group in choice for label in group]


def expected_metrics(scores, labels):
    """Metrics averaged, exactly, over all orders. labels: 1, 0, or -1 (not a trial)."""
    trials = [(score, label) for score, label in zip(scores, labels, strict=True) if label >= 0]
    positives = sum(label for _, label in trials)
    if not positives:
        return dict.fromkeys(("ap", "p_at_1", "p_at_10", "p_at_n", "auc"), math.nan)
    allowed = list(orders([score for score, _ in trials], [label for _, label in trials]))

    def mean(metric):
        return float(sum(metric(ordered) for ordered in allowed) / len(allowed))

    return {
        "ap": mean(average_precision),
        "p_at_1": mean(lambda ordered: precision_at(ordered, 1)),
        "p_at_10": mean(lambda ordered: precision_at(ordered, 10)),
        "p_at_n": mean(lambda ordered: precision_at(ordered, positives)),
        "auc": mean(auc) if positives < len(trials) else math.nan,
    }


def eer(scores, labels):
    """Walk the thresholds from strict to lax; where misses fall to false alarms, solve the line exactly."""
    trials = [(score, label) for score, label in zip(scores, labels, strict=True) if label >= 0]
    positives = sum(label for _, label in trials)
    negatives = len(trials) - positives
    if not positives or not negatives:
        return math.nan
    false_alarm, miss = Fraction(0), Fraction(1)
    for threshold in sorted({score for score, _ in trials}, reverse=True):
        accepted = [label for score, label in trials if score >= threshold]
        next_miss = 1 - Fraction(sum(accepted), positives)
        next_false_alarm = Fraction(len(accepted) - sum(accepted), negatives)
        if next_false_alarm >= next_miss:
            # false_alarm + w * rise = miss - w * fall
            rise, fall = next_false_alarm - false_alarm, miss - next_miss
            return float(false_alarm + rise * (miss - false_alarm) / (rise + fall))
        false_alarm, miss = next_false_alarm, next_miss
    raise AssertionError


def resampled(statistic, clusters, times):
    """statistic(indices) for each resample: times (resamples, clusters) says how often each cluster is in it."""
    names = sorted(set(clusters))
    values = []
    for row in times:
        indices = []
        for name, count in zip(names, row, strict=True):
            indices += [i for i, cluster in enumerate(clusters) if cluster == name] * int(count)
        values.append(statistic(indices))
    return np.array(values)


def ranks(means):
    """Best and worst rank of each system: one more than those better, as many as those not worse."""
    best = [1 + sum(other > mean for other in means) for mean in means]
    worst = [sum(other >= mean for other in means) for mean in means]
    return best, worst


def cosine(x, y):
    norms = math.sqrt(math.fsum(v * v for v in x)) * math.sqrt(math.fsum(v * v for v in y))
    return math.fsum(a * b for a, b in zip(x, y, strict=True)) / norms if norms else 0.0


def mean_cosines(frames, groups):
    """(all pairs, pairs within a group, pairs between groups), each a mean of cosines, NaN without pairs."""
    frames = [[float(value) for value in frame] for frame in frames]
    every, within, between = [], [], []
    for i, j in itertools.combinations(range(len(frames)), 2):
        value = cosine(frames[i], frames[j])
        every.append(value)
        (within if groups[i] == groups[j] else between).append(value)
    return tuple(math.fsum(values) / len(values) if values else math.nan for values in (every, within, between))


def participation_ratio(frames):
    """From the eigenvalues of the covariance."""
    eigenvalues = np.linalg.eigvalsh(np.atleast_2d(np.cov(np.asarray(frames, dtype=np.float64).T)))
    return eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
