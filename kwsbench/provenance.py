"""Where a record comes from: versions, the commit, the device. Nothing of it is part of a fingerprint."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("kwsbench", "numpy", "numba", "torch", "transformers", "soundfile", "soxr", "kaldi-native-fbank")


@cache
def provenance() -> dict[str, Any]:
    """Versions, the commit of kwsbench (if it runs from a checkout) and the kind of machine."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git": _git(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def peak_memory_mb() -> float:
    """The largest resident size of this process so far, in megabytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3  # bytes there, kilobytes here


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _git() -> dict[str, Any]:
    """Commit and whether tracked code differs from it; empty outside a checkout of kwsbench."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return {}
    try:
        commit = _git_says(root, "rev-parse", "HEAD")
        # Results written by the run itself do not make the code that wrote them dirty.
        dirty = bool(_git_says(root, "status", "--porcelain", "--", "kwsbench", "plugins", "datasets"))
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": commit, "dirty": dirty}


def _git_says(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
