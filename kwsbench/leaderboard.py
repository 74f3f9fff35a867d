"""Rows → tables: for a terminal, for markdown, CSV and LaTeX; and the tables that a board commits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pandas as pd
from tabulate import tabulate

from kwsbench import ranking, results
from kwsbench.errors import KwsbenchError
from kwsbench.ranking import Row
from kwsbench.results import Estimate, Result
from kwsbench.store import atomic_write

VIEWS = {"encoders": ranking.by_encoder, "all": ranking.by_configuration}
FORMATS = {"github": "github", "plain": "simple", "latex": "latex_booktabs"}
LEAST_FIRST = (
    *("chosen of", "oracle", "chance inside", "IsoScore", "cos", "gap", "EER", "AUC", "P@1", "P@N"),
    *("MAP inside", "distance", "matcher", "chance"),
)
"""The columns that a narrow terminal does without, in this order."""

BEGIN, END = "<!-- tables: made by kwsbench leaderboard, do not edit -->", "<!-- end of tables -->"
LEGEND = (
    "MAP [95% interval over keywords]; *chance* is the MAP of random order. Across: queries and utterances are of "
    "different speakers; isolated words, and words inside longer utterances, are ranked apart. Layer (and, with one "
    "row an encoder, everything else) is chosen on one half of the keywords and scored on the other; a / b: the "
    "halves chose differently, and an EER cannot be put together from two choices. Rank: what resampling the keywords "
    "leaves. *Oracle*: the layer of the cell that did best on all keywords, and its MAP, which flatters it. † the "
    "encoder's training data held this language. Gap: MAP within minus across speakers, over keywords of both. "
    "Chosen of: cells that the choice was made from; encoders with more of them had more chances. "
    "cos, IsoScore: mean cosine and IsoScore of the searched frames after the transform."
)


class Baseline(msgspec.Struct, forbid_unknown_fields=True):
    """A configuration that every table shows, chosen by nobody."""

    encoder: str
    transform: str
    distance: str
    matcher: str


class Board(msgspec.Struct, forbid_unknown_fields=True):
    """board.toml: how the tables of a board look."""

    title: str = ""
    baseline: list[Baseline] = []


def read_board(folder: Path) -> Board:
    """The board's settings; the defaults when it has none."""
    path = folder / "board.toml"
    if not path.exists():
        return Board()
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Board)
    except msgspec.DecodeError as error:
        raise KwsbenchError(f"{path}: {error}") from None


def read_rows(folder: Path, view: str, *, metric: str = "map") -> list[Row]:
    """The rows of a board under a view: one an encoder (with the baselines), or one a configuration."""
    records = list(results.load_all(folder))
    if not records:
        raise KwsbenchError(f"{folder}: no records in {folder / 'results'}; run kwsbench run … --board {folder}")
    found = ranking.rows(records, VIEWS[view], metric=metric)
    if view == "encoders":
        baselines = ranking.rows(_baselines(records, read_board(folder).baseline), ranking.by_configuration)
        shown = {row.choices for row in found}
        found += [row for row in baselines if row.choices not in shown]
    return ranking.in_order(found, metric=metric)


def _baselines(records: Sequence[Result], wanted: Sequence[Baseline]) -> list[Result]:
    cells = {(b.encoder, b.transform, b.distance, b.matcher) for b in wanted}
    return [r for r in records if ranking.by_configuration(r.combination)[1:] in cells]


