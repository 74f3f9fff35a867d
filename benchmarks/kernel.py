"""The alignment alone, costs given: the 32-lane kernel against scalar loops and librosa, which find the same."""

import librosa
import numpy as np
from numba import njit

from benchmarks._measure import seconds, table
from kwsbench import dtw
from kwsbench.types import Alignment

QUERY_FRAMES, UTTERANCE_FRAMES = 52, 250
STEPS = {
    "symmetric1": ((1, 0), (1, 1), (0, 1)),
    "asymmetric": ((1, 0), (1, 1), (1, 2)),
    "skip": ((1, 1), (1, 2), (2, 1)),
}


@njit
def scalar_score(cost):
    """Subsequence DTW of one pair, two columns kept: the best cost."""
    n, m = cost.shape
    column = np.full(n + 1, np.float32(np.inf))
    column[0] = 0
    best = np.float32(np.inf)
    for j in range(m):
        diagonal = np.float32(0)
        for i in range(n):
            left = column[i + 1]
            column[i + 1] = min(min(column[i], diagonal), left) + cost[i, j]  # noqa: PLW3301 - numba has min of two
            diagonal = left
        best = min(best, column[n])
    return best


@njit
def scalar_span(cost):
    """The same, with the frame where the path starts carried along: (cost, start, end)."""
    n, m = cost.shape
    column = np.full(n + 1, np.float32(np.inf))
    column[0] = 0
    starts = np.zeros(n + 1, np.int32)
    best, start, end = np.float32(np.inf), -1, -1
    for j in range(m):
        diagonal, diagonal_start = np.float32(0), j - 1
        starts[0] = j
        for i in range(n):
            left, left_start = column[i + 1], starts[i + 1]
            v, s = column[i], starts[i]
            if diagonal < v:
                v, s = diagonal, diagonal_start
            if left < v:
                v, s = left, left_start
            column[i + 1], starts[i + 1] = v + cost[i, j], s
            diagonal, diagonal_start = left, left_start
        if column[n] < best:
            best, start, end = column[n], starts[n], j
    return best, start, end


def kernel(tile, alignment):
    """A call that runs the kernel over a tile of 32 queries and one utterance."""
    (layout,) = dtw.pack(np.arange(dtw.LANES + 1) * QUERY_FRAMES)
    aligner = dtw.Aligner(alignment, layout, np.array([0, 10**6]))
    return lambda: aligner.feed(tile)


def check(cost):
    """Raise AssertionError where a scalar loop or librosa finds another cost or span than the kernel."""
    found = dtw.align(cost, Alignment(normalize="none"))
    np.testing.assert_allclose(scalar_score(cost), found.cost, rtol=1e-6)
    np.testing.assert_allclose(scalar_span(cost), found, rtol=1e-6)
    np.testing.assert_allclose(librosa.sequence.dtw(C=cost, subseq=True)[0][-1].min(), found.cost, rtol=1e-6)


def report():
    rng = np.random.default_rng(0)
    tile = dtw.aligned(UTTERANCE_FRAMES, QUERY_FRAMES * dtw.LANES)
    tile[:] = -rng.random(tile.shape)
    cost = rng.random((QUERY_FRAMES, UTTERANCE_FRAMES)).astype(np.float32)
    check(cost)

    def many(work):
        return lambda: [work() for _ in range(40)]

    works = {
        f"kwsbench {steps}, {'whole' if whole else 'subsequence'}, {counted}": (
            many(kernel(tile, Alignment(recipe, whole, normalize))),
            dtw.LANES,
        )
        for steps, recipe in STEPS.items()
        for whole in (False, True)
        for normalize, counted in (("query", "span"), ("path", "span and path length"))
    }
    (layout,) = dtw.pack(np.arange(dtw.LANES + 1) * QUERY_FRAMES)
    compact = tile.copy()
    works["kwsbench, the product's columns laid out in lanes"] = (
        many(lambda: dtw.spread(compact, layout, tile)),
        dtw.LANES,
    )
    works["scalar numba symmetric1, subsequence, span"] = (many(lambda: scalar_span(cost)), 1)
    works["scalar numba symmetric1, subsequence, score only"] = (many(lambda: scalar_score(cost)), 1)
    works["librosa symmetric1, subsequence, score only"] = (
        many(lambda: librosa.sequence.dtw(C=cost, subseq=True, backtrack=False)),
        1,
    )
    times = seconds(*(work for work, _ in works.values()))
    cells = 40 * QUERY_FRAMES * UTTERANCE_FRAMES / 1e6
    speeds = {name: cells * lanes / time for (name, (_, lanes)), time in zip(works.items(), times, strict=True)}
    first = next(iter(speeds.values()))
    rows = [(name, f"{speed:,.0f}", f"{first / speed:.1f}") for name, speed in speeds.items()]
    text = f"## Alignment, costs given ({QUERY_FRAMES} query frames, {UTTERANCE_FRAMES} utterance frames)\n\n"
    return text + table(rows, ["", "Mcells/s", "times slower than the first row"])


if __name__ == "__main__":
    print(report())
