"""Long recordings in overlapping windows: ``NAME:window_s=30,overlap_s=5``, which every encoder takes.

A window is encoded as if it were a recording of its own, and of each overlap the first half of the frames
is kept from the window before it and the second half from the one behind it. Windows begin on the encoder's
own frame grid, so there are as many frames, at the same times, as without windows. What features lose is
what lay beyond the window: features differ from those of the whole recording, most near the seams, so a
window is part of an encoder's name. Audio no longer than one window is encoded as ever.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from kwsbench.errors import KwsbenchError
from kwsbench.spec import Spec
from kwsbench.types import Encoder, sample_rate_hz

WINDOW, OVERLAP = "window_s", "overlap_s"
DEFAULT_OVERLAP_S = 5.0


@dataclass(frozen=True)
class Window:
    """How long a stretch is encoded at once, and how much of it the next one shares."""

    window_s: float
    overlap_s: float = DEFAULT_OVERLAP_S

    def __post_init__(self) -> None:
        if not 0 < 2 * self.overlap_s <= self.window_s:
            raise KwsbenchError(
                f"window_s={self.window_s:g}, overlap_s={self.overlap_s:g}: the overlap must be more than 0 and at "
                "most half of the window"
            )

    def as_dict(self) -> dict[str, Any]:
        """What a fingerprint holds of it."""
        return asdict(self)


class Piece(NamedTuple):
    """Samples start to stop of a recording; of their frames, ``first`` to ``last`` (exclusive; None: all)."""

    start: int
    stop: int
    first: int = 0
    last: int | None = None


def split(spec: Spec) -> tuple[Spec, Window | None]:
    """An encoder's name without its window, and the window. Raises KwsbenchError on a length that is none."""
    plain = {key: value for key, value in spec.params.items() if key not in (WINDOW, OVERLAP)}
    lengths = {key: _seconds(spec, key) for key in (WINDOW, OVERLAP) if key in spec.params}
    if not lengths:
        return spec, None
    if WINDOW not in lengths:
        raise KwsbenchError(f"{spec}: overlap_s without window_s; write {spec.name}:window_s=30,overlap_s=…")
    return Spec(spec.name, spec.layers, plain), Window(**lengths)


def canonical(window: Window | None) -> dict[str, str]:
    """The window as parameters in their one way of writing."""
    if window is None:
        return {}
    overlap = {OVERLAP: f"{window.overlap_s:g}"} if window.overlap_s != DEFAULT_OVERLAP_S else {}
    return {WINDOW: f"{window.window_s:g}"} | overlap


def check(encoder: Encoder, window: Window, who: str) -> None:
    """Raise KwsbenchError unless the encoder's frames can be laid side by side over such windows."""
    rate_hz = sample_rate_hz(encoder)
    longest_s = getattr(encoder, "longest_s", None)
    if abs(_shift(encoder) - encoder.frame_shift_s * rate_hz) > 1e-6 * rate_hz * encoder.frame_shift_s:
        raise KwsbenchError(f"{who}: a frame every {encoder.frame_shift_s} s is no whole number of samples; no windows")
    if window.overlap_s * rate_hz < 2 * (encoder.min_samples + _shift(encoder)):
        least_s = 2 * (encoder.min_samples + _shift(encoder)) / rate_hz
        raise KwsbenchError(f"{who}: overlap_s={window.overlap_s:g}, but its frames need {least_s:g} s")
    if longest_s is not None and window.window_s > longest_s:
        raise KwsbenchError(f"{who}: window_s={window.window_s:g}, but it encodes at most {longest_s:g} s at once")


def pieces(samples: int, encoder: Encoder, window: Window | None) -> list[Piece]:
    """The stretches to encode of so many samples, in order; their frames, cut and joined, are the recording's."""
    rate_hz = sample_rate_hz(encoder)
    if window is None or samples <= round(window.window_s * rate_hz):
        return [Piece(0, samples)]
    shift = _shift(encoder)
    length = round(window.window_s * rate_hz) // shift * shift
    hop = length - round(window.overlap_s * rate_hz) // shift * shift
    starts = list(range(0, samples - length, hop))
    # The last window is a whole one too, and so shares more with the one before it.
    starts.append(-(-(samples - length) // shift) * shift)
    # The first frame of the recording that is taken from each window: the one at the middle of the overlap.
    seams = [0]
    for before, after in pairwise(starts):
        middle = (after + before + length) / 2 - encoder.first_centre_s * rate_hz
        seams.append(round(middle / shift))
    found = []
    for at, start in enumerate(starts):
        own = start // shift
        last = seams[at + 1] - own if at + 1 < len(starts) else None
        found.append(Piece(start, min(start + length, samples), seams[at] - own, last))
    return found


def _shift(encoder: Encoder) -> int:
    return round(encoder.frame_shift_s * sample_rate_hz(encoder))


def _seconds(spec: Spec, key: str) -> float:
    try:
        return float(spec.params[key])
    except ValueError:
        raise KwsbenchError(f"{spec}: {key}={spec.params[key]}: expected seconds") from None
