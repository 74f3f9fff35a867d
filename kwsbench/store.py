"""The frame cache: what an encoder made of a data set, as memory-mapped shards addressed by content.

    <cache>/frames/<key>/identity.json     what the key is the hash of, for people
    <cache>/frames/<key>/00007/lengths.npy int64 (items of the shard,), frames of each
    <cache>/frames/<key>/00007/layer-5.npy float32 (frames, dims) of layer 5
    <cache>/frames/<key>/00007/seconds.npy what encoding it took

The key pins the audio and the encoder (name, version, parameters, weights, numerics). A file is
either whole or not there: it is written under another name and renamed. So a run that is killed
encodes again at most one shard.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from kwsbench.errors import KwsbenchError

SHARD_ITEMS = 128


def fingerprint(identity: Mapping[str, Any]) -> str:
    """sha256 of an identity: the same for equal content, whatever the order of its keys."""
    text = json.dumps(identity, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)  # mkstemp makes files that only their owner reads
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@dataclass(frozen=True)
class FrameStore:
    """The frames of one encoder on one data set, shard by shard of SHARD_ITEMS items."""

    folder: Path
    items: int
    first_shard: int = 0
    """the number of the first of these shards in the folder"""

    @classmethod
    def open(cls, cache: Path, identity: Mapping[str, Any], items: int) -> FrameStore:
        """The store of what this identity pins; nothing need be in it yet."""
        folder = cache / "frames" / fingerprint(identity)[:24]
        if not (folder / "identity.json").exists():
            with atomic_write(folder / "identity.json") as file:
                file.write(json.dumps(identity, indent=1, ensure_ascii=False, default=str).encode())
        return cls(folder, items)

    @property
    def shards(self) -> list[range]:
        """The items of each shard."""
        return [range(i, min(i + SHARD_ITEMS, self.items)) for i in range(0, self.items, SHARD_ITEMS)]

    def part(self, shard: int) -> FrameStore:
        """One shard as a store of its own, so that it can be filled elsewhere."""
        return FrameStore(self.folder, len(self.shards[shard]), self.first_shard + shard)

    def missing(self, shard: int, layers: Sequence[str]) -> list[str]:
        """The layers that this shard lacks."""
        return [layer for layer in layers if not self._path(shard, layer).exists()]

    @contextmanager
    def writer(self, shard: int, layers: Sequence[str]) -> Iterator[ShardWriter]:
        """Takes the frames of these layers of one shard, item by item, into files that appear whole or not at all."""
        with ExitStack() as open_files:
            files = {layer: open_files.enter_context(atomic_write(self._path(shard, layer))) for layer in layers}
            # Entered last, so renamed first: a layer's file is never there without the lengths.
            lengths = open_files.enter_context(atomic_write(self._shard(shard) / "lengths.npy"))
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
        with atomic_write(self._shard(shard) / "seconds.npy") as file:
            np.save(file, np.array(self._seconds(shard) + seconds))

    @property
    def seconds(self) -> float:
        """What encoding took in all, whenever it was done."""
        return sum(self._seconds(shard) for shard in range(len(self.shards)))

    def _seconds(self, shard: int) -> float:
        path = self._shard(shard) / "seconds.npy"
        return float(_open(path)) if path.exists() else 0.0

    def layer(self, name: str) -> StoredFrames:
        """All items of one layer, mapped and not read."""
        return StoredFrames.open([self._path(shard, name) for shard in range(len(self.shards))])

    def _path(self, shard: int, layer: str) -> Path:
        return self._shard(shard) / f"layer-{layer}.npy"

    def _shard(self, shard: int) -> Path:
        return self.folder / f"{self.first_shard + shard:05d}"


class ShardWriter:
    """One file a layer, written as frames come: what is held in memory is one item's piece at most."""

    def __init__(self, files: Mapping[str, IO[bytes]]) -> None:
        self._files = files
        self._lengths: list[int] = []
        self._dims: dict[str, int] = {}

    def start(self) -> None:
        """A new item; it has no frames yet."""
        self._lengths.append(0)

    def append(self, features: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """More frames of the last item, in every layer. Raises KwsbenchError when a layer's width changes."""
        for layer, file in self._files.items():
            values = features[layer]
            if layer not in self._dims:
                self._dims[layer] = values.shape[1]
                _write_header(file, 0, values.shape[1])
            if values.shape[1] != self._dims[layer]:
                raise KwsbenchError(
                    f"layer {layer} has clips of {sorted({self._dims[layer], values.shape[1]})} dimensions; an encoder "
                    "has one width"
                )
            file.write(np.ascontiguousarray(values, np.float32).data)
        self._lengths[-1] += len(values)

    def finish(self, lengths: IO[bytes]) -> None:
        """Say in the headers how many frames there are."""
        np.save(lengths, np.array(self._lengths, np.int64))
        for layer, file in self._files.items():
            file.seek(0)
            _write_header(file, sum(self._lengths), self._dims.get(layer, 0))


def _write_header(file: IO[bytes], frames: int, dims: int) -> None:
    """The header of an .npy file, which numpy pads so that it is as long for any number of frames."""
    np.lib.format.write_array_header_1_0(
        file, {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": (frames, dims)}
    )


@dataclass(frozen=True)
class StoredFrames:
    """One layer of a data set: items are read when they are asked for. Pickled, it is the names of its files."""

    paths: Sequence[Path]
    """the file of each shard"""
    values: Sequence[npt.NDArray[np.float32]]
    """(frames, dims) of each shard"""
    shard_lengths: Sequence[npt.NDArray[np.int64]]
    """frames of each item of each shard"""

    @classmethod
    def open(cls, paths: Sequence[Path]) -> StoredFrames:
        """The items of these shards, mapped and not read."""
        lengths = [_open(path.with_name("lengths.npy")) for path in paths]
        return cls(paths, [_open(path) for path in paths], lengths)

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredFrames.open, (self.paths,)

    def then(self, more: StoredFrames) -> StoredFrames:
        """These items, and more behind them."""
        return StoredFrames(
            [*self.paths, *more.paths],
            [*self.values, *more.values],
            [*self.shard_lengths, *more.shard_lengths],
        )

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Frames of each item: int64 (items,)."""
        return np.concatenate(self.shard_lengths)

    @cached_property
    def dims(self) -> int:
        """Columns; shards of nothing but too short items have none."""
        return max(int(values.shape[1]) for values in self.values)

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        """The shard of each item, and its first frame there."""
        return [
            (shard, start)
            for shard, lengths in enumerate(self.shard_lengths)
            for start in (np.cumsum(lengths) - lengths).tolist()
        ]

    def item(self, index: int) -> npt.NDArray[np.float32]:
        """The (frames, dims) of one item."""
        length = self.lengths[index]
        if not length:
            return np.zeros((0, self.dims), np.float32)
        shard, start = self._places[index]
        return self.values[shard][start : start + length]


def _open(path: Path) -> npt.NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r" if path.stat().st_size > 4096 else None)  # type: ignore[no-any-return]
    except FileNotFoundError:
        raise KwsbenchError(f"{path} has gone; was the cache deleted? Run again to make it anew") from None
    except (ValueError, EOFError, OSError) as error:
        raise KwsbenchError(f"{path} is damaged ({error}); delete its folder and run again") from None
