"""Products in float32, bfloat16 and int8 against float64, and what the engine makes of them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kwsbench import dtw, plugins, products, tiles
from kwsbench.engine import score_grid
from kwsbench.errors import KwsbenchError
from kwsbench.spec import parse
from kwsbench.types import Alignment, Frames
from tests import reference

REGISTRY = plugins.load()
REDUCED = ["bfloat16", "int8"]
# bfloat16 has 8 significant bits: a rounding is at most half a unit of the last.
BFLOAT16 = 2.0**-8
FLOAT32 = 2.0**-24


def random_values(frames, dims, seed=0):
    """Frames whose components differ in size, so that none of the roundings is favoured; some silent, some tiny."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((frames, dims)) * rng.gamma(0.5, size=dims) * 10.0 ** rng.integers(-6, 7, (frames, 1))
    values[::7] = 0
    return values.astype(np.float32)


def unit64(values):
    norms = np.linalg.norm(values.astype(np.float64), axis=1)
    return values / np.maximum(norms, 1e-30)[:, None]


def unit(values, extra, precision, order=None):
    norms = np.linalg.norm(values.astype(np.float64), axis=1)
    order = np.arange(len(values)) if order is None else order
    return products.unit(values, norms, order, extra=extra, precision=precision)


def product(x, y, precision, first=3):
    """cosine - 1, (frames of x, frames of y), as the engine asks for it; what is left of ``first`` stays."""
    lines = np.full((len(x), first + len(y)), 7, np.float32)
    products.product(unit(x, 1, precision), unit(y, -1, precision), lines, first, products.Workspace())
    assert (lines[:, :first] == 7).all()
    return lines[:, first:]


def bound(x, y, precision):
    """How far cosine - 1 may be from that of float64, (frames of x, frames of y).

    float32: components of norm-1 frames are rounded by 2^-24 each, twice in a product, and d + 1 sums add
    as much again, all of terms whose sizes add up to at most |cosine| + 1 <= 2 (Cauchy-Schwarz).
    bfloat16: both factors rounded, (1 + u)^2 - 1 of terms that add up to at most 1; float32 sums; and the
    result, which is at most 2 + what went before, once more.
    int8: a frame's components are rounded by half a step of max/127, so the frame turns by at most
    arcsin(sqrt(d) * max / 254), and a cosine's slope in each angle is at most 1; float32 after that.
    """
    dims = x.shape[1]
    sums = 2 * (dims + 4) * FLOAT32
    exact = unit64(x) @ unit64(y).T - 1
    if precision == "float32":
        return np.full(exact.shape, sums)
    if precision == "bfloat16":
        terms = (1 + BFLOAT16) ** 2 - 1
        return terms + sums + BFLOAT16 * (np.abs(exact) + terms + sums)
    turns = [np.arcsin(np.minimum(np.sqrt(dims) * np.abs(unit64(v)).max(axis=1) / 254, 1)) for v in (x, y)]
    return turns[0][:, None] + turns[1][None, :] + 8 * FLOAT32


@pytest.mark.parametrize("dims", [1, 13, 39, 768])
@pytest.mark.parametrize("precision", products.PRECISIONS)
def test_products_are_those_of_float64_up_to_the_roundings(precision, dims):
    x, y = random_values(300, dims), random_values(70, dims, seed=1)
    y[:35] = x[1:36] * -3 if dims % 2 else x[1:36] * 5  # cosines of -1 and 1
    found = product(x, y, precision).astype(np.float64)
    want = unit64(x) @ unit64(y).T - 1
    assert (np.abs(found - want) <= bound(x, y, precision)).all()


@pytest.mark.parametrize("precision", products.PRECISIONS)
def test_silence_is_at_a_cosine_of_0_exactly(precision):
    x = np.concatenate([np.zeros((2, 39), np.float32), random_values(3, 39)[1:]])
    found = product(x, x, precision)
    assert (found[:2] == -1).all()
    assert (found[:, :2] == -1).all()


