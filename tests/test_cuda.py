"""The GPU's kernels, run in numba's simulator: bit for bit those of the CPU."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kwsbench import dtw
from kwsbench.types import Alignment
from tests import reference
from tests.simulated_gpu import (
    ALIGNMENTS,
    ASYMMETRIC,
    CPU,
    SKIP,
    SYMMETRIC1,
    assert_equal,
    simulator,  # noqa: F401 - a fixture that all tests here use
)


@pytest.fixture(scope="module")
def cuda_dtw(simulator):  # noqa: F811
    from kwsbench import cuda_dtw

    return cuda_dtw


def pack(lengths):
    return dtw.pack(np.concatenate([[0], np.cumsum(lengths)]))


def both_ways(cuda_dtw, compact, layout, alignment, utterances, **options):
    """Scores of the CPU's kernel and of the GPU's, from the same costs; on the GPU, padding holds what it likes."""
    spread = dtw.aligned(len(compact), layout.rows * dtw.LANES)
    for frame, line in enumerate(compact):
        spread[frame, cuda_dtw.positions(layout)] = line
    aligner = dtw.Aligner(alignment, layout, utterances)
    aligner.feed(spread)
    tile = torch.full((len(compact), layout.rows * dtw.LANES), np.nan)
    tile[:, torch.from_numpy(cuda_dtw.positions(layout))] = torch.from_numpy(compact)
    return aligner.scores(), cuda_dtw.align(tile, cuda_dtw.Ragged.of(utterances, CPU), layout, alignment, **options)


@pytest.mark.parametrize("spilled", [False, True], ids=["shared", "global"])
@pytest.mark.parametrize("alignment", ALIGNMENTS, ids=str)
def test_answers_are_those_of_the_cpu_bit_for_bit(cuda_dtw, monkeypatch, alignment, spilled):
    """The same sums in the same order: no tolerance. Half of the costs are quarters, so that there are ties."""
    if spilled:
        monkeypatch.setattr(cuda_dtw, "SHARED_BYTES", 0)
    (layout,) = pack([3, 8, 0, 5, 1])
    utterances = np.array([0, 0, 1, 6, 12, 12])
    rng = np.random.default_rng(len(str(alignment)))
    quarters, any_costs = rng.integers(0, 5, (2, 12, 17)) / 4, rng.random((12, 17))
    for costs in (quarters[0], np.where(quarters[1] > 0.5, quarters[0], any_costs), np.full((12, 17), 0.25)):
        compact = -costs.astype(np.float32)
        # Two warps at a time: five utterances are three launches.
        cpu, gpu = both_ways(cuda_dtw, compact, layout, alignment, utterances, warps=2)
        assert_equal(gpu, cpu)
    assert (gpu.scores[:, 0] == -np.inf).all()


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=32),
    utterances=st.lists(st.integers(0, 6), min_size=1, max_size=3),
    alignment=st.sampled_from(ALIGNMENTS),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=15, deadline=None)
def test_any_lengths(cuda_dtw, lengths, utterances, alignment, seed):
    (layout,) = pack(lengths)
    offsets = np.concatenate([[0], np.cumsum(utterances)])
    rng = np.random.default_rng(seed)
    compact = -(rng.integers(0, 5, (offsets[-1], len(layout.frames))) / 4).astype(np.float32)
    cpu, gpu = both_ways(cuda_dtw, compact, layout, alignment, offsets)
    assert_equal(gpu, cpu)


@pytest.mark.parametrize("alignment", ALIGNMENTS[:18:5], ids=str)
def test_one_pair_is_the_naive_recursion(cuda_dtw, alignment):
    cost = np.random.default_rng(1).integers(0, 9, (6, 7)) / 4
    (layout,) = pack([6])
    compact = np.ascontiguousarray(-cost.T, dtype=np.float32)
    _, found = both_ways(cuda_dtw, compact, layout, alignment, np.array([0, 7]))
    want = reference.align(cost, alignment.steps, whole=alignment.whole, normalize=alignment.normalize)
    # One division in float32: half an ulp, 6e-8 of the value.
    assert -found.scores[0, 0] == pytest.approx(want[0], rel=1e-7)
    assert (found.starts[0, 0], found.ends[0, 0]) == tuple(want[1:3])


def test_rows_are_scaled_over_each_utterance(cuda_dtw):
    """One difference and one quotient of float32, as numpy makes them: no tolerance."""
    rng = np.random.default_rng(0)
    tile = -rng.random((9, 4 * dtw.LANES), dtype=np.float32)
    tile[:, 5] = -0.5
    offsets = np.array([0, 2, 2, 9])
    want = tile.copy()
    for first, stop in ((0, 2), (2, 9)):
        part = want[first:stop]
        high, low = part.max(axis=0), part.min(axis=0)
        part[:] = (part - high) / np.where(high > low, high - low, np.float32(1))
    found = torch.from_numpy(tile)
    cuda_dtw.scale_rows(found, cuda_dtw.Ragged.of(offsets, CPU), 4)
    np.testing.assert_array_equal(found.numpy(), want)


def test_long_queries_leave_shared_memory(cuda_dtw):
    """A row of 32 lanes takes 128 bytes a number: score, start and perhaps length, of one frame or (1, 2)'s two."""
    fits = {(SYMMETRIC1, "query"): 192, (SYMMETRIC1, "path"): 128, (SKIP, "none"): 96, (ASYMMETRIC, "path"): 64}
    for (steps, normalize), rows in fits.items():
        alignment = Alignment(steps, normalize=normalize)
        (short,), (long,) = pack([rows]), pack([rows + 1])
        assert cuda_dtw.scratch_bytes(alignment, short) == 0
        assert cuda_dtw.scratch_bytes(alignment, long) == 48 * 1024 // rows * (rows + 4)


