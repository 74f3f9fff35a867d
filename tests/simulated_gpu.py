"""numba's simulator of a GPU, and what is scored on it."""

import sys

import numba
import numpy as np
import pytest
import torch

from kwsbench import dtw, plugins, tiles
from kwsbench.spec import parse
from kwsbench.types import Alignment, Frames

CPU = torch.device("cpu")
SYMMETRIC1 = ((1, 0), (1, 1), (0, 1))
ASYMMETRIC = ((1, 0), (1, 1), (1, 2))
SKIP = ((1, 1), (1, 2), (2, 1))
# Every preset both ways and under every normalisation, and sets of steps that nobody preset: one where a path may
# run down the padding and then jump over the first query frame, the poorest one, and all steps at once.
ALIGNMENTS = [
    Alignment(steps, whole, normalize)
    for steps in (SYMMETRIC1, ASYMMETRIC, SKIP)
    for whole in (False, True)
    for normalize in ("query", "path", "none")
] + [Alignment(((1, 0), (2, 1)), normalize="path"), Alignment(((1, 1),), normalize="none"), Alignment(dtw.STEPS)]
REGISTRY = plugins.load()


@pytest.fixture(scope="module", autouse=True)
def simulator():
    """numba's CUDA is the simulator while this module's tests run: it is chosen when numba.cuda is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "ENABLE_CUDASIM", 1)
        hidden = _take_away()
        patch.delattr(numba, "cuda", raising=False)
        yield
        _take_away()
        if "cuda" in vars(numba):
            del numba.cuda
    sys.modules.update(hidden)


def _take_away():
    """Forget numba.cuda and what imported it; what was forgotten."""
    names = [name for name in sys.modules if name == "kwsbench.cuda_dtw" or name.startswith("numba.cuda")]
    sys.modules["kwsbench"].__dict__.pop("cuda_dtw", None)
    return {name: sys.modules.pop(name) for name in names}


def assert_equal(found, wanted):
    for got, want in zip(found, wanted, strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


def frames(lengths, dims=6, seed=0):
    rng = np.random.default_rng(seed)
    return Frames.join([rng.standard_normal((length, dims)).astype(np.float32) for length in lengths])


# Two groups of lanes, the second of few; queries longer than utterances; items without frames and of one.
QUERIES = frames([5, 0, 1, 7, *[2] * 29, 3], seed=1)
UTTERANCES = frames([6, 1, 0, 4, 8, 3, 0], seed=2)


def create(kind, text):
    return REGISTRY.create(kind, parse(text))


def finishes(cells):
    found = {}
    for index, (distance, alignment) in enumerate(cells):
        finish = tiles.Finish(distance, alignment.rows, {})
        found.setdefault((id(distance), alignment.rows), finish).alignments[index] = alignment
    return list(found.values())


def broken(what):
    queries, utterances = frames([3, 4]), frames([5, 2, 6])
    if what == "dims":
        return frames([3, 4], dims=5), utterances
    if what == "query":
        queries.values[6, 2] = np.inf
    else:
        utterances.values[8, 2] = np.nan  # the third utterance, in the second block
    return queries, utterances
