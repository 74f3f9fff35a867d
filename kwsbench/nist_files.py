"""NIST's files for spoken term detection, read: terms and detections (XML), what was said (RTTM), what counts (ECF).

Raises KwsbenchError for files that are not what they should be, naming the line or, inside XML, the term.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from kwsbench.errors import KwsbenchError

ROUNDING_S = 1e-6
"""Times are written in milliseconds, their sums and differences are not exact."""

UNSPOKEN = ("frag", "fp")
"""Kinds of RTTM lexemes that are no words (fragments, filled pauses): passed over between two words."""

AUDIO_SUFFIXES = (".sph", ".wav", ".flac")

Channel = tuple[str, str]
"""File (without folder and audio suffix) and channel."""


class Span(NamedTuple):
    """Seconds from begin_s to end_s of a channel of a file."""

    channel: Channel
    begin_s: float
    end_s: float

    @property
    def place(self) -> str:
        """Where it begins, for tables and errors: ``file/channel 1.00``."""
        return f"{'/'.join(self.channel)} {self.begin_s:.2f}"


class Detection(NamedTuple):
    """A term found: where, its score (higher: surer) and the system's own decision, None if not stated."""

    span: Span
    score: float
    accepted: bool | None


class Lexeme(NamedTuple):
    """A word of the RTTM, case-folded; spoken is False for fragments and filled pauses."""

    word: str
    span: Span
    spoken: bool


class Transcript(NamedTuple):
    """Lines of one speaker in one channel, in time, and where each spoken word stands: (line, place)."""

    lines: Sequence[Sequence[Lexeme]]
    starts: Mapping[str, Sequence[tuple[int, int]]]

    @classmethod
    def of(cls, lines: Sequence[Sequence[Lexeme]]) -> Transcript:
        """The lines, indexed."""
        starts: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for line, lexemes in enumerate(lines):
            for place, lexeme in enumerate(lexemes):
                if lexeme.spoken:
                    starts[lexeme.word].append((line, place))
        return cls(lines, starts)


class Excerpts(NamedTuple):
    """The speech that counts: spans of each channel, and their seconds (see ``read_excerpts``)."""

    spans: Mapping[Channel, Sequence[Span]]
    seconds: float

    def hold(self, span: Span) -> bool:
        """Whether the whole span lies in one excerpt."""
        return any(
            excerpt.begin_s - ROUNDING_S <= span.begin_s and span.end_s <= excerpt.end_s + ROUNDING_S
            for excerpt in self.spans.get(span.channel, ())
        )


def read_terms(path: Path) -> dict[str, str]:
    """A termlist or kwlist: the text of each term by its id."""
    terms: dict[str, str] = {}
    for element, _ in _elements(path, ("term", "kw"), "termlist or kwlist"):
        term = element.get("termid") or element.get("kwid")
        text = (element.findtext("termtext") or element.findtext("kwtext") or "").strip()
        if not term or not text:
            raise KwsbenchError(f"{path}: term {term or text!r} lacks its id or its text; give both")
        if term in terms:
            raise KwsbenchError(f"{path}: term {term!r} is listed twice; keep one")
        terms[term] = text
    if not terms:
        raise KwsbenchError(f"{path}: no terms; expected a termlist of <term> or a kwlist of <kw>")
    return terms


def read_detections(path: Path) -> dict[str, list[Detection]]:
    """A stdlist or kwslist: what was found of each term, by its id."""
    found: dict[str, list[Detection]] = {}
    for element, root in _elements(path, ("detected_termlist", "detected_kwlist"), "stdlist or kwslist"):
        term = element.get("termid") or element.get("kwid")
        if not term:
            raise KwsbenchError(f"{path}: a {element.tag} without termid or kwid; give it one")
        if term in found:
            raise KwsbenchError(f"{path}: term {term!r} has two lists; join them")
        found[term] = [_detection(hit, f"{path}: term {term!r}") for hit in element]
        root.clear()  # a list of every document for every term does not fit into memory as a tree
    return found


def _detection(element: ET.Element, where: str) -> Detection:
    span = _span(element, "file", where)
    score = _number(element.get("score", ""), "score", f"{where}, {span.place}")
    decision = element.get("decision")
    if decision is not None and decision.upper() not in ("YES", "NO"):
        raise KwsbenchError(f"{where}, {span.place}: decision {decision!r}, expected YES or NO")
    return Detection(span, score, None if decision is None else decision.upper() == "YES")


