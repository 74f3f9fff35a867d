"""Slow, obvious oracles for isotropy and subspaces, from the definitions. Nothing here calls kwsbench."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np


def unit(frame):
    norm = math.sqrt(math.fsum(value * value for value in frame))
    return [value / norm for value in frame] if norm else list(frame)


def contributions(frames):
    """Mean over pairs of different frames of each dimension's term of their cosine."""
    units = [unit([float(value) for value in frame]) for frame in frames]
    pairs = list(itertools.combinations(units, 2))
    return [math.fsum(x[i] * y[i] for x, y in pairs) / len(pairs) for i in range(len(units[0]))]


def r2(x, y):
    """Squared Pearson correlation."""
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    both = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return both**2 / (math.fsum((a - mean_x) ** 2 for a in x) * math.fsum((b - mean_y) ** 2 for b in y))


def isoscore(covariance):
    """Rudman et al. (2022), their steps 3 to 7: defect of the variances from the diagonal, rescaled."""
    variances = np.linalg.svd(covariance, compute_uv=False)
    dims = len(variances)
    norm = math.sqrt(math.fsum(value * value for value in variances))
    scaled = [math.sqrt(dims) * value / norm for value in variances]
    defect = math.sqrt(math.fsum((value - 1) ** 2 for value in scaled)) / math.sqrt(2 * (dims - math.sqrt(dims)))
    used = (dims - defect**2 * (dims - math.sqrt(dims))) ** 2
    return (used - dims) / (dims * (dims - 1))


def effective_rank(frames):
    """From the singular values of the centred frames themselves, not from a covariance."""
    frames = np.asarray(frames, dtype=np.float64)
    singular = np.linalg.svd(frames - frames.mean(axis=0), compute_uv=False)
    shares = [value / singular.sum() for value in singular if value > singular[0] * 1e-12]
    return math.exp(-math.fsum(share * math.log(share) for share in shares))


def partition(frames):
    """Z of every right singular vector of the frames, and of its negative; least over greatest."""
    frames = np.asarray(frames, dtype=np.float64)
    directions = np.linalg.svd(frames, full_matrices=True)[2]
    z = []
    for direction in [*directions, *-directions]:
        products = [math.fsum(a * b for a, b in zip(frame, direction, strict=True)) for frame in frames]
        z.append(math.fsum(math.exp(product) for product in products))
    return min(z) / max(z)


def occurrences(scores, k, used):
    """Expected N_k of every utterance that some query may find, over all orders that ties allow."""
    expected = [Fraction(0)] * len(scores[0])
    for row, counts in zip(scores, used, strict=True):
        columns = [j for j, score in enumerate(row) if counts[j] and score != -math.inf]
        orders = [
            order
            for order in itertools.permutations(columns)
            if all(row[a] >= row[b] for a, b in itertools.pairwise(order))
        ]
        for order in orders:
            for j in order[:k]:
                expected[j] += Fraction(1, len(orders))
    findable = [
        any(u[j] and row[j] != -math.inf for row, u in zip(scores, used, strict=True)) for j in range(len(expected))
    ]
    return [count for count, found in zip(expected, findable, strict=True) if found]


def skewness(values):
    """Third central moment over the second to the power 3/2; None where all values are equal."""
    mean = Fraction(sum(values)) / len(values) if values else None
    second = sum((value - mean) ** 2 for value in values)
    if not second:
        return None
    third = sum((value - mean) ** 3 for value in values) / len(values)
    return float(third) / (float(second) / len(values)) ** 1.5


def self_similarity(frames, words, items):
    units = [unit([float(value) for value in frame]) for frame in frames]
    same, different = [], []
    for i, j in itertools.combinations(range(len(units)), 2):
        if min(words[i], words[j], items[i], items[j]) < 0 or items[i] == items[j]:
            continue
        cosine = math.fsum(a * b for a, b in zip(units[i], units[j], strict=True))
        (same if words[i] == words[j] else different).append(cosine)
    if not same or not different:
        return math.nan
    return math.fsum(same) / len(same) - math.fsum(different) / len(different)


def centroids(frames, labels):
    means = []
    for label in sorted({label for label in labels if label >= 0}):
        members = [frame for frame, other in zip(frames, labels, strict=True) if other == label]
        means.append([math.fsum(float(f[i]) for f in members) / len(members) for i in range(len(members[0]))])
    return means


def variance(points):
    """Sum over dimensions of the mean squared deviation."""
    points = np.asarray(points, dtype=np.float64)
    return math.fsum(math.fsum((column - column.mean()) ** 2) / len(column) for column in points.T)


def residuals(of, along):
    """Collapse ``of`` along one principal direction of ``along`` after another; its variance after each.

    Directions are eigenvectors of along's covariance, as many as along's rank.
    """
    of, along = np.asarray(of, dtype=np.float64), np.asarray(along, dtype=np.float64)
    covariance = np.atleast_2d(np.cov(along.T))
    rank = np.linalg.matrix_rank(along - along.mean(axis=0))
    _, directions = np.linalg.eigh(covariance)
    whole, left, points = variance(of), [], of.copy()
    for direction in directions.T[::-1][:rank]:
        points = np.array([point - float(point @ direction) * direction for point in points])
        left.append(variance(points) / whole)
    return left