def test_each_warp_has_global_memory_of_its_own(cuda_dtw, monkeypatch):
    """The simulator's warps take turns, so that their answers would not tell."""
    monkeypatch.setattr(cuda_dtw, "SHARED_BYTES", 0)
    (layout,) = pack([5])
    real, launches = cuda_dtw.launch, []

    def watched(kernel, blocks, shared, *tensors, rows):
        scratch = tensors[4]
        scratch.fill_(np.nan)
        real(kernel, blocks, shared, *tensors, rows=rows)
        launches.append((len(scratch), int((~scratch.isnan()).sum())))

    monkeypatch.setattr(cuda_dtw, "launch", watched)
    compact = np.full((9, 5), -0.25, np.float32)
    both_ways(cuda_dtw, compact, layout, Alignment(), np.array([0, 2, 5, 9]), warps=2)
    warp = 8 * dtw.LANES * 2
    assert launches == [(2 * warp, 2 * warp), (2 * warp, warp)]


def test_long_utterances_start_first(cuda_dtw):
    assert cuda_dtw.Ragged.of(np.array([0, 3, 3, 10, 13]), CPU).order.tolist() == [2, 0, 3, 1]


COMPILE = """
import types as python_types
from numba import types
from numba.cuda import compiler, dispatcher, implementation
if implementation != "Built-in":
    print("another numba.cuda")
    raise SystemExit
dispatcher.get_current_device = lambda: python_types.SimpleNamespace(compute_capability=(9, 0))
kept, compile_cuda = [], compiler.compile_cuda
def keep(*arguments, **options):
    kept.append(compile_cuda(*arguments, **options))
    return kept[-1]
dispatcher.compile_cuda = keep
from kwsbench import cuda_dtw, dtw
numbers, whole = types.float32[::1], types.int64[::1]
for steps, lay, counted, spilled in (
    ((1, 1, 1, 0, 0), False, False, False), ((1, 1, 0, 1, 0), False, True, True), ((1, 1, 1, 1, 1), True, True, False)
):
    kernel = cuda_dtw._kernel(tuple(map(bool, steps)), whole=lay, counted=counted, spilled=spilled)
    keep(kernel.py_func, types.void, (types.uint64, whole, numbers, whole, whole, numbers, numbers), cc=(9, 0))
keep(cuda_dtw._scale_kernel().py_func, types.void, (types.uint64, whole, numbers), cc=(9, 0))
code = "".join(result.library.get_llvm_str() for result in kept)
print(len(kept) > 4, "float" in code, "double" in code)
"""


def test_the_real_compiler_takes_the_kernels_and_keeps_all_in_float32():
    """numba types and lowers CUDA code without a GPU. An index of uint64 and a plain integer would be a double."""
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, check=False)
    if done.stdout.startswith("another"):
        pytest.skip("numba-cuda is installed, whose compiler this test does not know")
    assert (done.stdout, done.stderr) == ("True True False\n", "")
