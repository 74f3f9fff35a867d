"""What the benchmarks share."""

import time

from tabulate import tabulate


def seconds(*works, repeats=9):
    """The least CPU seconds of each piece of work, after one call to warm up.

    The pieces take turns, so that a change of clock or a busy neighbour falls on all of them.
    """
    for work in works:
        work()
    best = [float("inf")] * len(works)
    for _ in range(repeats):
        for index, work in enumerate(works):
            start = time.process_time()
            work()
            best[index] = min(best[index], time.process_time() - start)
    return best


def table(rows, headers):
    """Rows as Markdown."""
    return tabulate(rows, headers, tablefmt="github")
