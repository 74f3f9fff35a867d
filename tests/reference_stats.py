"""Slow, obvious oracles for intervals, tests and variance components. Nothing here calls kwsbench."""

from __future__ import annotations

import itertools
import math

from scipy import stats


def expanded_tail(level, clusters):
    """Hesterberg's adjusted tail, from scipy's distributions."""
    t = stats.t(df=clusters - 1).ppf((1 - level) / 2)
    return stats.norm.cdf(math.sqrt(clusters / (clusters - 1)) * t)


def satterthwaite(parts):
    return sum(v for v, _ in parts) ** 2 / sum(v * v / f for v, f in parts)


def two_way_means(values, keywords, speakers, weights, keyword_times, speaker_times):
    """The mean of each resample that has a row; a row counts keyword times speaker times weight."""
    words, people = sorted(set(keywords)), sorted(set(speakers))
    means = []
    for drawn_words, drawn_people in zip(keyword_times, speaker_times, strict=True):
        times_of_word = dict(zip(words, drawn_words, strict=True))
        times_of_person = dict(zip(people, drawn_people, strict=True))
        total = count = 0.0
        for value, word, person, weight in zip(values, keywords, speakers, weights, strict=True):
            times = times_of_word[word] * times_of_person[person] * weight
            total, count = total + times * value, count + times
        if count:
            means.append(total / count)
    return means


def variance(values):
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / len(values)


def permutation_p(differences, clusters, weights):
    """Every assignment of signs to clusters, one at a time."""
    names = sorted(set(clusters))

    def mean(signs):
        sign = dict(zip(names, signs, strict=True))
        total = sum(w * sign[c] * d for d, c, w in zip(differences, clusters, weights, strict=True))
        return abs(total / sum(weights))

    found = [mean(signs) for signs in itertools.product((1, -1), repeat=len(names))]
    return sum(value >= found[0] - 1e-12 for value in found) / len(found)


def holm(p_values):
    """Step down from the smallest: each times how many are left, never below one before it."""
    made = sorted(p for p in p_values if not math.isnan(p))
    adjusted, highest = {}, 0.0
    for place, p in enumerate(made):
        highest = max(highest, min(1.0, (len(made) - place) * p))
        # equal ones share the first's figure
        adjusted.setdefault(p, highest)
    return [math.nan if math.isnan(p) else adjusted[p] for p in p_values]


def components(values, keywords, speakers, weights):
    """(keyword, speaker, rest) from all pairs of rows: means of half the squared difference, weights multiplied."""
    sums = {"keyword": [0.0, 0.0], "speaker": [0.0, 0.0], "neither": [0.0, 0.0]}
    for i, j in itertools.combinations(range(len(values)), 2):
        shared = "keyword" if keywords[i] == keywords[j] else "speaker" if speakers[i] == speakers[j] else "neither"
        weight = weights[i] * weights[j]
        sums[shared][0] += weight * (values[i] - values[j]) ** 2 / 2
        sums[shared][1] += weight
    same_keyword, same_speaker, neither = (sums[name][0] / sums[name][1] for name in sums)
    found = (neither - same_keyword, neither - same_speaker, same_keyword + same_speaker - neither)
    return tuple(max(value, 0.0) for value in found)


def anova(table):
    """(keyword, speaker, rest) of a full table (rows keywords, columns speakers), from its mean squares."""
    keywords, speakers = len(table), len(table[0])
    grand = sum(map(sum, table)) / (keywords * speakers)
    rows = [sum(row) / speakers for row in table]
    columns = [sum(row[p] for row in table) / keywords for p in range(speakers)]
    by_row = speakers * sum((value - grand) ** 2 for value in rows) / (keywords - 1)
    by_column = keywords * sum((value - grand) ** 2 for value in columns) / (speakers - 1)
    rest = sum((table[k][p] - rows[k] - columns[p] + grand) ** 2 for k in range(keywords) for p in range(speakers))
    rest /= (keywords - 1) * (speakers - 1)
    return (by_row - rest) / speakers, (by_column - rest) / keywords, rest
