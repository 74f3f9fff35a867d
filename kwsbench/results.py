"""Records: one JSON file per cell of the grid, complete enough to be recomputed, compared and doubted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kwsbench.errors import KwsbenchError
from kwsbench.store import atomic_write

SCHEMA = 2
SCORING = 2
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
    two_way: tuple[float, float] | None = None
    """the 95% interval over keywords *and* the queries' speakers; None where it was not measured or is undefined"""


class PerKeyword(Record, frozen=True):
    """Columns of equal length: the mean of each metric over the queries of one keyword."""

    keyword: list[str]
    queries: list[int]
    metrics: dict[str, list[float | None]]


class Groups(Record, frozen=True):
    """Columns of equal length: the mean of each metric over the queries of one keyword by one speaker."""

    keyword: list[str]
    speaker: list[str]
    """"" in records of schema 1, which did not tell speakers apart"""
    queries: list[int]
    metrics: dict[str, list[float | None]]


class ConditionResult(Record, frozen=True):
    """What was measured under one condition (``across/isolated`` and the like)."""

    queries: int
    queries_without_positives: int
    trials: int
    positives: int
    metrics: dict[str, Estimate]
    groups: Groups
    hubness: float | None = None
    """skewness of how often each utterance is among the first ten of a query; 0: no hubs"""

    @property
    def per_keyword(self) -> PerKeyword:
        """The groups of each keyword as one."""
        names, code = np.unique(self.groups.keyword, return_inverse=True)
        counts = np.array(self.groups.queries, np.float64)
        merged: dict[str, list[float | None]] = {}
        for metric, values in self.groups.metrics.items():
            column = np.array([np.nan if value is None else value for value in values])
            weight = np.where(np.isnan(column), 0.0, counts)
            sums = np.bincount(code, weights=np.nan_to_num(column) * weight, minlength=len(names))
            total = np.bincount(code, weights=weight, minlength=len(names))
            merged[metric] = [number(s / n) if n else None for s, n in zip(sums, total, strict=True)]
        queries = np.bincount(code, weights=counts, minlength=len(names)).astype(int)
        return PerKeyword(keyword=names.tolist(), queries=queries.tolist(), metrics=merged)


class Isotropy(Record, frozen=True):
    """Of the frames that are searched, in float64."""

    frames: int
    dims: int
    figures: dict[str, float | None]
    """the diagnostics of kwsbench.diagnostics, by name"""

    def figure(self, name: str) -> float | None:
        """A diagnostic; None where it is undefined or was not measured."""
        return self.figures.get(name)


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
    protocol: str = "strict"
    """which pairs were ranked together, see kwsbench.trials"""
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


def number(value: float, digits: int = 6) -> float | None:
    """A figure for a record: JSON has no NaN, so what is undefined is null."""
    return None if math.isnan(value) else round(float(value), digits)


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
        fields = msgspec.json.decode(text)
        schema = fields["schema"]
        if schema > SCHEMA:
            raise KwsbenchError(f"{path}: schema {schema}, this kwsbench reads up to {SCHEMA}; upgrade kwsbench")
        if schema == 1:
            _upgrade_1(fields)
        return msgspec.convert(fields, type=Result)
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError, TypeError, AttributeError) as error:
        raise KwsbenchError(f"{path}: not a readable record ({error}); delete it and run again") from None


def _upgrade_1(fields: dict[str, Any]) -> None:
    """Schema 1 → 2, in place: per-keyword tables become groups without speakers, isotropy a table of figures."""
    for found in fields.get("conditions", {}).values():
        table = found.pop("per_keyword")
        found["groups"] = {**table, "speaker": [""] * len(table["keyword"])}
    fields["isotropy"] = {
        when: {"frames": shape.pop("frames"), "dims": shape.pop("dims"), "figures": shape}
        for when, shape in fields.get("isotropy", {}).items()
    }
    fields["schema"] = SCHEMA


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
