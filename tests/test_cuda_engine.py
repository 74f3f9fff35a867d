"""The GPU's driver, run in numba's simulator: everything but the speed. One test wants a real GPU."""

import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kwsbench import cuda_engine
from kwsbench.engine import score_grid
from kwsbench.errors import KwsbenchError
from kwsbench.neighbours import nearness
from kwsbench.types import Alignment, Frames, NeighbourDistance
from tests import reference
from tests.simulated_gpu import (
    ASYMMETRIC,
    CPU,
    QUERIES,
    SKIP,
    UTTERANCES,
    assert_equal,
    broken,
    create,
    finishes,
    frames,
    simulator,  # noqa: F401 - a fixture that all tests here use
)


def score(queries, utterances, cells, *, frames=None, precision="float32", **options):
    wanted = {distance.neighbours for distance, _ in cells if isinstance(distance, NeighbourDistance)}
    near = {k: nearness(queries, utterances, k) for k in wanted}
    room = cuda_engine.Room(frames or sum(utterances.lengths), 4)
    works = finishes(cells)
    found = cuda_engine.score(queries, utterances, works, near, room, precision=precision, device="cpu", **options)
    return [found[index] for index in range(len(cells))]


@pytest.mark.parametrize("block_frames", [8, 100])
def test_a_grid_is_that_of_the_cpu(block_frames):
    names = ["cosine", "exp-cosine", "euclidean", "csls:k=2"]
    distances = [create("distances", name) for name in names]
    cells = [(distance, Alignment(normalize="path")) for distance in distances]
    cells += [(distances[0], Alignment(ASYMMETRIC, whole=True)), (distances[2], Alignment(rows="minmax"))]
    found = score(QUERIES, UTTERANCES, cells, frames=block_frames)
    wanted = score_grid(QUERIES, UTTERANCES, cells, workers=1, memory_bytes=2**20)
    for got, want in zip(found, wanted, strict=True):
        # Two products, each right to ~10 * 6e-8 as cosines of 6 dimensions; distances' slopes in them are below
        # 20 (exp-cosine: 7), those of scaled rows below 20 where costs range over 0.05: 2.4e-5 for a mean.
        np.testing.assert_allclose(got.scores, want.scores, atol=3e-5)
        np.testing.assert_array_equal(got.starts, want.starts)
        np.testing.assert_array_equal(got.ends, want.ends)


@pytest.mark.parametrize("precision", cuda_engine.PRECISIONS)
def test_precisions(precision):
    """float16 rounds factors to 2^-11 of themselves: by Cauchy-Schwarz a cosine is off by 2 * 2^-11 and a bit at most.

    Each path of these steps has one cell per query frame: the best mean of costs moves no further than a cost.
    TF32 exists on GPUs alone; elsewhere torch computes it as float32, right to 1e-6.
    """
    queries, utterances = frames([3, 2], 64, seed=3), frames([5, 4], 64, seed=4)
    cells = [(create("distances", "cosine"), Alignment(ASYMMETRIC))]
    (found,) = score(queries, utterances, cells, precision=precision)
    worst = 0.0
    for query, utterance in np.ndindex(2, 2):
        cost = reference.cost_matrix("cosine", queries[query], utterances[utterance])
        worst = max(worst, abs(found.scores[query, utterance] + reference.align(cost, ASYMMETRIC)[0]))
    assert 1e-6 < worst < 1e-3 if precision == "float16" else worst < 1e-6


def test_silence_and_its_cosine():
    silence = Frames(np.zeros((4, 6), np.float32), np.array([0, 4]))
    cells = [(create("distances", "cosine"), Alignment())]
    for queries, utterances in ((silence, UTTERANCES), (QUERIES, silence)):
        (found,) = score(queries, utterances, cells)
        (want,) = score_grid(queries, utterances, cells, workers=1, memory_bytes=2**20)
        assert_equal(found, want)
    assert set(np.unique(score(silence, silence, cells)[0].scores)) == {-1.0}


class Watched:
    """Frames that tell when they are read."""

    def __init__(self, frames):
        self.lengths, self.reads, self._frames = frames.lengths, [], frames
        self.started = [threading.Event() for _ in frames.lengths]

    def read(self, first, last):
        self.reads.append((first, last))
        for utterance in range(first, last):
            self.started[utterance].set()
        return Frames.join([self._frames[item] for item in range(first, last)])


