"""Anybody's scored trials as a table: CSV and TSV files, and TREC runs with their qrels.

A trial is a query, a reference that it is searched in, whether it is there, and a score; higher is
better, and -inf means "no alignment". Mistakes in a file are errors that name the line.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from kwsbench.errors import KwsbenchError
from kwsbench.metrics import Counts, Doubles

NEEDED = ("query", "reference", "label", "prediction")
OPTIONAL = ("decision", "keyword")
DECISIONS = {"yes": True, "1": True, "true": True, "no": False, "0": False, "false": False}


class TrialTable(NamedTuple):
    """Scored trials, one a row, and what there is to say about how they were read.

    rows: query and reference (str), label (1 or 0), prediction (float64, finite or -inf) and, where the
    file has them, decision (bool) and keyword (str). notes: sentences about what was left out or added.
    """

    rows: pd.DataFrame
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trials:
    """Trials as flat arrays, each (n,): query codes from 0, labels 1 or 0, scores (-inf: no alignment).

    names: of the queries, by code. clusters: (queries,), what intervals resample: keywords, or the
    queries themselves. accepted: the system's decisions, if the file has them. seconds: of speech, if
    the file says. only_listed: -inf marks an occurrence that the system did not list, and that no
    threshold can make it accept (NIST's files); otherwise a pair that was tried, and that accepting
    everything accepts. notes: what reading left out or added.
    """

    names: tuple[str, ...]
    clusters: tuple[str, ...]
    queries: Counts
    labels: npt.NDArray[np.int8]
    scores: Doubles
    accepted: npt.NDArray[np.bool_] | None = None
    seconds: float | None = None
    only_listed: bool = False
    notes: tuple[str, ...] = ()

    @property
    def listed(self) -> npt.NDArray[np.bool_]:
        """The trials that some threshold accepts, (n,)."""
        return np.isfinite(self.scores) if self.only_listed else np.ones(len(self.scores), dtype=np.bool_)


def read_table(path: Path) -> TrialTable:
    """Read a CSV or TSV file with the columns query, reference, label, prediction (decision, keyword).

    It is tab-separated if its first line holds a tab. label is 0 or 1, prediction a number or -inf,
    decision YES or NO (also 1/0, true/false). Other columns are not read, and named in the notes.
    Raises KwsbenchError for missing columns, an empty file, a pair that is given twice, two keywords of
    one query and values that cannot be read; each names the line.
    """
    lines: list[int] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            delimiter = "\t" if "\t" in file.readline() else ","
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter)
            header = next(reader, [])
            _check_header(path, header)
            read = [name for name in (*NEEDED, *OPTIONAL) if name in header]
            places = [header.index(name) for name in read]
            columns: dict[str, list[str | int | float | bool]] = {name: [] for name in read}
            for fields in reader:
                if not fields:
                    continue  # a blank line
                where = f"{path}:{reader.line_num}"
                if len(fields) != len(header):
                    raise KwsbenchError(f"{where}: {len(fields)} fields, expected {len(header)} as in the first line")
                for name, place in zip(read, places, strict=True):
                    columns[name].append(_value(name, fields[place].strip(), where))
                lines.append(reader.line_num)
        except (csv.Error, UnicodeDecodeError) as error:
            raise KwsbenchError(f"{path}: not a readable CSV or TSV file in UTF-8 ({error})") from None
    if not lines:
        raise KwsbenchError(f"{path}: no trials below the first line; give one line for each query and reference")
    rows = pd.DataFrame(columns)
    _check_pairs(path, rows, lines)
    ignored = [name for name in header if name not in read]
    return TrialTable(rows, (f"columns that are not read: {', '.join(ignored)}",) if ignored else ())


def flat(
    rows: pd.DataFrame, *, seconds: float | None = None, only_listed: bool = False, notes: tuple[str, ...] = ()
) -> Trials:
    """A table as ``TrialTable`` describes it → Trials; queries are numbered in the order they come."""
    codes, names = pd.factorize(rows["query"])
    first = rows.drop_duplicates("query")
    return Trials(
        names=tuple(names),
        clusters=tuple(first["keyword" if "keyword" in rows else "query"]),
        queries=codes.astype(np.int64),
        labels=rows["label"].to_numpy(np.int8),
        scores=rows["prediction"].to_numpy(np.float64),
        accepted=rows["decision"].to_numpy(np.bool_) if "decision" in rows else None,
        seconds=seconds,
        only_listed=only_listed,
        notes=notes,
    )


def read_trec(run: Path, qrels: Path) -> TrialTable:
    """Read a TREC run (query Q0 document rank score tag) and its qrels (query 0 document relevance).

    A relevance above 0 is a positive, 0 a negative, and below 0 means "not judged": no trial. Ranks are
    not read: the score alone orders. What one file lacks is counted in the notes: a judged document
    that the run does not hold scores -inf, one of the run that nobody judged is a negative (as in
    trec_eval), and queries of the run without any judgement are left out.
    Raises KwsbenchError, with the line, for a wrong number of fields, a document given twice for one
    query and numbers that cannot be read.
    """
    judged = _read_qrels(qrels)
    rows: list[tuple[str, str, int, float]] = []
    seen: set[tuple[str, str]] = set()
    strangers: set[str] = set()
    counts: Counter[str] = Counter()
    for where, (query, _, document, _, score, _) in _fields(run, "query Q0 document rank score tag"):
        if (query, document) in seen:
            raise KwsbenchError(f"{where}: query {query!r} and document {document!r} are given twice; keep one line")
        seen.add((query, document))
        value = _prediction(score, where)
        if query not in judged:
            strangers.add(query)
            continue
        found = judged[query].get(document)
        counts["documents of the run that nobody judged, taken as negatives"] += found is None
        counts["documents of the run judged below 0, left out"] += found is not None and found < 0
        if found is None or found >= 0:
            rows.append((query, document, int((found or 0) > 0), value))
    if not seen:
        raise KwsbenchError(f"{run}: no lines; give lines of: query Q0 document rank score tag")

    counts["queries of the run without judgements, left out"] = len(strangers)
    counts["queries of the qrels that are not in the run, all of their documents score -inf"] = len(
        judged.keys() - {query for query, _ in seen}
    )
    for query, known in judged.items():
        for document, relevance in known.items():
            if relevance >= 0 and (query, document) not in seen:
                rows.append((query, document, int(relevance > 0), -math.inf))
                counts["judged documents that the run does not hold, they score -inf"] += 1
    if not rows:
        raise KwsbenchError(f"{qrels}: no judged document, so there is no trial; use relevances of 0 and above")
    return TrialTable(
        pd.DataFrame(rows, columns=list(NEEDED)), tuple(f"{what}: {count}" for what, count in counts.items() if count)
    )


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """query → document → relevance."""
    judged: dict[str, dict[str, int]] = {}
    for where, (query, _, document, relevance) in _fields(path, "query 0 document relevance"):
        known = judged.setdefault(query, {})
        if document in known:
            raise KwsbenchError(f"{where}: query {query!r} and document {document!r} are given twice; keep one line")
        try:
            known[document] = int(relevance)
        except ValueError:
            raise KwsbenchError(f"{where}: relevance {relevance!r}, expected a whole number") from None
    if not judged:
        raise KwsbenchError(f"{path}: no judgements; give lines of: query 0 document relevance")
    return judged


def _fields(path: Path, layout: str) -> Iterator[tuple[str, list[str]]]:
    """Each line that is not blank, as its place and its fields."""
    expected = len(layout.split())
    with path.open(encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, start=1):
                fields = line.split()
                if len(fields) not in (0, expected):
                    raise KwsbenchError(f"{path}:{number}: {len(fields)} fields, expected {expected}: {layout}")
                if fields:
                    yield f"{path}:{number}", fields
        except UnicodeDecodeError as error:
            raise KwsbenchError(f"{path}: not text in UTF-8 ({error})") from None


def _check_header(path: Path, header: Sequence[str]) -> None:
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise KwsbenchError(
            f"{path}:1: no column {', '.join(missing)}; found {', '.join(header) or 'nothing'}; "
            f"the first line must name {', '.join(NEEDED)}"
        )
    twice = [name for name, count in Counter(header).items() if count > 1 and name in (*NEEDED, *OPTIONAL)]
    if twice:
        raise KwsbenchError(f"{path}:1: column {twice[0]} is named twice; keep one of them")


def _check_pairs(path: Path, rows: pd.DataFrame, lines: Sequence[int]) -> None:
    """Every (query, reference) once, and one keyword a query."""
    again = rows.duplicated(["query", "reference"]).to_numpy().nonzero()[0]
    if len(again):
        query, reference = rows.loc[again[0], "query"], rows.loc[again[0], "reference"]
        raise KwsbenchError(
            f"{path}:{lines[again[0]]}: query {query!r} and reference {reference!r} are given twice; keep one line"
        )
    if "keyword" in rows:
        first = rows.groupby("query", sort=False)["keyword"].transform("first")
        other = (rows["keyword"] != first).to_numpy().nonzero()[0]
        if len(other):
            query, keyword = rows.loc[other[0], "query"], rows.loc[other[0], "keyword"]
            raise KwsbenchError(
                f"{path}:{lines[other[0]]}: query {query!r} has keyword {keyword!r} and, above, "
                f"{first[other[0]]!r}; give a query one keyword"
            )


def _value(name: str, text: str, where: str) -> str | int | float | bool:
    if name == "label":
        if text not in ("0", "1"):
            raise KwsbenchError(f"{where}: label {text!r}, expected 0 or 1")
        return int(text)
    if name == "prediction":
        return _prediction(text, where)
    if name == "decision":
        return _decision(text, where)
    if not text:
        raise KwsbenchError(f"{where}: the {name} is empty; name it")
    return text


def _decision(text: str, where: str) -> bool:
    """YES or NO (also 1/0, true/false) as a bool."""
    if text.lower() not in DECISIONS:
        raise KwsbenchError(f"{where}: decision {text!r}, expected YES or NO")
    return DECISIONS[text.lower()]


def _prediction(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value) or value == math.inf:
        raise KwsbenchError(f"{where}: score {text!r}, expected a number, or -inf where there is no alignment")
    return value
