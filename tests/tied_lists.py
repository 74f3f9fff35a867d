"""Ranked lists with ties."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

# Both sides compute in float64 from small integers: a few dozen roundings of values of order 1.
ROUNDING = 1e-12

# Three scores for up to six items: most lists are tied somewhere, many throughout.
tied_lists = st.lists(
    st.tuples(st.sampled_from([-math.inf, 0.0, 0.5]), st.sampled_from([-1, 0, 0, 1, 1])), min_size=1, max_size=6
)


def columns(pairs, dtype=np.float32):
    scores, labels = zip(*pairs, strict=True)
    return np.array(scores, dtype=dtype), np.array(labels, dtype=np.int8)
