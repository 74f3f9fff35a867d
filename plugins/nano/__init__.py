"""Two small encoders whose weights travel with the package, so that neural layers need no network.

README.md beside this file is their card; LICENSES.md has the notices of what they were trained on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import kwsbench
from kwsbench_plugins.hf import HfEncoder, from_directory

if TYPE_CHECKING:
    from kwsbench.plugins import Register

# All languages that the training packages hold voices for (README.md): never French, Italian, Walloon or Nynorsk.
LANGUAGES = "ar be bg ca cs da de el en es fi ga gl he hu ja ko lt ml nb nds nl pt ro ru sl sr sv tn uk zh"


def nano_hubert(*, weights: str = "pretrained") -> HfEncoder:
    """nano-hubert: 6 layers of 256 dimensions, pretrained on 8.8 h in 30 languages, ships with kwsbench.

    weights: ``pretrained``, or ``random:seed=0`` for the untrained control.
    """
    return _nano("nano-hubert", weights)


def nano_wav2vec2(*, weights: str = "pretrained") -> HfEncoder:
    """nano-wav2vec2: nano-hubert's shape and data, trained by contrast; learned little more than MFCC.

    weights: ``pretrained``, or ``random:seed=0`` for the untrained control.
    """
    return _nano("nano-wav2vec2", weights)


def _nano(name: str, weights: str) -> HfEncoder:
    directory = Path(__file__).parent / name
    if weights != "pretrained":
        return from_directory(directory, weights=weights)
    return from_directory(
        directory, languages=LANGUAGES.split(), licence="MIT, learnt from works under others: LICENSES.md"
    )


@kwsbench.hookimpl
def register_encoders(register: Register) -> None:
    """Register ``nano-hubert`` and ``nano-wav2vec2``."""
    register("nano-hubert", nano_hubert)
    register("nano-wav2vec2", nano_wav2vec2)
