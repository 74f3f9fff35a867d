"""Core-hours against hours of audio: the tasks of a cluster run on made-up frames, and what that means for archives.

Frames are random float32 in a memory-mapped shard of a tenth of an hour, which longer archives hold again and
again: a core does the same work as on as many different hours, but the disk is not measured. What is timed is
``kwsbench.tasks.Work.score``, the very call that a worker makes for a block, and the client's own pass over the
same frames (that isotropy is measured on).

``python -m benchmarks.scaling`` writes scaling.md, in about half an hour; with ``--hours 1`` in a minute.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.__main__ import processor
from benchmarks._measure import table
from kwsbench import fitting, plugins
from kwsbench.fitting import FIT_FRAMES
from kwsbench.runner import ISOTROPY_FRAMES, thinned
from kwsbench.spec import parse, parse_chain
from kwsbench.store import MAPPED_SHARDS, SHARD_ITEMS, FrameStore, Shards, StoredFrames
from kwsbench.tasks import Work
from kwsbench.tiles import runs
from kwsbench.trials import Trials
from kwsbench.types import Clip

FILE = Path(__file__).with_suffix(".md")
DIMS, QUERY_FRAMES, UTTERANCE_FRAMES = 768, 50, 500
LADDER_QUERIES = 32  # of the long archives: as many as lie side by side
QUERIES = 500  # of the archives that are worked out
HOURS = 100.0
PARTS = (0.01, 0.1, 0.3, 1)
FRAMES_AN_HOUR = 180_000  # one every 20 ms
UTTERANCES_AN_HOUR = FRAMES_AN_HOUR // UTTERANCE_FRAMES
SHARD_UTTERANCES = UTTERANCES_AN_HOUR // 10
MEMORY_BYTES = 2_000_000_000
MATCHERS = ("sdtw", "sdtw:steps=asymmetric", "sdtw:normalize=path", "dtw")
MAPS = 65_530  # vm.max_map_count of Linux
PAIR_BYTES = 12  # a score, a first and a last frame


def archive(cache, shards):
    """Centred utterances of an archive of so many tenths of an hour."""
    store = FrameStore.open(cache, {}, SHARD_UTTERANCES)
    if store.missing(0, ["0"]):
        rng = np.random.default_rng(0)
        size = UTTERANCE_FRAMES, DIMS
        store.write(0, "0", [rng.standard_normal(size, dtype=np.float32) + 1 for _ in range(SHARD_UTTERANCES)])
    layer = store.layer("0")
    values = Shards(layer.values.stores * shards, layer.values.layer)
    frames = StoredFrames(values, np.tile(layer.lengths, shards), [*layer.sizes] * shards, layer.dims)
    clips = [Clip(str(item), cache, f"speaker {item % 10}", str(item)) for item in range(len(frames.lengths))]
    trials = Trials(clips, np.arange(1), np.arange(len(clips)), {}, 0)
    return fitting.fit(frames, trials, parse_chain("center"), plugins.load()).utterances()


def cells(names):
    registry = plugins.load()
    distance = registry.create("distances", parse("cosine"))
    return [(distance, registry.create("matchers", parse(name))) for name in names]


def queries(count):
    from kwsbench.types import Frames

    values = np.random.default_rng(1).standard_normal((count * QUERY_FRAMES, DIMS), dtype=np.float32)
    return Frames(values, np.arange(count + 1) * QUERY_FRAMES)


def core_seconds(work):
    """CPU seconds of all tasks of an archive, and their number."""
    blocks = list(runs(work.utterances.lengths, MEMORY_BYTES // (DIMS * 8 + 16)))
    started = time.process_time()
    for first, last in blocks:
        work.score(first, last)
    return time.process_time() - started, len(blocks)


def client_seconds(utterances):
    """CPU seconds of the client's own pass, for each chain of transforms: the frames that isotropy is measured on."""
    started = time.process_time()
    thinned(utterances, ISOTROPY_FRAMES)
    return time.process_time() - started