@pytest.mark.parametrize("precision", REDUCED)
def test_a_reduced_product_is_reduced(precision):
    """Else a fast path that was never taken would pass all bounds."""
    x, y = random_values(50, 64), random_values(60, 64, seed=1)
    assert np.abs(product(x, y, precision) - product(x, y, "float32")).max() > 1e-4


def test_int8_is_the_cosine_of_the_rounded_frames():
    """Frames of integers up to 127 are not rounded at all: right to float32, and 0 from themselves."""
    rng = np.random.default_rng(0)
    x = rng.integers(-127, 128, (40, 100)).astype(np.float32)
    x[:, 0] = 127
    found = product(x, x, "int8")
    # Two scales, their product, the product with the sum, and the difference from 1: five roundings of numbers <= 1.
    assert np.abs(found - (unit64(x) @ unit64(x).T - 1)).max() <= 5 * FLOAT32
    assert np.abs(np.diag(found)).max() <= 5 * FLOAT32


def test_bfloat16_keeps_small_costs():
    """cosine - 1 is rounded, not the cosine, whose neighbours just below 1 are 2^-8 apart."""
    scales, lines = np.zeros(0, np.float32), np.zeros((1, 1), np.float32)
    x = products.Unit(torch.tensor([[1, 2**-5, 1]]).bfloat16(), scales)
    y = products.Unit(torch.tensor([[1 - 2**-8, 2**-5, -1]]).bfloat16(), scales)
    products.product(x, y, lines, 0, products.Workspace())
    assert lines[0, 0] == -3 * 2**-10


def test_frames_are_taken_in_the_order_asked_for():
    values = random_values(600, 5)
    order = np.random.default_rng(0).permutation(600)[:531]  # more than two chunks, the last of them short
    for precision in products.PRECISIONS:
        whole, some = unit(values, 1, precision), unit(values, 1, precision, order)
        assert (some.values == whole.values[order]).all()
        if precision == "int8":
            assert (some.scales == whole.scales[order]).all()


def test_float32_divides_in_float64():
    """What has been published was computed so: to the last bit."""
    values = random_values(300, 39)
    norms = np.sqrt(np.einsum("fd,fd->f", values, values, dtype=np.float64))
    order = np.arange(300)[::-1].copy()
    found = products.unit(values, norms, order, extra=-1, precision="float32").values.numpy()
    want = (values[order].astype(np.float64) / np.maximum(norms[order], 1e-30)[:, None]).astype(np.float32)
    assert np.array_equal(found[:, :-1], want)
    assert (found[:, -1] == -1).all()


def test_int8_where_torch_cannot(monkeypatch):
    """The same numbers by way of float32, which holds every sum below 2^24: 127² * 768 is."""
    x, y = random_values(300, 768), random_values(70, 768, seed=1)
    want = product(x, y, "int8")
    monkeypatch.setattr(products, "int8_is_exact", lambda: False)
    assert np.array_equal(product(x, y, "int8"), want)


@pytest.mark.parametrize("isa", ["AVX2", "AVX512_CORE"])
def test_older_processors_give_the_same(isa, tmp_path):
    """oneDNN told to do without newer instructions; int8 saturates there unless that is found out.

    On a processor older than that it says nothing new, but it passes.
    """
    x, y = random_values(40, 96), random_values(50, 96, seed=1)
    x[1:20] = np.sign(x[1:20])  # all of 127 and -127: the worst case
    y[1:20] = -np.sign(y[1:20])
    np.savez(tmp_path / "frames.npz", x=x, y=y)
    code = (
        "import sys, numpy as np; from tests.test_products import product; f = np.load(sys.argv[1] + '/frames.npz'); "
        "np.savez(sys.argv[1] + '/found.npz', **{p: product(f['x'], f['y'], p) for p in ('bfloat16', 'int8')})"
    )
    env = {**os.environ, "ONEDNN_MAX_CPU_ISA": isa}
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=env, cwd=root, check=True)
    found = np.load(tmp_path / "found.npz")
    want = unit64(x) @ unit64(y).T - 1
    assert (np.abs(found["int8"] - want) <= bound(x, y, "int8")).all()
    assert np.array_equal(found["int8"], product(x, y, "int8"))
    assert (np.abs(found["bfloat16"] - want) <= bound(x, y, "bfloat16")).all()


