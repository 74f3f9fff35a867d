"""What the benchmarks share."""

import time

import numpy as np
from tabulate import tabulate


def rounds(*works, repeats=9):
    """CPU seconds of each piece of work in each round, (works, repeats), after one call to warm up.

    The pieces take turns, so that a change of clock or a busy neighbour falls on all of them.
    """
    for work in works:
        work()
    spent = np.empty((len(works), repeats))
    for turn in range(repeats):
        for index, work in enumerate(works):
            start = time.process_time()
            work()
            spent[index, turn] = time.process_time() - start
    return spent


def seconds(*works, repeats=9):
    """The least CPU seconds of each piece of work, after one call to warm up; they take turns."""
    return rounds(*works, repeats=repeats).min(axis=1).tolist()


def table(rows, headers):
    """Rows as Markdown."""
    return tabulate(rows, headers, tablefmt="github")