def run(cache, hours):
    """Rows (hours, tasks, seconds of one cell, of four, of the client) of few queries, archive by archive."""
    asked, one, four = queries(LADDER_QUERIES), cells(MATCHERS[:1]), cells(MATCHERS)
    Work(asked, archive(cache, 1), four, MEMORY_BYTES).score(0, 4)  # the compiler's time, and the shard's
    for shards in sorted({max(1, round(hours * 10 * part)) for part in PARTS}):
        utterances = archive(cache, shards)
        client = client_seconds(utterances)
        alone, tasks = core_seconds(Work(asked, utterances, one, MEMORY_BYTES))
        together, _ = core_seconds(Work(asked, utterances, four, MEMORY_BYTES))
        print(f"{shards / 10:g} h: {alone:.1f} s, {together:.1f} s, {client:.1f} s", flush=True)
        yield shards / 10, tasks, alone, together, client


def run_queries(cache):
    """Rows (queries, seconds an hour of one cell, of four): the same tenth of an hour, asked for more and more."""
    utterances = archive(cache, 1)
    for count in (LADDER_QUERIES, 4 * LADDER_QUERIES, QUERIES):
        asked = queries(count)
        spent = [core_seconds(Work(asked, utterances, cells(MATCHERS[:n]), MEMORY_BYTES))[0] * 10 for n in (1, 4)]
        print(f"{count} queries: {spent[0]:.1f} s an hour, {spent[1]:.1f} s", flush=True)
        yield count, *spent


def fit(hours, seconds):
    """Constant and slope of the line of least squares, and its largest miss, all in seconds."""
    slope, constant = np.polyfit(hours, seconds, 1)
    return constant, slope, np.abs(constant + slope * hours - seconds).max()


def size(nbytes):
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6)):
        if nbytes >= 10**power:
            return f"{nbytes / 10**power:,.3g} {unit}"
    return f"{nbytes / 1e3:,.3g} kB"


def arithmetic(slope, hours):
    """What an archive of so many hours costs, for one chain of transforms on one layer."""
    frames = hours * FRAMES_AN_HOUR * DIMS * 4
    pairs = hours * UTTERANCES_AN_HOUR * QUERIES
    core_h = slope * hours / 3600
    cores = 100 if hours <= 1000 else 1000
    return [
        ("compute: core-hours", f"{core_h:,.3g}"),
        ("compute: hours on these cores", f"{core_h / cores:,.2g}"),
        ("tasks", f"{hours * FRAMES_AN_HOUR / (MEMORY_BYTES // (DIMS * 8 + 16)):,.0f}"),
        ("storage: frames of one layer", size(frames)),
        ("storage: scores that are kept, a cell", size(pairs * PAIR_BYTES)),
        ("network: all workers read", f"{size(frames / (core_h / cores * 3600))}/s"),
        ("network: queries, once a chain and worker", size(QUERIES * QUERY_FRAMES * DIMS * 4)),
        ("network: parts that come back, a cell", size(pairs * PAIR_BYTES)),
        ("memory of the client: scores, a cell", size(pairs * PAIR_BYTES)),
        ("files of frames", f"{hours * UTTERANCES_AN_HOUR / SHARD_ITEMS:,.0f}"),
    ]


