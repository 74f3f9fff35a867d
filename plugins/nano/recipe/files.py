"""What training keeps in its folder, each file written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kwsbench.errors import KwsbenchError

from .plan import Recipe


class Folder:
    """``WORK/NAME`` of one recipe: a checkpoint of the round that is under way, and what each round ended with."""

    def __init__(self, work: Path, recipe: Recipe) -> None:
        self.path = work / recipe.name
        self.recipe = recipe

    def load(self, name: str, device: str) -> dict[str, Any] | None:
        """A file's content on a device; None where it is not yet there. Another recipe's is an error."""
        import torch

        path = self.path / name
        if not path.is_file():
            return None
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        if content["recipe"] != self.recipe.sha256:
            raise KwsbenchError(
                f"{path}: made by another version of the recipe {self.recipe.name}; "
                "put that one back, give this one another name, or delete the folder"
            )
        return content

    def save(self, name: str, content: dict[str, Any]) -> None:
        """Write a file in one go: whoever is killed meanwhile finds the old one."""
        import torch

        self.path.mkdir(parents=True, exist_ok=True)
        arriving = self.path / f"{name}.arriving"
        with arriving.open("wb") as file:
            torch.save({**content, "recipe": self.recipe.sha256}, file)
            file.flush()
            os.fsync(file.fileno())
        arriving.replace(self.path / name)

    def write_log(self, rows: list[dict[str, Any]], number: int) -> None:
        """``round-N.tsv``: a row a log interval."""
        lines = ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
        self.path.mkdir(parents=True, exist_ok=True)
        arriving = self.path / "log.arriving"
        arriving.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        arriving.replace(self.path / f"round-{number}.tsv")


def weights_name(number: int) -> str:
    """The file of the encoder that a round ended with."""
    return f"round-{number}.pt"


def checkpoint_name(number: int) -> str:
    """The file that a round goes on from."""
    return f"round-{number}.checkpoint.pt"


def targets_name(number: int) -> str:
    """The file of a round's targets."""
    return f"round-{number}.targets.pt"
