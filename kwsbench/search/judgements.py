"""What people said of hits: a table (CSV) of recording, span and yes, no or unsure, which pages of hits write too.

Columns: recording, start_s, end_s, judgement, rank, score, confidence, query, note. The first four are needed; the
figures between them and the query are for people. A spreadsheet must not take a note for a formula: a text that
begins with =, +, -, @, tab or a line end, after any number of apostrophes, is written with one apostrophe more.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from kwsbench.errors import KwsbenchError
from kwsbench.store import atomic_write

COLUMNS = ("recording", "start_s", "end_s", "judgement", "rank", "score", "confidence", "query", "note")
NEEDED = COLUMNS[:4]
ANSWERS = ("yes", "no", "unsure")

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


class Judgement(NamedTuple):
    """One span of a recording (named as in its archive), and whether the word that was looked for is said there."""

    recording: str
    start_s: float
    end_s: float
    judgement: str
    query: str = ""
    note: str = ""


def read(path: Path) -> tuple[Judgement, ...]:
    """The judgements of a table, in its order. Raises KwsbenchError that names the line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        raise KwsbenchError(f"{path}: no such file; export it from a page of hits") from None
    except UnicodeDecodeError:
        raise KwsbenchError(f"{path}: not UTF-8; save it as CSV UTF-8 (comma delimited)") from None
    rows = _rows(path, text)
    _, header = next(rows, (1, []))
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise KwsbenchError(
            f"{path}:1: no column {', '.join(missing)}; expected a table with commas between {', '.join(COLUMNS)}"
        )
    judged = []
    said: dict[tuple[str, float, float, str], tuple[str, int]] = {}
    for line, cells in rows:
        if len(cells) != len(header):
            raise KwsbenchError(f"{path}:{line}: {len(cells)} cells, expected {len(header)} as in the first line")
        one = _judgement(f"{path}:{line}", dict(zip(header, cells, strict=True)))
        before, first = said.setdefault((one.recording, one.start_s, one.end_s, one.query), (one.judgement, line))
        if before != one.judgement:
            raise KwsbenchError(
                f"{path}:{line}: {one.recording} {one.start_s:g}–{one.end_s:g} s is judged {one.judgement}, but "
                f"{before} in line {first}; keep one of them"
            )
        judged.append(one)
    return tuple(judged)


def write(judgements: Iterable[Judgement], path: Path) -> None:
    """Put judgements into a table that spreadsheets open and ``read`` gives back. Figures stay empty."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(COLUMNS)
    for one in judgements:
        span = [one.start_s, one.end_s, one.judgement]
        table.writerow([inert(one.recording), *span, "", "", "", inert(one.query), inert(one.note)])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode("utf-8-sig"))  # the mark by which Excel knows UTF-8


def inert(text: str) -> str:
    """The text as a cell of a table, which no spreadsheet takes for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """The records that hold anything, each with the line on which it begins."""
    table = csv.reader(io.StringIO(text, newline=""), strict=True)
    first = 1
    try:
        for cells in table:
            if any(cells):
                yield first, cells
            first = table.line_num + 1
    except csv.Error as error:
        raise KwsbenchError(f"{path}:{first}: {error}; mend the quotes of this row") from None


def _judgement(place: str, row: dict[str, str]) -> Judgement:
    recording = _text(row["recording"])
    if not recording:
        raise KwsbenchError(f"{place}: no recording; expected its name as in the archive")
    answer = row["judgement"].strip().casefold()
    if answer not in ANSWERS:
        raise KwsbenchError(f"{place}: judgement {row['judgement']!r}; expected yes, no or unsure")
    start_s, end_s = _seconds(place, "start_s", row["start_s"]), _seconds(place, "end_s", row["end_s"])
    if end_s <= start_s:
        raise KwsbenchError(f"{place}: start_s {start_s:g}, end_s {end_s:g}; a span ends after it begins")
    return Judgement(recording, start_s, end_s, answer, _text(row.get("query", "")), _text(row.get("note", "")))


def _seconds(place: str, column: str, written: str) -> float:
    try:
        value = float(written)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise KwsbenchError(f"{place}: {column} {written!r}; expected seconds, such as 12.34")
    return value


def _text(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
