"""Manifests: a folder of recordings with one table beside them, read, checked and pinned by a digest.

The table is TSV or CSV with a header. ``path`` and ``speaker`` are required, and ``keyword`` or
``transcript`` on each row of the search split; ``id``, ``recording``, ``start_s``, ``end_s``,
``maybe`` and ``split`` are optional (see ``kwsbench.types.Clip``).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import posixpath
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, cast

from kwsbench import audio
from kwsbench.errors import KwsbenchError, did_you_mean
from kwsbench.labels import across_speakers, words
from kwsbench.types import Clip, Dataset, Progress, no_progress

REQUIRED = ("path", "speaker")
COLUMNS = (*REQUIRED, "keyword", "transcript", "id", "recording", "start_s", "end_s", "maybe", "split")
MANIFEST_NAMES = ("manifest.tsv", "manifest.csv")


class Problem(NamedTuple):
    """What is wrong in a manifest, and where."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


class Row(NamedTuple):
    """One line of the table: its cells by column, and how many more there were than columns."""

    line: int
    cells: dict[str, str]
    extra: int


@dataclass(frozen=True)
class Manifest:
    """What a table holds, and all that is wrong with it. ``clips`` are the rows without a problem."""

    clips: tuple[Clip, ...]
    problems: tuple[Problem, ...]
    ignored_columns: tuple[str, ...]


def find_manifest(path: Path) -> Path:
    """The table itself, given it or its folder."""
    if path.is_dir():
        for name in MANIFEST_NAMES:
            if (path / name).is_file():
                return path / name
        raise KwsbenchError(
            f"{path}: no manifest.tsv or manifest.csv in this folder; it needs columns path, speaker, …"
        )
    if not path.is_file():
        raise KwsbenchError(f"{path}: no such manifest or folder; give the folder that holds manifest.tsv")
    return path


def read_manifest(
    path: Path,
    *,
    name: str,
    language: str = "",
    notes: Mapping[str, str | int] | None = None,
    skip_problems: bool = False,
) -> Dataset:
    """The data set that a manifest describes.

    Raises KwsbenchError at the first problem, with the count of all; with ``skip_problems`` the
    rows concerned are left out, and their number goes into the notes of every record.
    """
    manifest = check_manifest(path)
    if manifest.problems and not skip_problems:
        more = len(manifest.problems) - 1
        tail = f" (and {more} more problem{'s' * (more > 1)}: kwsbench datasets {path} --verify)" if more else ""
        raise KwsbenchError(f"{manifest.problems[0]}{tail}")
    if skip_problems:
        notes = {**(notes or {}), "skipped_problems": len(manifest.problems)}
    return Dataset(name, manifest.clips, language, notes)


def check_manifest(path: Path, *, decode: bool = False, progress: Progress = no_progress) -> Manifest:
    """Read a manifest and find every problem in it; ``decode`` also reads each recording to its end."""
    path = find_manifest(path.expanduser())
    problems: list[Problem] = []
    clips: dict[str, Clip] = {}
    lines: dict[str, int] = {}
    durations: dict[Path, float | str] = {}
    header, rows = _read_table(path)
    ignored = _check_header(path, header)
    for done, row in enumerate(rows):
        progress("checking", done, len(rows))
        found = list(_check_labels(row)) + list(_check_audio(row.cells, path.parent, durations, decode=decode))
        if not found:
            clip = _clip(row.cells, path.parent)
            if clip.id in clips:
                found = [f"the id {clip.id!r} is already used on line {lines[clip.id]}; ids must differ"]
            else:
                clips[clip.id], lines[clip.id] = clip, row.line
        problems += [Problem(path, row.line, message) for message in found]
    problems += [Problem(path, line, message) for line, message in _merged(rows)]
    if not rows:
        problems.append(Problem(path, 1, "no rows; write one line for each clip below the header"))
    elif not problems and not across_speakers(tuple(clips.values())):
        message = "no keyword is said by two speakers, so nothing can be searched across speakers"
        problems.append(Problem(path, 1, message))
    progress("checking", len(rows), len(rows))
    return Manifest(tuple(clips.values()), tuple(problems), tuple(ignored))


