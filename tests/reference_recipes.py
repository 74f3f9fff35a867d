"""The published recipes once more, slowly: features in, scores out, plain loops in float64, no kwsbench.

Written from the definitions: San et al. (2021) and SUPERB as their authors' programs compute them,
Wisniewski et al. (2025) from Müller (2007), section 4.4. An item is a list of frames, a frame a list of numbers.
"""

import math


def _mean(values):
    return math.fsum(values) / len(values)


def _deviation(values, freedom):
    """Standard deviation with len(values) - freedom as divisor."""
    mean = _mean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - freedom))


def cosine_costs(query, utterance):
    """1 - cosine of all pairs of frames; silence (norm 0) is at 1 from everything."""
    rows = []
    for x in query:
        row = []
        for y in utterance:
            norms = math.sqrt(math.fsum(a * a for a in x)) * math.sqrt(math.fsum(b * b for b in y))
            row.append(1 - math.fsum(a * b for a, b in zip(x, y, strict=True)) / norms if norms else 1.0)
        rows.append(row)
    return rows


# ── Wisniewski, Guillaume & Rosina Fernández (2025) ──────────────────────────────────────────────


def wisniewski_cost(query, utterance):
    """Cost of the best subsequence path on cosine distances, per query frame."""
    return subsequence_total(cosine_costs(query, utterance)) / len(query)


def subsequence_total(cost):
    """Sum of the costs on the best path from the query's first frame to its last, anywhere in the utterance."""
    above = cost[0]
    for row in cost[1:]:
        here = []
        for j, value in enumerate(row):
            before = [above[j]]
            if j > 0:
                before += [above[j - 1], here[j - 1]]
            here.append(value + min(before))
        above = here
    return min(above)


def wisniewski_lists(clips, scores, *, with_self):
    """(P@10, R@100) of every query that has a target: scores are a list of rows, one a keyword clip of clips in order.

    clips: (recording, keyword or None, words). All clips are ranked in one list, whoever says them, the best
    score first; the query's own recording only where asked for. A clip is relevant if it says the word.
    """
    found = []
    queries = [clip for clip in clips if clip[1]]
    for (own, keyword, _), row in zip(queries, scores, strict=True):
        kept = [
            (score, keyword in words)
            for score, (recording, _, words) in zip(row, clips, strict=True)
            if with_self or recording != own
        ]
        hits = [hit for _, hit in sorted(kept, key=lambda pair: -pair[0])]
        if any(hits):
            found.append((sum(hits[:10]) / 10, sum(hits[:100]) / sum(hits)))
    return found


# ── San et al. (2021) ────────────────────────────────────────────────────────────────────────────


def standardized_euclidean_costs(query, utterance):
    """Euclidean distances after each dimension is divided by its deviation over the frames of both."""
    both = [*query, *utterance]
    spread = [_deviation([frame[d] for frame in both], 1) for d in range(len(both[0]))]
    alike = [len({frame[d] for frame in both}) == 1 for d in range(len(both[0]))]
    return [
        [
            math.sqrt(sum(((a - b) / s) ** 2 for a, b, s, same in zip(x, y, spread, alike, strict=True) if not same))
            for y in utterance
        ]
        for x in query
    ]


def columns_to_unit_range(cost):
    """Each utterance frame's costs moved and scaled to [0, 1]; equal costs become 0."""
    columns = []
    for column in zip(*cost, strict=True):
        low, high = min(column), max(column)
        columns.append([(value - low) / (high - low) if high > low else 0.0 for value in column])
    return [list(row) for row in zip(*columns, strict=True)]


def slope_one_totals(cost):
    """g of Sakoe & Chiba's symmetric form with P = 1, from corner (0, 0), whose cost counts once; inf: no path."""
    n, m = len(cost), len(cost[0])
    g = {(0, 0): cost[0][0]}

    def before(i, j):
        return g.get((i, j), math.inf)

    for i in range(n):
        for j in range(m):
            if (i, j) == (0, 0):
                continue
            options = []
            if i >= 1 and j >= 1:
                options.append(before(i - 1, j - 1) + 2 * cost[i][j])
            if i >= 1 and j >= 2:
                options.append(before(i - 1, j - 2) + 2 * cost[i][j - 1] + cost[i][j])
            if i >= 2 and j >= 1:
                options.append(before(i - 2, j - 1) + 2 * cost[i - 1][j] + cost[i][j])
            g[i, j] = min(options, default=math.inf)
    return [[g[i, j] for j in range(m)] for i in range(n)]


def san_windows(cost, shortest=0.5, longest=1.5):
    """(cost, start, end) of the best window of costs in [0, 1]; (1, None, None) where none is left."""
    n, m = len(cost), len(cost[0])
    best = (1.0, None, None)
    for start in range(max(0, int(m - shortest * n))):
        window = [row[start : start + int(longest * n)] for row in cost]
        totals = slope_one_totals(window)[n - 1]
        ends = [total / (n + j + 1) for j, total in enumerate(totals)]
        end = ends.index(min(ends))
        if shortest <= end / n <= longest and ends[end] < best[0]:
            best = (ends[end], start, start + end)
    return best


def san_score(query, utterance):
    """Score of one pair, in [0, 1], higher is better."""
    return 1 - san_windows(columns_to_unit_range(standardized_euclidean_costs(query, utterance)))[0]


# ── SUPERB, query by example ─────────────────────────────────────────────────────────────────────


def standardized_items(queries, documents):
    """All items with each dimension at mean 0 and deviation 1 over the frames of queries and documents together."""
    frames = [frame for item in [*queries, *documents] for frame in item]
    dims = range(len(frames[0]))
    means = [_mean([frame[d] for frame in frames]) for d in dims]
    spread = [max(_deviation([frame[d] for frame in frames], 1), 1e-9) for d in dims]
    return [
        [[[(frame[d] - means[d]) / spread[d] for d in dims] for frame in item] for item in items]
        for items in (queries, documents)
    ]


def rows_to_unit_range(cost):
    """Each query frame's costs moved and scaled to [0, 1]; equal costs become 0."""
    return [[(value - min(row)) / max(max(row) - min(row), 1e-9) for value in row] for row in cost]


def asymmetric_cost(cost):
    """Mean cost of the best path that uses each query frame once and skips at most one utterance frame at a time."""
    above = cost[0]
    for row in cost[1:]:
        above = [value + min(above[max(0, j - 2) : j + 1]) for j, value in enumerate(row)]
    return min(above) / len(cost)


def superb_raw_scores(queries, documents):
    """Scores before z-normalisation: one list a query."""
    queries, documents = standardized_items(queries, documents)
    return [
        [
            -asymmetric_cost(
                rows_to_unit_range([[math.exp(c) - 1 for c in row] for row in cosine_costs(query, document)])
            )
            for document in documents
        ]
        for query in queries
    ]


def superb_scores(queries, documents, fewest_frames=5):
    """Scores of all pairs, z-normalised for each query; a query of too few frames scores 0 everywhere.

    fewest_frames=1 leaves that rule out.
    """
    scores = superb_raw_scores(queries, documents)
    scores = [
        row if len(query) >= fewest_frames else [0.0] * len(documents)
        for query, row in zip(queries, scores, strict=True)
    ]
    return [[(score - _mean(row)) / max(_deviation(row, 0), 1e-9) for score in row] for row in scores]
