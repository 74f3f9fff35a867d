"""The frame cache: what an encoder made of a data set, as memory-mapped shards addressed by content.

    <cache>/frames/<key>/identity.json     what the key is the hash of, for people
    <cache>/frames/<key>/00007/lengths.npy int64 (items of the shard,), frames of each
    <cache>/frames/<key>/00007/layer-5.npy float32 (frames, dims) of layer 5
    <cache>/frames/<key>/00007/seconds.npy what encoding it took

The key pins the audio and the encoder (name, version, parameters, weights, numerics). A file is
either whole or not there: it is written under another name and renamed. So a run that is killed
encodes again at most one shard.

A store may lie in shared storage (``kwsbench.remote``): what counts is what is there, what is read a copy.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from kwsbench.errors import KwsbenchError
from kwsbench.shard_writer import ShardWriter
from kwsbench.types import Progress, no_progress

if TYPE_CHECKING:
    from kwsbench.remote import Remote

SHARD_ITEMS = 128

MAPPED_SHARDS = 256
"""How many shards of a layer are mapped at once; Linux allows a process 65,530 maps."""

MAPPED_COPIES = 8
"""The same for shared storage: a copy that was removed takes room until nobody maps it."""


def fingerprint(identity: Mapping[str, Any]) -> str:
    """sha256 of an identity: the same for equal content, whatever the order of its keys."""
    text = json.dumps(identity, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def atomic_write(path: Path, *, before: Callable[[Path], None] | None = None) -> Iterator[IO[bytes]]:
    """A file that appears whole or not at all. before: what is done with the whole file before it has its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    unfinished = Path(name)
    try:
        with unfinished.open("wb") as file:
            yield file
        umask = os.umask(0)
        os.umask(umask)
        unfinished.chmod(0o666 & ~umask)  # mkstemp makes files that only their owner reads
        if before:
            before(unfinished)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


