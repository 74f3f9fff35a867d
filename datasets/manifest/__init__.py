"""The user's own recordings: a folder with one table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import kwsbench
from kwsbench.dataset import find_manifest, read_manifest
from kwsbench.types import Dataset, Progress, no_progress


@dataclass(frozen=True)
class ManifestFolder:
    """Your own folder of recordings with manifest.tsv (path, speaker, keyword or transcript, …)."""

    path: Path
    language: str = ""
    skip_problems: bool = False

    @property
    def prepared(self) -> bool:
        """Always: nothing is fetched."""
        return True

    def load(self, progress: Progress = no_progress) -> Dataset:
        """Read the table, named after its folder. Raises KwsbenchError at the first problem unless told to skip."""
        name = find_manifest(self.path.expanduser()).resolve().parent.name
        progress(f"reading {name}", 0, 1)
        return read_manifest(
            self.path, name=f"manifest/{name}", language=self.language.lower(), skip_problems=self.skip_problems
        )


@kwsbench.hookimpl
def register_datasets(register: kwsbench.hookspecs.Register) -> None:
    """One name; the folder is its parameter."""
    register("manifest", ManifestFolder)
