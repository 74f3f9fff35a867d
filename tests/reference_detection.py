"""Slow, obvious oracles for recall, listening, detection and localisation. Nothing here calls kwsbench."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction


def orders(scores):
    """Every order of item numbers, best first, that the scores allow: all permutations within ties."""
    groups = []
    for score in sorted(set(scores), reverse=True):
        members = [item for item, other in enumerate(scores) if other == score]
        groups.append(list(itertools.permutations(members)))
    for choice in itertools.product(*groups):
        yield [item for group in choice for item in group]


def over_orders(scores, labels, measure):
    """measure(order) averaged, exactly, over all orders of the trials; None without a positive."""
    trials = [item for item, label in enumerate(labels) if label >= 0]
    if not any(labels[item] == 1 for item in trials):
        return None
    values = [measure([trials[i] for i in order]) for order in orders([scores[item] for item in trials])]
    return sum(values) / len(values)


def recall_at(scores, labels, k):
    """The expected share of positives among the first k; NaN without any."""
    positives = labels.count(1)
    value = over_orders(scores, labels, lambda order: Fraction(sum(labels[i] == 1 for i in order[:k]), positives))
    return math.nan if value is None else float(value)


def listening(scores, labels, durations, share):
    """The expected share of seconds heard until Fraction share of the positives is found; durations: integers."""
    wanted = math.ceil(share * labels.count(1))
    archive = sum(seconds for seconds, label in zip(durations, labels, strict=True) if label >= 0)

    def heard(order):
        seconds = found = 0
        for item in order:
            seconds += durations[item]
            found += labels[item] == 1
            if found == wanted:
                return Fraction(seconds, archive)
        raise AssertionError

    value = over_orders(scores, labels, heard)
    return math.nan if value is None else float(value)


def twv(accepted, labels, queries, beta, seconds=None):
    """1 - mean over queries with targets of P_miss + beta * P_fa, counted one trial after the other."""
    losses = []
    for query in sorted(set(queries)):
        targets = nontargets = misses = alarms = 0
        for yes, label, other in zip(accepted, labels, queries, strict=True):
            if other != query or label == -1:
                continue
            targets += label == 1
            nontargets += label == 0
            misses += label == 1 and not yes
            alarms += label == 0 and yes
        if targets:
            chances = nontargets if seconds is None else seconds - targets
            losses.append(Fraction(misses, targets) + (Fraction(alarms) * beta / chances if alarms else 0))
    return 1 - sum(losses) / len(losses) if losses else None


def mtwv(scores, labels, queries, beta, seconds=None):
    """(value, threshold): try every one, from accept-none down."""
    best = None
    for threshold in [math.inf, *sorted(set(scores), reverse=True)]:
        value = twv([score >= threshold for score in scores], labels, queries, beta, seconds)
        if value is not None and (best is None or value > best[0]):
            best = value, threshold
    return best


def ubtwv(scores, labels, queries, beta, seconds=None):
    """The mean over queries of the MTWV of each alone."""
    values = []
    for query in sorted(set(queries)):
        own = [i for i, other in enumerate(queries) if other == query]
        alone = mtwv([scores[i] for i in own], [labels[i] for i in own], [query] * len(own), beta, seconds)
        if alone is not None:
            values.append(alone[0])
    return sum(values) / len(values) if values else None


def cnxe(llrs, labels, prior):
    """Mean surprise, in bits, at the truth under the posterior of each llr, over the entropy of the prior."""
    surprise = {1: [], 0: []}
    for llr, label in zip(llrs, labels, strict=True):
        odds = math.exp(llr) * prior / (1 - prior)
        if label >= 0:
            surprise[label].append(-math.log2(odds / (1 + odds) if label else 1 / (1 + odds)))
    entropy = -prior * math.log2(prior) - (1 - prior) * math.log2(1 - prior)
    total = prior * sum(surprise[1]) / len(surprise[1]) + (1 - prior) * sum(surprise[0]) / len(surprise[0])
    return total / entropy


def lower_bound_cnxe(scores, labels, prior):
    """Cnxe under the isotonic posterior, by its max-min formula (Robertson, Wright & Dykstra 1988, theorem 1.4.4)."""
    trials = [(score, label) for score, label in zip(scores, labels, strict=True) if label >= 0]
    totals = {kind: sum(label == kind for _, label in trials) for kind in (1, 0)}
    shares = {1: prior / totals[1], 0: (1 - prior) / totals[0]}
    levels = sorted({score for score, _ in trials})
    targets = [sum(shares[1] for score, label in trials if score == level and label == 1) for level in levels]
    others = [sum(shares[0] for score, label in trials if score == level and label == 0) for level in levels]

    def mean(first, last):
        hit, other = math.fsum(targets[first : last + 1]), math.fsum(others[first : last + 1])
        return hit / (hit + other)

    bits = 0.0
    for i in range(len(levels)):
        posterior = max(min(mean(j, k) for k in range(i, len(levels))) for j in range(i + 1))
        bits -= targets[i] * math.log2(posterior) if targets[i] else 0
        bits -= others[i] * math.log2(1 - posterior) if others[i] else 0
    return bits / (-prior * math.log2(prior) - (1 - prior) * math.log2(1 - prior))


def det(scores, labels):
    """(threshold, false alarm rate, miss rate) of accept-none and of every distinct score, falling; None: undefined."""
    trials = [(score, label) for score, label in zip(scores, labels, strict=True) if label >= 0]
    targets = [score for score, label in trials if label == 1]
    others = [score for score, label in trials if label == 0]
    points = []
    for threshold in [math.inf, *sorted({score for score, _ in trials}, reverse=True)]:
        alarms, misses = sum(s >= threshold for s in others), sum(s < threshold for s in targets)
        points.append((threshold, alarms / len(others) if others else None, misses / len(targets) if targets else None))
    return points


def iou(span, truths):
    """Spans are ranges of whole ticks: count the ticks that both hold and that either holds."""
    ticks = set(range(*span))
    return max(Fraction(len(ticks & set(range(*true))), len(ticks | set(range(*true)))) for true in truths)


def midpoint_near(span, truths, tolerance):
    middle = Fraction(span[0] + span[1], 2)
    return any(begin - tolerance <= middle <= end + tolerance for begin, end in truths)
