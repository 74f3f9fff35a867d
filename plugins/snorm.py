"""Symmetric normalisation: the mean of Z-norm and T-norm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import kwsbench
from kwsbench_plugins.tnorm import TNorm
from kwsbench_plugins.znorm import ZNorm

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kwsbench.plugins import Register


class SNorm:
    """Mean of the score's Z-norm (by query) and T-norm (by utterance) (Kenny 2010). Transductive, as T-norm is."""

    def normalize(self, scores: npt.NDArray[np.float32], used: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """(queries, utterances) → the same shape, both norms taken of the scores as they come in."""
        return (ZNorm().normalize(scores, used) + TNorm().normalize(scores, used)) / 2


@kwsbench.hookimpl
def register_score_norms(register: Register) -> None:
    """Register ``snorm``."""
    register("snorm", SNorm)
