"""Paired changes, written from their definitions with plain loops: slow, obvious, and of nothing in kwsbench."""

import itertools
import math


def paired_change(base, value, queries):
    """Mean over queries of value minus base; base, value: {group: mean or None}, queries: {group: count}."""
    total, count = 0.0, 0
    for group, number in queries.items():
        for _ in range(number):
            if base[group] is None or value[group] is None:
                continue
            total += value[group] - base[group]
            count += 1
    return total / count if count else math.nan


def exact_p(sums):
    """The share of all signs of the sums whose total is at least as far from 0 as that of the sums."""
    observed = abs(sum(sums))
    further = 0
    for signs in itertools.product((1, -1), repeat=len(sums)):
        if abs(sum(sign * each for sign, each in zip(signs, sums, strict=True))) >= observed - 1e-12:
            further += 1
    return further / 2 ** len(sums)


def holm(p_values):
    """Each p times the number of those that are not smaller than it, never below a smaller one's, at most 1."""
    corrected = []
    for p in p_values:
        smaller = sorted(other for other in p_values if other <= p)
        corrected.append(min(1.0, max((len(p_values) - at) * other for at, other in enumerate(smaller))))
    return corrected
