"""A recipe's TOML file, read and checked: what is trained, on which targets, for how many steps."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from kwsbench.errors import KwsbenchError, did_you_mean

OBJECTIVES = ("hubert", "wav2vec2")


@dataclass(frozen=True)
class Round:
    """Steps on one set of targets. hubert: ``clusters`` of cepstra, or of a ``layer`` of the round before."""

    steps: int
    peak_rate: float
    clusters: int = 0
    layer: int | None = None


@dataclass(frozen=True)
class Recipe:
    """All that the weights depend on besides the corpus.

    audio_s: of each step. crop_frames: the long and the short crop; short_share: of the steps.
    hold: the share of a round at the peak rate, before it falls as a cosine to 0.02 of it.
    speeds: each p/q plays a stream p/q times as fast; label_speeds: those that layer targets are averaged over.
    model: HubertConfig's or Wav2Vec2Config's own names.
    """

    name: str
    objective: str
    rounds: tuple[Round, ...]
    seed: int = 0
    audio_s: float = 300.0
    crop_frames: tuple[int, int] = (200, 75)
    short_share: float = 0.35
    warmup_steps: int = 500
    hold: float = 0.3
    weight_decay: float = 0.02
    checkpoint_steps: int = 250
    speeds: tuple[str, ...] = ("4/5", "17/20", "9/10", "19/20", "1/1", "17/16", "9/8", "19/16", "5/4")
    label_speeds: tuple[str, ...] = ("9/10", "1/1", "9/8")
    model: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""


def read_recipe(path: Path) -> Recipe:
    """The recipe of a file. Raises KwsbenchError in a line that names the file and the entry."""
    try:
        content = path.read_bytes()
        table = tomllib.loads(content.decode("utf-8"))
    except FileNotFoundError as error:
        here = ", ".join(sorted(file.name for file in Path(__file__).parent.glob("nano-*.toml")))
        raise KwsbenchError(f"{path}: no such recipe; those beside the code are {here}") from error
    except ValueError as error:
        raise KwsbenchError(f"{path}: not TOML ({error})") from error
    _check_names(path, table, Recipe)
    for row in table.get("rounds", []):
        _check_names(path, row, Round)
    missing = {"name", "objective", "rounds"} - set(table)
    if missing:
        raise KwsbenchError(f"{path}: {min(missing)} is missing")
    rounds = tuple(Round(**row) for row in table.pop("rounds"))
    lists = {name: tuple(value) for name, value in table.items() if isinstance(value, list)}
    recipe = Recipe(**{**table, **lists, "rounds": rounds, "sha256": hashlib.sha256(content).hexdigest()})
    _check_values(path, recipe)
    return recipe


def ratio(speed: str) -> tuple[int, int]:
    """``"17/20"`` as (17, 20)."""
    above, _, below = speed.partition("/")
    return int(above), int(below)


def _check_names(path: Path, table: Mapping[str, Any], record: type) -> None:
    known = [entry.name for entry in fields(record) if entry.name != "sha256"]
    for name in table:
        if name not in known:
            raise KwsbenchError(f"{path}: unknown entry {name!r}. {did_you_mean(name, known)}")


def _check_values(path: Path, recipe: Recipe) -> None:
    if recipe.objective not in OBJECTIVES:
        raise KwsbenchError(f"{path}: objective is {recipe.objective!r}, expected {' or '.join(OBJECTIVES)}")
    if "1/1" not in recipe.speeds or not set(recipe.label_speeds) <= set(recipe.speeds):
        raise KwsbenchError(f"{path}: speeds must hold 1/1 and every one of label_speeds")
    if recipe.objective == "wav2vec2" and len(recipe.rounds) != 1:
        raise KwsbenchError(f"{path}: {len(recipe.rounds)} rounds, but wav2vec2 makes its own targets; give one round")
    for number, row in enumerate(recipe.rounds, 1):
        if row.steps < 1 or row.peak_rate <= 0:
            raise KwsbenchError(f"{path}: round {number}: steps and peak_rate must be above 0")
        if recipe.objective == "hubert" and row.clusters < 2:
            raise KwsbenchError(f"{path}: round {number}: clusters is {row.clusters}, expected at least 2")
        if recipe.objective == "hubert" and (row.layer is None) != (number == 1):
            wanted = "no layer, since nothing is trained yet" if number == 1 else "the layer whose clusters are learnt"
            raise KwsbenchError(f"{path}: round {number}: expected {wanted}")
