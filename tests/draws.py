"""What tests of intervals, ranks and p-values draw: queries of keywords and speakers, scores, systems."""

from __future__ import annotations

import numpy as np
import pytest

from tests import reference_stats

ROUNDING = 1e-12


def generator(seed=0):
    return np.random.default_rng(seed)


def quantiles(values, clusters, level=0.95):
    tail = reference_stats.expanded_tail(level, clusters)
    return pytest.approx(tuple(np.quantile(values, [tail, 1 - tail])), abs=ROUNDING)


def simulate(rng, clusters=40):
    """Queries of 1 to 9 a keyword; a keyword's queries share an effect as large as their own noise. Truth: 0."""
    sizes = rng.integers(1, 10, size=clusters)
    of = np.repeat(np.arange(clusters), sizes)
    return rng.normal(size=clusters)[of] + rng.normal(size=sizes.sum()), of


def trials(seed, queries, utterances):
    rng = generator(seed)
    labels = (rng.random((queries, utterances)) < 0.1).astype(np.int8)
    scores = (rng.normal(size=labels.shape) + 1.5 * labels + rng.normal(size=(queries, 1))).astype(np.float32)
    labels[rng.random(labels.shape) < 0.05] = -1
    return scores, labels, np.arange(queries) % 7


def table():
    """Four systems over 12 keywords of 1 to 4 queries: 0 and 1 are equal, 2 is near them, 3 far below."""
    rng = generator(4)
    counts = rng.integers(1, 5, size=12)
    scores = rng.random(12)
    means = np.stack([scores, scores, scores - 0.01 + 0.05 * rng.normal(size=12), scores - 0.5])
    return means * counts, counts


def crossed(seed=0, keywords=5, speakers=3, holes=2):
    """Group means by keyword and speaker, in no order, with numbers of queries, some pairs missing."""
    rng = generator(seed)
    rows = rng.permutation(keywords * speakers)[holes:]
    keyword, speaker = np.divmod(rows, speakers)
    return rng.normal(size=len(rows)) + keyword / 5, keyword, speaker, rng.integers(1, 6, size=len(rows))
