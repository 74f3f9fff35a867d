"""Slow, obvious oracles for corrections of frames and scores: plain loops in float64, from the definitions."""

import math


def average_ranks(values):
    """Rank of each value among all, 1 the smallest; equal values share the mean of the ranks they take up."""
    ranks = []
    for value in values:
        below = sum(other < value for other in values)
        equal = sum(other == value for other in values)
        ranks.append(below + (equal + 1) / 2)
    return ranks


def cosine(x, y):
    norms = math.sqrt(sum(a * a for a in x)) * math.sqrt(sum(b * b for b in y))
    return sum(a * b for a, b in zip(x, y, strict=True)) / norms if norms else 0.0


def shares_of_mean_cosine(frames):
    """What each dimension adds to the mean cosine of two different frames (Timkey & van Schijndel 2021, eq. 3)."""
    frames = frames.astype(float).tolist()
    shares = [0.0] * len(frames[0])
    pairs = 0
    for i, x in enumerate(frames):
        for j, y in enumerate(frames):
            if i == j:
                continue
            pairs += 1
            norms = math.sqrt(sum(a * a for a in x)) * math.sqrt(sum(b * b for b in y))
            for at, (a, b) in enumerate(zip(x, y, strict=True)):
                shares[at] += a * b / norms
    return [share / pairs for share in shares]


def ledoit_wolf(frames):
    """Shrinkage intensity by the sums of Ledoit & Wolf (2004), section 3.3, outer product by outer product."""
    frames = frames.astype(float).tolist()
    n, d = len(frames), len(frames[0])
    mean = [sum(frame[i] for frame in frames) / n for i in range(d)]
    centred = [[frame[i] - mean[i] for i in range(d)] for frame in frames]
    covariance = [[sum(x[i] * x[j] for x in centred) / n for j in range(d)] for i in range(d)]
    m = sum(covariance[i][i] for i in range(d)) / d
    d2 = sum((covariance[i][j] - (m if i == j else 0)) ** 2 for i in range(d) for j in range(d)) / d
    b2 = sum(sum((x[i] * x[j] - covariance[i][j]) ** 2 for i in range(d) for j in range(d)) / d for x in centred) / n**2
    return min(b2, d2) / d2 if d2 else 0.0


def nearness(frames, others, k):
    """Mean cosine of each frame with its k nearest others."""
    found = []
    for x in frames:
        best = sorted((cosine(x, y) for y in others), reverse=True)[:k]
        found.append(sum(best) / len(best))
    return found


def csls(x, y, k):
    """2·cos - r - r' of every pair, as nested lists (Conneau et al. 2018, equation 3)."""
    x, y = x.astype(float).tolist(), y.astype(float).tolist()
    r, other_r = nearness(x, y, k), nearness(y, x, k)
    return [[2 * cosine(a, b) - r[i] - other_r[j] for j, b in enumerate(y)] for i, a in enumerate(x)]


def standardized(values, used):
    """Values minus the mean of the used ones, over their deviation; 1 where that is 0 or fewer than two are used."""
    known = [float(value) for value, use in zip(values, used, strict=True) if use]
    mean = math.fsum(known) / len(known) if known else 0.0
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / len(known)) if len(known) > 1 else 0.0
    if len(set(known)) < 2:
        deviation = 1.0
    return [(float(value) - mean) / deviation for value in values]


def znorm(scores, used):
    """Row by row."""
    return [standardized(row, mask) for row, mask in zip(scores.tolist(), used.tolist(), strict=True)]


def tnorm(scores, used):
    """Column by column."""
    columns = znorm(scores.T, used.T)
    return [list(row) for row in zip(*columns, strict=True)]


def snorm(scores, used):
    """The mean of both."""
    both = zip(znorm(scores, used), tnorm(scores, used), strict=True)
    return [[(z + t) / 2 for z, t in zip(*rows, strict=True)] for rows in both]
