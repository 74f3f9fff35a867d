"""What recipes are tried on: ragged frames, and costs that are whole numbers."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def items(draw, most=3, fewest_frames=1, most_frames=14):
    """Queries and utterances of ragged lengths: two lists of float32 (frames, dims)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dims = draw(st.integers(4, 9))
    lengths = [draw(st.lists(st.integers(fewest_frames, most_frames), min_size=1, max_size=most)) for _ in "qu"]
    scale, shift = rng.lognormal(size=dims), rng.standard_normal(dims)
    return [[(rng.standard_normal((n, dims)) * scale + shift).astype(np.float32) for n in ragged] for ragged in lengths]


def integer_costs(most_rows=9, most_columns=16):
    """Costs 0–5, so that ties and columns of equal costs are common: float32 (n, m)."""
    return st.builds(
        lambda seed, n, m: np.random.default_rng(seed).integers(0, 6, (n, m)).astype(np.float32),
        st.integers(0, 2**32 - 1),
        st.integers(1, most_rows),
        st.integers(1, most_columns),
    )
