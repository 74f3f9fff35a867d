"""The ablation as a report: findings and tables for a terminal and for markdown, CSV, files."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from kwsbench import ablation, leaderboard, results
from kwsbench.ablation import BASELINE, Ablation
from kwsbench.errors import KwsbenchError
from kwsbench.leaderboard import fraction, render
from kwsbench.paired import Change, Side
from kwsbench.store import atomic_write
from kwsbench.verdicts import ALPHA, SMALL, answer, caveats, findings, p_value, plus, rounded, signed

LEAST_FIRST = ("P@N", "MAP", "IsoScore", "mean cosine", "keywords and speakers", "layer", "p")
"""The columns that a narrow terminal does without, in this order; never the change that is asked about."""

MARKDOWN, CSV = "ablation.md", "ablation.csv"

WORDS = (
    "{metric}, {condition}. In words: *raises* and *lowers* have a corrected p below "
    f"{ALPHA} and an interval without 0; *no difference larger than x*: the interval has 0 and lies within ±x, "
    f"x ≤ {SMALL}; all else is *undecided*. Every figure is in [{CSV}]({CSV})."
)
CORRELATED = (
    "Spearman's rho of each diagnostic, after correction, with {metric}, across cells with {main} (layers × "
    "corrections). Intervals resample keywords and take isotropy as fixed. Cells are not independent (neighbouring "
    "layers, related corrections, the same queries), so an interval says how sure the correlation of these cells is, "
    "not that of others."
)


def read(board: Path, *, metric: str = "map", condition: str = "across/isolated") -> list[Ablation]:
    """The ablations of a board, one a data set. Raises KwsbenchError without records or without corrections."""
    records = list(results.load_all(board))
    if not records:
        raise KwsbenchError(f"{board}: no records in {board / 'results'}; run kwsbench run … --board {board}")
    found = ablation.ablations(records, metric=metric, condition=condition)
    if not any(each.cells for each in found):
        raise KwsbenchError(
            f"{board}: nothing to compare; run kwsbench run --transform {BASELINE} --transform … --board {board}"
        )
    return found


# ── tables ───────────────────────────────────────────────────────────────────────────────────────


def answer_tables(found: Ablation) -> dict[str, pd.DataFrame]:
    """Heading → table, one for each encoder, distance and matcher: the main ones first, best correction first."""
    metric, beside = found.metrics
    tables: dict[tuple[str, str, str], list[Change]] = {}
    for change in found.answers:
        tables.setdefault((change.side.encoder, change.side.distance, change.side.matcher), []).append(change)
    made = {}
    for (encoder, *how), mine in sorted(tables.items(), key=lambda item: _place(found, *item[0])):
        effect = mine[0].effects[metric]
        control = " (control)" if encoder in found.controls else ""
        heading = (
            f"{encoder}{control}, {', '.join(how)}: {metric.upper()} {fraction(effect.base)} uncorrected, "
            f"layer {mine[0].base.layer}"
        )
        ordered = sorted(mine, key=lambda change: -_or_least(change.effects[metric].change))
        made[heading] = _frame(_line(change, metric, beside) for change in ordered)
    return made


def ladder_table(found: Ablation) -> pd.DataFrame:
    """What each step from mean effects to covariance effects does."""
    metric, beside = found.metrics
    return _frame(
        {"encoder": _named(found, change.side), "from": change.base.transform}
        | {("to" if key == "correction" else key): text for key, text in _line(change, metric, beside).items()}
        for change in found.ladder
    )


def hidden_table(found: Ablation) -> pd.DataFrame:
    """A correction's change on raw costs against the one on costs scaled by row."""
    metric = found.metrics[0]
    return _frame(
        {
            "encoder": _named(found, each.raw.side),
            "correction": each.raw.side.transform,
            each.raw.side.matcher: signed(each.raw.effects[metric]),
            each.scaled.side.matcher: signed(each.scaled.effects[metric]),
            "difference": signed(each.difference),
            "p": p_value(each.difference.p_holm),
        }
        for each in found.hidden
    )


def correlation_table(found: Ablation) -> pd.DataFrame:
    """A row a diagnostic, a column a group of cells: Spearman's rho with its interval."""
    groups = dict.fromkeys(each.group for each in found.correlations)
    cells = {group: max(each.cells for each in found.correlations if each.group == group) for group in groups}
    table: dict[str, dict[str, str]] = {}
    for each in found.correlations:
        control = ", control" if each.group in found.controls else ""
        shown = f"{plus(each.rho)} [{plus(each.low)}, {plus(each.high)}]"
        row = table.setdefault(each.diagnostic, {"diagnostic": each.diagnostic})
        row[f"{each.group} ({cells[each.group]} cells{control})"] = shown
    return _frame(table.values())


def csv(found: Sequence[Ablation]) -> str:
    """Every change of every table, unrounded words and figures, one line a metric."""
    lines = [
        {"dataset": each.dataset, "condition": each.condition, "table": table, "metric": metric}
        | {what: getattr(change.side, what) for what in ("encoder", "distance", "matcher", "layer", "transform")}
        | {"control": change.side.encoder in each.controls}
        | {"base_layer": change.base.layer, "base_transform": change.base.transform}
        | {name: value for name, value in effect._asdict().items() if name != "two_way"}
        | dict(zip(("two_way_low", "two_way_high"), effect.two_way or (math.nan, math.nan), strict=True))
        | {f"{name}_{when}": side.figure(name) for name in ("mean_cosine", "isoscore")
           for when, side in (("before", change.base), ("after", change.side))}
        for each in found
        for table, changes in (("same layer", each.cells), ("layer chosen", each.answers),
                               ("layer and correction chosen", each.chosen), ("ladder", each.ladder))
        for change in changes
        for metric, effect in change.effects.items()
    ]  # fmt: skip
    return str(pd.DataFrame(lines).to_csv(index=False, lineterminator="\n", float_format="%.6g"))


