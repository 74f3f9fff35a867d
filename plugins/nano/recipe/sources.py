"""sources.toml read: the packages, and whose voice a file of one is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kwsbench_datasets.prompts.fetch import Package

NEVER_HEARD = ("fr", "it", "wa", "nn")
"""French and Italian are what the encoders are tested in, Walloon is their neighbour, Nynorsk is a synthesiser."""

HELD_OUT = "es"
"""Left out of training so that layer, round and weights can be chosen on it: never on French, Italian or digits.

Spanish because kwsbench has a data set of it whose wording is known, with queries and utterances of several people.
"""

_ENCODER = re.compile(rb"libVorbis I (\d{8})")


class Speaker(NamedTuple):
    """Who speaks in a recording, and which language (its first subtag: ``pt`` of ``pt_BR``)."""

    name: str
    language: str

    @property
    def may_be_heard(self) -> bool:
        """Whether the language is one to train on."""
        return self.language not in (*NEVER_HEARD, HELD_OUT)


@dataclass(frozen=True)
class Voice:
    """An entry of sources.toml."""

    package: str
    files: re.Pattern[str]
    speaker: str
    language: str = ""


@dataclass(frozen=True)
class Sources:
    """Packages by name, their licences, and the voices in the order in which they take files."""

    packages: Mapping[str, Package]
    licences: Mapping[str, str]
    voices: tuple[Voice, ...]

    def speaker(self, package: str, file: str, content: bytes = b"") -> Speaker | None:
        """Who speaks in a file of a package; None where no voice takes it (a picture, a noise, a text)."""
        for voice in self.voices:
            fits = voice.files.fullmatch(file) if voice.package == package else None
            if fits:
                # The comment header of Ogg Vorbis stands in the first page.
                encoder = _ENCODER.search(content[:400])
                names = {"encoder": encoder[1].decode() if encoder else "unknown"} | fits.groupdict()
                return Speaker(voice.speaker.format(**names), voice.language or fits["language"])
        return None


def read_sources(path: Path = Path(__file__).parent / "sources.toml") -> Sources:
    """The packages and voices that a file lists."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return Sources(
        {name: Package(name, row["version"], row["sha256"]) for name, row in table["packages"].items()},
        {name: row["licence"] for name, row in table["packages"].items()},
        tuple(Voice(**{**row, "files": re.compile(row["files"])}) for row in table["voices"]),
    )
