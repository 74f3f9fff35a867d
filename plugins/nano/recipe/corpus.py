"""Recordings → one stream a speaker: decoded, trimmed, brought to one level; and the table of what is in them."""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kwsbench.errors import KwsbenchError
from kwsbench.types import SAMPLE_RATE_HZ, Progress, Waveform
from kwsbench_datasets.prompts.decode import decode, write_flac
from kwsbench_datasets.prompts.fetch import Deb, fetch, members

from .sources import Sources

LEVEL_DB = -23.0
PEAK = 0.97
PAUSE = np.zeros(SAMPLE_RATE_HZ * 8 // 100, np.float32)
SHORTEST_CLIP_S = 0.1

# A crop must fit into every stream at every speed, and the mean and variance of a voice need some speech.
SHORTEST_STREAM_S = 10.0


@dataclass(frozen=True)
class Clip:
    """A row of corpus.tsv. first, samples: where it lies in its speaker's stream, the pause after it left out."""

    speaker: str
    language: str
    package: str
    version: str
    licence: str
    file: str
    first: int = 0
    samples: int = 0


class Recording(NamedTuple):
    """A clip before it has a place, and its samples as they were decoded."""

    clip: Clip
    waveform: Waveform


class LeftOut(NamedTuple):
    """A file that is not heard, and why."""

    reason: str


@dataclass(frozen=True)
class Prepared:
    """The clips of a corpus, and counts of what was left out by reason."""

    clips: Sequence[Clip]
    left_out: Mapping[str, int]


def prepare(sources: Sources, work: Path, packages: Sequence[str], progress: Progress) -> Prepared:
    """Fetch the packages, decode what may be heard, write ``work/corpus``: a FLAC a speaker and corpus.tsv."""
    unknown = set(packages) - set(sources.packages)
    if unknown:
        raise KwsbenchError(f"package {min(unknown)} is not in sources.toml; it has {', '.join(sources.packages)}")
    debs = fetch([sources.packages[name] for name in packages], work / "debs", progress)
    return write(recordings(sources, debs, progress), work / "corpus")


def recordings(sources: Sources, debs: Mapping[str, Deb], progress: Progress) -> Iterator[Recording | LeftOut]:
    """Every recording of the packages that has a voice: decoded where it may be heard, else why it is left out."""
    seen: set[bytes] = set()
    for package, deb in debs.items():
        heard = []
        for file, content in members(deb.path, lambda name, package=package: sources.speaker(package, name)):
            speaker = sources.speaker(package, file, content)
            digest = hashlib.sha256(content).digest()
            if not speaker.may_be_heard:
                yield LeftOut(f"language {speaker.language}")
                seen.add(digest)  # nor is the same recording heard under the name of another language
            else:
                heard.append((speaker, file, content, digest))
        for done, (speaker, file, content, digest) in enumerate(heard):
            progress(f"decoding {package}", done, len(heard))
            if digest in seen:
                yield LeftOut("copy of another file")
                continue
            seen.add(digest)
            try:
                waveform = decode(content, f"{package}: {file}")
            except KwsbenchError:  # some files of these packages are empty
                yield LeftOut("holds no audio")
                continue
            licence = sources.licences[package]
            yield Recording(Clip(speaker.name, speaker.language, package, deb.version, licence, file), waveform)
        progress(f"decoding {package}", len(heard), len(heard))


def write(found: Iterable[Recording | LeftOut], folder: Path) -> Prepared:
    """Lay the recordings of each speaker end to end into ``folder/SPEAKER.flac``, and their places into corpus.tsv.

    Clips under 0.1 s, silence, and speakers with under ten seconds are left out and counted. The folder
    appears whole or not at all.
    """
    voices = defaultdict(list)
    left_out: Counter[str] = Counter()
    for one in found:
        if isinstance(one, LeftOut):
            left_out[one.reason] += 1
            continue
        waveform = levelled(one.waveform)
        if waveform is None or len(waveform) < SHORTEST_CLIP_S * SAMPLE_RATE_HZ:
            left_out["silent or under 0.1 s"] += 1
        else:
            voices[one.clip.speaker].append((one.clip, waveform))
    arriving = folder.with_name(folder.name + ".arriving")
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.mkdir(parents=True)
    clips = []
    for speaker, rows in sorted(voices.items()):
        if sum(len(waveform) for _, waveform in rows) < SHORTEST_STREAM_S * SAMPLE_RATE_HZ:
            left_out["of a speaker with under 10 s"] += len(rows)
            continue
        first = 0
        for clip, waveform in rows:
            clips.append(Clip(**asdict(clip) | {"first": first, "samples": len(waveform)}))
            first += len(waveform) + len(PAUSE)
        write_flac(arriving / f"{speaker}.flac", np.concatenate([part for _, wave in rows for part in (wave, PAUSE)]))
    if not clips:
        raise KwsbenchError(f"{folder}: nobody speaks for {SHORTEST_STREAM_S:.0f} s in these recordings; give more")
    _write_table(arriving / "corpus.tsv", clips)
    shutil.rmtree(folder, ignore_errors=True)
    arriving.rename(folder)
    return Prepared(clips, left_out)


def levelled(samples: Waveform) -> Waveform | None:
    """Scaled so that frames within 30 dB of the loudest have an RMS of -23 dBFS, no peak above 0.97; silence: None."""
    frame = SAMPLE_RATE_HZ // 100
    energy = np.square(samples[: len(samples) // frame * frame].reshape(-1, frame), dtype=np.float64).mean(axis=1)
    if len(energy) == 0 or energy.max() < 1e-9:
        return None
    active = energy[energy > 1e-3 * energy.max()].mean()
    gain = min(10 ** (LEVEL_DB / 20) / np.sqrt(active), PEAK / np.abs(samples).max())
    return (samples * gain).astype(np.float32)


def read_table(folder: Path) -> list[Clip]:
    """The rows of corpus.tsv."""
    path = folder / "corpus.tsv"
    if not path.is_file():
        raise KwsbenchError(f"{path} is missing; run prepare first")
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Clip(**{**row, "first": int(row["first"]), "samples": int(row["samples"])})
            for row in csv.DictReader(file, delimiter="\t")
        ]


def _write_table(path: Path, clips: Sequence[Clip]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Clip)], delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(clip) for clip in clips)
