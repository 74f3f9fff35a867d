"""On a GPU: products and alignments with all data there, ragged lengths, and a corpus that streams through."""

import time
from typing import NamedTuple

import numpy as np
import torch

from benchmarks._measure import table
from kwsbench import cuda_engine, dtw, plugins
from kwsbench.spec import parse
from kwsbench.tiles import Finish
from kwsbench.types import Frames

HOUR_FRAMES = 50 * 3600


class Sizes(NamedTuple):
    """How much is measured: as many utterances as fit, in as many blocks of the stream as said."""

    queries: int = 512
    query_frames: int = 48
    utterances: int = 4000
    utterance_frames: int = 250
    dims: tuple[int, ...] = (768, 39)
    blocks: int = 6
    repeats: int = 5


def wall_seconds(work, device, repeats):
    """The least wall-clock seconds of some work on the device, after one call to warm up and compile."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    best = float("inf")
    for turn in range(repeats + 1):
        wait()
        start = time.perf_counter()
        work()
        wait()
        best = min(best, time.perf_counter() - start) if turn else best
    return best


def lengths_of(count, mean, rng):
    """Lengths of one size, or from two fifths of the mean to twice it."""
    return np.full(count, mean) if rng is None else rng.integers(2 * mean // 5, 2 * mean + 1, count)


def random_frames(lengths, dims, seed):
    values = np.random.default_rng(seed).standard_normal((int(lengths.sum()), dims), dtype=np.float32)
    return Frames(values, np.concatenate([[0], np.cumsum(lengths)]))


def finish(matcher):
    registry = plugins.load()
    distance, alignment = registry.create("distances", parse("cosine")), registry.create("matchers", parse(matcher))
    return Finish(distance, alignment.rows, {0: alignment})


def resident(queries, lengths, work, precision, device, repeats):
    """(whole, product alone) in seconds, frames of the utterances being on the device, as they came."""
    from kwsbench import cuda_dtw

    dims = queries.values.shape[1]
    raw = torch.randn(int(lengths.sum()), dims, device=device)
    ready = cuda_engine.unit_buffer(len(raw), dims, precision, device)
    ragged = cuda_dtw.Ragged.of(np.concatenate([[0], np.cumsum(lengths)]), device)
    with cuda_engine.product_precision(precision):
        groups = cuda_engine.lay_out(queries, {}, precision, device)
        tile = torch.empty(len(raw) * max(len(side.values) for _, side in groups), device=device)

        def whole():
            norms = cuda_engine.make_ready(raw, ready, 1).float()
            block = cuda_engine.Side(ready, {0: norms})
            for layout, side in groups:
                cuda_engine.align(layout, side, block, ragged, [work], [tile], 1024)

        def product():
            for _, side in groups:
                shape = (len(ready), len(side.values))
                cuda_engine.multiply(ready, side.values, tile[: shape[0] * shape[1]].view(shape))

        return wall_seconds(whole, device, repeats), wall_seconds(product, device, repeats)


class Repeated:
    """A corpus of one block of utterances, again and again: it streams as a large one does."""

    def __init__(self, block, times):
        self._block = block
        self.lengths = np.tile(block.lengths, times)

    def read(self, first, last):
        first, last = first % len(self._block), (last - 1) % len(self._block) + 1
        offsets = self._block.offsets[first : last + 1]
        return Frames(self._block.values[offsets[0] : offsets[-1]], offsets - offsets[0])


def copied(queries, corpus, room, device, repeats):
    """Seconds that reading and copying take."""
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None
    loader = cuda_engine.Loader(corpus, queries.values.shape[1], room.frames, device, stream)
    a_block = len(corpus.lengths) * room.frames // int(corpus.lengths.sum())

    def copies():
        for block, first in enumerate(range(0, len(corpus.lengths), a_block)):
            loader.load(block % 2, first, first + a_block)

    return wall_seconds(copies, device, repeats)


def streamed(queries, corpus, work, precision, room, device, repeats):
    """Seconds of a whole run, from frames in the host's memory to scores there."""

    def whole():
        cuda_engine.score(queries, corpus, [work], {}, room, precision=precision, device=device.type)

    return wall_seconds(whole, device, repeats)


def measure(sizes, device, room_bytes=None):
    """The two tables' rows."""
    rows, stream_rows = [], []
    for dims in sizes.dims:
        for name, rng in (("uniform", None), ("ragged", np.random.default_rng(0))):
            queries = random_frames(lengths_of(sizes.queries, sizes.query_frames, rng), dims, 0)
            lengths = lengths_of(sizes.utterances, sizes.utterance_frames, rng)
            for precision in cuda_engine.PRECISIONS:
                for matcher in ("sdtw", "sdtw:steps=asymmetric,normalize=path"):
                    work = finish(matcher)
                    room = cuda_engine.find_room(queries, lengths, [work], precision=precision, device_bytes=room_bytes)
                    if isinstance(room, str):
                        raise SystemExit(room)
                    fitting = lengths[: max(1, int(np.searchsorted(np.cumsum(lengths), room.frames, "right")))]
                    cells = len(queries.values) * int(fitting.sum()) / 1e9
                    whole, product = resident(queries, fitting, work, precision, device, sizes.repeats)
                    speeds = f"{cells / whole:,.1f}", f"{cells / product:,.1f}"
                    rows.append((dims, name, precision, matcher, len(fitting), *speeds))
                if name == "ragged":
                    continue
                work, room = finish("sdtw"), room._replace(frames=int(fitting.sum()))
                corpus = Repeated(random_frames(fitting, dims, 1), sizes.blocks)
                together = streamed(queries, corpus, work, precision, room, device, sizes.repeats)
                copies = copied(queries, corpus, room, device, sizes.repeats)
                alone = sizes.blocks * resident(queries, fitting, work, precision, device, sizes.repeats)[0]
                share = f"{max(copies, alone) / together:.2f}"
                hour = f"{together * HOUR_FRAMES / corpus.lengths.sum():.3f}"
                stream_rows.append((dims, precision, *(f"{x:.3f}" for x in (copies, alone, together)), share, hour))
    return rows, stream_rows


def report():
    reason = cuda_engine.available()
    if reason:
        return f"## On a GPU\n\nno GPU: not run ({reason})."
    rows, stream_rows = measure(Sizes(), torch.device("cuda"))
    headers = ["dims", "lengths", "product", "matcher", "utterances", "Gcells/s with spans", "Gcells/s of the product"]
    stream_headers = ["dims", "product", "copies alone, s", "scoring alone, s", "together, s"]
    text = (
        f"## On a GPU: {torch.cuda.get_device_name()}, groups of {dtw.LANES} queries\n\n"
        f"{Sizes()}; wall-clock time, best of several runs. Frames on the GPU, as they came:\n\n"
    )
    return (
        text
        + table(rows, headers)
        + "\n\nFrames in the host's memory, streamed:\n\n"
        + table(stream_rows, [*stream_headers, "longer of the two / together", "s for an hour of 20 ms frames"])
    )


if __name__ == "__main__":
    print(report())
