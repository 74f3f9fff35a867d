"""Records → one HTML page: tables and figures that open from a file and ask nobody for anything.

The page is page.html with page.css, page.js and the board's figures as JSON put in. All text comes
from the JSON and is set as text, never as markup; a policy in the page's head lets nothing run or
load but these three, by their hashes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from kwsbench import html, leaderboard, ranking, results
from kwsbench.errors import KwsbenchError
from kwsbench.ranking import HEADLINE, Row
from kwsbench.results import ConditionResult, Estimate, Result
from kwsbench.store import atomic_write
from kwsbench.trials import CONDITIONS

METRICS = ("map", "p@1", "p@n", "auc", "eer")
"""The metrics that the page shows; the records hold more."""

_AXES = ("encoder", "transform", "distance", "matcher")


def make(board: Path) -> str:
    """The page of a board: equal for equal records. Raises KwsbenchError when there are none."""
    chosen = leaderboard.by_dataset(leaderboard.read_rows(board, "encoders"))
    figures = payload(board, chosen)
    return html.page(
        _part("page.html"),
        title=figures["title"],
        plain=_plain(chosen),
        style=_part("page.css"),
        script=_part("page.js"),
        data=json.dumps(figures, ensure_ascii=False, separators=(",", ":")),
    )


def check(board: Path) -> None:
    """Raise KwsbenchError unless the board's page, where it has one, is what its records make."""
    path = board / "index.html"
    if path.exists() and path.read_text(encoding="utf-8") != make(board):
        raise KwsbenchError(f"{path}: differs from the records; run kwsbench leaderboard {board} --write")


def write(board: Path) -> Path:
    """Put the page into BOARD/index.html, whole or not at all."""
    text = make(board)
    path = board / "index.html"
    with atomic_write(path) as file:
        file.write(text.encode())
    return path


