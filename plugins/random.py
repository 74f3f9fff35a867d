"""A control that knows nothing: scores by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import kwsbench
from kwsbench.types import Scores

if TYPE_CHECKING:
    from kwsbench.plugins import Register
    from kwsbench.types import Distance, Frames


class Random:
    """Scores drawn by chance: the floor of every metric."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def score(self, queries: Frames, utterances: Frames, distance: Distance, *, first_utterance: int) -> Scores:
        # One generator an utterance: the scores do not depend on how the search set is cut into blocks.
        columns = [
            np.random.default_rng([self._seed, first_utterance + item]).random(len(queries), dtype=np.float32)
            for item in range(len(utterances))
        ]
        ends = np.broadcast_to((utterances.lengths - 1).astype(np.int32), (len(queries), len(utterances)))
        return Scores(-np.stack(columns, axis=1), np.zeros_like(ends), ends)


@kwsbench.hookimpl
def register_matchers(register: Register) -> None:
    register("random", Random)
