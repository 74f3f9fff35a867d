"""Zero normalisation: each query's scores get mean 0 and deviation 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import kwsbench

if TYPE_CHECKING:
    import numpy.typing as npt

    from kwsbench.plugins import Register


class ZNorm:
    """Score minus mean over deviation of the query's scores over utterances (Auckenthaler et al. 2000).

    It changes the ranking of no single query, only figures that pool queries: the EER, a threshold
    that all queries share.
    """

    def normalize(self, scores: npt.NDArray[np.float32], used: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """(queries, utterances) → the same shape, each row by itself; see ``standardized``."""
        return standardized(scores, used)


def standardized(scores: npt.NDArray[np.float32], used: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Each row of (rows, columns) minus the mean of its used scores, over their deviation.

    Statistics in float64, of finite used scores only; the deviation is that of the population. A row with fewer
    than two of them, or all of them equal, is only centred; a row with none stays as it is.
    -inf stays -inf.
    """
    result = np.empty(scores.shape, np.float32)
    for row, mask, out in zip(scores, used, result, strict=True):
        known = row[mask & np.isfinite(row)].astype(np.float64)
        mean = known.mean() if len(known) else 0.0
        # Equal scores are told by comparing them: their float64 deviation may be a rounding error above 0.
        varied = len(known) > 1 and known.min() < known.max()
        out[:] = (row - mean) / (known.std() if varied else 1.0)
    return result


@kwsbench.hookimpl
def register_score_norms(register: Register) -> None:
    """Register ``znorm``."""
    register("znorm", ZNorm)
