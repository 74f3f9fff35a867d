"""The ablation as pictures. Encoders without trained weights are controls, and are always drawn grey."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kwsbench import spec, svg
from kwsbench.ablation import BASELINE, Ablation
from kwsbench.metrics import Doubles
from kwsbench.paired import Effect, Side
from kwsbench.svg import COLOURS, CONTROL, GREY, INK, MARKERS, STYLES
from kwsbench.verdicts import ALPHA

COLUMNS = 3
A_PANEL = 4
"""Lines of corrections in one panel of layer profiles, at most."""
SHAPES = ("mean_cosine", "mean_cosine_between", "share_top3", "isoscore", "effective_rank", "norm_spread",
          "self_similarity", "speaker_word_crv", "hubness")  # fmt: skip
"""The diagnostics that are drawn by layer."""


def names(found: Sequence[Ablation]) -> dict[str, str]:
    """File name → what the figure shows, without drawing any."""
    return {name: what for name, (what, _) in _plan(found).items()}


def draw(found: Sequence[Ablation]) -> dict[str, bytes]:
    """File name → SVG."""
    return {name: svg.render(make) for name, (_, make) in _plan(found).items()}


def _plan(found: Sequence[Ablation]) -> dict[str, tuple[str, Callable[[], Figure]]]:
    made: dict[str, tuple[str, Callable[[], Figure]]] = {}
    metric = found[0].metrics[0].upper()
    for each in found:
        if _main(each):
            what = f"{each.dataset}: change of {metric} by correction (rows) and layer (columns)"
            made[f"ablation-changes-{_slug(each.dataset)}.svg"] = what, partial(changes, each)
            if any(side.isotropy for side in _main(each)):
                what = f"{each.dataset}: the geometry of the uncorrected frames by layer"
                made[f"ablation-geometry-{_slug(each.dataset)}.svg"] = what, partial(shapes, each)
        for encoder in (name for name in each.encoders if name not in each.controls):
            if any(side.encoder == encoder for side in _main(each)):
                what = f"{each.dataset}, {encoder}: {metric} by layer, a panel for a few corrections"
                made[f"ablation-layers-{_slug(each.dataset)}-{_slug(encoder)}.svg"] = (
                    what,
                    partial(layers, each, encoder),
                )
        if any(side.figure("mean_cosine") is not None for side in _main(each)):
            what = f"{each.dataset}: {metric} against mean cosine and IsoScore, a point a cell"
            made[f"ablation-isotropy-{_slug(each.dataset)}.svg"] = what, partial(isotropy, each)
    return made


# ── change by correction and layer ───────────────────────────────────────────────────────────────


def changes(found: Ablation) -> Figure:
    """A heat map: corrections × layers, the encoders beside one another; bold where the corrected p is below .05."""
    metric = found.metrics[0]
    effects = {
        (change.side.encoder, change.side.layer, change.side.transform): change.effects[metric]
        for change in found.cells
        if (change.side.distance, change.side.matcher) == found.main
    }
    corrections = _in_order({transform for *_, transform in effects})
    columns = [(e, layer) for e in found.encoders for layer in _layers({la for name, la, _ in effects if name == e})]
    limit = max(0.1, float(np.nanquantile([abs(effect.change) for effect in effects.values()], 0.9)))
    figure = Figure(figsize=(9.0, 1.9 + 0.24 * len(corrections)), layout="constrained")
    axes = figure.add_subplot()
    place, x = {}, 0.0
    for at, column in enumerate(columns):
        x += 0.35 if at and column[0] != columns[at - 1][0] else 0.0  # a gap between encoders
        place[column] = x
        x += 1.0
    for (encoder, layer, correction), effect in effects.items():
        _square(axes, place[encoder, layer], corrections.index(correction), effect, limit)
    axes.set(xlim=(-0.1, x), ylim=(len(corrections), 0))
    axes.set_yticks(np.arange(len(corrections)) + 0.5, corrections)
    axes.set_xticks([each + 0.5 for each in place.values()], [layer for _, layer in place])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for encoder in dict.fromkeys(encoder for encoder, _ in columns):
        mine = [each for (name, _), each in place.items() if name == encoder]
        wide = len(mine) > 2
        label = _short(encoder).replace(", ", ",\n") if wide else encoder
        axes.text((mine[0] + mine[-1] + 1) / 2, -0.2, label, ha="center", va="bottom", rotation=0 if wide else 90,
                  color=CONTROL if encoder in found.controls else INK)  # fmt: skip
    axes.set_xlabel("layer")
    norm, colours = mpl.colors.Normalize(-limit, limit), mpl.colormaps["PuOr_r"]
    bar = figure.colorbar(mpl.cm.ScalarMappable(norm, colours), ax=axes, extend="both", shrink=0.6, pad=0.01)
    bar.set_label(f"change of {metric.upper()} against none")
    bar.outline.set_visible(False)
    figure.suptitle(
        f"{found.dataset}. Bold and framed: Holm's p < .05. Grey names: controls.", fontsize=8, x=0.01, ha="left"
    )
    return figure


def _square(axes: Axes, x: float, y: int, effect: Effect, limit: float) -> None:
    sure = effect.p_holm < ALPHA
    share = 0.5 + 0.5 * float(np.clip(effect.change / limit, -1, 1))
    colour = mpl.colormaps["PuOr_r"](share)
    edge = INK if sure else "white"
    axes.add_patch(mpl.patches.Rectangle((x + 0.03, y + 0.03), 0.94, 0.94, facecolor=colour, edgecolor=edge,
                                         linewidth=0.9 if sure else 0.3, clip_on=False))  # fmt: skip
    text = re.sub(r"^([+-])0", r"\1", f"{effect.change:+.2f}") if abs(effect.change) >= 0.005 else ".00"
    dark = abs(share - 0.5) > 0.36
    axes.text(x + 0.5, y + 0.53, text, ha="center", va="center", fontsize=6, color="white" if dark else INK,
              fontweight="bold" if sure else "normal")  # fmt: skip


# ── layer profiles ───────────────────────────────────────────────────────────────────────────────


def layers(found: Ablation, encoder: str) -> Figure:
    """The metric by layer with interval bands: a panel for a few corrections, none and the controls in each."""
    panels = _panels({side.transform for side in _main(found) if side.encoder == encoder})
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(9.0, 0.7 + 2.5 * rows), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _profile(axes, found, encoder, panel)
        lines = [Line2D([], [], color=COLOURS[at], linestyle=STYLES[at + 1]) for at in range(len(panel))]
        axes.legend(lines, panel, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0, fontsize=6.5)
    grid.flat[0].set_ylim(0, None)  # shared by all, once all are drawn
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for row in grid:
        row[0].set_ylabel(found.metrics[0].upper())
    single, layered = _controls(found)
    figure.supxlabel("layer" + (f" of {_short(encoder)}; controls of one layer apart" if single else ""), fontsize=8)
    keys = [Line2D([], [], color=INK, marker="o", markersize=3, linewidth=1.4)]
    keys += [Line2D([], [], color=GREY, marker=MARKERS[at % 6], markersize=3) for at in range(len(layered))]
    labels = [
        f"{found.dataset}: no correction",
        *(f"control, in the line styles of a panel: {_short(e)}" for e in layered),
    ]
    figure.legend(keys, labels, loc="outside upper left", ncols=len(keys))
    return figure


def _profile(axes: Axes, found: Ablation, encoder: str, panel: Sequence[str]) -> None:
    sides = {(side.encoder, side.transform, side.layer): side for side in _main(found)}
    names = _layers({layer for name, _, layer in sides if name == encoder})
    single, layered = _controls(found)
    drawn = [(BASELINE, INK, STYLES[0]), *zip(panel, COLOURS, STYLES[1:], strict=False)]
    for at, (correction, colour, style) in enumerate(drawn):
        line: dict[str, Any] = {"linestyle": style, "linewidth": 1.4, "marker": "o", "markersize": 3 if at == 0 else 2}
        x, values, lows, highs = _points(sides, encoder, correction, names)
        axes.fill_between(x, lows, highs, color=colour, alpha=0.12, linewidth=0)
        axes.plot(x, values, color=colour, **line)
        for which, control in enumerate(layered):
            x, values, *_ = _points(sides, control, correction, names)
            axes.plot(x, values, color=GREY, **(line | {"linewidth": 0.8, "marker": MARKERS[which % 6]}))
        for which, control in enumerate(single):
            (layer,) = {layer for name, _, layer in sides if name == control}
            _, values, lows, highs = _points(sides, control, correction, [layer])
            x = np.full(len(values), len(names) + 0.5 + which + 0.15 * (at - (len(drawn) - 1) / 2))
            axes.vlines(x, lows, highs, color=colour, linewidth=0.9)
            axes.plot(x, values, color=colour, linestyle="", marker="s", markersize=2.5)
    if single:
        axes.axvline(len(names) - 0.25, color="#cccccc", linewidth=0.6)
    axes.set_xticks([*range(len(names)), *(len(names) + 0.5 + at for at in range(len(single)))], [*names, *single])
    for tick in axes.get_xticklabels()[len(names) :]:
        tick.set(rotation=35, ha="right", rotation_mode="anchor")
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.5)


def _points(
    sides: dict[tuple[str, str, str], Side], encoder: str, correction: str, layers: Sequence[str]
) -> list[Doubles]:
    """Place on the axis, value, low and high of those of the layers that were scored."""
    found = [(at, *_figures(side)) for at, layer in enumerate(layers)
             if (side := sides.get((encoder, correction, layer)))]  # fmt: skip
    return list(np.array(found, np.float64).reshape(-1, 4).T)


def _controls(found: Ablation) -> tuple[list[str], list[str]]:
    """The controls of one layer, and those of several."""
    layers = {name: {side.layer for side in _main(found) if side.encoder == name} for name in found.encoders}
    mine = [name for name in found.encoders if name in found.controls and layers[name]]
    return [name for name in mine if len(layers[name]) == 1], [name for name in mine if len(layers[name]) > 1]


def _panels(transforms: set[str]) -> list[list[str]]:
    """Corrections that begin alike share a panel, if there are several; the others fill the panels that are left."""
    families: dict[str, list[str]] = {}
    for transform in _in_order(transforms - {BASELINE}):
        families.setdefault("+" if "+" in transform else spec.parse(transform).name, []).append(transform)
    alone = [mine[0] for mine in families.values() if len(mine) == 1]
    together = [mine for mine in families.values() if len(mine) > 1]
    lists = [*together, alone] if alone else together
    return [mine[at : at + A_PANEL] for mine in lists for at in range(0, len(mine), A_PANEL)]


# ── isotropy against score ───────────────────────────────────────────────────────────────────────


def isotropy(found: Ablation) -> Figure:
    """The metric against mean cosine and IsoScore after the correction, a point a cell."""
    encoders = [name for name in found.encoders if any(side.encoder == name for side in _main(found))]
    trained = [name for name in encoders if name not in found.controls]
    controls = [name for name in encoders if name in found.controls]
    looks = {name: ("o", COLOURS[at % 6]) for at, name in enumerate(trained)}
    looks |= {name: (MARKERS[at % 6], GREY) for at, name in enumerate(controls)}
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, name in ((left, "mean_cosine"), (right, "isoscore")):
        _scatter(axes, found, name, looks)
    left.set(ylabel=f"{found.dataset}: {found.metrics[0].upper()}", xlabel="mean cosine (1: all frames point one way)")
    right.set_xlabel("IsoScore (1: as much variance in every direction)")
    keys = [
        Line2D([], [], marker=marker, color=colour, linestyle="", markersize=4,
               markerfacecolor="none" if name in controls else colour)
        for name, (marker, colour) in looks.items()
    ]  # fmt: skip
    keys.append(Line2D([], [], marker="o", color=INK, linestyle="", markersize=6, markerfacecolor="none"))
    labels = [_short(name) + (" (control)" if name in controls else "") for name in looks] + ["no correction"]
    figure.legend(keys, labels, loc="outside lower center", ncols=3)
    return figure


def _scatter(axes: Axes, found: Ablation, name: str, looks: dict[str, tuple[str, str]]) -> None:
    for encoder, (marker, colour) in looks.items():
        mine = [side for side in _main(found) if side.encoder == encoder and side.figure(name) is not None]
        points = np.array([(side.figure(name), _figures(side)[0]) for side in mine], np.float64).reshape(-1, 2)
        bare = np.array([side.transform == BASELINE for side in mine], bool)
        control = encoder in found.controls
        x, y = points.T
        filled = "none" if control else colour
        axes.plot(x, y, color=colour, linestyle="", marker=marker, markersize=3.5, alpha=0.75, markerfacecolor=filled)
        axes.plot(x[bare], y[bare], color=GREY if control else INK, linestyle="", marker="o", markersize=6,
                  markeredgewidth=0.7, markerfacecolor="none")  # fmt: skip
        if control:
            continue
        # From no correction to each correction of the same layer: the eye finds which way they move.
        starts = {side.layer: point for side, point in zip(mine, points, strict=True) if side.transform == BASELINE}
        steps = [(starts[side.layer], point, (np.nan, np.nan))
                 for side, point in zip(mine, points, strict=True) if side.layer in starts]  # fmt: skip
        axes.plot(*np.array(steps, np.float64).reshape(-1, 2).T, color=colour, alpha=0.15, linewidth=0.5, zorder=0)
    axes.grid(color="#eeeeee", linewidth=0.5)
    axes.set_axisbelow(True)


def shapes(found: Ablation) -> Figure:
    """Diagnostics of the uncorrected frames by layer, a panel each; a line an encoder, controls grey."""
    bare = [side for side in _main(found) if side.transform == BASELINE]
    order = _layers({side.layer for side in bare})
    trained = [name for name in found.encoders if name not in found.controls]
    figure = Figure(figsize=(9.0, 6.4), layout="constrained")
    for axes, name in zip(figure.subplots(3, 3).flat, SHAPES, strict=True):
        for at, encoder in enumerate(found.encoders):
            points = {side.layer: side.figure(name) for side in bare if side.encoder == encoder}
            values = [np.nan if (value := points.get(layer)) is None else value for layer in order]
            known = encoder in trained
            axes.plot(range(len(order)), values, linewidth=1, markersize=3, label=_short(encoder),
                      marker="o" if known else MARKERS[at % 6], color=COLOURS[at % 6] if known else GREY)  # fmt: skip
        axes.set_title(name.replace("_", " "), loc="left")
        axes.set_xticks(range(len(order)), order)
        axes.grid(axis="y", color="#eeeeee", linewidth=0.5)
    figure.supxlabel(f"{found.dataset}: layer, without correction", fontsize=8)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


# ── what all share ───────────────────────────────────────────────────────────────────────────────


def _main(found: Ablation) -> list[Side]:
    return [side for side in found.sides if (side.distance, side.matcher) == found.main]


def _figures(side: Side) -> tuple[float, float, float]:
    """value, low, high of a cell; NaN where they are undefined."""
    estimate = side.estimate
    given = (estimate.value, estimate.low, estimate.high) if estimate else (None, None, None)
    value, low, high = (np.nan if each is None else each for each in given)
    return value, low, high


def _layers(layers: set[str]) -> list[str]:
    """In the order of their numbers; layers with a name instead (``cnn``) lie below them, so first."""
    return sorted(layers, key=lambda layer: (layer.isdigit(), int(layer) if layer.isdigit() else 0, layer))


def _in_order(transforms: set[str]) -> list[str]:
    """Single corrections by name, then chains."""
    return sorted(transforms, key=lambda transform: ("+" in transform, transform))


def _short(encoder: str) -> str:
    name, _, params = encoder.partition(":")
    return f"{name}, {params}" if params else name


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
