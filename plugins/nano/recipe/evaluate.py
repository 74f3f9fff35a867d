"""How good exported weights are, by kwsbench itself: every layer, beside MFCC and the untrained control."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kwsbench.cli import cli

from .sources import HELD_OUT

# What nobody chose, then what is asked about. Speaker statistics, since that is what MFCC is best with.
BASELINES = ("mfcc",)
TRANSFORMS = ("none", "standardize:scope=speaker")


def evaluate(directories: Sequence[Path], board: Path, dataset: str = f"prompts/{HELD_OUT}") -> None:
    """Score the directories' encoders on a data set into a board, and print its tables with their intervals.

    Choose on the default data set alone. To look at another (``prompts/fr``) is to have looked: it
    comes once, when all is chosen.
    """
    encoders = [*BASELINES]
    for directory in directories:
        encoders += [f"hf@all:path={directory}", f"hf@all:path={directory},weights=random:seed=0"]
    axes = [("--encoder", name) for name in encoders] + [("--transform", name) for name in TRANSFORMS]
    words = [word for pair in axes for word in pair]
    for command in (["run", "--dataset", dataset, *words, "--board", str(board)], ["leaderboard", str(board)]):
        try:
            cli.main(command, prog_name="kwsbench", standalone_mode=False)
        except SystemExit as end:  # run ends so when all went well, too
            if end.code:
                raise
