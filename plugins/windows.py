"""Segmental DTW: the query on one window of the utterance after another, each a little longer than the query.

San et al. (2021), the search of their code (``feats_to_dtw.py``). The recursion is Sakoe & Chiba
(1978), Table I, slope constraint P = 1, symmetric form.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

import kwsbench
from kwsbench.errors import KwsbenchError
from kwsbench.types import Match

if TYPE_CHECKING:
    from kwsbench.plugins import Register
    from kwsbench.types import FloatArray


class Windows:
    """Lay the query on a window of the utterance from frame after frame, the best one counts (San et al. 2021).

    The costs of each utterance frame are scaled to [0, 1] over the query's frames (a frame that
    costs the same everywhere costs 0). A window begins at each of the first ``m - shortest · n``
    frames and is ``longest · n`` long (both rounded down), or ends with the utterance; a path begins
    in its first frame and ends at any of its frames j (counted from 0), namely where its cost,
    divided by n + j + 1, is lowest. Where that end is before ``shortest · n`` or after
    ``longest · n`` the window is passed over, even if another end would do.

    Costs are in [0, 1]. Where no window is left (the utterance is too short, the query has one
    frame), the cost is 1, the worst there is, and the span is the whole utterance.

    shortest, longest: frames of a hit, as multiples of the query's n.
    """

    def __init__(self, *, shortest: float = 0.5, longest: float = 1.5) -> None:
        if not 0 <= shortest <= 1 <= longest:
            raise KwsbenchError(
                f"windows: shortest={shortest}, longest={longest}; shortest is from 0 to 1, longest at least 1"
            )
        self._shortest, self._longest = shortest, longest

    def match(self, cost: FloatArray) -> Match:
        """(n, m) → the best Match. Of equal windows the earliest counts, of equal ends too."""
        cost64 = np.array(cost, np.float64, order="C")
        low, high = cost64.min(axis=0), cost64.max(axis=0)
        scaled = (cost64 - low) / np.where(high > low, high - low, 1)
        best, start, end = _kernel()(scaled, self._shortest, self._longest)
        return Match(best, start, end) if start >= 0 else Match(1.0, 0, cost.shape[1] - 1)


def _best_window(cost: Any, shortest: float, longest: float) -> tuple[float, int, int]:
    """(cost, start, end) of the best window, with start -1 where there is none."""
    n, m = cost.shape
    width = int(min(m, n * longest))
    best, start, end = np.inf, -1, -1
    # Two rows and columns of inf around it spare the recursion all tests for its borders.
    total = np.full((n + 2, width + 2), np.inf)
    for first in range(int(m - shortest * n)):
        frames = min(width, m - first)
        total[2, 2] = cost[0, first]
        for i in range(1, n):
            # The slope constraint: all other cells of the row cannot be reached, and stay inf.
            for j in range((i + 1) // 2, min(2 * i + 1, frames)):
                here = cost[i, first + j]
                total[i + 2, j + 2] = min(
                    total[i + 1, j + 1] + 2 * here,
                    total[i + 1, j] + 2 * cost[i, first + j - 1] + here,
                    total[i, j + 1] + 2 * cost[i - 1, first + j] + here,
                )
        value, last = np.inf, -1
        for j in range(frames):
            if total[n + 1, j + 2] / (n + j + 1) < value:
                value, last = total[n + 1, j + 2] / (n + j + 1), j
        if shortest <= last / n <= longest and value < best:
            best, start, end = value, first, first + last
    return best, start, end


@cache
def _kernel() -> Any:
    """_best_window, compiled when first needed: numba takes a second to import."""
    from numba import njit

    return njit(nogil=True, cache=True)(_best_window)


@kwsbench.hookimpl
def register_matchers(register: Register) -> None:
    """Register ``windows``."""
    register("windows", Windows)
