"""A persistent index of an archive: the frames of its clips, brought up to date when files change.

    <folder>/identity.json       the encoder and the layer, for which alone the index stands
    <folder>/table.json          what each file was, what each item is, and which clips each pack holds
    <folder>/frames/<pack>/...   a FrameStore of at most 128 clips (kwsbench.store)

A clip is known by the digest of its file and its span, so what was moved, renamed or touched is not encoded
again, and of a changed folder only what is new. A pack is whole or not there, and it is in the table only
once it is whole; the items change last and together. So an update that is killed leaves the index as it was,
and the next one encodes again at most one pack. Clips that are gone stay in their packs until ``prune``.

Packs, because thousands of small files take longer to open than to search: see ``tests/test_index.py``.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from kwsbench import audio, encoding
from kwsbench.dataset import audio_key
from kwsbench.errors import KwsbenchError
from kwsbench.plugins import Registry
from kwsbench.spec import Spec
from kwsbench.store import SHARD_ITEMS, FrameStore, atomic_write, fingerprint
from kwsbench.types import Clip, Encoder, Frames, Progress, no_progress
from kwsbench.windows import Window

# A file that was written so shortly before may be written again with the same size and time.
_SETTLED_NS = 2_000_000_000


class Seen(msgspec.Struct, frozen=True):
    """What a file was when it was last read."""

    size: int
    mtime_ns: int
    """-1 where the time is no proof that the file is the same"""
    sha256: str


class Item(msgspec.Struct, frozen=True):
    """Where an item of the index lies: a file, or a span of it."""

    id: str
    path: str
    start_s: float | None
    end_s: float | None
    key: str
    """what pins its audio (``kwsbench.dataset.audio_key``)"""


class Table(msgspec.Struct, frozen=True):
    """All that an index knows beside frames. packs: name → keys of its clips, in order."""

    files: dict[str, Seen] = {}
    items: list[Item] = []
    packs: dict[str, list[str]] = {}


class Update(NamedTuple):
    """What an update did: clips encoded, items that are no longer there, items now."""

    encoded: int
    gone: int
    items: int


class _Place(NamedTuple):
    """Of each item: the pack, its first frame there, and how many it has; each (items,)."""

    packs: npt.NDArray[np.int64]
    firsts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]


@dataclass(frozen=True)
class IndexedFrames:
    """A kwsbench.types.FrameSource over all items of an index, mapped and not read."""

    values: Sequence[npt.NDArray[np.float32]]
    """(frames, dims) of each pack"""
    place: _Place

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Frames of each item: int64 (items,)."""
        return self.place.lengths

    @cached_property
    def dims(self) -> int:
        """Columns; packs of nothing but too short clips have none."""
        return max((int(values.shape[1]) for values in self.values), default=0)

    def read(self, first: int, last: int) -> Frames:
        """Items first to last (exclusive). Neighbours that are neighbours in a pack too are read together."""
        packs, firsts, lengths = (part[first:last] for part in self.place)
        items = np.flatnonzero(lengths)
        packs, firsts, stops = packs[items], firsts[items], (firsts + lengths)[items]
        breaks = np.flatnonzero((packs[1:] != packs[:-1]) | (firsts[1:] != stops[:-1])) + 1
        runs = np.split(np.arange(len(items)), breaks) if len(items) else []
        parts = [self.values[packs[run[0]]][firsts[run[0]] : stops[run[-1]]] for run in runs]
        values = parts[0] if len(parts) == 1 else np.concatenate([np.zeros((0, self.dims), np.float32), *parts])
        return Frames(values, np.concatenate([[0], np.cumsum(lengths)]))


@dataclass(frozen=True)
class Index:
    """An index as it was when it was opened. An update makes a new one; this one stays readable until ``prune``."""

    folder: Path
    layer: str
    table: Table

    @classmethod
    def open(cls, folder: Path) -> Index:
        """The index in a folder. Raises KwsbenchError where there is none."""
        path = folder / "identity.json"
        if not path.exists():
            raise KwsbenchError(f"{folder}: no index; make one with update()")
        return cls(folder, json.loads(path.read_bytes())["layer"], _read_table(folder))

    @property
    def items(self) -> list[Item]:
        """Each item's id, file and span, in the order of the frames: by path, then by start."""
        return self.table.items

    @cached_property
    def frames(self) -> IndexedFrames:
        """The frames of all items."""
        layers = [self._store(name).layer(self.layer) for name in self.table.packs]
        known: dict[str, tuple[int, int, int]] = {}
        for pack, (keys, layer) in enumerate(zip(self.table.packs.values(), layers, strict=True)):
            firsts = np.cumsum(layer.lengths) - layer.lengths
            for key, first, length in zip(keys, firsts.tolist(), layer.lengths.tolist(), strict=True):
                known[key] = (pack, first, length)
        places = np.array([known[item.key] for item in self.items], dtype=np.int64).reshape(-1, 3)
        return IndexedFrames([layer.values[0] for layer in layers], _Place(*places.T))

    def _store(self, name: str) -> FrameStore:
        return FrameStore(self.folder / "frames" / name, len(self.table.packs[name]))