def by_dataset(found: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows apart by data set: no table mixes two."""
    return {name: [row for row in found if row.dataset == name] for name in dict.fromkeys(row.dataset for row in found)}


def table(ranked: Sequence[Row], *, metric: str = "map", top: int = 0) -> pd.DataFrame:
    """Rows of one data set as text, a column a figure."""
    spans = ranking.rank_spans(ranked, metric)
    lines = [_line(row, spans.get(at, "–"), metric) for at, row in enumerate(ranked)]
    return _without_empty(pd.DataFrame(lines[: top or None]).fillna(""))


def csv(ranked: Sequence[Row], *, metric: str = "map", top: int = 0) -> str:
    """All data sets in one CSV table."""
    tables = [table(mine, metric=metric, top=top).assign(dataset=name) for name, mine in by_dataset(ranked).items()]
    joined = pd.concat(tables)
    return str(joined[["dataset", *(column for column in joined if column != "dataset")]].to_csv(index=False))


def fit(frame: pd.DataFrame, width: int) -> tuple[pd.DataFrame, list[str]]:
    """The table without the columns that a terminal of this width has no room for, and the names of those."""
    left_out: list[str] = []
    for column in (c for c in LEAST_FIRST if c in frame.columns):
        if _width(frame) <= width:
            break
        frame = frame.drop(columns=column)
        left_out.append(column)
    return frame, left_out


def _width(frame: pd.DataFrame) -> int:
    return max(map(len, render(frame, "plain").splitlines()), default=0)


def render(frame: pd.DataFrame, style: str) -> str:
    """A table as github markdown, plain text or LaTeX."""
    return tabulate(frame, headers="keys", tablefmt=FORMATS[style], showindex=False, disable_numparse=True)  # type: ignore[arg-type]


def readme_tables(folder: Path) -> str:
    """What stands between the two marks of a board's README."""
    parts = [BEGIN, "", f"{LEGEND}", ""]
    for name, mine in by_dataset(read_rows(folder, "encoders")).items():
        parts += [f"### {name}", "", _counts(folder, name), "", render(table(mine), "github"), ""]
    return "\n".join([*parts, END])


def write_readme(folder: Path) -> Path:
    """Put the tables between the marks of the board's README, or into a new one."""
    path = folder / "README.md"
    before, _, after = _split(path, folder)
    with atomic_write(path) as file:
        file.write((before + readme_tables(folder) + after).encode())
    return path


def check_readme(folder: Path) -> None:
    """Raise KwsbenchError unless the README's tables are what the records say."""
    _, tables, _ = _split(folder / "README.md", folder)
    if tables != readme_tables(folder):
        raise KwsbenchError(
            f"{folder / 'README.md'}: tables differ from the records; run kwsbench leaderboard {folder} --write"
        )


def _split(path: Path, folder: Path) -> tuple[str, str, str]:
    title = read_board(folder).title or folder.name
    text = path.read_text(encoding="utf-8") if path.exists() else f"# {title}\n\n{BEGIN}\n{END}\n"
    found = re.search(f"{re.escape(BEGIN)}.*?{re.escape(END)}", text, flags=re.DOTALL)
    if not found:
        raise KwsbenchError(f"{path}: no place for tables; add the lines {BEGIN!r} and {END!r}")
    return text[: found.start()], found.group(), text[found.end() :]


def _counts(folder: Path, dataset: str) -> str:
    """What the headline figures rest on, and what else was searched."""
    record = next((r for r in results.load_all(folder) if r.combination.dataset == dataset and r.data), None)
    if record is None or record.data is None:
        return "No cell has been scored."
    data = record.data
    parts = [
        f"{kind}: {found.queries} queries of {len(found.per_keyword.keyword)} keywords, each ranking about "
        f"{round(found.trials / found.queries)} utterances"
        for kind, found in ((kind, record.conditions.get(f"across/{kind}")) for kind in ("isolated", "inside"))
        if found
    ]
    searched = f"{data.utterances} utterances by {data.speakers} speakers, {data.audio_s / 60:.0f} min"
    return f"Across speakers, {'; '.join(parts)}. In all {searched}. Data `{data.digest[:12]}`."


# ── cells of a table ─────────────────────────────────────────────────────────────────────────────


def _line(row: Row, rank: str, metric: str) -> dict[str, str]:
    headline = row.estimate(metric)
    line = {
        "rank": rank,
        "encoder": row.chosen("encoder") + (" †" if row.heard else ""),
        "layer": row.chosen("layer"),
        "transform": row.chosen("transform"),
        "distance": row.chosen("distance"),
        "matcher": row.chosen("matcher"),
        f"{metric.upper()} isolated": interval(headline),
        "chance": fraction(headline.chance) if headline else "",
    }
    line |= {name.upper(): value(row.estimate(name)) for name in ("map", "p@1", "p@n", "auc", "eer") if name != metric}
    inside = row.estimate(metric, "across/inside")
    line[f"{metric.upper()} inside"] = interval(inside)
    line["chance inside"] = fraction(inside.chance) if inside else ""
    gap = row.gap(metric)
    line["gap"] = "" if gap is None else f"{'+' if gap >= 0 else ''}{fraction(gap)}"
    if row.oracle and row.chosen_among > 1:
        line["oracle"] = f"{row.oracle.layer}: {fraction(row.oracle_map)}"
    line["cos"] = "" if row.isotropy is None else fraction(row.isotropy.figure("mean_cosine"))
    line["IsoScore"] = "" if row.isotropy is None else fraction(row.isotropy.figure("isoscore"))
    line["chosen of"] = str(row.chosen_among) if row.chosen_among > 1 else ""
    line["failed"] = row.error or ""
    return line


def interval(estimate: Estimate | None) -> str:
    """``.411 [.366, .454]``, without an interval where one keyword leaves it undefined; empty without a figure."""
    if estimate is None or estimate.value is None:
        return ""
    if estimate.low is None:
        return fraction(estimate.value)
    return f"{fraction(estimate.value)} [{fraction(estimate.low)}, {fraction(estimate.high)}]"


def value(estimate: Estimate | None) -> str:
    """``.411``; empty where nothing was measured."""
    return "" if estimate is None else fraction(estimate.value)


def fraction(number: float | None) -> str:
    """Three decimals without the leading zero; empty for None."""
    if number is None:
        return ""
    return re.sub(r"^(-?)0\.", r"\1.", f"{number:.3f}")


def _without_empty(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns that say nothing are left out."""
    return frame.loc[:, (frame != "").any(axis=0)]
