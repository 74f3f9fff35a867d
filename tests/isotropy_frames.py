"""Frames for tests of isotropy, which are read in one block and in many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st

from kwsbench import isotropy

# Sums of a few hundred float64 products of order 1, and a division by the number of pairs.
ROUNDING = 1e-12

small_frames = st.integers(1, 4).flatmap(
    lambda dims: st.lists(
        st.tuples(
            st.integers(0, 2), st.lists(st.sampled_from([-3.0, 0.0, 0.0, 0.1, 1.0]), min_size=dims, max_size=dims)
        ),
        min_size=1,
        max_size=9,
    )
)


@pytest.fixture(autouse=True, params=[isotropy.BLOCK_VALUES, 7], ids=["one block", "many blocks"])
def block_values(request, monkeypatch):
    """Every test runs twice: whatever the size of the blocks, the results are the same."""
    monkeypatch.setattr(isotropy, "BLOCK_VALUES", request.param)


def frames_of(seed, frames, dims):
    return np.random.default_rng(seed).normal(size=(frames, dims)).astype(np.float32)
