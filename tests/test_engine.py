"""Scores of the engine against naive loops, whatever the budget, the workers and the tiles."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from kwsbench import dtw, tiles
from kwsbench.engine import score_grid, score_pairs
from kwsbench.types import Alignment, Frames, GramDistance, PairMatcher
from tests import reference
from tests.grids import (
    DISTANCES,
    MATCHERS,
    QUERIES,
    SCALED,
    UTTERANCES,
    Cityblock,
    Diagonal,
    Hubs,
    Plain,
    distance,
    frames,
    matcher,
)


@pytest.mark.parametrize("matcher_name", MATCHERS)
@pytest.mark.parametrize("distance_name", DISTANCES)
def test_scores_are_those_of_naive_loops(distance_name, matcher_name):
    found = score_pairs(QUERIES, UTTERANCES, distance_name, matcher_name)
    recipe = matcher(matcher_name)
    for query in [*range(6), len(QUERIES) - 1]:
        for utterance in range(len(UTTERANCES)):
            cost = reference.cost_matrix(distance_name, QUERIES[query], UTTERANCES[utterance])
            want = reference.align(cost, recipe.steps, whole=recipe.whole, normalize=recipe.normalize)
            got = [array[query, utterance] for array in found]
            # A float32 cosine of 6 dimensions is right to ~10 * 6e-8; a distance's slope in it is below 20 on
            # these frames (sqeuclidean), and a path sums at most 45 cells: 5e-4 at worst, 1e-5 for a mean.
            assert -got[0] == pytest.approx(want[0], abs=5e-4, rel=1e-6)
            assert tuple(got[1:]) == want[1:3]


@pytest.mark.parametrize(
    ("tile_cells", "kept_cells"),
    [(dtw.TILE_CELLS, tiles.KEPT_CELLS), (0, tiles.KEPT_CELLS), (0, 0)],
    ids=["in a tile", "in several that are kept", "in several, twice"],
)
def test_rows_are_scaled_over_each_utterance(tile_cells, kept_cells, monkeypatch):
    """Tiles are of 16 frames when they may have no cells: two utterances are longer, of 20 and of 33 frames."""
    monkeypatch.setattr(dtw, "TILE_CELLS", tile_cells)
    monkeypatch.setattr(tiles, "KEPT_CELLS", kept_cells)
    steps = ((1, 0), (1, 1), (1, 2))
    queries = Frames.join([*(QUERIES[item] for item in (0, 2, 3, 4)), np.zeros((3, 6), np.float32)])  # a row of ties
    found = score_pairs(queries, UTTERANCES, "cosine", Alignment(steps=steps, rows="minmax"))
    for query in range(len(queries)):
        for utterance in (0, 1, 3, 4, 5):
            cost = reference.cost_matrix("cosine", queries[query], UTTERANCES[utterance])
            scaled = [[(c - min(row)) / (max(row) - min(row) or 1) for c in row] for row in cost]
            want = reference.align(np.array(scaled), steps)
            # A cosine is right to 6e-7; on UTTERANCES[1], of one frame, every row is one of ties.
            assert -found.scores[query, utterance] == pytest.approx(want[0], abs=2e-5)
            if query < 4:
                assert (found.starts[query, utterance], found.ends[query, utterance]) == want[1:3]


def test_types_and_shapes():
    found = score_pairs(QUERIES, UTTERANCES)
    assert [array.shape for array in found] == [(len(QUERIES), len(UTTERANCES))] * 3
    assert [array.dtype for array in found] == [np.float32, np.int32, np.int32]
    for array in score_pairs(QUERIES, UTTERANCES.read(0, 0)):
        assert array.shape == (len(QUERIES), 0)


def test_names_and_objects_are_the_same():
    by_name = score_pairs(QUERIES, UTTERANCES, "angular", "dtw:steps=asymmetric")
    by_object = score_pairs(QUERIES, UTTERANCES, distance("angular"), matcher("dtw:steps=asymmetric"))
    for one, other in zip(by_name, by_object, strict=True):
        assert np.array_equal(one, other)


def test_a_query_that_was_cut_from_an_utterance_is_found_there():
    queries = Frames.join([UTTERANCES[4][10:15], UTTERANCES[0][3:4], UTTERANCES[3]])
    for name in DISTANCES:
        scores, starts, ends = score_pairs(queries, UTTERANCES, name)
        assert scores.argmax(axis=1).tolist() == [4, 0, 3]
        assert (scores <= 0).all()  # a cosine that rounds to above 1 is no bonus
        spans = [(starts[q, u], ends[q, u]) for q, u in enumerate([4, 0, 3])]
        assert spans == [(10, 14), (3, 3), (0, 8)]


def test_items_without_frames_score_minus_infinity():
    cells = [
        ("cosine", Alignment()),
        ("cosine", Diagonal()),
        ("cosine", matcher("meanpool")),
        ("cosine", matcher("random")),
    ]
    for name, how in cells:
        scores, starts, ends = score_pairs(QUERIES, UTTERANCES, name, how)
        for row in ((1, slice(None)), (slice(None), 2), (slice(None), 6)):
            assert (scores[row] == -np.inf).all()
            assert (starts[row] == -1).all()
            assert (ends[row] == -1).all()
        assert np.isfinite(scores[2, [0, 1, 3, 4, 5]]).all()


def test_nothing_but_empty_items():
    empty = Frames(np.zeros((0, 4), np.float32), np.zeros(3, np.int64))
    for name in ("cosine", "euclidean"):
        for how in ("sdtw", "meanpool"):
            assert (score_pairs(empty, frames([3], dims=4), name, how).scores == -np.inf).all()
            assert (score_pairs(frames([3], dims=4), empty, name, how).scores == -np.inf).all()


def test_silent_frames_are_at_a_right_angle_to_everything():
    silence = Frames.join([np.zeros((3, 6), np.float32)])
    for name, cost in {"cosine": 1, "angular": 0.5, "exp-cosine": np.e - 1, "neglog-cosine": np.log(2)}.items():
        assert score_pairs(silence, UTTERANCES.read(0, 1), name).scores == pytest.approx(-cost, abs=1e-6)
        assert score_pairs(UTTERANCES.read(0, 1), silence, name, "dtw:normalize=path").scores == pytest.approx(
            -cost, abs=1e-6
        )
    assert score_pairs(silence, silence, "euclidean").scores == 0


@pytest.mark.parametrize("name", DISTANCES)
def test_finish_is_the_cost(name):
    """The elementwise fast path against the plain function, on frames chosen to be awkward."""
    fast = distance(name)
    assert isinstance(fast, GramDistance)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 8)).astype(np.float32)
    x = np.concatenate([x, x * 1e-6, x * 1e6, -x, np.zeros((1, 8), np.float32), np.full((1, 8), 1e-38, np.float32)])
    norms = np.linalg.norm(x.astype(np.float64), axis=1)
    unit = x / np.maximum(norms, 1e-30)[:, None]
    tile = torch.from_numpy((unit @ unit.T - 1).astype(np.float32))
    norms32 = torch.from_numpy(norms.astype(np.float32))
    fast.finish(tile, norms32[:, None], norms32[None, :])
    assert torch.isfinite(tile).all()
    assert (tile <= 0).all()
    cost = fast.cost(x, x)
    assert cost.dtype == np.float32
    assert (cost >= 0).all()
    # 1 - cosine is right to e = 4e-7 here. arccos and the Euclidean distance have the slope of a square
    # root at 0, so they are right to sqrt(2e) = 9e-4 (/ pi, times the norm); -log at its floor to all of it.
    if "euclidean" in name:
        scale = np.maximum(norms[:, None], norms[None, :]) ** (2 if name == "sqeuclidean" else 1)
        assert (np.abs(-tile.numpy() - cost) <= 1e-3 * scale + 1e-30).all()
    elif name == "neglog-cosine":
        assert np.exp(tile.numpy()) == pytest.approx(np.exp(-cost), abs=4e-7)
    else:
        assert -tile.numpy() == pytest.approx(cost, abs=4e-4 if name == "angular" else 3e-6)


def all_cells():
    named = [
        (distance(d), matcher(m)) for d in ("cosine", "euclidean") for m in [*MATCHERS, "meanpool", "random:seed=3"]
    ]
    one = distance("cosine")
    return [
        *named,
        (one, SCALED),
        (one, Alignment()),
        (distance("euclidean"), SCALED),
        (Hubs(), Alignment()),
        (Hubs(), SCALED),
    ]


def same(one, other):
    for a, b in zip(one, other, strict=True):
        # The order of additions inside the product may change with its shape: some ulp of sums up to ~50.
        np.testing.assert_allclose(a.scores, b.scores, rtol=1e-5, atol=2e-6)
        assert np.array_equal(a.starts, b.starts)
        assert np.array_equal(a.ends, b.ends)


@pytest.mark.parametrize(
    ("workers", "memory", "kept"), [(1, 1, 0), (2, 1, 2**20), (8, 2000, 2**20), (3, 10**9, 0), (2, 10**9, 2**20)]
)
def test_neither_workers_nor_memory_change_a_score(workers, memory, kept, monkeypatch):
    want = score_grid(QUERIES, UTTERANCES, all_cells(), workers=1, memory_bytes=10**9)
    monkeypatch.setattr(dtw, "TILE_CELLS", 0)  # 16 frames: the longest utterance crosses two tiles
    monkeypatch.setattr(tiles, "KEPT_CELLS", kept)
    monkeypatch.setattr(tiles, "JOB_FRAMES", 10)
    same(want, score_grid(QUERIES, UTTERANCES, all_cells(), workers=workers, memory_bytes=memory))


def test_one_pass_gives_what_each_cell_gives_alone():
    together = score_grid(QUERIES, UTTERANCES, all_cells(), workers=2, memory_bytes=10**9)
    same(together, [score_pairs(QUERIES, UTTERANCES, *cell) for cell in all_cells()])


def test_the_slow_path_gives_the_same():
    cells = [(d, m) for d in DISTANCES for m in MATCHERS]
    fast = score_grid(QUERIES, UTTERANCES, [(distance(d), matcher(m)) for d, m in cells], workers=2, memory_bytes=10**9)
    slow = score_grid(QUERIES, UTTERANCES, [(Plain(d), matcher(m)) for d, m in cells], workers=2, memory_bytes=10**9)
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, rtol=1e-5, atol=5e-4)
        assert np.array_equal(a.starts, b.starts)
        assert np.array_equal(a.ends, b.ends)


def test_duplicates_score_the_same():
    twice = Frames.join([QUERIES[3], *[QUERIES[0]] * 40, QUERIES[3]])
    scores = score_pairs(twice, Frames.join([UTTERANCES[0]] * 3)).scores
    assert np.ptp(scores[1:41]) < 1e-6
    assert np.ptp(scores[[0, 41]]) < 1e-6


def test_a_very_long_query_and_a_very_long_utterance():
    long = frames([3000], seed=3)
    scores, starts, ends = score_pairs(Frames.join([long[0], long[0][:2]]), long)
    assert scores[:, 0] == pytest.approx([0, 0], abs=1e-6)
    assert (starts[0, 0], ends[0, 0]) == (0, 2999)
    assert (starts[1, 0], ends[1, 0]) == (0, 1)


class Source:
    """Frames that note what was read."""

    def __init__(self, inner):
        self.inner = inner
        self.reads = []

    @property
    def lengths(self):
        return self.inner.lengths

    def read(self, first, last):
        self.reads.append((first, last))
        return self.inner.read(first, last)


def test_utterances_are_read_in_order_in_blocks_that_fit():
    source = Source(frames([10] * 20, dims=6))
    score_grid(QUERIES, source, [(distance("cosine"), Alignment())], workers=2, memory_bytes=64 * 35)
    assert source.reads == [(first, min(first + 3, 20)) for first in range(0, 20, 3)]
    source.reads.clear()
    score_grid(QUERIES, source, [(distance("cosine"), Alignment())], workers=2, memory_bytes=0)
    assert source.reads == [(first, first + 1) for first in range(20)]


def test_progress_rises_to_the_number_of_utterances():
    calls = []
    cells = [(distance("cosine"), matcher("sdtw")), (Cityblock(), Diagonal())]
    score_grid(QUERIES, UTTERANCES, cells, workers=2, memory_bytes=1000, progress=lambda *call: calls.append(call))
    done = [call[1] for call in calls]
    assert done == sorted(done)
    assert calls[-1] == ("score", len(UTTERANCES), len(UTTERANCES))


def test_a_strangers_matcher_works_with_any_distance():
    for name in (distance("cosine"), Cityblock()):
        scores, starts, ends = score_pairs(QUERIES, UTTERANCES, name, Diagonal())
        want = Diagonal().match(name.cost(QUERIES[0], UTTERANCES[4]))
        assert (-scores[0, 4], starts[0, 4], ends[0, 4]) == (pytest.approx(want.cost), want.start, want.end)
        assert (scores[3, 3], starts[3, 3], ends[3, 3]) == (-np.inf, -1, -1)


def test_a_plain_distance_runs_on_the_kernels():
    scores = score_pairs(QUERIES, UTTERANCES, Cityblock(), "sdtw").scores
    cost = Cityblock().cost(QUERIES[3], UTTERANCES[4])
    assert -scores[3, 4] == pytest.approx(reference.align(cost, matcher("sdtw").steps)[0], rel=1e-5)


def test_meanpool_compares_means():
    scores, starts, ends = score_pairs(QUERIES, UTTERANCES, "euclidean", "meanpool")
    want = np.linalg.norm(QUERIES[3].mean(axis=0) - UTTERANCES[4].mean(axis=0))
    assert (-scores[3, 4], starts[3, 4], ends[3, 4]) == (pytest.approx(want, rel=1e-5), 0, 32)


def test_random_follows_its_seed():
    assert isinstance(matcher("random"), PairMatcher)
    one, again, other = (score_pairs(QUERIES, UTTERANCES, "cosine", f"random:seed={s}").scores for s in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert len(np.unique(one[np.isfinite(one)])) == np.isfinite(one).sum()


def test_plugin_modules_do_not_bring_torch():
    names = ["cosine", "euclidean", "sdtw", "dtw", "meanpool", "random"]
    modules = ", ".join(f"kwsbench_plugins.{name}" for name in names)
    code = f"import sys, {modules}; print(sorted({{'torch', 'numba'}} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_the_threads_of_torch_are_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    seen = []

    class Spy:
        def match(self, _):
            seen.append((torch.get_num_threads(), threading.current_thread() is threading.main_thread()))
            raise ZeroDivisionError

    try:
        with pytest.raises(ZeroDivisionError):
            score_pairs(frames([3]), frames([4] * 50), "cosine", Spy())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen[0] == (1, False)
    assert len(seen) < 50  # the jobs that were waiting were dropped
