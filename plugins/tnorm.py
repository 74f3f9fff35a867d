"""Test normalisation: each utterance's scores get mean 0 and deviation 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import kwsbench
from kwsbench_plugins.znorm import standardized

if TYPE_CHECKING:
    import numpy.typing as npt

    from kwsbench.plugins import Register


class TNorm:
    """Score minus mean over deviation of the utterance's scores over queries (Auckenthaler et al. 2000).

    It takes off what makes an utterance score high for whatever is asked. The cohort is the other
    queries of the run, so it is transductive: a query's scores depend on what else was asked.
    """

    def normalize(self, scores: npt.NDArray[np.float32], used: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """(queries, utterances) → the same shape, each column by itself; see ``znorm.standardized``."""
        return np.ascontiguousarray(standardized(scores.T, used.T).T)


@kwsbench.hookimpl
def register_score_norms(register: Register) -> None:
    """Register ``tnorm``."""
    register("tnorm", TNorm)
