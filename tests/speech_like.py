"""Frames as anisotropic as those of speech."""

import numpy as np
from hypothesis import strategies as st

EPS32 = float(np.finfo(np.float32).eps)


@st.composite
def speech_like(draw, min_frames=200, max_frames=600):
    """Correlated float32 frames with an offset and, like real layers, one rogue dimension (mean 50, deviation 0.1)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dims = draw(st.integers(4, 24))
    frames = draw(st.integers(min_frames, max_frames))
    mixing = np.eye(dims) + 0.3 * rng.standard_normal((dims, dims)) / np.sqrt(dims)
    values = rng.standard_normal((frames, dims)) @ mixing + rng.standard_normal(dims)
    rogue = draw(st.integers(0, dims - 1))
    values[:, rogue] = 50 + 0.1 * rng.standard_normal(frames)
    return values.astype(np.float32)


def cosines(x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit @ unit.T
