"""The figures of ``trialscore`` as people and programs read them: text, CSV, JSON, and the DET curve as a file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pandas as pd
from tabulate import tabulate

from kwsbench import detection
from kwsbench.errors import KwsbenchError
from kwsbench.store import atomic_write
from kwsbench.trialfiles import Trials
from kwsbench.trialscore import Report, Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render(report: Report, style: str) -> str:
    """The figures and counts: ``plain`` for reading, ``csv`` (figures alone) or ``json`` (null: undefined)."""
    if style == "json":
        figures = {
            name: {"value": _json(v), "low": _json(low), "high": _json(high)}
            for name, v, low, high, _ in report.figures
        }
        whole = {"figures": figures, "counts": report.counts, "settings": report.settings}
        return msgspec.json.format(msgspec.json.encode(whole)).decode() + "\n"
    if style == "csv":
        frame = pd.DataFrame(report.figures).drop(columns="what")
        return str(frame.to_csv(index=False))
    lines = [(figure.name, _text(figure.value), _between(figure), figure.what) for figure in report.figures]
    headers = ["figure", "value", "95% interval", "what it is"]
    counts = [(what, count) for what, count in report.counts.items()]
    return f"{tabulate(lines, headers=headers, disable_numparse=True)}\n\n{tabulate(counts, tablefmt='plain')}\n"


def render_queries(report: Report, style: str) -> str:
    """The rows of the queries: ``plain``, ``csv`` or ``json``."""
    if style == "json":
        rows = [{str(key): _json(value) for key, value in row.items()} for row in report.per_query.to_dict("records")]
        return msgspec.json.format(msgspec.json.encode(rows)).decode() + "\n"
    if style == "csv":
        return str(report.per_query.to_csv(index=False))
    shown = [
        [_text(cell) if isinstance(cell, float) else cell for cell in row]
        for row in report.per_query.itertuples(index=False)
    ]
    return tabulate(shown, headers=list(report.per_query.columns), disable_numparse=True) + "\n"


def write_det(path: Path, trials: Trials, *, seconds: float | None) -> None:
    """Write the DET curve of all trials pooled: .csv holds its points, .svg and .png show it on probit axes.

    seconds: of speech; false alarms are then shares of one trial a second and query, less the positives,
    otherwise of the negative trials. Source: Martin et al. (1997).
    """
    if path.suffix not in (".csv", ".svg", ".png"):
        raise KwsbenchError(f"{path}: a DET curve is written as .csv, .svg or .png; choose one of these endings")
    curve = detection.det(trials.scores, trials.labels)
    negatives = int((trials.labels == 0).sum())
    chances = negatives if seconds is None else seconds * len(trials.names) - int(trials.labels.sum())
    points = pd.DataFrame({
        "threshold": curve.thresholds,
        "p_fa": curve.false_alarms * negatives / chances if negatives else np.zeros(len(curve.misses)),
        "p_miss": curve.misses,
    })  # fmt: skip
    if trials.only_listed:
        points = points[points["threshold"] != -math.inf]
    with atomic_write(path) as file:
        if path.suffix == ".csv":
            points.to_csv(file, index=False)
        else:
            _draw_det(points).savefig(file, format=path.suffix[1:])


def _draw_det(points: pd.DataFrame) -> Figure:
    """Both error rates on probit axes, from 0.01% to 99%; what lies outside lies on the border."""
    from matplotlib.figure import Figure
    from scipy.special import ndtri

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    ticks = np.array([0.0001, 0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99])
    inside = points[["p_fa", "p_miss"]].clip(ticks[0], ticks[-1])
    axes.plot(ndtri(inside["p_fa"]), ndtri(inside["p_miss"]), drawstyle="steps-post")
    labels = [f"{100 * tick:g}" for tick in ticks]
    axes.set_xticks(ndtri(ticks), labels)
    axes.set_yticks(ndtri(ticks), labels)
    axes.set(xlabel="false alarms (%)", ylabel="misses (%)", xlim=ndtri(ticks[[0, -1]]), ylim=ndtri(ticks[[0, -1]]))
    axes.grid(visible=True, linewidth=0.3)
    return figure


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _between(figure: Score) -> str:
    return "" if math.isnan(figure.low) else f"[{_text(figure.low)}, {_text(figure.high)}]"


def _json(value: object) -> object:
    """JSON has neither NaN nor infinities: null, and "inf" or "-inf"."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