def check_copies(dataset: Dataset, digests: Mapping[Path, str]) -> None:
    """Raise KwsbenchError when two recordings hold the same audio: one would find the other, whoever speaks."""
    seen: dict[str, Clip] = {}
    for clip in dataset.clips:
        other = seen.setdefault(audio_key(clip, digests[clip.path]), clip)
        if other.recording != clip.recording:
            raise KwsbenchError(
                f"{dataset.name}: {other.id} and {clip.id} hold the same audio; leave one out, or give both the same "
                f"speaker and recording"
            )


def audio_key(clip: Clip, file_digest: str) -> str:
    """What pins the samples of a clip: the file's content and the span."""
    return f"{file_digest}[{clip.start_s},{clip.end_s}]"


def file_digests(clips: tuple[Clip, ...], progress: Progress = no_progress) -> dict[Path, str]:
    """sha256 of each file that clips lie in."""
    paths = sorted({clip.path for clip in clips})
    digests = {}
    for done, path in enumerate(paths):
        progress("pinning audio", done, len(paths))
        digests[path] = audio.sha256(path)
    progress("pinning audio", len(paths), len(paths))
    return digests


def digest(clips: tuple[Clip, ...], digests: Mapping[Path, str]) -> str:
    """sha256 of everything in a data set that could change a score: labels, speakers, splits and audio.

    The folder does not count, so a data set may be moved; ids do, and by default they are the paths in it.
    """
    rows = sorted(
        json.dumps(
            [
                clip.id, audio_key(clip, digests[clip.path]), clip.speaker, clip.recording,
                clip.keyword, clip.transcript, list(clip.maybe), clip.split,
            ],
            ensure_ascii=False,
        )
        for clip in clips
    )  # fmt: skip
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


# ── reading the table ────────────────────────────────────────────────────────────────────────────