def read_excerpts(path: Path) -> Excerpts:
    """An ECF: the speech that counts.

    Its seconds are those of each file once, however many channels and overlapping excerpts it has; those
    of the source type ``splitcts``, one side of a telephone call in a file of its own, count half. So NIST's tool.
    """
    spans: dict[Channel, list[Span]] = defaultdict(list)
    halved: set[str] = set()
    for element, _ in _elements(path, ("excerpt",), "ecf"):
        span = _span(element, "audio_filename", f"{path}: excerpt")
        spans[span.channel].append(span)
        if element.get("source_type") == "splitcts":
            halved.add(span.channel[0])
    files: dict[str, list[Span]] = defaultdict(list)
    for channel, theirs in spans.items():
        files[channel[0]] += theirs
    seconds = sum(_covered(theirs) * (0.5 if file in halved else 1.0) for file, theirs in files.items())
    if not seconds > 0:
        raise KwsbenchError(f"{path}: no speech counts; expected an ecf of <excerpt> with a dur above 0")
    return Excerpts(spans, seconds)


def read_transcript(path: Path) -> Transcript:
    """An RTTM: the LEXEME lines of each speaker in each channel, in time. Other lines are not read."""
    lines: dict[tuple[Channel, str], list[Lexeme]] = defaultdict(list)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise KwsbenchError(f"{path}: not text in UTF-8 ({error}); convert it") from None
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.partition(";;")[0].split()
        if not fields or fields[0].upper() != "LEXEME":
            continue
        if len(fields) < 8:
            raise KwsbenchError(
                f"{path}:{number}: {len(fields)} fields, expected LEXEME file channel begin duration word kind speaker"
            )
        _, name, channel, begin, duration, word, kind, speaker = fields[:8]
        begin_s = _number(begin, "begin", f"{path}:{number}")
        end_s = begin_s + _number(duration, "duration", f"{path}:{number}")
        span = Span((_stem(name), channel), begin_s, end_s)
        lines[span.channel, speaker].append(Lexeme(word.casefold(), span, spoken=kind not in UNSPOKEN))
    if not lines:
        raise KwsbenchError(f"{path}: no LEXEME line, so no term is said; give the RTTM of the words")
    return Transcript.of([sorted(line, key=lambda lexeme: lexeme.span.begin_s) for line in lines.values()])


def _covered(spans: Sequence[Span]) -> float:
    """Seconds that at least one of the spans covers."""
    total, reached = 0.0, -math.inf
    for _, begin_s, end_s in sorted(spans, key=lambda span: span.begin_s):
        total += max(0.0, end_s - max(begin_s, reached))
        reached = max(reached, end_s)
    return total


def _elements(path: Path, tags: Sequence[str], expected: str) -> Iterator[tuple[ET.Element, ET.Element]]:
    """Each finished element with one of the tags, and the root that holds it."""
    root = None
    try:
        # The parser reads no external entity, and expat bounds how far internal ones may grow.
        for event, element in ET.iterparse(path, events=("start", "end")):  # noqa: S314
            if root is None:
                root = element
                if root.tag not in expected.split(" or "):
                    raise KwsbenchError(f"{path}: a <{root.tag}>, expected a {expected}; are the files exchanged?")
            if event == "end" and element.tag in tags:
                yield element, root
    except ET.ParseError as error:
        raise KwsbenchError(f"{path}: not readable as XML ({error})") from None


def _span(element: ET.Element, file_attribute: str, where: str) -> Span:
    name = element.get(file_attribute)
    if not name:
        raise KwsbenchError(f"{where}: a {element.tag} without {file_attribute}; name its recording")
    begin_s = _number(element.get("tbeg", ""), "tbeg", f"{where}, {name}")
    duration_s = _number(element.get("dur", ""), "dur", f"{where}, {name}")
    return Span((_stem(name), element.get("channel", "1")), begin_s, begin_s + duration_s)


def _number(text: str, name: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise KwsbenchError(f"{where}: {name} {text!r}, expected a number")
    return value


def _stem(name: str) -> str:
    """A recording's name without folder and audio suffix: the ECF names files that others name without."""
    path = PurePath(name)
    return path.stem if path.suffix.lower() in AUDIO_SUFFIXES else path.name
