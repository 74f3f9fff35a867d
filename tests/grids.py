"""Small grids for the engine: ragged frames, distances, matchers, and a stranger's of either."""

import numpy as np

from kwsbench import plugins
from kwsbench.spec import parse
from kwsbench.types import Alignment, Frames, Match
from tests import reference

REGISTRY = plugins.load()
DISTANCES = sorted(reference.DISTANCES)
MATCHERS = ["sdtw", "sdtw:steps=asymmetric", "sdtw:steps=skip,normalize=path", "dtw", "dtw:normalize=none"]


def distance(text):
    return REGISTRY.create("distances", parse(text))


def matcher(text):
    return REGISTRY.create("matchers", parse(text))


def frames(lengths, dims=6, seed=0):
    rng = np.random.default_rng(seed)
    return Frames.join([rng.standard_normal((length, dims)).astype(np.float32) for length in lengths])


class Plain:
    """The same distance without its fast path."""

    def __init__(self, name):
        self.cost = distance(name).cost


class Cityblock:
    def cost(self, x, y):
        return np.abs(x[:, None, :] - y[None, :, :]).sum(axis=2)


class Diagonal:
    """A stranger's matcher: the query without any warping."""

    def match(self, cost):
        n, m = cost.shape
        if n > m:
            return Match(np.inf, -1, -1)
        sums = [np.trace(cost[:, start:]) / n for start in range(m - n + 1)]
        start = int(np.argmin(sums))
        return Match(sums[start], start, start + n - 1)


class Hubs:
    """A distance that makes up for hubs, by its two nearest neighbours."""

    neighbours = 2

    def cost(self, x, y, x_nearness, y_nearness):
        return distance("cosine").cost(x, y) + (x_nearness[:, None] + y_nearness[None, :] + 2) / 2

    def finish(self, tile, utterance_nearness, query_nearness):
        tile.clamp_(max=0).sub_(utterance_nearness / 2).sub_(query_nearness / 2).sub_(1)


SCALED = Alignment(rows="minmax")

# Two groups of lanes, the second of few; queries longer than utterances; items without frames and of one.
QUERIES = frames([5, 0, 1, 12, 3, *[4] * 32, 7], seed=1)
UTTERANCES = frames([20, 1, 0, 9, 33, 4, 0], seed=2)