def test_the_next_block_is_loaded_while_one_is_scored(monkeypatch):
    """With three blocks: none is looked at before the next one lies in the other buffer; the third waits its turn."""
    monkeypatch.setattr(cuda_engine, "_STAGE_BYTES", 2 * 6 * 4)
    items = [3, 3, 5, 1, 6]
    utterances, loaded, seen, done = Watched(frames(items, seed=5)), [threading.Event() for _ in range(3)], [], []
    real_load, real_make_ready = cuda_engine.Loader.load, cuda_engine.make_ready

    def load(self, buffer, first, last):
        found = real_load(self, buffer, first, last)
        loaded[first // 2].set()
        return found

    def make_ready(raw, unit, extra):
        if extra == 1:
            seen.append(len(raw))
            assert loaded[min(len(seen), 2)].wait(10), "nothing is read while a block waits to be scored"
            assert not any(event.is_set() for event in utterances.started[2 * len(seen) + 2 :])
        return real_make_ready(raw, unit, extra)

    monkeypatch.setattr(cuda_engine.Loader, "load", load)
    monkeypatch.setattr(cuda_engine, "make_ready", make_ready)
    cells, queries = [(create("distances", "cosine"), Alignment())], frames([2])
    (found,) = score(queries, utterances, cells, frames=6, progress=lambda *what: done.append(what))
    assert seen == [6, 6, 6]
    # Frames pass through buffers of two: an utterance longer than that is read whole, and sent in parts.
    assert utterances.reads == [(item, item + 1) for item in range(5)]
    assert done == [("score", 2, 5), ("score", 4, 5), ("score", 5, 5)]
    (want,) = score_grid(queries, frames(items, seed=5), cells, workers=1, memory_bytes=2**20)
    np.testing.assert_allclose(found.scores, want.scores, atol=3e-6)  # two cosines and at most six cells a frame
    np.testing.assert_array_equal(found.starts, want.starts)


class Memory(TorchDispatchMode):
    """The most bytes that torch's tensors held at a time, by what their Python names keep alive."""

    def __init__(self):
        super().__init__()
        self.names, self.sizes, self.most = {}, {}, 0

    def __torch_dispatch__(self, function, kinds, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            storage = result.untyped_storage()
            key = storage.data_ptr()
            self.names[key] = self.names.get(key, 0) + 1
            self.sizes[key] = storage.nbytes()
            weakref.finalize(result, self._let_go, key)
            self.most = max(self.most, sum(self.sizes.values()))
        return result

    def _let_go(self, key):
        self.names[key] -= 1
        if not self.names[key]:
            del self.sizes[key], self.names[key]


@pytest.mark.parametrize(
    ("budget", "names"), [(2**18, ["euclidean"]), (2**19, ["cosine", "euclidean"])], ids=["one", "two"]
)
def test_memory_stays_within_the_budget(monkeypatch, budget, names):
    # The two pinned buffers are the host's.
    monkeypatch.setattr(cuda_engine, "_STAGE_BYTES", 32)
    queries, utterances = frames([4, 2], 32), frames([6] * 30, 32)
    works = finishes([(create("distances", name), Alignment(SKIP, normalize="path")) for name in names])
    room = cuda_engine.find_room(queries, utterances.lengths, works, device_bytes=budget)
    with Memory() as memory:
        cuda_engine.score(queries, utterances, works, {}, room, device="cpu")
    assert room.frames < 180
    assert budget / 4 < memory.most <= budget


def test_room():
    works = finishes([(create("distances", "cosine"), Alignment(ASYMMETRIC, normalize="path"))])
    queries, lengths = frames([5]), np.array([6, 30, 2])
    assert cuda_engine.find_room(queries, lengths, works, device_bytes=2**30) == (38, 1)
    refusal = cuda_engine.find_room(queries, lengths, works, device_bytes=50_000)
    assert refusal == "0.00 GiB of the GPU's memory hold 14 utterance frames at a time, and utterance 1 has 30"
    # A warp of 68 rows holds 68 * 768 bytes; a quarter of the memory is for them.
    room = cuda_engine.find_room(frames([65]), lengths, works, device_bytes=2**23)
    assert room == (38, 2**21 // (68 * 768))
    assert cuda_engine.find_room(queries, np.array([], int), works, device_bytes=2**30) == (1, 1)


def test_a_block_is_no_larger_than_it_must_be():
    works = finishes([(create("distances", "cosine"), Alignment())])
    lengths = np.full(10_000, 250)
    assert cuda_engine.find_room(QUERIES, lengths, works, device_bytes=2**40).frames == 2**20


@pytest.mark.parametrize("what", ["query", "utterance", "dims"])
def test_what_the_cpu_refuses(what):
    queries, utterances = broken(what)
    cells = [(create("distances", "cosine"), Alignment())]
    with pytest.raises(KwsbenchError) as wanted:
        score_grid(queries, utterances, cells, workers=1, memory_bytes=2**20)
    with pytest.raises(KwsbenchError) as found:
        score(queries, utterances, cells, frames=7)
    assert str(found.value) == str(wanted.value)


def test_a_precision_that_no_gpu_has():
    with pytest.raises(KwsbenchError) as error:
        score(QUERIES, UTTERANCES, [(create("distances", "cosine"), Alignment())], precision="int8")
    assert str(error.value) == "precision 'int8' is none that a GPU computes in; use float32, tf32, float16"


def test_the_precision_of_others_products_is_left_as_it_was():
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    inside = []

    class Looking:
        cost = create("distances", "cosine").cost

        def finish(self, tile, utterance_norms, query_norms):
            inside.append(matmul.fp32_precision)
            if len(inside) == 3:
                raise ZeroDivisionError

    for precision in ("tf32", "float32"):
        score(frames([2]), frames([3]), [(Looking(), Alignment())], precision=precision)
        assert matmul.fp32_precision == before
    with pytest.raises(ZeroDivisionError):
        score(frames([2]), frames([3]), [(Looking(), Alignment())], precision="tf32")
    assert inside == ["tf32", "ieee", "tf32"]
    assert matmul.fp32_precision == before


def test_why_there_is_nothing_to_score_on(monkeypatch):
    from numba import cuda

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cuda_engine.available() == "torch sees no CUDA device on this machine"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert cuda_engine.available() is None
    monkeypatch.setattr(cuda, "is_available", lambda: False)
    assert cuda_engine.available() == "numba finds no CUDA driver or compiler; pip install 'kwsbench[cuda]'"


def test_the_driver_does_without_numbas_cuda_until_it_scores():
    done = subprocess.run(
        [sys.executable, "-c", "import sys, kwsbench.cuda_engine, benchmarks.gpu; print('numba.cuda' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


ON_A_GPU = """
import numpy as np
from kwsbench import cuda_engine
from kwsbench.engine import score_grid
from tests.simulated_gpu import ALIGNMENTS, create, finishes, frames
queries, utterances = frames([50, 120, *range(1, 60)], 64, seed=1), frames([250, 0, 7, *range(30, 90)], 64, seed=2)
cells = [(create("distances", "cosine"), alignment) for alignment in ALIGNMENTS]
works = finishes(cells)
room = cuda_engine.find_room(queries, utterances.lengths, works, device_bytes=2**27)
found = cuda_engine.score(queries, utterances, works, {}, room)
wanted = score_grid(queries, utterances, cells, workers=1, memory_bytes=2**30)
told = []
grid = score_grid(
    queries, utterances, cells, workers=1, memory_bytes=2**30, device="cuda", scored_on=told.extend
)
assert told == ["cuda"] * len(cells)
for index, want in enumerate(wanted):
    for got in (found[index], grid[index]):
        # Cosines of 64 dimensions, right to 1e-6; sums of at most 370 of them where nothing divides.
        np.testing.assert_allclose(got.scores, want.scores, atol=4e-4)
        assert np.mean(got.ends == want.ends) > 0.999
print("equal")
"""


def test_a_real_gpu():
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device: the kernels were run in the simulator alone")
    done = subprocess.run([sys.executable, "-c", ON_A_GPU], capture_output=True, text=True, check=False)
    assert done.stdout.endswith("equal\n"), done.stderr


def test_the_benchmark_runs():
    from benchmarks import gpu

    sizes = gpu.Sizes(queries=2, query_frames=3, utterances=2, utterance_frames=5, dims=(4,), blocks=2, repeats=1)
    rows, stream_rows = gpu.measure(sizes, CPU, room_bytes=2**22)
    assert len(rows) == 12
    assert len(stream_rows) == 3
    if not torch.cuda.is_available():
        assert gpu.report() == "## On a GPU\n\nno GPU: not run (torch sees no CUDA device on this machine)."
