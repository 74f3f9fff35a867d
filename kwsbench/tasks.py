"""What a worker of dask.distributed does for a run: score a block of utterances, encode a shard of clips.

A scheduler imports this module too, and needs neither torch nor numba: what brings them is imported by the tasks.
"""

from __future__ import annotations

import pickle
import platform
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kwsbench import encoding, plugins
from kwsbench.errors import KwsbenchError, one_line
from kwsbench.plugins import Registry
from kwsbench.remote import Remote
from kwsbench.spec import Spec
from kwsbench.store import FrameStore, atomic_write, fingerprint
from kwsbench.types import Clip, Distance, Encoder, Frames, FrameSource, Matcher, NeighbourDistance, PairMatcher, Scores
from kwsbench.windows import Window

SAME = ("kwsbench", "numpy", "numba", "torch")
"""What must be of one version on all machines: two of them would round differently, or mean different things."""

PluginFiles = tuple[tuple[Path, str], ...]
"""Plugin files by path, and the sha256 of each."""


@dataclass(frozen=True)
class Work:
    """What the scoring of all blocks of one chain of transforms has in common."""

    queries: Frames
    utterances: FrameSource
    cells: Sequence[tuple[Distance | NeighbourDistance, Matcher]]
    memory_bytes: int
    precision: str = "float32"

    def score(self, first: int, last: int) -> list[Scores]:
        """Scores (queries, last - first) of each cell on the utterances first to last (exclusive)."""
        from kwsbench import engine

        block = _Block(self.utterances, first, last)
        cells = [(distance, _placed(matcher, first)) for distance, matcher in self.cells]
        try:
            return engine.score_grid(
                self.queries, block, cells, workers=1, memory_bytes=self.memory_bytes, precision=self.precision
            )
        except KwsbenchError:
            # The engine counts utterances from the block's first: where one is at fault, say which in the whole set.
            engine.norms_of(block.read(0, last - first), "utterance", first)
            raise


@dataclass(frozen=True)
class _Block:
    """Some of the utterances: a kwsbench.types.FrameSource."""

    source: FrameSource
    first: int
    last: int

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.asarray(self.source.lengths)[self.first : self.last]

    def read(self, first: int, last: int) -> Frames:
        return self.source.read(self.first + first, self.first + last)


def _placed(matcher: Matcher, first: int) -> Matcher:
    """The matcher; one that asks where its block begins is told the place in the whole search set."""
    if not isinstance(matcher, PairMatcher):
        return matcher
    score = matcher.score

    class Placed:
        def score(self, queries: Frames, utterances: Frames, distance: Distance, *, first_utterance: int) -> Scores:
            return score(queries, utterances, distance, first_utterance=first + first_utterance)

    Placed.__name__ = type(matcher).__name__  # errors name a matcher by its class
    return Placed()


class Place(NamedTuple):
    """A file that the client leaves for all workers: in a folder that they share, or under that name in the storage."""

    folder: Path
    name: str
    remote: Remote | None = None

    def put(self, content: bytes) -> None:
        """On the client: leave it there."""
        with atomic_write(self.folder / self.name) as file:
            file.write(content)
        if self.remote:
            self.remote.push(self.folder / self.name, self._name)

    @property
    def seen(self) -> bool:
        """Whether it is there for this machine."""
        return self.remote.has(self._name) if self.remote else (self.folder / self.name).exists()

    def read(self) -> bytes:
        """On a worker: what is in it, if its name is its sha256. Raises KwsbenchError when it is something else."""
        return self.remote.load(self._name, self._whole) if self.remote else self._whole(self.folder / self.name)

    def remove(self) -> None:
        """On the client: take it away."""
        (self.folder / self.name).unlink(missing_ok=True)
        if self.remote:
            self.remote.remove(self._name)

    def _whole(self, path: Path) -> bytes:
        content = path.read_bytes()
        if sha256(content).hexdigest() != self.name:
            raise ValueError("other content than its name says")
        return content

    @property
    def _name(self) -> str:
        return f"{self.folder.name}/{self.name}"


class Shard(NamedTuple):
    """A task that encodes: the clips of one shard, and what must come of them."""

    spec: Spec
    described: str
    name: str
    clips: Sequence[Clip]
    layers: Sequence[str]
    store: FrameStore
    device: str
    files: PluginFiles


def prepare(setup: Setup, dask_worker: Any) -> None:
    """On a worker: check its machine, and load the plugin files."""
    setup.check(dask_worker.address)


