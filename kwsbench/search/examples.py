"""Examples of a word among encoded frames: the clip that holds one, and which of its frames are the example.

A span is heard with what lies around it, as every place is that it is compared with: with the piece of the archive
that holds it, else with half a minute on either side. A word cut out and encoded by itself ends in silence that nobody
said.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kwsbench import audio
from kwsbench.search.nouns import Token
from kwsbench.types import Clip, Encoder

AROUND_S = 30.0
"""So much on either side of a span is encoded with it; it also tells how its speaker sounds there."""

_SPARE_S = 0.01
"""Less than an encoder takes at once, since spans are rounded to samples."""


def piece_of(token: Token, clips: Sequence[Clip], pieces: Sequence[int]) -> int | None:
    """The piece that holds all of an example with most around it, of those cut from its file; None where none does."""
    if not pieces:
        return None
    begin_s = token.start_s or 0.0
    end_s = audio.duration_s(token.path) if token.end_s is None else token.end_s
    margins = {at: min(begin_s - (clips[at].start_s or 0.0), (clips[at].end_s or 0.0) - end_s) for at in pieces}
    best = max(pieces, key=margins.__getitem__)
    return best if margins[best] >= 0 else None


def around(token: Token, longest_s: float | None) -> Clip:
    """An example as a clip: all of its file, or the span and what is near it, no longer than is encoded at once."""
    if token.start_s is None or token.end_s is None:
        return _clip(token, None, None)
    margin_s = AROUND_S
    if longest_s is not None:
        margin_s = max(0.0, min(AROUND_S, (longest_s - _SPARE_S - (token.end_s - token.start_s)) / 2))
    length_s = audio.duration_s(token.path)
    return _clip(token, max(0.0, token.start_s - margin_s), min(length_s, token.end_s + margin_s))


def frames_in(token: Token, clip: Clip, frames: int, encoder: Encoder) -> slice:
    """Which frames of the clip that holds an example are the example: those centred in its span."""
    if token.start_s is None or token.end_s is None:
        return slice(0, frames)
    centres_s = (clip.start_s or 0.0) + encoder.first_centre_s + np.arange(frames) * encoder.frame_shift_s
    first, stop = np.searchsorted(centres_s, [token.start_s, token.end_s])
    return slice(int(first), int(stop))


def _clip(token: Token, start_s: float | None, end_s: float | None) -> Clip:
    span = "" if start_s is None else f"#{start_s:.3f}-{end_s:.3f}"
    return Clip(f"{token.path}{span}", token.path, f"outside {token}", str(token.path), start_s=start_s, end_s=end_s)
