"""Hits as tables and as files: for a terminal, for programs, and back into ELAN and Praat."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from kwsbench.archive import elan_writing, praat
from kwsbench.archive.annotations import Annotation
from kwsbench.archive.folder import Archive, Recording
from kwsbench.errors import KwsbenchError
from kwsbench.search.judgements import inert
from kwsbench.search.nouns import Found, Hit, Token
from kwsbench.store import atomic_write

COLUMNS = ("rank", "recording", "start_s", "end_s", "score", "confidence", "text", "speaker")


def clock(time_s: float) -> str:
    """``75.5`` → ``1:15.50``; from an hour on ``1:01:15.50``."""
    minutes, seconds = divmod(round(time_s * 100), 6000)
    hours, minutes = divmod(minutes, 60)
    text = f"{minutes:02d}:{seconds / 100:05.2f}" if hours else f"{minutes}:{seconds / 100:05.2f}"
    return f"{hours}:{text}" if hours else text


def visible(text: str) -> str:
    r"""Text in one line of a terminal: a line end as ``\n``, and nothing by which a name could command the terminal."""
    return "".join(
        one.encode("unicode_escape").decode() if unicodedata.category(one) in {"Cc", "Zl", "Zp"} else one
        for one in text
    )


def table(found: Found) -> pd.DataFrame:
    """The hits as text, a row each, for people."""
    rows = [
        {
            "rank": str(hit.rank),
            "recording": visible(hit.recording),
            "from": clock(hit.start_s),
            "to": clock(hit.end_s),
            "score": f"{hit.score:.2f}",
            "confidence": "" if hit.confidence is None else f"{100 * hit.confidence:.0f}%",
            "said there": visible(hit.text),
            "speaker": visible(hit.speaker),
        }
        for hit in found.hits
    ]
    frame = pd.DataFrame(rows, columns=None if rows else ["rank", "recording", "from", "to", "score"])
    return frame.loc[:, (frame != "").any(axis=0)] if rows else frame


def render(found: Found, width: int) -> str:
    """The table within so many columns of a terminal: what is said gives way first, then the speaker."""
    frame = table(found)
    for column in ("said there", "speaker", "recording"):
        over = max(map(len, _plain(frame).splitlines()), default=0) - width
        if over > 0 and column in frame:
            longest = int(frame[column].str.len().max())
            room = max(longest - over, len(column), 8)
            frame[column] = [text if len(text) <= room else f"{text[: room - 1]}…" for text in frame[column]]
    return _plain(frame)


def _plain(frame: pd.DataFrame) -> str:
    return tabulate(frame, headers="keys", tablefmt="simple", showindex=False, disable_numparse=True)  # type: ignore[arg-type]


def as_csv(found: Found) -> str:
    """The hits as CSV, times in seconds of the recording; texts are inert (``judgements.inert``)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*COLUMNS, "query"))
    for hit in found.hits:
        cells = (*_values(hit), found.query)
        writer.writerow([inert(cell) if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue()


def as_json(found: Found) -> str:
    """Everything that the search says, with its settings."""
    hits = [dict(zip(COLUMNS, _values(hit), strict=True)) for hit in found.hits]
    body = {
        "query": found.query,
        "tokens": [_token(token) for token in found.tokens],
        "archive": str(found.archive),
        "audio_s": round(found.audio_s, 3),
        "settings": found.settings,
        "calibrated_on": found.calibrated_on,
        "expected": found.expected,
        "hits": hits,
    }
    return json.dumps(body, ensure_ascii=False, indent=1) + "\n"


def write_text(path: Path, text: str) -> Path:
    """A file that appears whole or not at all."""
    with atomic_write(path) as file:
        file.write(text.encode())
    return path


def write_elan(found: Found, archive: Archive, folder: Path) -> list[Path]:
    """For each recording with hits a copy of its ELAN file with one more tier, or a new one where it has none."""
    return _write_all(found, archive, folder, ".eaf")


def write_praat(found: Found, archive: Archive, folder: Path) -> list[Path]:
    """For each recording with hits a copy of its TextGrid with one more tier, or a new one where it has none."""
    return _write_all(found, archive, folder, ".TextGrid")


def check_places(archive: Path, *, page: Path | None, folders: Iterable[Path]) -> None:
    """Raise KwsbenchError, before there is work to lose, where a page and copies cannot or must not be written."""
    if page is not None:
        check_page(page)
    for folder in folders:
        check_outside(folder, archive)


def check_outside(folder: Path, archive: Path) -> None:
    """Raise KwsbenchError for a folder in the archive: the next search would take its own hits for annotations."""
    given, out = archive.expanduser().resolve(), folder.resolve()
    # Of an archive that is one recording, annotations are those that lie right beside it.
    if out == given.parent if given.is_file() else out.is_relative_to(given):
        raise KwsbenchError(f"{folder} lies in the archive {archive}; give a folder outside of it for the hits")
    _check_folder(folder)


def check_page(page: Path) -> None:
    """Raise KwsbenchError unless a page may be written there: one letter too few names a recording of somebody's."""
    if page.is_dir():
        raise KwsbenchError(f"{page}: is a folder; name the page in it, {page / 'hits.html'}")
    if page.suffix.lower() not in {".html", ".htm"}:
        raise KwsbenchError(f"{page}: expected the name of a page, which ends in .html; nothing is written over others")
    _check_folder(page.parent)


def _check_folder(folder: Path) -> None:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise KwsbenchError(f"{folder}: {there} is a file; give a folder for the hits")


def _write_all(found: Found, archive: Archive, folder: Path, suffix: str) -> list[Path]:
    # Folders of the archive are kept: two recordings of the same name stay apart.
    todo = [((folder / one.name).with_suffix(suffix), one, hits) for one, hits in _by_recording(found, archive)]
    for out, _, _ in todo:
        if out.exists():
            raise KwsbenchError(f"{out}: is there already, perhaps with corrections; give a new folder for the hits")
    return [_write(recording, hits, found, out) for out, recording, hits in todo]


def _write(recording: Recording, hits: Sequence[Hit], found: Found, out: Path) -> Path:
    suffix = out.suffix
    sources = [t.path for t in recording.transcriptions if t.path.suffix.lower() == suffix.lower()]
    tier = f"kwsbench: {found.query}"
    marks = [Annotation(hit.start_s, hit.end_s, _label(hit, found)) for hit in hits]
    if suffix == ".eaf":
        if sources:
            elan_writing.add_tier(sources[0], out, tier, marks)
        else:
            elan_writing.new_file(recording.path, out, tier, marks)
    elif sources:
        praat.add_tier(sources[0], out, tier, marks)
    else:
        praat.new_file(recording.duration_s, out, tier, marks)
    return out


def _by_recording(found: Found, archive: Archive) -> Iterable[tuple[Recording, list[Hit]]]:
    by_name: dict[str, list[Hit]] = {}
    for hit in found.hits:
        by_name.setdefault(hit.recording, []).append(hit)
    for recording in archive.recordings:
        if recording.name in by_name:
            yield recording, sorted(by_name[recording.name], key=lambda hit: hit.start_s)


def _label(hit: Hit, found: Found) -> str:
    sure = "" if hit.confidence is None else f" {100 * hit.confidence:.0f}%"
    return f"{found.query} #{hit.rank}{sure}"


def _values(hit: Hit) -> list[object]:
    confidence = None if hit.confidence is None else round(hit.confidence, 4)
    times = (round(hit.start_s, 3), round(hit.end_s, 3), round(hit.score, 4))
    return [hit.rank, hit.recording, *times, confidence, hit.text, hit.speaker]


def _token(token: Token) -> dict[str, object]:
    return {"path": str(token.path), "start_s": token.start_s, "end_s": token.end_s, "label": token.label}
