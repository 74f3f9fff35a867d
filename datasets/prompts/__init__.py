"""Real people reading prompts in French, Italian and Spanish: recordings that Debian's packages carry."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import kwsbench
from kwsbench.dataset import read_manifest
from kwsbench.errors import KwsbenchError
from kwsbench.paths import cache_dir
from kwsbench.types import Dataset, Progress, no_progress

from . import build, fetch

if TYPE_CHECKING:
    from kwsbench.plugins import Register

# What the prepared files are made by: when any of it changes, they are made anew.
_RECIPE = ("sources.toml", "corrections.tsv", "fetch.py", "decode.py", "wording.py", "build.py")
_NOTES = "prepared.json"
HERE = Path(__file__).parent


class Prompts:
    """The recordings of one language. Fetched and decoded once, into the cache folder (see README.md)."""

    def __init__(self, language: str, min_letters: int, *, sources: build.Sources | None = None) -> None:
        if min_letters < 1:
            raise KwsbenchError(f"prompts/{language}:min_letters={min_letters} must be at least 1")
        self.language = language
        self.min_letters = min_letters
        self._sources = sources or build.read_sources()

    @property
    def folder(self) -> Path:
        """Where the prepared clips and their manifest lie. Another recipe is another folder."""
        recipe = hashlib.sha256(repr(self._sources).encode())
        for name in _RECIPE:
            recipe.update((HERE / name).read_bytes())
        return cache_dir() / "prompts" / f"{self.language}-{self.min_letters}-{recipe.hexdigest()[:12]}"

    @property
    def prepared(self) -> bool:
        """Whether everything is there already."""
        return (self.folder / _NOTES).is_file()

    def load(self, progress: Progress = no_progress) -> Dataset:
        """The data set, fetched and decoded first where that was not done before."""
        if not self.prepared:
            self._prepare(progress)
        notes = cast("dict[str, str | int]", json.loads((self.folder / _NOTES).read_text(encoding="utf-8")))
        manifest = self.folder / "manifest.tsv"
        return read_manifest(manifest, name=f"prompts/{self.language}", language=self.language, notes=notes)

    def _prepare(self, progress: Progress) -> None:
        folder = self.folder
        root = folder.parent
        with _alone(root):
            if self.prepared:  # by the process that we waited for
                return
            partial = folder.with_name(f".{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)  # what a killed process left behind
            sources = self._sources
            debs = fetch.fetch(sources.packages_of(self.language), root / "debs", progress)
            clips, counts = build.build(sources, self.language, debs, partial, self.min_letters, progress)
            build.write_manifest(partial / "manifest.tsv", clips)
            notes = {name: _version_note(sources, name, deb) for name, deb in debs.items()} | counts
            (partial / _NOTES).write_text(json.dumps(notes, indent=1, ensure_ascii=False), encoding="utf-8")
            partial.rename(folder)


def french(*, min_letters: int = 4) -> Prompts:
    """French: two telephone voices (Canada, France), two who name pictures, one uncredited."""
    return Prompts("fr", min_letters)


def italian(*, min_letters: int = 4) -> Prompts:
    """Italian: two telephone voices, two uncredited ones with a few words each."""
    return Prompts("it", min_letters)


def spanish(*, min_letters: int = 4) -> Prompts:
    """Spanish: two telephone voices (Mexico, Colombia), one who names pictures, one uncredited."""
    return Prompts("es", min_letters)


def _version_note(sources: build.Sources, name: str, deb: fetch.Deb) -> str:
    pinned = sources.packages[name].version
    return deb.version if deb.version == pinned else f"{deb.version} (not the pinned {pinned}: scores may differ)"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: one process prepares, the others wait. A killed process lets go of it."""
    import fcntl  # absent on Windows, where there is no apt-get either

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@kwsbench.hookimpl
def register_datasets(register: Register) -> None:
    """Register ``prompts/fr``, ``prompts/it`` and ``prompts/es``."""
    register("prompts/fr", french)
    register("prompts/it", italian)
    register("prompts/es", spanish)
