"""From frames to scores: what the alignment adds to the matrix product, scaled rows and a grid to a cell, and what
less precision saves."""

import time

import numpy as np
import torch

from benchmarks._measure import seconds, table
from kwsbench import dtw, plugins
from kwsbench.engine import score_grid
from kwsbench.spec import parse
from kwsbench.types import Frames

QUERIES, QUERY_FRAMES, UTTERANCES, UTTERANCE_FRAMES = 256, 50, 40, 250
DISTANCES = ["cosine", "angular", "exp-cosine", "euclidean"]
MATCHERS = ["sdtw", "sdtw:steps=asymmetric", "dtw", "meanpool"]


def random_frames(items, frames, dims, seed):
    values = np.random.default_rng(seed).standard_normal((items * frames, dims), dtype=np.float32)
    return Frames(values, np.arange(items + 1) * frames)


def product(queries, utterances):
    """A call that does the engine's matrix products and nothing else: the same tiles."""
    layouts = dtw.pack(queries.offsets)
    size = dtw.tile_frames(layouts[0], len(utterances.values))
    left = torch.from_numpy(np.pad(utterances.values, ((0, 0), (0, 1))))
    rights = [torch.from_numpy(np.pad(queries.values[layout.frames], ((0, 0), (0, 1)))).T for layout in layouts]
    out = torch.empty(size, rights[0].shape[1])

    def run():
        torch.set_num_threads(1)
        for right in rights:
            for frame in range(0, len(left), size):
                part = left[frame : frame + size]
                torch.mm(part, right, out=out[: len(part)])

    return run


def gain(work, rounds=5):
    """How many times less wall-clock time two workers take than one: the median of rounds in turns, after the first."""
    ratios = []
    for _ in range(rounds):
        spent = []
        for workers in (1, 2):
            start = time.perf_counter()
            work(workers)
            spent.append(time.perf_counter() - start)
        ratios.append(spent[0] / spent[1])
    return np.median(ratios[1:])


def report():
    registry = plugins.load()
    distances = [registry.create("distances", parse(name)) for name in DISTANCES]
    matchers = [registry.create("matchers", parse(name)) for name in MATCHERS]
    scaled = registry.create("matchers", parse("sdtw:rows=minmax"))
    grid = [(distance, matcher) for distance in distances for matcher in matchers]
    rows, gains = [], []
    for dims in (39, 768):
        queries = random_frames(QUERIES, QUERY_FRAMES, dims, 0)
        utterances = random_frames(UTTERANCES, UTTERANCE_FRAMES, dims, 1)

        def score(cells, precision, workers, queries=queries, utterances=utterances):
            score_grid(queries, utterances, cells, workers=workers, memory_bytes=2**30, precision=precision)

        def run(cells, precision="float32", score=score):
            return lambda: score(cells, precision, 1)

        works = {
            "matrix product alone": (1, product(queries, utterances)),
            "one cell: cosine, sdtw": (1, run(grid[:1])),
            "the same in bfloat16": (1, run(grid[:1], "bfloat16")),
            "the same in int8": (1, run(grid[:1], "int8")),
            "the same with rows=minmax": (1, run([(distances[0], scaled)])),
            "16 cells: 4 distances × 4 matchers": (16, run(grid)),
        }
        times = seconds(*(work for _, work in works.values()), repeats=4)
        cells = len(queries.values) * len(utterances.values) / 1e6
        for (name, (count, _)), spent in zip(works.items(), times, strict=True):
            rows.append((dims, name, f"{count * cells / spent:,.1f}", f"{spent / times[1]:.2f}"))
        more = random_frames(4 * UTTERANCES, UTTERANCE_FRAMES, dims, 1)  # or how the last jobs fall is what is measured
        two = gain(lambda workers, score=score, more=more: score(grid[:1], "float32", workers, utterances=more))
        gains.append(f"{two:.2f} times at {dims} dimensions")
    text = (
        "## From frames to scores and spans\n\n"
        f"{QUERIES} queries of {QUERY_FRAMES} frames, {UTTERANCES} utterances of {UTTERANCE_FRAMES}; distances "
        f"{', '.join(DISTANCES)}; matchers {', '.join(MATCHERS)}.\n\n"
    )
    shown = table(rows, ["dims", "", "Mcells/s", "time, in cells of the grid"])
    return f"{text}{shown}\n\nTwo workers do one cell in less wall-clock time: {', '.join(gains)}."


if __name__ == "__main__":
    print(report())