def score_block(place: Place, first: int, last: int) -> list[Scores] | Exception:
    """On a worker: scores of the utterances first to last (exclusive), or the error."""
    outcome: list[Scores] | Exception = outcome_of(lambda: _work(place).score(first, last))
    return outcome


def encode_shard(shard: Shard) -> str | Exception:
    """On a worker: the device that encoded a shard into its store, or the error."""
    outcome: str | Exception = outcome_of(lambda: _encode(shard))
    return outcome


def outcome_of(work: Callable[[], Any]) -> Any:
    """What work returns, or the error that it raised, in a form that can be sent."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything, and dask would word it in its own way
        error.add_note(f"on a worker:\n{traceback.format_exc()}")
        try:
            same = one_line(pickle.loads(pickle.dumps(error))) == one_line(error)  # noqa: S301 - what was just made
        except Exception:  # noqa: BLE001 - an exception whose __init__ takes other arguments than its message
            same = False
        # The line is the same; only an exception that cannot be sent loses its traceback.
        return error if same else KwsbenchError(one_line(error))


_LOCK = threading.Lock()


@lru_cache(maxsize=1)
def _read_work(place: Place) -> Work:
    work: Work = pickle.loads(place.read())  # noqa: S301 - the client wrote it, and workers run whatever it sends anyway
    return work


def _work(place: Place) -> Work:
    """What a chain's blocks have in common, read once by each worker."""
    with _LOCK:
        return _read_work(place)


@lru_cache(maxsize=1)
def _registry(files: PluginFiles) -> Registry:
    """The plugins of this machine and those of the files. Raises KwsbenchError when a file is not the client's."""
    for path, expected in files:
        if not path.is_file() or digest(path) != expected:
            raise KwsbenchError(
                f"{path} is not the same file on {platform.node()}; keep plugin files where all machines see them"
            )
    return plugins.load([path for path, _ in files])


@lru_cache(maxsize=1)
def _encoder(spec: Spec, described: str, device: str, files: PluginFiles) -> tuple[Encoder, Window | None, str]:
    """The encoder, its window and its device. Raises KwsbenchError when it is not the one that the client has."""
    registry = _registry(files)
    encoder, window = encoding.create(spec, registry)
    if fingerprint(encoding.describe(encoder, spec, registry)) != described:
        raise KwsbenchError(
            f"{spec} on {platform.node()} has other weights or parameters than on the client; make them the same files"
        )
    return encoder, window, encoding.move(encoder, device, str(spec))


def _encode(shard: Shard) -> str:
    # One at a time: an encoder need not bear two threads, and two would not be faster than a second process.
    with _LOCK:
        encoder, window, device = _encoder(shard.spec, shard.described, shard.device, shard.files)
        encoding.encode_missing(encoder, shard.name, shard.clips, shard.layers, shard.store, window=window)
    return device


@dataclass(frozen=True)
class Setup:
    """What every worker does before its first task."""

    versions: Mapping[str, str]
    mark: Place
    """what the client left where workers will look for their work"""
    files: PluginFiles

    def check(self, worker: str) -> None:
        """Check this machine, and load the plugin files. Raises KwsbenchError when it is not as the client's."""
        check_versions(worker, self.versions, versions())
        try:
            seen = self.mark.seen
        except KwsbenchError as error:
            raise KwsbenchError(f"worker {worker}: {error}") from None
        if not seen:
            where = self.mark.remote.url if self.mark.remote else self.mark.folder.parent
            raise KwsbenchError(
                f"worker {worker} does not see {where}; put the cache (KWSBENCH_CACHE) into a folder that all machines "
                "share, or name storage that all reach with --frames"
            )
        _registry(self.files)
        import torch

        # For good: tasks that begin and end at different times would restore one another's number of threads.
        torch.set_num_threads(1)


def versions() -> dict[str, str]:
    """Name → version, of Python and of what else must be alike on all machines."""
    return {"python": platform.python_version(), **{name: version(name) for name in SAME}}


def check_versions(worker: str, ours: Mapping[str, str], theirs: Mapping[str, str]) -> None:
    for name, mine in ours.items():
        if theirs[name] != mine:
            raise KwsbenchError(
                f"worker {worker} has {name} {theirs[name] or '(none)'}, the client {mine}; "
                "install the same version on all machines"
            )


def digest(path: Path) -> str:
    if not path.is_file():
        raise KwsbenchError(f"no plugin file {path}; --plugin takes the path of a .py file")
    return sha256(path.read_bytes()).hexdigest()