def report(hours=HOURS):
    """Write scaling.md and say where it is."""
    with tempfile.TemporaryDirectory() as cache:
        rows = list(run(Path(cache), hours))
        asked = list(run_queries(Path(cache)))
    measured = np.array(rows)
    lines = {
        name: fit(measured[:, 0], measured[:, column])
        for name, column in (("1 cell", 2), (f"{len(MATCHERS)} cells", 3))
    }
    slope = asked[-1][1]
    small, large = (arithmetic(slope, archive_h) for archive_h in (1000, 100_000))
    shown = [(f"{h:g}", int(tasks), *(f"{s:,.1f}" for s in spent)) for h, tasks, *spent in rows]
    fitted = [(name, *(f"{value:,.2f}" for value in line)) for name, line in lines.items()]
    costs = [(what, cost, more) for (what, cost), (_, more) in zip(small, large, strict=True)]
    cell_mb = UTTERANCES_AN_HOUR * QUERIES * PAIR_BYTES / 1e6
    task_s = slope * (MEMORY_BYTES // (DIMS * 8 + 16)) / FRAMES_AN_HOUR
    asked_rows = [(count, f"{one:,.1f}", f"{four:,.1f}", f"{one / count:.3f}") for count, one, four in asked]
    matchers = ", ".join(f"`{name}`" for name in MATCHERS)
    FILE.write_text(
        f"""# How far it scales

Written by `python -m benchmarks.scaling --hours {hours:g}`; do not edit.

{LADDER_QUERIES} queries of {QUERY_FRAMES} frames, utterances of {UTTERANCE_FRAMES} frames (10 s), {DIMS} dimensions,
random frames, centred as read. CPU seconds of the tasks that a cluster would run, one after the other on one thread.
{processor()}, with {os.getloadavg()[0]:.0f} processes running: a quiet machine is faster.
What was measured ends at {hours:g} h; the archives further down are arithmetic on it.

## Measured

{len(MATCHERS)} cells: `cosine` under {matchers}, which share their products.
Client: what it does before for each chain: the fit, and the frames that isotropy is measured on.

{table(shown, ["hours of audio", "tasks", "1 cell, s", f"{len(MATCHERS)} cells, s", "client, s"])}

Seconds = constant + slope × hours, by least squares:

{table(fitted, ["", "constant, s", "slope, s an hour", "largest miss, s"])}

A constant that stands out of the noise would be what a task does anew (unit vectors of the queries). There is no
other term: a pair of query and utterance costs the same wherever it lies, and tasks wait for no other. Nor does it
cost more among many queries:

{table(asked_rows, ["queries", "1 cell, s an hour", f"{len(MATCHERS)} cells, s an hour", "1 cell, s an hour, query"])}

## What an archive costs: {QUERIES} queries, one layer, one chain, `cosine` and `sdtw`

{table(costs, ["", "1,000 h on 100 cores", "100,000 h on 1,000 cores"])}

Every further chain costs all of it again but the storage of frames; every further cell of a chain costs what it adds
to the slope, and its own scores. Encoding comes on top, once: [README.md](README.md) says how fast it is.

## What breaks first, and the answer

1. **The client's memory.** It holds the scores of all cells of a chain, {cell_mb:.1f} MB an hour and cell, and labels
   and sorted copies while it evaluates: 16 cells of 1,000 h are {16 * cell_mb:.0f} GB. Answer: fewer cells a run (what
   is recorded is not done again, and frames stay in the cache) or a client with that much memory. Near 100,000 h every
   pair can no longer be held: keep the best thousand hits of each query instead, which kwsbench does not do yet.
2. **The file system.** A core asks it for {size(FRAMES_AN_HOUR * DIMS * 4 / slope)}/s; the table says what all ask for.
   Answer: several cells a chain, which share the reading; fewer dimensions are less work, not less reading; object
   stores (`--frames URL`) serve more readers at once. There the client copies every shard once for a chain that is
   fitted on all utterances, of which it takes {FIT_FRAMES:,} frames.
3. **Memory maps** do not: Linux allows {MAPS:,} to a process, which maps at most {MAPPED_SHARDS} shards at once.
4. **The client's own work** does not, from frames on a disk: it reads {FIT_FRAMES:,} frames to fit a chain and at most
   {ISOTROPY_FRAMES:,} utterances to measure isotropy, however many there are.
5. **The scheduler** does not: a task takes {task_s:,.0f} s, and dask hands out hundreds a second.
""",
        encoding="utf-8",
    )
    return f"## How far it scales\n\nCore-hours against hours of audio, up to 100,000 h: [{FILE.name}]({FILE.name})."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hours", type=float, default=HOURS, help="the largest archive (1 to 100)")
    given = parser.parse_args()
    if not 1 <= given.hours <= 100:
        parser.error("--hours: from 1 to 100")
    report(given.hours)
