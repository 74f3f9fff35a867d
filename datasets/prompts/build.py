"""Package files → decoded clips with their labels, and the manifest of them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from kwsbench.errors import KwsbenchError
from kwsbench.types import Progress

from . import wording
from .decode import decode, write_flac
from .fetch import Deb, Package, members
from .wording import UNKNOWN, Words

COLUMNS = ("id", "path", "speaker", "recording", "keyword", "transcript", "maybe", "split")
_HERE = Path(__file__).parent


class Voice(NamedTuple):
    """The recordings of one speaker: files ``root + id + suffix`` of a package (see sources.toml)."""

    speaker: str
    package: str
    root: str
    suffix: str
    wording: str
    script: Sequence[str] = ("", "")
    encoder: str = ""
    article: bool = False

    def holds(self, name: str, content: bytes) -> bool:
        """Whether a file of the package is a recording of this voice."""
        # The comment header of an Ogg Vorbis file names the library that wrote it, in its first page.
        return self.is_named(name) and self.encoder.encode() in content[:400]

    def is_named(self, name: str) -> bool:
        """Whether the path of a file is one of this voice's."""
        return name.startswith(self.root) and name.endswith(self.suffix)

    def is_text(self, name: str) -> bool:
        """Whether a file may tell what is said in one of this voice's recordings."""
        return self.wording == "stamps" and name.startswith(self.root) and name.endswith(".txt")

    def clip(self, name: str) -> str:
        """The id of a recording within its package, from its path."""
        return name.removeprefix(self.root).removesuffix(self.suffix)


@dataclass(frozen=True)
class Sources:
    """The packages by name, and the voices of each language."""

    packages: Mapping[str, Package]
    voices: Mapping[str, tuple[Voice, ...]]

    def packages_of(self, language: str) -> list[Package]:
        """The packages that a language needs, each once."""
        names = [name for voice in self.voices[language] for name in (voice.package, voice.script[0]) if name]
        return [self.packages[name] for name in dict.fromkeys(names)]


@dataclass(frozen=True)
class Labelled:
    """A decoded clip and what is said in it. samples: sha256 of its samples, equal for equal recordings.
    alone: whether nothing else is said (an article, which the wording leaves out).
    """

    id: str
    speaker: str
    said: Words
    samples: str
    alone: bool = True
    keyword: str = ""
    maybe: tuple[str, ...] = ()

    @property
    def transcript(self) -> str:
        """The words, "" when they are unknown."""
        return " ".join(self.said)


def read_sources(path: Path = _HERE / "sources.toml") -> Sources:
    """The packages and voices that sources.toml lists."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    packages = {name: Package(name, **pin) for name, pin in table.pop("packages").items()}
    voices = {language: tuple(Voice(**row) for row in rows) for language, rows in table.items()}
    return Sources(packages, voices)


def build(
    sources: Sources, language: str, debs: Mapping[str, Deb], folder: Path, min_letters: int, progress: Progress
) -> tuple[list[Labelled], dict[str, int]]:
    """Decode every clip of a language into ``folder`` and label it: the clips, and counts of what was left out."""
    decoded: list[Labelled] = []
    voices = sources.voices[language]
    progress("unpacking", 0, 1)
    files = _read_packages(voices, debs)
    for voice in voices:
        recordings = _recordings(voice, debs[voice.package], files[voice.package])
        said = _said(voice, language, files)
        for done, (clip, name, content) in enumerate(recordings):
            progress(f"decoding {voice.speaker}", done, len(recordings))
            key = f"{voice.speaker}/{clip}"
            path = folder / f"{key}.flac"
            samples = hashlib.sha256(write_flac(path, decode(content, f"{voice.package}: {name}"))).hexdigest()
            decoded.append(Labelled(key, voice.speaker, said(clip), samples, not voice.article))
        progress(f"decoding {voice.speaker}", len(recordings), len(recordings))
    corrections = _read_corrections()
    clips = [replace(clip, said=corrections.get(clip.id, clip.said)) for clip in _without_copies(decoded)]
    for copy in {clip.id for clip in decoded} - {clip.id for clip in clips}:
        (folder / f"{copy}.flac").unlink()
    labelled = label(clips, language, min_letters)
    counts = {
        "copies_left_out": len(decoded) - len(clips),
        "unsure_wording_held_out": sum(not clip.transcript for clip in labelled),
    }
    return labelled, counts


def label(clips: Sequence[Labelled], language: str, min_letters: int) -> list[Labelled]:
    """Give each clip its keyword and the keywords that may be heard in it.

    A keyword is a word of at least ``min_letters`` letters that is the whole of one clip and is
    said by at least two speakers.
    """
    said_by: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        for word in clip.said:
            said_by[word].add(clip.speaker)
    keywords = sorted(
        {
            clip.said[0]
            for clip in clips
            if clip.alone and wording.may_be_keyword(clip.said, min_letters) and len(said_by[clip.said[0]]) > 1
        }
    )

    def label_of(clip: Labelled) -> Labelled:
        absent = [word for word in keywords if word not in clip.said]
        return replace(
            clip,
            keyword=clip.transcript if clip.alone and clip.transcript in keywords else "",
            maybe=tuple(word for word in absent if wording.may_be_heard(word, clip.said, language)),
        )

    return [label_of(clip) for clip in clips]


def write_manifest(path: Path, clips: Iterable[Labelled]) -> None:
    """The clips as a table. Those of unknown wording are held out of the search."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, lineterminator="\n")
        rows.writerow(COLUMNS)
        for clip in clips:
            split = "search" if clip.transcript else "heldout"
            rows.writerow(
                (
                    clip.id, f"{clip.id}.flac", clip.speaker, clip.id,
                    clip.keyword, clip.transcript, ";".join(clip.maybe), split,
                )
            )  # fmt: skip


