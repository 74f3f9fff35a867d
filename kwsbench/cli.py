"""The command line: options and wording; the work is elsewhere.

stdout is data, stderr is talk. Exit 0: done; 1: some cells failed; 2: the user's to mend, in one line.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from kwsbench import plugins
from kwsbench.console import progress_bars, say
from kwsbench.errors import KwsbenchError, UnknownName
from kwsbench.spec import SCOPES

PATH = click.Path(path_type=Path)
BOARD = click.Path(path_type=Path, file_okay=False)
SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}

with_plugins = click.option(
    "--plugin", "files", type=PATH, multiple=True, help="A plugin file of your own. Repeatable."
)


class Memory(click.ParamType[int]):
    """``2GB``, ``500MB`` → bytes."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMG]?)i?B?", value.strip(), flags=re.IGNORECASE)
        if not found:
            self.fail(f"{value!r} is no size; write it as 2GB or 500MB", param, ctx)
        return int(float(found[1]) * SIZES[found[2].upper()])


@click.group()
@click.version_option(version("kwsbench"), prog_name="kwsbench")
def cli() -> None:
    """Which speech representation finds a spoken word said by somebody else?"""


@cli.command()
@click.argument("run_file", required=False, type=PATH)
@click.option("--dataset", multiple=True, help="prompts, fsdd:path=DIR, manifest:path=DIR, … Repeatable.")
@click.option("--encoder", multiple=True, help="mfcc, nano-hubert@5, hubert-base@all, … Repeatable.")
@click.option("--transform", multiple=True, help="none, center:scope=speaker+whiten, … Repeatable. [default: none]")
@click.option("--distance", multiple=True, help="cosine, euclidean, … Repeatable. [default: cosine]")
@click.option("--matcher", multiple=True, help="sdtw, sdtw:steps=asymmetric+tnorm, … Repeatable. [default: sdtw]")
@click.option("--preset", default="", help="A published protocol instead of RUN_FILE: superb, san21, wisniewski25, …")
@click.option("--board", type=BOARD, default="leaderboards/mine", show_default=True, help="Where records go.")
@click.option("--workers", type=click.IntRange(min=1), default=None, help="Threads. [default: all cores]")
@click.option("--memory", type=Memory(), default="2GB", show_default=True, help="How much the scoring may take.")
@click.option("--device", default="auto", show_default=True, help="Where encoders compute: cpu, cuda, mps, …")
@click.option("--quick", is_flag=True, help="Of each data set a sample of some two minutes, for a first number.")
@click.option("--dry-run", is_flag=True, help="Show the cells and which are recorded; score nothing.")
@with_plugins
def run(  # noqa: PLR0913 - one for each option
    run_file: Path | None,
    preset: str,
    board: Path,
    workers: int | None,
    memory: int,
    device: str,
    files: Sequence[Path],
    *,
    quick: bool,
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
    recorded = recorded_cells(board)
    with progress_bars() as progress:
        surveyed = survey(planned, registry, recorded, prepare=not dry_run, quick=quick, progress=progress)
        states = Counter(cell.state for cell in surveyed.cells)
        summary = f"{len(surveyed.cells)} cells: " + ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
        if not dry_run:
            from kwsbench.runner import Options, Run

            say(summary)
            work = Run(registry, Options(board, cache_dir(), workers or os.cpu_count() or 1, memory, device), progress)
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
    if not dry_run:
        if work.superseded:
            say(f"{work.superseded} older records of the same cells went to {board / 'results' / 'superseded'}")
        say(f"{work.done - len(failures)} cells scored, {states['recorded']} were recorded already; see: "
            f"kwsbench leaderboard {board}")  # fmt: skip
    sys.exit(1 if failures or surveyed.problems else 0)


def recorded_cells(board: Path) -> dict[str, bool]:
    """The fingerprints on a board, and whether each ended well."""
    from kwsbench import results

    return {record.fingerprint: record.error is None for record in results.load_all(board)}


@cli.command()
@click.argument("board", type=BOARD)
@click.option("--view", type=click.Choice(["encoders", "all"]), default="encoders", show_default=True,
              help="A row an encoder, all else chosen; or a row a configuration, its layer chosen.")  # fmt: skip
@click.option("--metric", type=click.Choice(["map", "p@1", "p@10", "p@n", "auc"]), default="map", show_default=True)
@click.option("--format", "style", type=click.Choice(["github", "plain", "csv", "latex", "html"]), default="plain",
              show_default=True)  # fmt: skip
@click.option("--top", type=int, default=0, help="Only so many rows a data set. [default: all]")
@click.option("--write", is_flag=True, help="Write the tables into BOARD/README.md and the page BOARD/index.html.")
@click.option("--check", is_flag=True, help="Fail unless BOARD/README.md and its page show what the records say.")
def leaderboard(board: Path, view: str, metric: str, style: str, top: int, *, write: bool, check: bool) -> None:
    """Show the records of BOARD as tables, one for each data set."""
    from kwsbench import leaderboard as boards

    if check:
        from kwsbench import page

        boards.check_readme(board)
        page.check(board)
        say(f"{board}: tables and page match the records")
        return
    if write:
        from kwsbench import page

        say(f"wrote {boards.write_readme(board)} and {page.write(board)}")
        return
    if style == "html":
        from kwsbench import page

        click.echo(page.make(board))
        return
    if style == "csv":
        click.echo(boards.csv(boards.read_rows(board, view, metric=metric), metric=metric, top=top), nl=False)
        return
    width = shutil.get_terminal_size().columns if style == "plain" and sys.stdout.isatty() else sys.maxsize
    for name, mine in boards.by_dataset(boards.read_rows(board, view, metric=metric)).items():
        table, left_out = boards.fit(boards.table(mine, metric=metric, top=top), width)
        click.echo(f"\n{name}\n")
        click.echo(boards.render(table, style))
        if left_out:
            say(f"(no room for {', '.join(left_out)}; widen the terminal, or --format csv)")


@cli.command()
@click.argument("board", type=BOARD)
@click.option("--metric", type=click.Choice(["map", "p@1", "p@10", "p@n", "auc"]), default="map", show_default=True)
@click.option("--condition", default="across/isolated", show_default=True, help="Which pairs are ranked.")
@click.option("--format", "style", type=click.Choice(["plain", "github", "csv"]), default="plain", show_default=True,
              help="The answer; the whole report; or every figure.")  # fmt: skip
@click.option("--write", is_flag=True, help="Write BOARD/ablation.md, ablation.csv and its figures.")
@click.option("--check", is_flag=True, help="Fail unless BOARD/ablation.md and ablation.csv are what the records say.")
def ablation(board: Path, metric: str, condition: str, style: str, *, write: bool, check: bool) -> None:
    """Show what each correction of anisotropy does to the score, paired with no correction."""
    from kwsbench import figures, report

    found = report.read(board, metric=metric, condition=condition)
    shown = figures.names(found)
    if check:
        report.check(board, found, shown)
        say(f"{board}: the ablation matches the records")
    elif write:
        written = report.write(board, found, shown, figures.draw(found))
        say(f"wrote {', '.join(path.name for path in written)} into {board}")
    elif style == "plain":
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
        text, left_out = report.plain(found, width)
        click.echo(text)
        if left_out:
            say(f"(no room for {', '.join(left_out)}; widen the terminal, or --format csv)")
    else:
        click.echo(report.csv(found) if style == "csv" else report.markdown(board, found, shown), nl=False)


@cli.command()
@click.argument("trials", type=PATH)
@click.option("--metric", "metrics", multiple=True, help="map, mtwv, min_cnxe, … Repeatable. [default: all]")
@click.option("--beta", type=float, help="What a false alarm weighs against a miss in the TWV. [default: 12.49]")
@click.option("--seconds", type=float, help="Speech searched, for P_fa. [default: the ECF's, else P_fa counts trials]")
@click.option("--threshold", type=float, help="Accept what scores at least this, for the ATWV.")
@click.option("--llr", is_flag=True, help="The scores are natural log likelihood ratios, so Cnxe means something.")
@click.option("--qrels", type=PATH, help="TRIALS is a TREC run; these are its judgements.")
@click.option("--terms", type=PATH, help="TRIALS is a stdlist or kwslist; this is its termlist or kwlist.")
@click.option("--rttm", type=PATH, help="What was said, with --terms.")
@click.option("--ecf", type=PATH, help="Which speech counts, with --terms.")
@click.option("--format", "style", type=click.Choice(["plain", "csv", "json"]), default="plain", show_default=True)
@click.option("--per-query", is_flag=True, help="A row for each query instead of the figures.")
@click.option("--det", type=PATH, help="Write the DET curve here: .svg, .png or .csv.")
def score(trials: Path, style: str, det: Path | None, *, per_query: bool, **options: Any) -> None:
    """Score TRIALS, anybody's per-trial file: CSV or TSV, a TREC run, or NIST's XML.

    A CSV or TSV file names its columns in the first line: query, reference, label (1 or 0), prediction.
    """
    import numpy as np

    from kwsbench import trialreport, trialscore

    found = trialscore.read(trials, **{name: options.pop(name) for name in ("qrels", "terms", "rttm", "ecf")})
    settings, assumed = trialscore.settle(found, **options)
    for note in (*found.notes, *assumed):
        say(note)
    report = trialscore.score(found, settings, rng=np.random.default_rng(0))
    if det:
        trialreport.write_det(det, found, seconds=settings.seconds)
        say(f"wrote {det}")
    click.echo((trialreport.render_queries if per_query else trialreport.render)(report, style), nl=False)


class ListByDefault(click.Group):
    """A group that lists when it is given none of its commands: ``plugins``, ``plugins encoders``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments, with the command that is meant in front."""
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@cli.group(name="plugins", cls=ListByDefault)
def plugins_group() -> None:
    """List what is registered, describe one of them, or begin a new one."""


@plugins_group.command(name="new")
@click.argument("kind")
@click.argument("name")
@click.option("--package", is_flag=True, help="A package to install and share, instead of one file.")
@click.option("--folder", type=PATH, default=Path(), help="Where to write it. [default: here]")
def new_plugin(kind: str, name: str, folder: Path, *, package: bool) -> None:
    """Write a plugin that already runs: KIND is encoder, transform, distance, matcher, score-norm or dataset."""
    from kwsbench import scaffold

    made = scaffold.new(kind, name, folder, package=package)
    for path in made.files:
        click.echo(path)
    say("next: " + "\n      ".join(made.commands))


@plugins_group.command(name="list")
@click.argument("kind", required=False)
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@with_plugins
def list_plugins(kind: str | None, name: str | None, files: Sequence[Path], *, as_json: bool) -> None:
    """List what is registered, of one KIND or of all; or describe the one of that NAME."""
    registry = plugins.load(files)
    if kind and name:
        from kwsbench.describe import describe_plugin

        for line in describe_plugin(kind, name, registry):
            click.echo(line)
        return
    if kind and kind not in plugins.KINDS:
        raise UnknownName("kind of plugin", kind, plugins.KINDS)
    found = [plugin for plugin in registry.all() if kind in (None, plugin.kind)]
    if as_json:
        click.echo(json.dumps([plugin.as_dict() for plugin in found], indent=1, default=str))
    else:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        for shown in [kind] if kind else plugins.KINDS:
            table = Table("name", "what", "parameters", "owner", title=shown, title_justify="left", box=None)
            for plugin in (plugin for plugin in found if plugin.kind == shown):
                table.add_row(*map(escape, (plugin.name, plugin.summary, plugin.signature, plugin.owner)))
            Console(width=None if sys.stdout.isatty() else 200).print(table)  # no wrapping for grep
            if shown == "transforms":
                click.echo(f" each also takes scope={'|'.join(SCOPES)}: what it is fitted on\n")
            if shown == "encoders":
                click.echo(" each also takes window_s=SECONDS, overlap_s=SECONDS: long recordings in windows\n")
    for owner, problem in registry.broken.items():
        say(f"could not be loaded: {owner}: {problem}")
    if registry.broken:
        sys.exit(1)


@cli.command()
@click.argument("file", type=PATH)
def check(file: Path) -> None:
    """Prove that the plugins of FILE keep their contract; say what to mend where they do not."""
    from kwsbench.testing import check_file

    findings = check_file(file)
    problems = 0
    for finding in findings:
        click.echo(f"{'FAIL' if finding.problems else 'ok  '} {finding.kind} {finding.name}")
        for problem in finding.problems:
            click.echo(f"     {problem}")
        problems += len(finding.problems)
    say(f"{len(findings)} plugins, {problems} problems")
    sys.exit(1 if problems else 0)


@cli.command()
@click.argument("name", required=False)
@click.option("--prepare", is_flag=True, help="Fetch and decode what it needs now.")
@click.option("--verify", is_flag=True, help="Read everything and name every problem, with file and line.")
@with_plugins
def datasets(name: str | None, files: Sequence[Path], *, prepare: bool, verify: bool) -> None:
    """List data sets, or describe NAME: a data set, or a folder of your own with a manifest."""
    from kwsbench import describe

    registry = plugins.load(files)
    with progress_bars() as progress:
        if name is None:
            lines = describe.list_datasets(registry)
        elif verify:
            lines, sound = describe.verify(name, registry, progress)
        else:
            lines = describe.describe(name, registry, prepare=prepare, progress=progress)
    for line in lines:
        click.echo(line)
    if verify and name is not None and not sound:
        sys.exit(2)


@cli.command()
@click.argument("result", type=PATH)
@click.option("--against", type=PATH, default=None, help="Another record of the same data: are the two different?")
@click.option("--metric", default=None, help="Compare only this one: map, p@1, … [default: all that both have]")
@click.option("--condition", default=None, help="Only under this: across/isolated, … [default: all that both have]")
def show(result: Path, against: Path | None, metric: str | None, condition: str | None) -> None:
    """Show one record: what was scored on what, every figure, what was left out and what it cost.

    With --against, show the differences to another record, paired by keyword and speaker: how sure they are, and
    how many more keywords or speakers it would take to be sure.
    """
    from kwsbench import results

    if against is None:
        if metric or condition:
            raise KwsbenchError(
                "--metric and --condition choose what to compare; name the other record: --against FILE"
            )
        from kwsbench.describe import describe_result

        lines = describe_result(results.load(result))
    else:
        from kwsbench import compare

        lines = compare.report(results.load(result), results.load(against), condition=condition, metric=metric)
    for line in lines:
        click.echo(line)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (sys.argv by default); what the user can mend is one line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an old terminal's encoding has no dash or †
    try:
        cli.main(arguments, prog_name="kwsbench", standalone_mode=False)
    except click.exceptions.Abort:
        say("stopped; what is recorded stays, run it again to go on")
        sys.exit(130)
    except KwsbenchError as error:
        say(f"error: {error}")
        sys.exit(2)
    except BrokenPipeError:  # somebody read as much as they wanted, with head
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        say(f"error: {error.filename or ''}: {error.strerror or error}")
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