def plain(found: Sequence[Ablation], width: int) -> tuple[str, list[str]]:
    """The answer for a terminal of so many columns, and the names of columns that it has no room for."""
    blocks: list[str] = []
    left_out: dict[str, None] = {}
    for each in found:
        blocks.append(textwrap.fill(answer(each).replace("*", ""), min(width, 120)))
        for heading, table in answer_tables(each).items():
            if f", {', '.join(each.main)}:" in heading:
                narrow, dropped = fit(table, width)
                left_out |= dict.fromkeys(dropped)
                blocks.append(f"{textwrap.fill(heading, min(width, 120))}\n\n{render(narrow, 'plain')}")
    return "\n\n".join(blocks), list(left_out)


def fit(table: pd.DataFrame, width: int) -> tuple[pd.DataFrame, list[str]]:
    """The table without the columns that there is no room for, and the names of those."""
    dropped = []
    for column in (name for name in LEAST_FIRST if name in table.columns):
        if max(map(len, render(table, "plain").splitlines())) <= width:
            break
        table = table.drop(columns=column)
        dropped.append(column)
    return table, dropped


# ── files ────────────────────────────────────────────────────────────────────────────────────────


def markdown(board: Path, found: Sequence[Ablation], figures: Mapping[str, str]) -> str:
    """The whole report; equal for equal records. figures: file name → what it shows (``figures.names``)."""
    title = leaderboard.read_board(board).title or board.resolve().name
    metric = found[0].metrics[0].upper()
    parts = [
        "<!-- made by kwsbench ablation, do not edit -->",
        f"# {title}: what correcting anisotropy does",
        WORDS.format(metric=metric, condition=found[0].condition),
        "\n".join(f"- {answer(each)}" for each in found),
    ]
    for each in found:
        main = " and ".join(f"`{name}`" for name in each.main)
        parts += [f"## {each.dataset}", caveats(each), "\n".join(f"- {line}" for line in findings(each))]
        for heading, table in answer_tables(each).items():
            parts += [f"### {heading}", render(table, "github")]
        parts += ["### Mean effects and covariance effects", f"Each step of {ablation.LADDER}, with {main}.",
                  _or_none(ladder_table(each)),
                  "### What row normalisation hides",
                  "The same correction's change on raw costs, on costs scaled by row, and raw minus scaled.",
                  _or_none(hidden_table(each)),
                  "### Isotropy against score", CORRELATED.format(metric=metric, main=main),
                  _or_none(correlation_table(each))]  # fmt: skip
    parts += ["## Figures", *(f"![{what}]({name})" for name, what in figures.items())]
    return "\n\n".join(parts) + "\n"


def write(board: Path, found: Sequence[Ablation], figures: Mapping[str, str], drawn: Mapping[str, bytes]) -> list[Path]:
    """Put ablation.md, ablation.csv and the drawn figures into the board's folder; figures of before go."""
    for old in set(board.glob("ablation-*.svg")) - {board / name for name in drawn}:
        old.unlink()
    files = {name: text.encode() for name, text in _texts(board, found, figures).items()} | dict(drawn)
    for name, content in files.items():
        with atomic_write(board / name) as file:
            file.write(content)
    return [board / name for name in files]


def check(board: Path, found: Sequence[Ablation], figures: Mapping[str, str]) -> None:
    """Raise KwsbenchError unless the report is what the records say. Figures need only exist."""
    again = f"run kwsbench ablation {board} --write"
    for name, text in _texts(board, found, figures).items():
        path = board / name
        if not path.exists() or path.read_bytes() != text.encode():
            raise KwsbenchError(f"{path}: {'differs from the records' if path.exists() else 'is missing'}; {again}")
    for name in figures:
        if not (board / name).exists():
            raise KwsbenchError(f"{board / name}: is missing; {again}")


def _texts(board: Path, found: Sequence[Ablation], figures: Mapping[str, str]) -> dict[str, str]:
    return {MARKDOWN: markdown(board, found, figures), CSV: csv(found)}


# ── cells of a table ─────────────────────────────────────────────────────────────────────────────


def _line(change: Change, metric: str, beside: str) -> dict[str, str]:
    base, side, effect = change.base, change.side, change.effects[metric]
    wide = effect.two_way
    return {
        "correction": side.transform,
        "layer": side.layer,
        metric.upper(): fraction(effect.value),
        "change": signed(effect),
        "keywords and speakers": f"[{plus(wide.low)}, {plus(wide.high)}]" if wide else "",
        "p": p_value(effect.p_holm),
        beside.upper(): signed(change.effects[beside]),
        **{label: f"{rounded(base.figure(name))} → {rounded(side.figure(name))}"
           for label, name in (("mean cosine", "mean_cosine"), ("IsoScore", "isoscore"))
           if side.figure(name) is not None},
    }  # fmt: skip


def _named(found: Ablation, side: Side) -> str:
    return side.encoder + (" (control)" if side.encoder in found.controls else "")


def _place(found: Ablation, encoder: str, distance: str, matcher: str) -> tuple[bool, str, str, int]:
    return (distance, matcher) != found.main, distance, matcher, found.encoders.index(encoder)


def _or_least(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _or_none(table: pd.DataFrame) -> str:
    return "Not measured on this board." if table.empty else render(table, "github")


def _frame(lines: Iterable[dict[str, str]]) -> pd.DataFrame:
    """Columns that say nothing are left out."""
    frame = pd.DataFrame(list(lines)).fillna("")
    return frame.loc[:, (frame != "").any(axis=0)]