def test_mistakes_are_named_in_one_line():
    with pytest.raises(KwsbenchError) as error:
        products.check("float16", 39)
    assert str(error.value) == "unknown precision 'float16'. Did you mean 'bfloat16'?"
    with pytest.raises(KwsbenchError) as error:
        products.check("int8", 133_145)
    assert str(error.value) == "frames have 133145 dimensions, int8 sums at most 133144; use float32 or bfloat16"
    products.check("int8", 133_144)
    assert 127**2 * 133_144 < 2**31 <= 127**2 * 133_145
    products.check("float32", 10**6)


def test_a_workspace_gives_the_same_memory_again():
    workspace = products.Workspace()
    first = workspace.floats("a", 3, 16)
    first[:] = 1
    assert (workspace.floats("a", 2, 24) == 1).all()
    assert workspace.floats("b", 3, 16).sum() == 0
    assert first.ctypes.data % 64 == 0
    assert workspace.floats("a", 100, 16).shape == (100, 16)


# ── in the engine ──


def items(lengths, dims=39, seed=0):
    return Frames(random_values(sum(lengths), dims, seed), np.concatenate([[0], np.cumsum(lengths)]))


# 43 queries: a full group of lanes and one that is not; rows that few lanes reach; empty items and one frame.
QUERIES = items([5, 0, 1, 12, 3, *[4, 6, 9] * 12, 7, 8], seed=2)
UTTERANCES = items([20, 1, 0, 9, 33, 4, 0, 150], seed=3)


def cell(distance, matcher):
    return REGISTRY.create("distances", parse(distance)), (
        REGISTRY.create("matchers", parse(matcher)) if isinstance(matcher, str) else matcher
    )


def grid(cells, precision, workers=1, memory=10**9):
    return score_grid(QUERIES, UTTERANCES, cells, workers=workers, memory_bytes=memory, precision=precision)


@pytest.mark.parametrize("precision", products.PRECISIONS)
def test_spread_lines_are_those_of_the_layout(precision):
    """Compact columns moved in place against dtw.spread, in the group of 32 and the group of few."""
    for layout in dtw.pack(QUERIES.offsets):
        width, line = len(layout.frames), layout.rows * dtw.LANES
        compact = product(UTTERANCES.values, QUERIES.values[layout.frames], precision, first=0)
        want = np.zeros((len(compact), line), np.float32)
        dtw.spread(compact, layout, want)
        lines = np.full((len(compact), line), 5, np.float32)
        lines[:, line - width :] = compact
        tiles._spread(lines, layout.columns, layout.counts, line - width)  # noqa: SLF001
        assert np.array_equal(lines, want)


def test_float32_scores_are_those_of_plain_steps_to_the_last_bit():
    """Full precision is what it was before there were others: one product, clamped, spread and aligned."""
    recipe, utterances = Alignment(), UTTERANCES.read(4, 6)  # without empty items
    found = score_grid(QUERIES, utterances, [(cell("cosine", "sdtw")[0], recipe)], workers=1, memory_bytes=10**9)[0]
    for layout in dtw.pack(QUERIES.offsets):
        left, right = (
            np.pad(
                (v / np.maximum(np.sqrt(np.einsum("fd,fd->f", v, v, dtype=np.float64)), 1e-30)[:, None]).astype(
                    np.float32
                ),
                ((0, 0), (0, 1)),
                constant_values=extra,
            )
            for v, extra in ((utterances.values, 1), (QUERIES.values[layout.frames], -1))
        )
        compact = torch.mm(torch.from_numpy(left), torch.from_numpy(right).T).clamp_(max=0).numpy()
        tile = dtw.aligned(len(compact), layout.rows * dtw.LANES)
        dtw.spread(compact, layout, tile)
        aligner = dtw.Aligner(recipe, layout, utterances.offsets)
        aligner.feed(tile)
        for whole, part in zip(found, aligner.scores(), strict=True):
            assert np.array_equal(whole[layout.queries], part)


