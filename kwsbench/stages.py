"""Where the time of a run goes: wall-clock seconds by stage, for ``kwsbench run --profile``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tabulate import tabulate


@dataclass
class Stages:
    """Seconds by the name of a stage; stages do not overlap."""

    started: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """What runs inside is added to this stage, also when it fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def table(self) -> str:
        """Every stage's seconds and share, and what is left of the whole."""
        whole = time.perf_counter() - self.started
        rows = sorted(self.seconds.items(), key=lambda row: -row[1])
        rows.append(("everything else", whole - sum(self.seconds.values())))
        shown = [(name, f"{seconds:.1f}", f"{seconds / whole:.0%}") for name, seconds in rows]
        shown.append(("in all", f"{whole:.1f}", ""))
        return tabulate(
            shown, ["stage", "seconds", "share"], disable_numparse=True, colalign=("left", "right", "right")
        )
