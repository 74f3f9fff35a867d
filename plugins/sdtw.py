"""Subsequence DTW: the query lies anywhere in the utterance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import kwsbench
from kwsbench.types import Alignment

if TYPE_CHECKING:
    from kwsbench.plugins import Register

# Predecessors as (query frames back, utterance frames back). "asymmetric" uses each query frame once
# (Sakoe & Chiba 1978; SUPERB's), "skip" is librosa's step_sizes_sigma of [[1, 1], [1, 2], [2, 1]].
STEPS = {
    "symmetric1": ((1, 0), (1, 1), (0, 1)),
    "asymmetric": ((1, 0), (1, 1), (1, 2)),
    "skip": ((1, 1), (1, 2), (2, 1)),
}


def sdtw(
    steps: Literal["symmetric1", "asymmetric", "skip"] = "symmetric1",
    normalize: Literal["query", "path", "none"] = "query",
    rows: Literal["none", "minmax"] = "none",
) -> Alignment:
    """Lay the query anywhere in the utterance by dynamic time warping (Müller 2007, section 4.4).

    rows=minmax scales each query frame's costs over the utterance to [0, 1] first, as SUPERB's query by example does.
    """
    return Alignment(STEPS[steps], whole=False, normalize=normalize, rows=rows)


@kwsbench.hookimpl
def register_matchers(register: Register) -> None:
    register("sdtw", sdtw)