def payload(board: Path, chosen: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """All that the page shows, ready for JSON. chosen: the rows of the view ``encoders``, by data set."""
    configurations = leaderboard.by_dataset(leaderboard.read_rows(board, "all"))
    records = list(results.load_all(board))
    settings = leaderboard.read_board(board)
    return {
        "title": settings.title or board.resolve().name,
        "legend": leaderboard.LEGEND.replace("*", ""),
        "metrics": METRICS,
        "headline": HEADLINE,
        "baselines": [[getattr(line, axis) for axis in _AXES] for line in settings.baseline],
        "sets": [
            _dataset(name, [r for r in records if r.combination.dataset == name], chosen[name], configurations[name])
            for name in chosen
        ],
        "provenance": _provenance(records),
        "command": _command(board),
    }


# ── one data set ─────────────────────────────────────────────────────────────────────────────────


def _dataset(name: str, records: Sequence[Result], chosen: Sequence[Row], all_rows: Sequence[Row]) -> dict[str, Any]:
    scored = [record for record in records if record.error is None]
    measured: dict[str, ConditionResult] = {}
    for record in scored:
        measured = record.conditions | measured
    # A baseline stands among the rows that were chosen, and only the rows themselves tell which it is.
    nested = ranking.rows(records, ranking.by_encoder)
    fixed = []
    for row in chosen:
        fixed.append(row not in nested)
        if row in nested:
            nested.remove(row)
    return {
        "name": name,
        "data": _data(scored),
        "conditions": {
            condition: {
                "queries": found.queries,
                "keywords": len(found.per_keyword.keyword),
                "without": found.queries_without_positives,
                "trials": found.trials,
                "positives": found.positives,
                "chance": found.metrics["map"].chance,
            }
            for condition, found in sorted(measured.items(), key=lambda item: _order(item[0]))
        },
        "chosen": [line | {"fixed": mark} for line, mark in zip(_rows(chosen, measured), fixed, strict=True)],
        "all": _rows(all_rows, measured),
        "cells": [_cell(record) for record in records],
    }


def _order(condition: str) -> int:
    known = [str(each) for each in CONDITIONS]
    return known.index(condition) if condition in known else len(known)


def _rows(rows: Sequence[Row], conditions: Iterable[str]) -> list[dict[str, Any]]:
    spans = {condition: ranking.rank_spans(rows, "map", condition) for condition in conditions}
    return [
        {axis: row.chosen(axis) for axis in (*_AXES, "layer")}
        | {
            "heard": row.heard,
            "error": row.error,
            "rank": {condition: found[at] for condition, found in spans.items() if at in found},
            "of": {condition: _figures(found) for condition, found in row.metrics.items()},
            "gap": {kind: row.gap(kind=kind) for kind in ("isolated", "inside")},
            "shape": [row.isotropy.figure("mean_cosine"), row.isotropy.figure("isoscore")]
            if row.isotropy
            else [None, None],
        }
        for at, row in enumerate(rows)
    ]


def _figures(found: dict[str, Estimate]) -> dict[str, list[float | None]]:
    """Metric → value, low, high, chance."""
    return {
        metric: [found[metric].value, found[metric].low, found[metric].high, found[metric].chance]
        for metric in METRICS
        if metric in found
    }


def _cell(record: Result) -> dict[str, Any]:
    """One record, as the two figures draw it: MAP with its interval, mean cosine and IsoScore before and after."""
    shapes = [record.isotropy.get(when) for when in ("before", "after")]
    return {
        "name": [getattr(record.combination, axis) for axis in (*_AXES, "layer")],
        "map": {
            condition: [found.metrics["map"].value, found.metrics["map"].low, found.metrics["map"].high]
            for condition, found in record.conditions.items()
        },
        "shape": [
            [shape.figure("mean_cosine"), shape.figure("isoscore")] if shape else [None, None] for shape in shapes
        ],
        "error": record.error,
    }


def _data(scored: Sequence[Result]) -> dict[str, Any]:
    """The counts of a data set; they are the same in each of its records, save what concerns an encoder."""
    found = next((record.data for record in scored if record.data), None)
    if found is None:
        return {}
    fields = ("digest", "language", "clips", "speakers", "keywords", "queries", "utterances", "audio_s")
    counted = {name: count for name, count in found.left_out.items() if count}
    return {name: getattr(found, name) for name in fields} | {
        "left_out": counted,
        "audio": found.audio,
        "notes": found.notes,
        "too_short": max(record.data.too_short for record in scored if record.data),
    }


# ── where it comes from ──────────────────────────────────────────────────────────────────────────


def _provenance(records: Sequence[Result]) -> list[tuple[str, list[str]]]:
    """What was used, and on how many records where they differ."""
    known = [record.provenance for record in records]
    packages = [note.get("packages", {}) for note in known]
    lines = [
        ("records", [f"{len(records)}, {sum(record.error is not None for record in records)} of them failed"]),
        ("commit", _counted(_commit(note.get("git", {})) for note in known)),
        ("scoring version", _counted(record.scoring for record in records)),
        ("dates", sorted({str(note["date"]) for note in known if "date" in note})),
        ("device", _counted(note.get("device") for note in known)),
        ("platform", _counted(note.get("platform") for note in known)),
        ("python", _counted(note.get("python") for note in known)),
    ]
    names = dict.fromkeys(name for versions in packages for name in versions)
    lines += [(name, _counted(versions.get(name) for versions in packages)) for name in names]
    return [(what, found) for what, found in lines if found]


def _commit(git: dict[str, Any]) -> str:
    return str(git.get("commit", ""))[:12] + (" with uncommitted changes" if git.get("dirty") else "")


def _counted(values: Iterable[object]) -> list[str]:
    counts = Counter(str(value) for value in values if value)
    return [value if len(counts) == 1 else f"{value} ({count} records)" for value, count in sorted(counts.items())]


def _command(board: Path) -> str:
    """What to type to do it again; a board that does not keep its run file can only name its cells."""
    if (board / "run.toml").exists():
        return "cd THIS_FOLDER && kwsbench run run.toml --board ."
    return "(this board keeps no run.toml; each record names its cell)"


# ── the file ─────────────────────────────────────────────────────────────────────────────────────


def _plain(chosen: Mapping[str, Sequence[Row]]) -> str:
    """The tables as text, for whoever reads without JavaScript."""
    return "\n\n".join(
        f"{name}\n\n{leaderboard.render(leaderboard.table(mine), 'plain')}" for name, mine in chosen.items()
    )


@cache
def _part(name: str) -> str:
    return (resources.files("kwsbench") / name).read_text(encoding="utf-8").strip()
