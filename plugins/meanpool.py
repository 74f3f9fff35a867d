"""A control without alignment: one mean frame for each query and utterance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import kwsbench
from kwsbench.types import Scores

if TYPE_CHECKING:
    from kwsbench.plugins import Register
    from kwsbench.types import Distance, FloatArray, Frames


class MeanPool:
    """Compare the mean frame of the query with the mean frame of the utterance: what is left without alignment."""

    def score(self, queries: Frames, utterances: Frames, distance: Distance, *, first_utterance: int) -> Scores:
        scores = -distance.cost(_means(queries), _means(utterances))
        ends = np.broadcast_to((utterances.lengths - 1).astype(np.int32), scores.shape)
        return Scores(scores.astype(np.float32), np.zeros_like(ends), ends)


def _means(frames: Frames) -> FloatArray:
    """(items, dims); an item without frames has the mean 0, and the engine leaves it out."""
    sums = [frames[item].sum(axis=0, dtype=np.float64) for item in range(len(frames))]
    return np.stack(sums) / np.maximum(frames.lengths, 1)[:, None]


@kwsbench.hookimpl
def register_matchers(register: Register) -> None:
    register("meanpool", MeanPool)
