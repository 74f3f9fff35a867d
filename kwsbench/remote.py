"""Shared storage for the shards of a store: whatever fsspec has a protocol for (``s3://bucket/folder``, ``file:///…``).

A shard is memory-mapped, so what is read is copied to this machine first:

    <cache>/copies/<storage>/<key>/00007/layer-5.npy    laid out as in the storage

Nothing has a name there that does not lie in the storage too. So any copy may be removed at any time: when
one more does not fit into $KWSBENCH_COPIES bytes, those go that nobody opened for longest. What is mapped
just then stays readable until it is let go.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import IO, Any, TypeVar

import click
import numpy as np
import numpy.typing as npt

from kwsbench.cli_options import Memory
from kwsbench.console import say
from kwsbench.errors import KwsbenchError, one_line
from kwsbench.paths import cache_dir
from kwsbench.store import atomic_write, damaged, open_array

T = TypeVar("T")

ROOM = "20GB"
"""What copies may take where KWSBENCH_COPIES says nothing else."""

OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"}
"""Protocols under which what is put appears whole or not at all; elsewhere it is put under another name first."""

TRIES = 5
"""How often a copy is made that other processes remove before it is opened."""

LEFT_S = 24 * 3600
"""What has no name yet and was not written to for so long was left by a process that was killed."""


@dataclass(frozen=True)
class Remote:
    """A folder in shared storage. Sent to another machine, its copies are in the cache of that machine."""

    url: str
    cache: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return _here, (self.url,)

    @classmethod
    def open(cls, url: str, cache: Path) -> Remote:
        """The storage at this URL. Raises KwsbenchError when it cannot be read, or its protocol is unknown here."""
        if not re.fullmatch(r"\w+://.*[^/].*", url):
            raise KwsbenchError(f"--frames {url}: expected a URL, such as s3://bucket/folder or file:///shared/folder")
        if re.match(r"\w+://[^/]*@", url):
            # It would stand in records and error lines.
            raise KwsbenchError("--frames: a URL with a user or a password; put them into fsspec's configuration")
        remote = cls(url.rstrip("/"), cache)
        with remote._told("", "list") as (files, root):
            files.find(f"{root}nothing")  # a bucket that is not there, or not ours, is found out before the work
        room()
        return remote

    @property
    def copies(self) -> Path:
        """Where this machine keeps copies of what lies in this storage."""
        return self.cache / "copies" / sha256(self.url.encode()).hexdigest()[:12]

    def names(self, folder: str) -> set[str]:
        """The names of all files below a folder; a thousand or so come with one request."""
        with self._told(folder, "list") as (files, place):
            found = files.find(place)
            files.invalidate_cache()  # or it would hold a record of each
        root = place.removesuffix(folder)
        return {path.removeprefix(root) for path in found}

    def read(self, names: Sequence[str]) -> list[bytes | None]:
        """What these files hold, small ones, asked for all at once; None for one that is not there."""
        with self._told("", "read") as (files, root):
            found = files.cat_ranges([f"{root}{name}" for name in names], 0, None, on_error="return")
        for name, value in zip(names, found, strict=True):
            if isinstance(value, Exception) and not isinstance(value, FileNotFoundError):
                with self._told(name, "read"):
                    raise value
        return [None if isinstance(value, FileNotFoundError) else value for value in found]

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        return self.read([name]) != [None]

    def load(self, name: str, reader: Callable[[Path], T]) -> T:
        """What ``reader`` makes of this machine's copy of a file. Raises KwsbenchError when the storage's is damaged.

        A damaged copy (``reader`` raises ValueError or EOFError) is made anew once.
        """
        path = self.copies / name
        for _ in range(TRIES):
            try:
                os.utime(path)  # the copies that are used are those that stay
                fresh = False
            except FileNotFoundError:
                self._pull(name, path)
                fresh = True
            except OSError as error:
                raise KwsbenchError(_of_disk(path, error)) from error
            try:
                return reader(path)
            except FileNotFoundError:
                continue  # another process made room for its own
            except (ValueError, EOFError) as error:
                path.unlink(missing_ok=True)
                if fresh:
                    raise KwsbenchError(damaged(f"{self.url}/{name}", error)) from None
        raise KwsbenchError(f"{path} is gone before it can be opened; raise KWSBENCH_COPIES, which is {room()} bytes")

    def files(self, folder: str, *, shards: range) -> SharedFiles:
        """A folder in the storage, as those see it who ask for some shards of it only."""
        return SharedFiles(self, folder, shards)

    def push(self, path: Path, name: str) -> None:
        """Put a file into the storage, where it appears whole or not at all."""
        with self._told(name, "write") as (files, place):
            protocols = {files.protocol} if isinstance(files.protocol, str) else set(files.protocol)
            if protocols & OBJECT_STORES:
                files.put_file(str(path), place)
                return
            folder, _, last = place.rpartition("/")
            files.makedirs(folder, exist_ok=True)
            unfinished = f"{folder}/.{last}.{uuid.uuid4().hex}"
            try:
                files.put_file(str(path), unfinished)
                files.mv(unfinished, place)
            except BaseException:
                with suppress(Exception):
                    files.rm_file(unfinished)
                raise

    def remove(self, name: str) -> None:
        """Remove a file from the storage, and the copy here; a line says so where that cannot be: work goes on."""
        (self.copies / name).unlink(missing_ok=True)
        try:
            with self._told(name, "remove") as (files, place), suppress(FileNotFoundError):
                files.rm_file(place)
        except KwsbenchError as error:
            say(f"left in the storage: {error}")

    def _pull(self, name: str, path: Path) -> None:
        with _told_of_disk(path), atomic_write(path) as file, self._told(name, "read") as (files, place):
            files.get_file(place, str(file.name))
        trim(self.cache / "copies", path, f"{self.url}/{name}")

    @contextmanager
    def _told(self, name: str, what: str) -> Iterator[tuple[Any, str]]:
        """The file system and a file's path in it; what it raises meanwhile becomes one line."""
        where = f"{self.url}/{name}".rstrip("/")
        try:
            files, root = _files(self.url)
            yield files, f"{root}/{name}"
        except KwsbenchError:
            raise
        except PermissionError as error:
            raise KwsbenchError(
                f"{where}: no permission to {what} it ({one_line(error)}); give this machine keys that may, in "
                "fsspec's configuration"
            ) from error
        except FileNotFoundError as error:
            raise KwsbenchError(
                f"{where}: not there ({one_line(error)}); make the bucket, or mend --frames; frames that were deleted "
                "are made anew when you run again"
            ) from error
        except Exception as error:  # each storage raises errors of its own library
            raise KwsbenchError(
                f"{where}: cannot {what} it ({one_line(error)}); see that the storage is up, and what fsspec's "
                "configuration says of it"
            ) from error


