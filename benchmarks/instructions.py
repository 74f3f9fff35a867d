"""Instructions of the kernels on fixed input: a number that a busy machine does not change.

The kernels are compiled for one fixed processor (AVX2: valgrind knows no AVX-512) and counted by
callgrind, so every x86-64 machine with the same numba counts the same. Each is run over FRAMES
utterance frames, then over twice as many: the difference is what these frames cost, without Python.

``python -m benchmarks.instructions --check`` fails where a kernel takes over 20% more than instructions.json
says, in one line; ``--write`` writes that file.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from benchmarks._measure import table
from kwsbench.errors import KwsbenchError

BASELINE = Path(__file__).with_suffix(".json")
TOLERANCE = 0.2
FRAMES, ROWS = 64, 24

PROCESSOR = "x86-64-v3"
FEATURES = "sse sse2 sse3 ssse3 sse4.1 sse4.2 avx avx2 bmi bmi2 f16c fma lzcnt movbe popcnt"

ALIGNMENTS = {
    "sdtw": {},
    "sdtw:normalize=path": {"normalize": "path"},
    "sdtw:steps=asymmetric": {"steps": ((1, 0), (1, 1), (1, 2))},
    "sdtw:steps=skip": {"steps": ((1, 1), (1, 2), (2, 1))},
    "dtw": {"whole": True},
}
SPREAD = "spread"
# A call of the C library that nothing else makes; callgrind writes its count so far before each.
MARK = "getppid"


def pieces_of_work():
    """Name → a call (frames) that runs the kernel over so many utterance frames. Each has run once."""
    import numpy as np

    from kwsbench import dtw
    from kwsbench.types import Alignment

    (layout,) = dtw.pack(np.arange(dtw.LANES + 1) * ROWS)
    tile = dtw.aligned(2 * FRAMES, ROWS * dtw.LANES)
    tile[:] = -np.random.default_rng(0).random(tile.shape)
    compact = tile.copy()
    # One utterance that never ends: nothing but its frames is counted.
    endless = np.array([0, dtw.MAX_FRAMES])
    works = {}
    for name, options in ALIGNMENTS.items():
        aligner = dtw.Aligner(Alignment(**options), layout, endless)
        works[name] = lambda frames, aligner=aligner: aligner.feed(tile[:frames])
    works[SPREAD] = lambda frames: dtw.spread(compact[:frames], layout, tile)
    for work in works.values():
        work(FRAMES)
    return works


def work():
    """What is counted: each kernel over FRAMES frames and over twice as many, a mark before, between and after."""
    works = pieces_of_work()
    for piece in works.values():
        for frames in (FRAMES, 2 * FRAMES):
            os.getppid()
            piece(frames)
    os.getppid()


def measure():
    """Name of a kernel → instructions for one row of 32 cells (one utterance frame, one query frame, 32 queries).

    Raises KwsbenchError where there is no valgrind, no x86-64 processor, or the program to count fails.
    """
    if platform.machine() != "x86_64":
        raise KwsbenchError(f"instructions: counted on x86_64 only, this is {platform.machine()}; use another machine")
    valgrind = shutil.which("valgrind")
    if not valgrind:
        raise KwsbenchError("instructions: valgrind is not installed; try: apt-get install valgrind")
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "NUMBA_CPU_NAME": PROCESSOR,
            "NUMBA_CPU_FEATURES": ",".join(f"+{feature}" for feature in FEATURES.split()),
            "NUMBA_CACHE_DIR": folder,
            "PYTHONHASHSEED": "0",
        }
        program = [sys.executable, "-c", "from benchmarks.instructions import work; work()"]
        # Compiled outside of valgrind, where that takes a minute for each kernel.
        _run(program, environment)
        counts = Path(folder) / "counts"
        tool = [valgrind, "--tool=callgrind", "--quiet", f"--callgrind-out-file={counts}", "--combine-dumps=yes"]
        _run([*tool, f"--dump-before={MARK}", *program], environment)
        totals = [int(total) for total in re.findall(r"^totals: (\d+)", counts.read_text(), re.MULTILINE)]
    names = [*ALIGNMENTS, SPREAD]
    # The first is all until the first mark, the last what Python does to end.
    expected = 2 * len(names) + 2
    if len(totals) != expected:
        raise KwsbenchError(
            f"instructions: callgrind wrote {len(totals)} counts, expected {expected}; "
            f"see whether something else calls {MARK}()"
        )
    return {
        name: round((totals[2 * at + 2] - totals[2 * at + 1]) / (FRAMES * ROWS), 1) for at, name in enumerate(names)
    }


def _run(command, environment):
    done = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
        raise KwsbenchError(f"instructions: {command[0]} ended with {done.returncode}: {last}")


def versions():
    """What chooses the instructions: the compiler and the processor it compiles for."""
    return {"processor": PROCESSOR, "numba": version("numba"), "llvmlite": version("llvmlite")}


def read_baseline():
    """The stored file: versions(), and the counts by the name of the kernel."""
    return json.loads(BASELINE.read_text(encoding="utf-8"))


def check(counts, baseline):
    """Raise KwsbenchError, in one line, where a kernel takes over 20% more instructions than the baseline says."""
    stored = baseline["instructions"]
    mend = "make it fast again, or accept it with: python -m benchmarks.instructions --write"
    if set(counts) != set(stored):
        differ = ", ".join(sorted(set(counts) ^ set(stored)))
        raise KwsbenchError(f"instructions: {differ}: not in both the count and {BASELINE.name}; {mend}")
    risen = [
        f"{name} {count:g} (expected at most {stored[name] * (1 + TOLERANCE):.1f}, stored {stored[name]:g})"
        for name, count in counts.items()
        if count > stored[name] * (1 + TOLERANCE)
    ]
    if risen:
        then = " ".join(f"{what} {it}" for what, it in baseline["versions"].items())
        now = " ".join(f"{what} {it}" for what, it in versions().items())
        other = "" if then == now else f" (stored with {then}, this is {now})"
        raise KwsbenchError(f"instructions for 32 cells have risen: {', '.join(risen)}{other}; {mend}")


def report():
    """The counts and the stored ones, as Markdown."""
    stored = read_baseline()["instructions"]
    try:
        counts = measure()
    except KwsbenchError as error:  # the other benchmarks need no valgrind
        return f"## Instructions of the kernels\n\nNot counted: {error}."
    rows = [(name, f"{count:.1f}", f"{stored.get(name, float('nan')):.1f}") for name, count in counts.items()]
    return (
        "## Instructions of the kernels\n\n"
        f"For one query frame of 32 queries and one utterance frame, compiled for {PROCESSOR}; by callgrind.\n\n"
        + table(rows, ["", "here", "stored"])
    )


def main(arguments):
    if arguments not in ([], ["--check"], ["--write"]):
        raise KwsbenchError(f"instructions: unknown {' '.join(arguments)}; use --check, --write or nothing")
    if arguments == ["--check"]:
        check(measure(), read_baseline())
    elif arguments == ["--write"]:
        text = json.dumps({"versions": versions(), "instructions": measure()}, indent=2)
        BASELINE.write_text(text + "\n", encoding="utf-8")
    else:
        print(report())


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KwsbenchError as error:
        sys.exit(str(error))
