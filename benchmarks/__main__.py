"""Run every benchmark and rewrite benchmarks/README.md: python -m benchmarks."""

import importlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).parent


def processor():
    """The processor's name and how many cores of it there are."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def main():
    names = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "numba", "torch", "librosa"))
    parts = [
        "# Benchmarks",
        "Written by `python -m benchmarks`; do not edit. CPU seconds of one thread, best of several runs.",
        f"{processor()}; Python {platform.python_version()}, {versions}.",
    ]
    for name in names:
        print(name, flush=True)
        parts.append(importlib.import_module(f"benchmarks.{name}").report())
    (FOLDER / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
