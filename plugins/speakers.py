"""Project out the directions in which speakers differ on average."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import kwsbench
from kwsbench.errors import KwsbenchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from kwsbench.plugins import Register
    from kwsbench.types import Apply

# Speakers whose means lie closer together than this share of a frame's length differ by the rounding
# of float32 frames, as they do after a correction with scope=speaker.
ROUNDING = 1e-6


class SpeakerSubspace:
    """Project out the principal directions of the speakers' mean frames (Liu, Tang & Goldwater 2023).

    Keeps as few directions as reach the given share of the means' variance, every speaker counting
    once however long they speak, and removes them. Only directions go: what the mean of the frames
    has elsewhere stays. Centre first or after if that is wanted.

    S speakers span at most S - 1 directions, so a handful of them says little about others.
    """

    def __init__(self, *, variance: float = 0.95) -> None:
        if not 0 < variance <= 1:
            raise KwsbenchError(f"speaker-subspace:variance={variance} is a share; give more than 0 and at most 1")
        self.variance = variance

    def fit_speakers(self, speakers: Sequence[npt.NDArray[np.float32]]) -> Apply:
        """One (n, d) array a speaker → the function (m, d) → (m, d) that removes their directions.

        Means and directions in float64. Speakers with equal means have no direction: nothing is removed.
        Raises KwsbenchError for fewer than two speakers, and where no direction would be left.
        """
        if len(speakers) < 2:
            raise KwsbenchError(
                "speaker-subspace needs frames of two speakers or more to see how they differ, "
                f"and was given {len(speakers)}; choose another scope or leave it out"
            )
        means = np.stack([frames.mean(axis=0, dtype=np.float64) for frames in speakers])
        dims = means.shape[1]
        _, deviations, directions = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)
        variance = np.where(deviations > ROUNDING * _length(speakers), deviations**2, 0.0)
        if not variance.any():
            return lambda x: x.copy()
        reached = np.cumsum(variance) >= self.variance * variance.sum() * (1 - 1e-12)
        remove = int(np.argmax(reached)) + 1
        if remove >= dims:
            raise KwsbenchError(
                f"speaker-subspace:variance={self.variance} leaves nothing of {dims} dimensions; take a smaller share"
            )
        top = directions[:remove].T.astype(np.float32)
        return lambda x: x - (x @ top) @ top.T


def _length(speakers: Sequence[npt.NDArray[np.float32]]) -> float:
    """Root mean square length of a frame, of the speaker for whom it is largest."""
    return max(float(np.sqrt(np.einsum("nd,nd->", x, x, dtype=np.float64) / len(x))) for x in speakers)


@kwsbench.hookimpl
def register_transforms(register: Register) -> None:
    """Register ``speaker-subspace``."""
    register("speaker-subspace", SpeakerSubspace)
