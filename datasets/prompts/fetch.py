"""Debian packages: fetched by apt-get without root, checked against their checksums, read without installing."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from kwsbench.errors import KwsbenchError
from kwsbench.types import Progress

INSTEAD = "use fsdd:path=DIR, or your own recordings with manifest:path=DIR"


class Package(NamedTuple):
    """A package and the version that is pinned."""

    name: str
    version: str
    sha256: str


class Deb(NamedTuple):
    """A package file on disk. version: the one that was fetched, which may be another than the pinned one."""

    path: Path
    version: str


def fetch(packages: Sequence[Package], debs: Path, progress: Progress) -> dict[str, Deb]:
    """The package files, from the folder ``debs`` where they lie there already, else by apt-get.

    Raises KwsbenchError in one line where there is no apt-get, no network, or a wrong checksum.
    """
    debs.mkdir(parents=True, exist_ok=True)
    found = {}
    lists = _PrivateLists(debs.parent / "apt")
    for done, package in enumerate(packages):
        progress("fetching packages", done, len(packages))
        found[package.name] = _kept(package, debs) or _download(package, debs, lists)
    progress("fetching packages", len(packages), len(packages))
    return found


def members(deb: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """(path inside the package, content) of the regular files that are wanted, in the package's order."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                for member in tar:
                    name = member.name.removeprefix("./")
                    if member.isfile() and wanted(name):
                        content = tar.extractfile(member)
                        if content:
                            yield name, content.read()
        except tarfile.TarError as error:
            raise KwsbenchError(f"{deb}: not a readable package ({error}); delete it and try again") from error


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _kept(package: Package, debs: Path) -> Deb | None:
    """The pinned version, if it was fetched before and is whole."""
    path = debs / _file_name(package.name, package.version)
    if not path.is_file():
        return None
    if sha256(path) != package.sha256:  # a disk error, or another hand: fetch it again
        path.unlink()
        return None
    return Deb(path, package.version)


def _download(package: Package, debs: Path, lists: _PrivateLists) -> Deb:
    for command in ("apt-get", "dpkg-deb"):
        if not shutil.which(command):
            raise KwsbenchError(f"prompts needs {command}, which this system has not; {INSTEAD}")
    arriving = debs / ".arriving"
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.mkdir()
    path = _try_downloads(package, arriving, lists)
    version = unquote(path.name.split("_")[1])
    if version == package.version and (found := sha256(path)) != package.sha256:
        raise KwsbenchError(
            f"{package.name} {version}: sha256 {found[:12]}…, expected {package.sha256[:12]}…; "
            "the system's package source offers another file under the same version: check it"
        )
    kept = path.replace(debs / _file_name(package.name, version))
    return Deb(kept, version)


def _try_downloads(package: Package, arriving: Path, lists: _PrivateLists) -> Path:
    """The downloaded file. The system's lists come first; where they are missing or stale, private fresh ones."""
    pinned = f"{package.name}={package.version}"
    failure = _apt(["download", pinned], arriving) and (
        lists.update()
        or (
            _apt([*lists.options, "download", pinned], arriving)
            and _apt([*lists.options, "download", package.name], arriving)
        )
    )
    path = next(arriving.glob("*.deb"), None)
    if failure or path is None:
        raise KwsbenchError(f"{package.name} could not be fetched by apt-get ({failure}); go online, or {INSTEAD}")
    return path


class _PrivateLists:
    """Package lists of the system's own sources in folders of ours: no root needed, the system is left as it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options = [
            f"--config-file={folder / 'apt.conf'}",
            "-oAPT::Update::Error-Mode=any",  # a list that cannot be fetched is an error, not a warning
            f"-oDir::State={folder / 'state'}",
            f"-oDir::State::lists={folder / 'state' / 'lists'}",
            f"-oDir::Cache={folder / 'cache'}",
        ]
        self._updated = False

    def update(self) -> str:
        """Fetch the lists, once: "" or what apt-get said was wrong."""
        if self._updated:
            return ""
        for name in ("state/lists/partial", "cache/archives/partial"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        # The system's hooks around an update clear its caches and refresh its indexes: not ours to run.
        (self.folder / "apt.conf").write_text("#clear APT::Update;\n")
        failure = _apt([*self.options, "update"], self.folder)
        self._updated = not failure
        return failure


def _apt(arguments: Sequence[str], folder: Path) -> str:
    """Run apt-get in a folder: "" when all went well, else the first line of what is wrong."""
    options = ["-q", "-oAPT::Sandbox::User=", "-oAcquire::Retries=2", "-oAcquire::http::Timeout=30"]
    done = subprocess.run(
        ["apt-get", *options, *arguments],
        cwd=folder,
        env=os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines()
    return lines[0].removeprefix("E:").strip() if lines else f"exit status {done.returncode}"


def _file_name(name: str, version: str) -> str:
    return f"{name}_{quote(version, safe='+~')}.deb"
