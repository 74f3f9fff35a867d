"""Records: one JSON file per cell of the grid, complete enough to be recomputed, compared and doubted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from kwsbench.errors import KwsbenchError
from kwsbench.store import atomic_write

SCHEMA = 1
SCORING = 1
"""Version of everything between frames and metrics. Raise it when a score can change; boards never mix two."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all parts of a record share: an unknown field is an error, never ignored."""


class Combination(Record, frozen=True):
    """One cell of the grid, in names that ``kwsbench run`` takes."""

    dataset: str
    encoder: str
    layer: str
    transform: str
    distance: str
    matcher: str

    def __str__(self) -> str:
        name, colon, params = self.encoder.partition(":")
        return f"{self.dataset} {name}@{self.layer}{colon}{params} {self.transform} {self.distance} {self.matcher}"


class Estimate(Record, frozen=True):
    """A metric: its value, its 95% interval over keywords, and what random order would give."""

    value: float | None
    low: float | None
    high: float | None
    chance: float | None


class PerKeyword(Record, frozen=True):
    """Columns of equal length: the mean of each metric over the queries of one keyword."""

    keyword: list[str]
    queries: list[int]
    metrics: dict[str, list[float | None]]


class ConditionResult(Record, frozen=True):
    """What was measured under one condition (``across/isolated`` and the like)."""

    queries: int
    queries_without_positives: int
    trials: int
    positives: int
    metrics: dict[str, Estimate]
    per_keyword: PerKeyword


class Isotropy(Record, frozen=True):
    """Of the frames that are searched, in float64."""

    mean_cosine: float | None
    isoscore: float | None
    frames: int
    dims: int


class Data(Record, frozen=True):
    """What was searched, what was left out, and how the audio came."""

    digest: str
    language: str
    heard: bool
    """whether the encoder's training data held this language"""
    clips: int
    speakers: int
    keywords: int
    queries: int
    utterances: int
    audio_s: float
    left_out: dict[str, int]
    audio: dict[str, int]
    """files by what was done to them on reading, e.g. ``resampled from 8000 Hz``"""
    too_short: int
    """clips without a single frame: they stay in the trials and are ranked last"""
    query_material: dict[str, int]
    notes: dict[str, str | int]


class Costs(Record, frozen=True):
    """Seconds of work. Encoding is that of the whole data set, for all layers; the rest is that of ``cells`` cells."""

    encode_s: float
    encode_real_time_factor: float | None
    fit_s: float
    score_s: float
    metrics_s: float
    cells: int
    peak_memory_mb: float


class Result(Record, frozen=True, kw_only=True):
    """The record of one cell. Either ``conditions`` or ``error`` says how it ended."""

    schema: int = SCHEMA
    scoring: int = SCORING
    fingerprint: str
    combination: Combination
    identity: dict[str, Any]
    """all that the fingerprint is the hash of"""
    data: Data | None = None
    conditions: dict[str, ConditionResult] = {}
    isotropy: dict[str, Isotropy] = {}
    """``before`` and ``after`` the transform"""
    costs: Costs | None = None
    provenance: dict[str, Any] = {}
    error: str | None = None

    @property
    def file_name(self) -> str:
        """A name that people can read, made unique by the fingerprint; within 255 bytes in any script."""
        readable = "".join(c if c.isalnum() or c in "-.=" else "_" for c in str(self.combination))
        return f"{readable.encode()[:160].decode(errors='ignore')}__{self.fingerprint[:12]}.json"

    def metric(self, name: str, condition: str = "across/isolated") -> Estimate | None:
        """A metric under a condition, None where it was not measured."""
        found = self.conditions.get(condition)
        return found.metrics.get(name) if found else None


def number(value: float) -> float | None:
    """A figure for a record: JSON has no NaN, so what is undefined is null."""
    return None if math.isnan(value) else round(float(value), 6)


def save(result: Result, folder: Path) -> Path:
    """Write a record, whole or not at all."""
    path = folder / result.file_name
    with atomic_write(path) as file:
        file.write(_layout(msgspec.json.encode(result)))
    return path


def load(path: Path) -> Result:
    """Read a record. Raises KwsbenchError when it is damaged, too new, or holds an unknown field."""
    if not path.is_file():
        raise KwsbenchError(f"no record {path}; records are the JSON files in a board's results folder")
    text = path.read_bytes()
    try:
        schema = msgspec.json.decode(text)["schema"]
        if schema > SCHEMA:
            raise KwsbenchError(f"{path}: schema {schema}, this kwsbench reads up to {SCHEMA}; upgrade kwsbench")
        return msgspec.json.decode(text, type=Result)
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise KwsbenchError(f"{path}: not a readable record ({error}); delete it and run again") from None


def paths(board: Path) -> list[Path]:
    """The records of a board, in the order of their names."""
    return sorted((board / "results").glob("*.json"))


def load_all(board: Path) -> Iterator[Result]:
    """Every record of a board, in the order of their names."""
    for path in paths(board):
        yield load(path)


def _layout(text: bytes) -> bytes:
    """One line for each field: a change in git shows what changed, and per-keyword columns do not fill pages."""
    fields = msgspec.json.decode(text)
    lines = [f'  "{key}": '.encode() + msgspec.json.encode(value) for key, value in fields.items()]
    return b"{\n" + b",\n".join(lines) + b"\n}\n"
