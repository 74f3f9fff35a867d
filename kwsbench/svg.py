"""How all figures look, and their bytes: SVG with text as text, the same for the same figure and matplotlib.

Colours are those of Okabe & Ito (2008), which the colour-blind tell apart; what a colour says, a
line style, a marker or a number says, too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

INK, CONTROL, GREY = "#222222", "#6f6f6f", "#8a8a8a"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = ("s", "^", "v", "D", "P", "X")
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # each text names the whole list, which is long by default
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8,
    "axes.linewidth": 0.6,
    "figure.facecolor": "white",
    "legend.fontsize": 7,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "kwsbench",
    "xtick.color": INK,
    "ytick.color": INK,
}


def render(make: Callable[[], Figure]) -> bytes:
    """The figure that is made, as SVG; it is made here, since a figure takes the look over as it is made."""
    with mpl.rc_context(STYLE):
        out = io.StringIO()
        make().savefig(out, format="svg", metadata={"Date": None})
    # Boards are committed: no comments, no indentation, no turns by nothing, coordinates to a hundredth of a point.
    text = re.sub(
        r"<!--.*?-->|^ +|(?<=\S) transform=\"rotate\(-0 [^)]*\)\"", "", out.getvalue(), flags=re.DOTALL | re.MULTILINE
    )
    text = re.sub(r"(?<=[\d-]\.\d\d)\d+(?=[ \",\n)])", "", text)
    return re.sub(r"\n+", "\n", text).encode()