class Files(Protocol):
    """A folder of arrays, on a disk or in shared storage."""

    def has(self, name: str) -> bool: ...

    def write(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Takes a file, which appears whole or not at all."""

    def read(self, names: Sequence[str]) -> list[npt.NDArray[Any] | None]:
        """Small arrays; None for one that is not there."""

    def map(self, name: str) -> npt.NDArray[Any]:
        """An array, mapped and not read."""

    def where(self, name: str) -> str:
        """What errors call a file."""


@dataclass(frozen=True)
class FilesOnDisk:
    """``Files`` that lie in a folder of a disk."""

    folder: Path

    def has(self, name: str) -> bool:
        return (self.folder / name).exists()

    def write(self, name: str) -> AbstractContextManager[IO[bytes]]:
        return atomic_write(self.folder / name)

    def read(self, names: Sequence[str]) -> list[npt.NDArray[Any] | None]:
        return [self.map(name) if self.has(name) else None for name in names]

    def map(self, name: str) -> npt.NDArray[Any]:
        try:
            return open_array(self.folder / name)
        except FileNotFoundError:
            raise KwsbenchError(gone(self.where(name))) from None
        except (ValueError, EOFError, OSError) as error:
            raise KwsbenchError(damaged(self.where(name), error)) from None

    def where(self, name: str) -> str:
        return str(self.folder / name)


@dataclass(frozen=True)
class FrameStore:
    """The frames of one encoder on one data set, shard by shard of SHARD_ITEMS items."""

    folder: Path
    items: int
    first_shard: int = 0
    """the number of the first of these shards in the folder"""
    remote: Remote | None = None
    """the shared storage that the store lies in; of the folder then only the name counts, on whatever machine"""

    @classmethod
    def open(cls, cache: Path, identity: Mapping[str, Any], items: int, remote: Remote | None = None) -> FrameStore:
        """The store of what this identity pins; nothing need be in it yet."""
        store = cls(cache / "frames" / fingerprint(identity)[:24], items, 0, remote)
        if not store.files.has("identity.json"):
            with store.files.write("identity.json") as file:
                file.write(json.dumps(identity, indent=1, ensure_ascii=False, default=str).encode())
        return store

    def __reduce__(self) -> tuple[Any, ...]:  # without what was looked up in the storage, which may have changed then
        return FrameStore, (self.folder, self.items, self.first_shard, self.remote)

    @cached_property
    def files(self) -> Files:
        """Where the files of this store lie."""
        if self.remote is None:
            return FilesOnDisk(self.folder)
        return self.remote.files(self.folder.name, shards=range(self.first_shard, self.first_shard + len(self.shards)))

    @property
    def shards(self) -> list[range]:
        """The items of each shard."""
        return [range(i, min(i + SHARD_ITEMS, self.items)) for i in range(0, self.items, SHARD_ITEMS)]

    def part(self, shard: int) -> FrameStore:
        """One shard as a store of its own, so that it can be filled elsewhere."""
        return FrameStore(self.folder, len(self.shards[shard]), self.first_shard + shard, self.remote)

    def missing(self, shard: int, layers: Sequence[str]) -> list[str]:
        """The layers that this shard lacks."""
        return [layer for layer in layers if not self.files.has(self._layer(shard, layer))]

    @contextmanager
    def writer(self, shard: int, layers: Sequence[str]) -> Iterator[ShardWriter]:
        """Takes the frames of these layers of one shard, item by item, into files that appear whole or not at all."""
        write = self.files.write
        with ExitStack() as open_files:
            files = {layer: open_files.enter_context(write(self._layer(shard, layer))) for layer in layers}
            # Entered last, so named first: a layer's file is never there without the lengths.
            lengths = open_files.enter_context(write(self._file(shard, "lengths")))
            writer = ShardWriter(files)
            yield writer
            writer.finish(lengths)

    def write(self, shard: int, layer: str, items: Sequence[npt.NDArray[np.float32] | None]) -> None:
        """Keep the frames of one layer of one shard; None is an item too short for a frame."""
        with self.writer(shard, [layer]) as writer:
            for item in items:
                writer.start()
                if item is not None:
                    writer.append({layer: item})

    def note_seconds(self, shard: int, seconds: float) -> None:
        """Keep what encoding this shard took; layers that are added later add their time."""
        name = self._file(shard, "seconds")
        (before,) = self.files.read([name])
        with self.files.write(name) as file:
            np.save(file, np.array(seconds if before is None else float(before) + seconds))

    @property
    def seconds(self) -> float:
        """What encoding took in all, whenever it was done."""
        found = self.files.read([self._file(shard, "seconds") for shard in range(len(self.shards))])
        return sum(float(seconds) for seconds in found if seconds is not None)

    def layer(self, name: str) -> StoredFrames:
        """All items of one layer; a file is mapped when an item of it is read."""
        lengths = self._lengths
        # Shards of nothing but too short items have no columns.
        first = next((shard for shard, frames in enumerate(lengths) if frames.any()), None)
        return StoredFrames(
            Shards(((self, len(lengths)),), name),
            np.concatenate([np.zeros(0, np.int64), *lengths]),
            [len(frames) for frames in lengths],
            0 if first is None else int(self.values(first, name).shape[1]),
        )

    def values(self, shard: int, layer: str) -> npt.NDArray[np.float32]:
        """The (frames, dims) of one layer of one shard, mapped and not read."""
        return self.files.map(self._layer(shard, layer))

    @cached_property
    def _lengths(self) -> list[npt.NDArray[np.int64]]:
        """Frames of each item of each shard."""
        names = [self._file(shard, "lengths") for shard in range(len(self.shards))]
        found = []
        for name, lengths in zip(names, self.files.read(names), strict=True):
            if lengths is None:
                raise KwsbenchError(gone(self.files.where(name)))
            found.append(lengths)
        return found

    def share(self, own: FrameStore, layers: Sequence[str], *, progress: Progress = no_progress) -> None:
        """Copy into this store what it lacks of these layers and another store of the same identity has on a disk."""
        for shard, items in enumerate(self.shards):
            found = [layer for layer in self.missing(shard, layers) if not own.missing(shard, [layer])]
            if not found:
                continue
            for name in [self._file(shard, "lengths"), *(self._layer(shard, layer) for layer in found)]:
                with self.files.write(name) as file, (own.folder / name).open("rb") as source:
                    shutil.copyfileobj(source, file)
            self.note_seconds(shard, own.part(shard).seconds)
            progress("putting frames into storage", items.stop, self.items)

    def _layer(self, shard: int, layer: str) -> str:
        return self._file(shard, f"layer-{layer}")

    def _file(self, shard: int, what: str) -> str:
        return f"{self.first_shard + shard:05d}/{what}.npy"


@dataclass(frozen=True)
class Shards:
    """The (frames, dims) of each shard of a layer, mapped when it is asked for; those last asked for stay mapped."""

    stores: tuple[tuple[FrameStore, int], ...]
    """each store, and how many shards it has"""
    layer: str

    def __reduce__(self) -> tuple[Any, ...]:
        return Shards, (self.stores, self.layer)

    def __len__(self) -> int:
        return sum(count for _, count in self.stores)

    def __getitem__(self, shard: int) -> npt.NDArray[np.float32]:
        return self._map(shard)

    @cached_property
    def _map(self) -> Callable[[int], npt.NDArray[np.float32]]:
        places = [(store, shard) for store, count in self.stores for shard in range(count)]
        layer = self.layer

        @lru_cache(MAPPED_COPIES if any(store.remote for store, _ in self.stores) else MAPPED_SHARDS)
        def mapped(index: int) -> npt.NDArray[np.float32]:
            store, shard = places[index]
            return store.values(shard, layer)

        return mapped


@dataclass(frozen=True)
class StoredFrames:
    """One layer of a data set: items are read when they are asked for. Pickled, it is lengths and names of files."""

    values: Shards
    """(frames, dims) of each shard"""
    lengths: npt.NDArray[np.int64]
    """frames of each item (items,)"""
    sizes: Sequence[int]
    """items of each shard"""
    dims: int

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredFrames, (self.values, self.lengths, self.sizes, self.dims)

    def then(self, more: StoredFrames) -> StoredFrames:
        """These items, and more behind them."""
        return StoredFrames(
            Shards((*self.values.stores, *more.values.stores), self.values.layer),
            np.concatenate([self.lengths, more.lengths]),
            [*self.sizes, *more.sizes],
            max(self.dims, more.dims),
        )

    @cached_property
    def _firsts(self) -> list[int]:
        """The first item of each shard."""
        return [int(first) for first in np.cumsum(self.sizes) - self.sizes]

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        """The first frame of each item, counted from that of its shard."""
        starts = np.cumsum(self.lengths) - self.lengths
        return starts - np.repeat(starts[self._firsts], self.sizes)

    def item(self, index: int) -> npt.NDArray[np.float32]:
        """The (frames, dims) of one item."""
        length = self.lengths[index]
        if not length:
            return np.zeros((0, self.dims), np.float32)
        start = self._starts[index]
        return self.values[bisect_right(self._firsts, index) - 1][start : start + length]


def open_array(path: Path) -> npt.NDArray[Any]:
    """An .npy file, mapped unless it is small. Raises numpy's own errors."""
    return np.load(path, mmap_mode="r" if path.stat().st_size > 4096 else None)  # type: ignore[no-any-return]


def gone(where: str) -> str:
    """The error's line for a file that was there."""
    return f"{where} has gone; was the cache deleted? Run again to make it anew"


def damaged(where: str, error: Exception) -> str:
    """The error's line for a file that is no array."""
    return f"{where} is damaged ({error}); delete its folder and run again"
