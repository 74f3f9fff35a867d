"""Run every benchmark and rewrite benchmarks/README.md: python -m benchmarks; with names, only these parts of it."""

import argparse
import importlib
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).parent
README = FOLDER / "README.md"


def processor():
    """The processor's name and how many cores of it there are."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def head():
    """What stands above all parts: how they were made, and where."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "numba", "torch", "librosa"))
    return (
        "# Benchmarks\n\n"
        "Written by `python -m benchmarks`; do not edit. CPU seconds of one thread, best of several runs.\n\n"
        f"{processor()}; Python {platform.python_version()}, {versions}.\n\n"
    )


def parts(text):
    """Name of a benchmark → what stands in the README of it. Empty where the README is of another machine."""
    if not text.startswith(head()):
        return {}
    pieces = re.split(r"<!-- (\w+)\.py -->\n\n", text.removeprefix(head()))
    return {name: part.strip() for name, part in zip(pieces[1::2], pieces[2::2], strict=True)}


def names_of_all():
    """The benchmarks there are, in the order of the README."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def main():
    every = names_of_all()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(every))
    names = parser.parse_args().names or every
    known = parts(README.read_text("utf-8")) if README.exists() else {}
    unknown = [name for name in names if name not in every]
    missing = [name for name in every if name not in known and name not in names]
    if unknown:
        parser.error(f"no benchmark {unknown[0]}; there are {', '.join(every)}")
    if missing:
        parser.error(f"{README} has no {missing[0]} of this machine and these versions; run all, without names")
    for name in names:
        print(name, flush=True)
        known[name] = importlib.import_module(f"benchmarks.{name}").report()
        # What was measured is kept, whatever becomes of the rest.
        pieces = [f"<!-- {one}.py -->\n\n{known[one]}\n" for one in every if one in known]
        README.write_text(head() + "\n".join(pieces), encoding="utf-8")


if __name__ == "__main__":
    main()