@pytest.mark.parametrize("precision", products.PRECISIONS)
def test_scores_are_the_cheapest_paths_up_to_the_roundings(precision):
    """A path's mean cost changes by at most its largest change of a cell, and so does the cheapest path's."""
    (found,) = grid([cell("cosine", "sdtw")], precision)
    slack = bound(QUERIES.values, UTTERANCES.values, precision)
    steps = cell("cosine", "sdtw")[1].steps
    for query in range(len(QUERIES)):
        for utterance in (0, 1, 3, 4, 5):
            if not len(QUERIES[query]):
                continue
            cost = np.array(reference.cost_matrix("cosine", QUERIES[query], UTTERANCES[utterance]))
            want = reference.align(cost, steps)[0]
            rows, columns = (slice(*f.offsets[i : i + 2]) for f, i in ((QUERIES, query), (UTTERANCES, utterance)))
            # A path of the query's length has that many cells; symmetric steps may add one for each utterance frame.
            cells = (cost.shape[0] + cost.shape[1]) / cost.shape[0]
            assert abs(-found.scores[query, utterance] - want) <= slack[rows, columns].max() * cells


ALL = [
    *[(d, "sdtw") for d in sorted(reference.DISTANCES)],
    ("cosine", "dtw:steps=asymmetric"),
    ("cosine", Alignment(rows="minmax")),
    ("euclidean", Alignment(rows="minmax")),
    ("csls:k=3", "sdtw"),
    ("csls:k=3", Alignment(rows="minmax")),
]


@pytest.mark.parametrize("precision", REDUCED)
def test_every_distance_follows_float32(precision):
    """Scores of all finishes, one pass: near those of float32 (or their order is lost), and not the same."""
    cells = [cell(*one) for one in ALL]
    for (distance, how), exact, near in zip(ALL, grid(cells, "float32"), grid(cells, precision), strict=True):
        finite = np.isfinite(exact.scores)
        assert np.array_equal(finite, np.isfinite(near.scores))
        a, b = exact.scores[finite].astype(np.float64), near.scores[finite].astype(np.float64)
        assert np.corrcoef(a, b)[0, 1] > 0.999, (distance, how)
        assert not np.array_equal(a, b)


@pytest.mark.parametrize("precision", REDUCED)
@pytest.mark.parametrize(("workers", "memory"), [(1, 1), (2, 5000), (3, 10**9)])
def test_neither_workers_nor_memory_nor_tiles_change_a_reduced_score(precision, workers, memory, monkeypatch):
    cells = [cell(*one) for one in ALL]
    want = grid(cells, precision)
    monkeypatch.setattr(dtw, "TILE_CELLS", 0)
    monkeypatch.setattr(tiles, "JOB_FRAMES", 10)
    for one, other in zip(want, grid(cells, precision, workers, memory), strict=True):
        # bfloat16: the order of float32 sums may differ with the shape and then tip a last rounding, 2^-8 of a cell.
        slack = {"int8": 1e-5, "bfloat16": BFLOAT16}[precision]
        np.testing.assert_allclose(other.scores, one.scores, rtol=slack, atol=2e-6)


@pytest.mark.parametrize("precision", REDUCED)
def test_what_has_no_shared_product_ignores_the_precision(precision):
    class Slow:
        cost = staticmethod(cell("cosine", "sdtw")[0].cost)

    cells = [(Slow(), Alignment()), cell("cosine", "meanpool")]
    for one, other in zip(grid(cells, "float32"), grid(cells, precision), strict=True):
        assert np.array_equal(one.scores, other.scores)


def test_the_engine_refuses_a_precision_it_does_not_know():
    with pytest.raises(KwsbenchError, match=r"unknown precision 'int4'\. Did you mean 'int8'\?"):
        grid([cell("cosine", "sdtw")], "int4")