@dataclass(frozen=True)
class SharedFiles:
    """``kwsbench.store.Files`` that lie in shared storage."""

    remote: Remote
    folder: str
    shards: range

    def has(self, name: str) -> bool:
        if "/" in name:
            return name in self._there
        return self.remote.has(self._name(name))  # beside the shards, so not among what was looked up

    @contextmanager
    def write(self, name: str) -> Iterator[IO[bytes]]:
        path = self.remote.copies / self._name(name)
        with atomic_write(path, before=partial(self.remote.push, name=self._name(name))) as file:
            yield file
        self._there.add(name)
        trim(self.remote.cache / "copies", path, self.where(name))

    def read(self, names: Sequence[str]) -> list[npt.NDArray[Any] | None]:
        found: list[npt.NDArray[Any] | None] = []
        for name, content in zip(names, self.remote.read([self._name(name) for name in names]), strict=True):
            try:
                found.append(None if content is None else np.load(BytesIO(content)))
            except (ValueError, EOFError) as error:
                raise KwsbenchError(damaged(self.where(name), error)) from None
        return found

    def map(self, name: str) -> npt.NDArray[Any]:
        return self.remote.load(self._name(name), open_array)

    def where(self, name: str) -> str:
        return f"{self.remote.url}/{self._name(name)}"

    def _name(self, name: str) -> str:
        return f"{self.folder}/{name}"

    @cached_property
    def _there(self) -> set[str]:
        """The files of these shards: looked up once, for there may be very many, and those written since."""
        only = f"/{self.shards.start:05d}" if len(self.shards) == 1 else ""
        return {name.removeprefix(f"{self.folder}/") for name in self.remote.names(f"{self.folder}{only}")}


def room() -> int:
    """How many bytes copies may take on this machine."""
    try:
        return Memory().convert(os.environ.get("KWSBENCH_COPIES") or ROOM, None, None)
    except click.BadParameter as error:
        raise KwsbenchError(f"KWSBENCH_COPIES: {error.message}") from None


def trim(folder: Path, newest: Path, who: str) -> None:
    """Remove the files that nobody opened for longest, but not the newest, until all fit into what copies may take.

    who: what errors call the newest.
    """
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            with suppress(FileNotFoundError):  # another process was first
                stat = path.stat()
                found.append((path == newest, stat.st_mtime, stat.st_size, path))
    left = time.time() - LEFT_S
    taken = sum(nbytes for *_, nbytes, path in found if not path.name.startswith("."))
    for new, used, nbytes, path in sorted(found):
        if path.name.startswith("."):
            if used < left:
                path.unlink(missing_ok=True)
        elif taken > room():
            path.unlink(missing_ok=True)
            taken -= nbytes
            if new:
                raise KwsbenchError(f"{who} is {nbytes} bytes, KWSBENCH_COPIES lets copies be {room()}; raise it")


@contextmanager
def _told_of_disk(path: Path) -> Iterator[None]:
    """What this machine's own disk raises becomes one line; what the storage raised is one already."""
    try:
        yield
    except OSError as error:
        raise KwsbenchError(_of_disk(path, error)) from error


def _of_disk(path: Path, error: OSError) -> str:
    return f"{path}: cannot keep a copy there ({one_line(error)}); give KWSBENCH_CACHE a folder with room"


def _here(url: str) -> Remote:
    return Remote(url, cache_dir())


@lru_cache
def _files(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it. Its options are fsspec's configuration."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise KwsbenchError("--frames needs fsspec; pip install 'kwsbench[cluster]'") from None
    try:
        files, root = url_to_fs(url)
    except ImportError as error:
        raise KwsbenchError(f"{url}: {error}; pip install it on every machine") from None
    except ValueError as error:
        raise KwsbenchError(f"{url}: {error}; s3, gs, az and file are protocols") from None
    return files, root.rstrip("/")