def _read_table(path: Path) -> tuple[list[str], list[Row]]:
    """The header, and the rows that are not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise KwsbenchError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    # In TSV a quotation mark is a character like any other; in CSV it is what protects commas.
    lines = io.StringIO(text, newline="")
    if "\t" in text.partition("\n")[0]:
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, skipinitialspace=True)
    header = [column.strip() for column in next(reader, [])]
    rows = []
    for cells in reader:
        if any(cell.strip() for cell in cells):
            padded = [cell.strip() for cell in cells] + [""] * len(header)
            rows.append(Row(reader.line_num, dict(zip(header, padded, strict=False)), max(0, len(cells) - len(header))))
    return header, rows


def _check_header(path: Path, header: list[str]) -> list[str]:
    for column in header:
        guess = did_you_mean(column, COLUMNS)
        if column not in COLUMNS and guess.startswith("Did"):
            raise KwsbenchError(f"{path}:1: unknown column {column!r}. {guess}")
    if len(set(header)) < len(header):
        raise KwsbenchError(f"{path}:1: a column stands twice in the header: {', '.join(header)}")
    for column in REQUIRED:
        if column not in header:
            raise KwsbenchError(
                f"{path}:1: no column {column!r}; the header needs path, speaker and keyword or transcript"
            )
    if not {"keyword", "transcript"} & set(header):
        raise KwsbenchError(f"{path}:1: neither a column 'keyword' nor 'transcript': nothing could be searched for")
    return [column for column in header if column not in COLUMNS]


def _merged(rows: Sequence[Row]) -> Iterator[tuple[int, str]]:
    """Keywords that are spelt in two ways and compared as one: ``ba:`` and ``ba``, ``!xo`` and ``xo``."""
    spelt: dict[str, str] = {}
    for row in rows:
        raw = " ".join(unicodedata.normalize("NFC", row.cells.get("keyword", "")).casefold().split())
        compared = " ".join(words(raw))
        first = spelt.setdefault(compared, raw)
        if first != raw:
            what = f"keywords {raw!r} and {first!r} are compared as one, {compared!r}, since punctuation is stripped"
            yield row.line, f"{what}; write length as ː, clicks as ǃ and ejectives as ʼ"


def _check_labels(row: Row) -> Iterator[str]:
    """What is wrong with the words of a row."""
    cells = row.cells
    if row.extra:
        yield f"{row.extra} more cell{'s' * (row.extra > 1)} than the header has columns"
    if not cells["speaker"]:
        yield "no speaker; name them (any name will do, the same for the same person), or leave the row out"
    split = cells.get("split") or "search"
    if split not in ("search", "heldout"):
        yield f"split is {split!r}, expected 'search' or 'heldout'"
    elif split == "search" and not words(cells.get("keyword", "")) and not words(cells.get("transcript", "")):
        yield "neither keyword nor transcript; write what is said, or set split to 'heldout'"


def _check_audio(
    cells: Mapping[str, str], root: Path, durations: dict[Path, float | str], *, decode: bool
) -> Iterator[str]:
    """What is wrong with the recording of a row, or with the span of it."""
    span = {"start_s": 0.0, "end_s": math.inf}
    for column in span:
        if cells.get(column):
            try:
                span[column] = float(cells[column])
            except ValueError:
                yield f"{column} is {cells[column]!r}, expected seconds, as in 12.34"
                span[column] = math.nan
    start_s, end_s = span.values()
    if math.isnan(start_s) or math.isnan(end_s):
        return
    if not 0 <= start_s < end_s or (cells.get("end_s") and not math.isfinite(end_s)):
        yield f"the span {start_s:g}–{end_s:g} s is empty or negative; start_s must be below end_s"
    if not cells["path"]:
        yield "no path"
        return
    path = root / cells["path"]
    if path not in durations:
        durations[path] = _duration(path, decode=decode)
    duration = durations[path]
    if isinstance(duration, str):
        yield duration
    elif start_s >= duration or duration + audio.END_TOLERANCE_S < end_s < math.inf:
        yield f"the span {start_s:g}–{end_s:g} s runs past the end of {cells['path']} ({duration:.3f} s)"


def _duration(path: Path, *, decode: bool) -> float | str:
    """Seconds, or what is wrong with the file."""
    try:
        if decode:
            audio.read(path)
        return audio.duration_s(path)
    except KwsbenchError as error:
        return str(error)


def _clip(row: Mapping[str, str], root: Path) -> Clip:
    start_s = float(row["start_s"]) if row.get("start_s") else None
    end_s = float(row["end_s"]) if row.get("end_s") else None
    transcript = row.get("transcript") or None
    keyword = " ".join(words(row.get("keyword", ""))) or None
    # Without a keyword column, a clip of one word is that word. With one, the author has decided.
    if keyword is None and "keyword" not in row and transcript and len(words(transcript)) == 1:
        keyword = words(transcript)[0]
    span = "" if start_s is None and end_s is None else f"#{row.get('start_s') or 0}-{row.get('end_s', '')}"
    return Clip(
        id=row.get("id") or row["path"] + span,
        path=root / row["path"],
        # Names typed in two Unicode forms, or a path written in two ways, are one speaker, one recording.
        speaker=unicodedata.normalize("NFC", row["speaker"]),
        recording=unicodedata.normalize("NFC", row.get("recording") or posixpath.normpath(row["path"])),
        keyword=keyword,
        transcript=transcript,
        start_s=start_s,
        end_s=end_s,
        maybe=tuple(" ".join(words(keyword)) for keyword in row.get("maybe", "").split(";") if keyword.strip()),
        split=cast("Literal['search', 'heldout']", row.get("split") or "search"),
    )
