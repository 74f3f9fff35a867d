"""The frames that isotropy is measured on: evenly spaced over all utterances, and no others are read."""

import numpy as np
import pytest

from kwsbench.runner import thinned
from kwsbench.types import Frames


class Reads:
    """Frames that remember which of them were read: a kwsbench.types.FrameSource."""

    def __init__(self, frames):
        self.frames, self.lengths, self.read_items = frames, frames.lengths, []

    def read(self, first, last):
        self.read_items += range(first, last)
        return self.frames.read(first, last)


@pytest.mark.parametrize("most", [1, 7, 40, 299, 10_000])
def test_the_sample_is_every_so_manieth_frame_of_all(most):
    rng = np.random.default_rng(most)
    lengths = rng.integers(0, 20, 50)
    values = rng.standard_normal((lengths.sum(), 3)).astype(np.float32)
    source = Reads(Frames(values, np.concatenate([[0], np.cumsum(lengths)])))
    step = -(-len(values) // most)

    sample, items = thinned(source, most)

    assert len(sample) <= most
    np.testing.assert_array_equal(sample, values[::step])
    np.testing.assert_array_equal(items, np.repeat(np.arange(50), lengths)[::step])
    assert source.read_items == sorted(set(items.tolist()))
