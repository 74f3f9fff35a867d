"""Slow, obvious oracles for distances and alignments: plain loops in float64, the path traced back."""

import math

PREFERENCE = [(1, 0), (1, 1), (0, 1), (1, 2), (2, 1)]


def cosine_similarity(x, y):
    norms = math.sqrt(sum(a * a for a in x)) * math.sqrt(sum(b * b for b in y))
    return sum(a * b for a, b in zip(x, y, strict=True)) / norms if norms else 0.0


def sqeuclidean(x, y):
    return sum((a - b) ** 2 for a, b in zip(x, y, strict=True))


def arc(x):
    return math.acos(max(-1.0, min(1.0, x)))


DISTANCES = {
    "cosine": lambda x, y: 1 - cosine_similarity(x, y),
    "angular": lambda x, y: arc(cosine_similarity(x, y)) / math.pi,
    "exp-cosine": lambda x, y: math.exp(1 - cosine_similarity(x, y)) - 1,
    "neglog-cosine": lambda x, y: -math.log(max((1 + cosine_similarity(x, y)) / 2, 2.0**-24)),
    "euclidean": lambda x, y: math.sqrt(sqeuclidean(x, y)),
    "sqeuclidean": sqeuclidean,
}


def cost_matrix(name, query, utterance):
    """Costs of all frame pairs as nested lists."""
    query, utterance = query.astype(float).tolist(), utterance.astype(float).tolist()
    return [[DISTANCES[name](x, y) for y in utterance] for x in query]


def align(cost, steps, *, whole=False, normalize="query"):
    """(cost, start, end, path) of the best alignment; path is a list of (query frame, utterance frame).

    On a tie, a path that begins here is preferred, then the steps in the order of PREFERENCE; among
    ends, the earliest. (inf, -1, -1, []) when there is no path.
    """
    n, m = len(cost), len(cost[0]) if len(cost) else 0
    total, came_from = {}, {}
    for i in range(n):
        for j in range(m):
            options = []
            if i == 0 and (j == 0 or not whole):
                options.append((0.0, None))
            for back_i, back_j in PREFERENCE:
                before = (i - back_i, j - back_j)
                if (back_i, back_j) in steps and before in total:
                    options.append((total[before], before))
            if options:
                best = min(value for value, _ in options)
                total[i, j] = best + float(cost[i][j])
                came_from[i, j] = next(before for value, before in options if value == best)
    answer = (math.inf, -1, -1, [])
    for end in range(m - 1 if whole else 0, m):
        if (n - 1, end) not in total:
            continue
        path = [(n - 1, end)]
        while came_from[path[-1]] is not None:
            path.append(came_from[path[-1]])
        path.reverse()
        value = total[n - 1, end] / {"query": n, "path": len(path), "none": 1}[normalize]
        if value < answer[0]:
            answer = (value, path[0][1], end, path)
    return answer
