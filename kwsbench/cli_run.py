"""kwsbench run."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kwsbench import plugins
from kwsbench.cli_options import BOARD, PATH, PRECISIONS, Memory, with_plugins
from kwsbench.console import progress_bars, say
from kwsbench.errors import KwsbenchError
from kwsbench.stages import Stages

if TYPE_CHECKING:
    from kwsbench.distributed import Cluster
    from kwsbench.remote import Remote


@click.command()
@click.argument("run_file", required=False, type=PATH)
@click.option("--dataset", multiple=True, help="prompts, fsdd:path=DIR, ./DIR of your own, … Repeatable.")
@click.option("--encoder", multiple=True, help="mfcc, nano-hubert@5, hubert-base@all, … Repeatable.")
@click.option("--transform", multiple=True, help="none, center:scope=speaker+whiten, … Repeatable. [default: none]")
@click.option("--distance", multiple=True, help="cosine, euclidean, … Repeatable. [default: cosine]")
@click.option("--matcher", multiple=True, help="sdtw, sdtw:steps=asymmetric+tnorm, … Repeatable. [default: sdtw]")
@click.option("--preset", default="", help="A published protocol instead of RUN_FILE: superb, san21, wisniewski25, …")
@click.option("--board", type=BOARD, default="leaderboards/mine", show_default=True, help="Where records go.")
@click.option("--workers", type=click.IntRange(min=1), default=None, help="Threads. [default: all cores]")
@click.option("--memory", type=Memory(), default="2GB", show_default=True, help="How much the scoring may take.")
@click.option("--device", default="auto", show_default=True,
              help="Where encoders compute: cpu, cuda, mps, … A GPU (cuda, or found by auto) scores, too.")  # fmt: skip
@click.option("--precision", type=click.Choice(PRECISIONS), default="float32", show_default=True,
              help="Of products; float32 is to publish. CPUs have bfloat16, int8 too, GPUs tf32, float16.")  # fmt: skip
@click.option("--scheduler", default="", help="Encode and score on a dask cluster: tcp://HOST:8786 (docs/cluster.md).")
@click.option("--frames", default="", help="Shared storage for frames: s3://bucket/folder, … (docs/cluster.md).")
@click.option("--quick", is_flag=True, help="Of each data set a sample of some two minutes, for a first number.")
@click.option("--profile", is_flag=True, help="Say at the end which stage took how long.")
@click.option("--dry-run", is_flag=True, help="Show the cells and which are recorded; score nothing.")
@with_plugins
def run(  # noqa: PLR0912, PLR0913, PLR0917 - a parameter for each option, a branch for each thing to say
    run_file: Path | None,
    preset: str,
    board: Path,
    workers: int | None,
    memory: int,
    device: str,
    precision: str,
    files: Sequence[Path],
    scheduler: str,
    frames: str,
    *,
    quick: bool,
    profile: bool,
    dry_run: bool,
    **axes: Sequence[str],
) -> None:
    """Score every combination of the axes; options replace the axes of RUN_FILE.

    Every combination is one record in BOARD/results. What is recorded is not done again, so a run
    may be stopped at any time and started again.
    """
    from kwsbench import plan
    from kwsbench.paths import cache_dir
    from kwsbench.survey import survey

    registry = plugins.load(files)
    for owner, problem in registry.broken.items():
        say(f"left out plugin {owner}: {problem}")
    if preset and run_file:
        raise KwsbenchError("a run file and a preset; give one of them")
    source = plan.preset(preset) if preset else run_file
    asked = plan.read_run_file(source) if source else plan.RunFile()
    if not dry_run:
        for place in (board / "results", cache_dir() / "scores"):
            place.mkdir(parents=True, exist_ok=True)  # one that cannot be written is found out before the work
    planned = plan.build(asked, axes, registry)
    stages = Stages()
    recorded = recorded_cells(board)
    # Before the data is opened: an address that nobody answers at is found out at once.
    remote = _remote(frames) if frames and not dry_run else None
    elsewhere = _cluster(scheduler, files, remote) if scheduler and not dry_run else nullcontext()
    with elsewhere as cluster, progress_bars() as progress:
        with stages("opening data and encoders"):
            surveyed = survey(
                planned, registry, recorded, prepare=not dry_run, quick=quick, precision=precision, progress=progress
            )
        states = Counter(cell.state for cell in surveyed.cells)
        summary = f"{len(surveyed.cells)} cells: " + ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
        if not dry_run:
            from kwsbench.runner import Options, Run

            say(summary)
            options = Options(board, cache_dir(), workers or os.cpu_count() or 1, memory, device, precision, remote)
            work = Run(registry, options, progress, stages=stages, cluster=cluster)
            work.execute(surveyed)
    if dry_run:
        for cell in surveyed.cells:
            click.echo(f"{cell.state:<13} {cell.combination}")
        say(summary)
    for problem in surveyed.problems:
        say(f"error: {problem}")
    if surveyed.problems and not surveyed.cells:
        sys.exit(2)
    failures = [] if dry_run else work.failures
    for message, count in Counter(message for _, message in failures).items():
        say(f"failed: {count} cell{'s' * (count > 1)}: {message}")
    if profile:
        say(stages.table())
    if not dry_run:
        if work.superseded:
            say(f"{work.superseded} older records of the same cells went to {board / 'results' / 'superseded'}")
        say(f"{work.done - len(failures)} cells scored, {states['recorded']} were recorded already; see: "
            f"kwsbench leaderboard {board}")  # fmt: skip
    sys.exit(1 if failures or surveyed.problems else 0)


def _remote(url: str) -> Remote:
    from kwsbench.paths import cache_dir
    from kwsbench.remote import Remote

    return Remote.open(url, cache_dir())


def _cluster(address: str, files: Sequence[Path], remote: Remote | None) -> AbstractContextManager[Cluster]:
    from kwsbench.distributed import connect
    from kwsbench.paths import cache_dir

    return connect(address, files, cache_dir(), remote)


def recorded_cells(board: Path) -> dict[str, bool]:
    """The fingerprints on a board, and whether each ended well."""
    from kwsbench import results

    return {record.fingerprint: record.error is None for record in results.load_all(board)}