def _read_packages(voices: Sequence[Voice], debs: Mapping[str, Deb]) -> dict[str, dict[str, bytes]]:
    """Package → path → content, of all that the voices need. Each package is unpacked once."""
    files: dict[str, dict[str, bytes]] = {}
    for package, deb in debs.items():
        ours = [voice for voice in voices if voice.package == package]
        scripts = [voice.script[1] for voice in voices if voice.script[0] == package]

        def is_wanted(name: str, ours: Sequence[Voice] = ours, scripts: Sequence[str] = scripts) -> bool:
            return name in scripts or any(voice.is_named(name) or voice.is_text(name) for voice in ours)

        files[package] = dict(members(deb.path, is_wanted))
    return files


def _recordings(voice: Voice, deb: Deb, files: Mapping[str, bytes]) -> list[tuple[str, str, bytes]]:
    """The recordings of a voice, as (id, path, content) in order of the ids. Tones and silence are left out."""
    found = sorted(
        (voice.clip(name), name, content)
        for name, content in files.items()
        if voice.holds(name, content) and wording.is_speech(voice.clip(name))
    )
    if not found:
        raise KwsbenchError(
            f"{voice.package} {deb.version} holds no recording {voice.root}*{voice.suffix}; "
            "its layout has changed: use the pinned version"
        )
    return found


def _said(voice: Voice, language: str, files: Mapping[str, Mapping[str, bytes]]) -> Callable[[str], Words]:
    """Clip id → wording, for one voice."""
    texts = files[voice.package]
    script: dict[str, str] = {}
    if voice.script[0]:
        package, file = voice.script
        if file not in files[package]:
            raise KwsbenchError(f"{package} holds no {file}; its layout has changed: use the pinned version")
        script = wording.read_script(gzip.decompress(files[package][file]).decode("utf-8-sig"))
    match voice.wording:
        case "script":
            return lambda clip: wording.of_script(clip, script, language)
        case "shared-ids":
            return lambda clip: wording.of_shared_id(clip, script, language)
        case "stamps":
            return lambda clip: wording.of_stamp(texts.get(f"{voice.root}{clip}.txt", b""), language)
        case "file-names":
            return lambda clip: wording.of_file_name(clip, language)
    raise KwsbenchError(f"sources.toml: {voice.speaker} has an unknown wording {voice.wording!r}")


def _read_corrections() -> dict[str, Words]:
    """Clip id → what is said there in truth, from corrections.tsv ("?" when nobody can tell)."""
    with (_HERE / "corrections.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return {row["clip"]: UNKNOWN if row["says"] == "?" else tuple(row["says"].split()) for row in rows}


def _without_copies(clips: Sequence[Labelled]) -> list[Labelled]:
    """Each recording once. Under two speakers it is nobody's; with two wordings its wording is unknown."""
    by_samples: dict[str, list[Labelled]] = defaultdict(list)
    for clip in clips:
        by_samples[clip.samples].append(clip)
    return [kept for copies in by_samples.values() for kept in _one_of(copies)]


def _one_of(copies: Sequence[Labelled]) -> Iterator[Labelled]:
    if len({clip.speaker for clip in copies}) == 1:
        wordings = {clip.said for clip in copies if clip.said}
        yield replace(copies[0], said=wordings.pop() if len(wordings) == 1 else UNKNOWN)
