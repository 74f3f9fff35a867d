"""What people see while work goes on: bars with time left, on stderr; stdout is for data."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kwsbench.types import Progress

QUIET_EVERY_S = 20.0


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """A progress that draws one bar for each kind of work, or prints a line now and then where nobody looks."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), refresh_per_second=4) as bars:
        tasks = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield progress


def _lines() -> Progress:
    """For logs: a line when a kind of work begins, ends, and every so often between."""
    last: dict[str, float] = {}

    def progress(what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what not in last or done >= total or now - last[what] > QUIET_EVERY_S:
            last[what] = now
            print(f"{what}: {done}/{total}", file=sys.stderr, flush=True)  # noqa: T201

    return progress


def say(text: str) -> None:
    """Talk to the user, on stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201
