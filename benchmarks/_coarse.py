"""Search that does not read everything: all utterances by coarse frames, then the best share of them exactly.

The package searches exhaustively. At the best settings of all that were tried, which differ from data to data, this is
1.4 to 3 times faster for one query (``benchmarks/README.md``), and an utterance that the coarse frames miss is lost.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kwsbench.engine import MEMORY_BYTES
from kwsbench.types import Frames
from kwsbench.utterance_lanes import score

LEAST = 3
"""At least so many times the hits asked for are scored exactly, however few the share is."""


@dataclass(frozen=True)
class Coarse:
    """A map from frames to fewer and shorter ones.

    pool: so many neighbouring frames become their mean; an item's last few may be fewer. directions: float32
    (dims, kept), orthonormal columns, or None. Both are linear, so their order does not matter.
    """

    pool: int = 2
    directions: npt.NDArray[np.float32] | None = None

    @classmethod
    def fit(cls, values, *, pool=2, dims=0):
        """Coarse frames of ``dims`` directions, those of most energy in values (n, d); 0 keeps all dimensions.

        The frames are not centred: cosines are angles at the origin, and moving it would change them.
        """
        if not dims:
            return cls(pool)
        full = values.astype(np.float64)
        _, vectors = np.linalg.eigh(full.T @ full)
        return cls(pool, np.ascontiguousarray(vectors[:, ::-1][:, :dims], dtype=np.float32))

    def __call__(self, frames):
        """The coarse frames of each item, items in order."""
        lengths = -(-frames.lengths // self.pool)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        item = np.repeat(np.arange(len(frames)), lengths)
        firsts = frames.offsets[item] + (np.arange(offsets[-1]) - offsets[item]) * self.pool
        sizes = np.minimum(firsts + self.pool, frames.offsets[item + 1]) - firsts
        values = np.add.reduceat(frames.values, firsts, axis=0) / sizes[:, None].astype(np.float32)
        return Frames(values if self.directions is None else values @ self.directions, offsets)


def exact(queries, frames, distance, matcher):
    """Scores (queries, items) of everything, as search has them."""
    return score(queries, frames, distance, matcher, workers=1, memory_bytes=MEMORY_BYTES).scores


def best(scores, top):
    """The items of the highest scores of each query, (queries, top); ties go to the earlier one."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :top]


def search(queries, frames, rough_queries, rough_frames, distance, matcher, *, keep, top, apart):  # noqa: PLR0913
    """Scores (queries, items) of the share ``keep`` that the coarse frames like best, -inf of all others.

    apart: (queries, items), True for pairs that are no hits (a query's own recording).
    """
    count = min(len(frames), max(math.ceil(keep * len(frames)), LEAST * top))
    rough = np.where(apart, -np.inf, exact(rough_queries, rough_frames, distance, matcher))
    found = np.full(rough.shape, -np.inf, np.float32)
    for query, kept in enumerate(np.sort(best(rough, count), axis=1)):
        some = Frames.join([frames[item] for item in kept])
        found[query, kept] = exact(queries.read(query, query + 1), some, distance, matcher)[0]
    return np.where(apart, -np.inf, found)
