"""The memory that scoring takes follows its budget, not the corpus: measured by the operating system."""

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import pathlib, re
import numpy as np
from kwsbench import Frames
from kwsbench.engine import score_grid
from kwsbench import plugins
from kwsbench.spec import parse

class Endless:
    '''Utterances that are made when they are read, so that only the engine's own memory is seen.'''
    def __init__(self, items):
        self.lengths = np.full(items, 500)
    def read(self, first, last):
        rng = np.random.default_rng(first)
        values = rng.standard_normal(((last - first) * 500, 64), dtype=np.float32)
        return Frames(values, np.arange(last - first + 1) * 500)

def peak_mb():
    # Not getrusage: its maximum is inherited from whoever started this process.
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1e3

registry = plugins.load()
cells = [(registry.create("distances", parse(d)), registry.create("matchers", parse(m)))
         for d in ("cosine", "euclidean") for m in ("sdtw", "meanpool")]
queries = Frames(np.random.default_rng(0).standard_normal((64, 64), dtype=np.float32), np.arange(0, 65, 16))
for items in (64, 64, 4096):
    before = peak_mb()
    score_grid(queries, Endless(items), cells, workers=2, memory_bytes=32_000_000)
    print(peak_mb() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's own peak")
def test_a_corpus_of_many_times_the_budget_takes_no_more_memory_than_a_small_one():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    compiling, small, large = map(float, done.stdout.split())
    # 4096 × 500 × 64 float32 are 524 MB: sixteen budgets. The small corpus, 8 MB, fits one; so the large
    # one may take the rest of its budget, and what the allocator keeps in pieces: a second one.
    assert compiling > 0
    assert small < 64
    assert large < 2 * 32
