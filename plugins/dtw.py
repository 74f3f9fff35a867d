"""DTW of the whole query against the whole utterance: for isolated words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import kwsbench
from kwsbench.types import Alignment
from kwsbench_plugins.sdtw import STEPS

if TYPE_CHECKING:
    from kwsbench.plugins import Register


def dtw(
    steps: Literal["symmetric1", "asymmetric", "skip"] = "symmetric1",
    normalize: Literal["query", "path", "none"] = "query",
    rows: Literal["none", "minmax"] = "none",
) -> Alignment:
    """Lay the query on the whole of the utterance by dynamic time warping (Sakoe & Chiba 1978).

    rows=minmax scales each query frame's costs over the utterance to [0, 1] first, as SUPERB's query by example does.
    """
    return Alignment(STEPS[steps], whole=True, normalize=normalize, rows=rows)


@kwsbench.hookimpl
def register_matchers(register: Register) -> None:
    register("dtw", dtw)
