"""prepare, train, export, evaluate: the four steps from packages to measured weights."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from kwsbench.console import progress_bars, say
from kwsbench.errors import KwsbenchError

from .sources import HELD_OUT, read_sources

FOLDER = click.Path(path_type=Path, file_okay=False)
work_option = click.option("--work", type=FOLDER, required=True, help="Packages, corpus and weights lie here.")
recipe_argument = click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False))


@click.group()
def cli() -> None:
    """Train the nano encoders anew. README.md beside this code says how long it takes."""


@cli.command()
@work_option
@click.option("--package", "packages", multiple=True, help="Only this one. Repeatable. [default: all]")
def prepare(work: Path, packages: Sequence[str]) -> None:
    """Fetch the packages, decode them, write WORK/corpus."""
    from . import corpus

    sources = read_sources()
    with progress_bars() as progress:
        made = corpus.prepare(sources, work, packages or list(sources.packages), progress)
    for name, pinned in sources.packages.items():
        for version in {clip.version for clip in made.clips if clip.package == name} - {pinned.version}:
            say(f"{name}: version {version}, the recipe was written for {pinned.version}")
    for reason, count in sorted(made.left_out.items()):
        say(f"left out: {count} ({reason})")
    minutes: Counter[str] = Counter()
    for clip in made.clips:
        minutes[clip.language] += clip.samples / 16000 / 60
    click.echo("language\tminutes")
    for language, value in minutes.most_common():
        click.echo(f"{language}\t{value:.1f}")
    speakers = len({clip.speaker for clip in made.clips})
    click.echo(f"{len(made.clips)} clips, {speakers} speakers, {minutes.total() / 60:.2f} h in {work / 'corpus'}")


@cli.command()
@recipe_argument
@work_option
@click.option("--seconds", type=click.FloatRange(min=0), help="Stop after so long; called again, it goes on.")
@click.option("--steps", type=click.IntRange(min=1), help="Stop after so many steps; called again, it goes on.")
@click.option("--device", help="cpu or cuda. [default: cuda where there is one]")
def train(recipe: Path, work: Path, seconds: float | None, steps: int | None, device: str | None) -> None:
    """Train the rounds of RECIPE that are not trained yet. Stopped at any moment, it goes on when called again."""
    import math

    import torch

    from . import train as training
    from .plan import read_recipe

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    until = training.Until(math.inf if seconds is None else seconds, math.inf if steps is None else steps)
    done = training.train(read_recipe(recipe), work, until, device, say)
    say("all rounds are done" if done else "stopped; call it again to go on")


@cli.command()
@recipe_argument
@work_option
@click.option("--to", "directory", type=FOLDER, required=True, help="A new directory.")
@click.option("--round", "number", type=click.IntRange(min=1), help="The encoder of this round. [default: the last]")
def export(recipe: Path, work: Path, directory: Path, number: int | None) -> None:
    """Write trained weights as transformers and kwsbench load them, in float16."""
    from .export import export as write
    from .plan import read_recipe

    plan = read_recipe(recipe)
    click.echo(write(plan, work, directory, number or len(plan.rounds)))


@cli.command()
@click.argument("directories", nargs=-1, required=True, type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--board", type=FOLDER, required=True, help="Where the records go.")
@click.option("--dataset", default=f"prompts/{HELD_OUT}", show_default=True, help="Choose on the default alone.")
def evaluate(directories: Sequence[Path], board: Path, dataset: str) -> None:
    """Score every layer of exported encoders with kwsbench, beside MFCC and the untrained control."""
    from .evaluate import evaluate as score

    score(directories, board, dataset)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command (sys.argv by default); what the user can mend is one line."""
    try:
        cli.main(arguments, prog_name="python -m kwsbench_plugins.nano.recipe", standalone_mode=False)
    except KwsbenchError as error:
        say(f"error: {error}")
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Abort:
        say("stopped; call it again to go on")
        sys.exit(130)


if __name__ == "__main__":
    main()