def update(  # noqa: PLR0913 - options, each by its name
    folder: Path,
    clips: Sequence[Clip],
    encoder: Spec,
    layer: str,
    registry: Registry,
    *,
    made: tuple[Encoder, Window | None] | None = None,
    sure: bool = False,
    workers: int = 1,
    progress: Progress = no_progress,
) -> Update:
    """Make the index hold these clips and no others; encode what it does not know.

    made: what ``encoding.create`` gave for this encoder, if that is done already. sure: read every file again, whatever
    its size and time say. Raises KwsbenchError when the folder holds the
    index of another encoder or layer, when another process is at it, and when a file changes while it is read.
    """
    model, window = made or encoding.create(encoder, registry)
    if layer not in model.layers:
        raise KwsbenchError(f"{encoder} has no layer {layer!r}; it has {', '.join(model.layers)}")
    identity = {"encoder": encoding.describe(model, encoder, registry), "layer": layer}
    with _locked(folder):
        _claim(folder, identity)
        table = _read_table(folder)
        files = _look(clips, table.files, sure=sure, progress=progress)
        items: list[Item] = []
        by_key: dict[str, Clip] = {}
        for clip in sorted(clips, key=lambda clip: (str(clip.path), clip.start_s or 0.0, clip.id)):
            key = audio_key(clip, files[str(clip.path)].sha256)
            items.append(Item(clip.id, str(clip.path), clip.start_s, clip.end_s, key))
            by_key.setdefault(key, clip)
        known = {key for keys in table.packs.values() for key in keys}
        new = [key for key in by_key if key not in known]
        for at in range(0, len(new), SHARD_ITEMS):
            keys = new[at : at + SHARD_ITEMS]
            mine = [by_key[key] for key in keys]
            store = FrameStore.open(folder, {**identity, "audio": keys}, len(keys))
            before = _counting(progress, at, len(new))
            encoding.encode_missing(
                model, str(encoder), mine, [layer], store, window=window, workers=workers, progress=before
            )
            _still(mine, files, store)
            # The items stay as they were: whoever opens the index now sees the old archive whole.
            table = Table({**table.files, **files}, table.items, {**table.packs, store.folder.name: keys})
            _write_table(folder, table)
        gone = len({item.key for item in table.items} - set(by_key))
        _write_table(folder, Table(files, items, table.packs))
    return Update(len(new), gone, len(items))


def prune(folder: Path) -> int:
    """Give back the room of clips that are gone: how many were dropped. An open Index of this folder must be reopened.

    A pack with none left is deleted, one with some is copied without them; what no table names (an update
    was killed) goes too.
    """
    with _locked(folder):
        index = Index.open(folder)
        alive = {item.key for item in index.items}
        packs, dropped = {}, 0
        for name, keys in index.table.packs.items():
            kept = [at for at, key in enumerate(keys) if key in alive]
            dropped += len(keys) - len(kept)
            if len(kept) == len(keys):
                packs[name] = keys
            elif kept:
                frames = index._store(name).layer(index.layer)  # noqa: SLF001 - the two halves of one idea
                identity = {"packed": fingerprint({"pack": name, "kept": kept})}
                store = FrameStore.open(folder, identity, len(kept))
                store.write(0, index.layer, [frames.item(at) if frames.lengths[at] else None for at in kept])
                packs[store.folder.name] = [keys[at] for at in kept]
        _write_table(folder, Table(index.table.files, index.table.items, packs))
        for path in (folder / "frames").iterdir():
            if path.name not in packs:
                shutil.rmtree(path)
    return dropped


def _counting(progress: Progress, before: int, total: int) -> Progress:
    """The progress of a part of the clips as that of all of them."""
    return lambda what, done, _: progress(what, before + done, total)


def _look(clips: Sequence[Clip], seen: Mapping[str, Seen], *, sure: bool, progress: Progress) -> dict[str, Seen]:
    """What each file is now: as it was seen if its size and time are the same, else read."""
    paths = sorted({str(clip.path) for clip in clips})
    files = {}
    for done, path in enumerate(paths):
        progress("looking at files", done, len(paths))
        if not Path(path).is_file():
            raise KwsbenchError(f"{path}: no such sound file; leave its clips out, and the index drops them")
        stat = Path(path).stat()
        old = seen.get(path)
        if sure or old is None or (old.size, old.mtime_ns) != (stat.st_size, stat.st_mtime_ns):
            settled = time.time_ns() - stat.st_mtime_ns > _SETTLED_NS
            old = Seen(stat.st_size, stat.st_mtime_ns if settled else -1, audio.sha256(Path(path)))
        files[path] = old
    progress("looking at files", len(paths), len(paths))
    return files


def _still(clips: Sequence[Clip], files: Mapping[str, Seen], store: FrameStore) -> None:
    """Raise KwsbenchError, and delete what was encoded, when a file is not what it was before."""
    for path in {clip.path for clip in clips}:
        then, stat = files[str(path)], path.stat()
        same = then.size == stat.st_size and then.mtime_ns in (stat.st_mtime_ns, -1)
        if not same or (then.mtime_ns == -1 and audio.sha256(path) != then.sha256):
            shutil.rmtree(store.folder)
            raise KwsbenchError(f"{path} changed while it was encoded; update again when nothing writes to it")


def _claim(folder: Path, identity: Mapping[str, Any]) -> None:
    """Write down whose index this is, or raise KwsbenchError when it is another's."""
    path = folder / "identity.json"
    text = json.dumps(identity, indent=1, sort_keys=True, ensure_ascii=False)
    if path.exists():
        there = json.loads(path.read_bytes())
        if there != json.loads(text):
            was, now = (f"{one['encoder']['name']} layer {one['layer']}" for one in (there, identity))
            raise KwsbenchError(f"{folder}: the index of {was}, not of this {now}; give each a folder of its own")
        return
    with atomic_write(path) as file:
        file.write(text.encode())


def _read_table(folder: Path) -> Table:
    path = folder / "table.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Table) if path.exists() else Table()
    except msgspec.MsgspecError as error:
        raise KwsbenchError(f"{path} is damaged ({error}); delete the folder and update again") from None


def _write_table(folder: Path, table: Table) -> None:
    with atomic_write(folder / "table.json") as file:
        file.write(msgspec.json.encode(table))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from changing the index; a process that is killed lets go."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KwsbenchError(f"{folder}: another process is updating this index; wait for it") from None
        yield
