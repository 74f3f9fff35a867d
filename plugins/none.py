"""No correction: the baseline of every ablation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import kwsbench

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kwsbench.plugins import Register
    from kwsbench.types import Apply


class NoTransform:
    """Frames as the encoder made them."""

    def fit(self, frames: npt.NDArray[np.float32]) -> Apply:
        """Return the identity."""
        return lambda x: x


@kwsbench.hookimpl
def register_transforms(register: Register) -> None:
    """Register ``none``."""
    register("none", NoTransform)
