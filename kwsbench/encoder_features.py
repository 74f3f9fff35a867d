"""Sound for an encoder, as long as it can take, and what comes back: refused in words unless it is features."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from reprlib import repr as short
from typing import Any

import numpy as np

from kwsbench.rules import Broken, article, call, is_float_array, to_floats
from kwsbench.types import Encoder, FloatArray, Waveform, sample_rate_hz

Features = Mapping[str, FloatArray]


def noise(samples: int, *, seed: int) -> Waveform:
    """Sound that is nowhere silent."""
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def longest(encoder: Encoder) -> int:
    """The most samples that may be given to the encoder."""
    longest_s = getattr(encoder, "longest_s", None)
    return sys.maxsize if longest_s is None else int(longest_s * sample_rate_hz(encoder) + 1e-6)


def second(encoder: Encoder) -> int:
    """Samples of one second, more where two frames need more, less where that is too long for the encoder."""
    return min(max(sample_rate_hz(encoder), 2 * encoder.min_samples), longest(encoder))


def encode(encoder: Encoder, samples: Waveform, layers: list[str], what: str) -> Features:
    """The layers asked for. Raises Broken unless each is (frames, dims) floats, all with the same frames."""
    features = call(
        encoder.encode,
        samples,
        layers,
        where=f"encode, {what}",
        mend=f"encode() must take any audio of {encoder.min_samples} samples (min_samples) or more",
    )
    check_features(features, layers, "encode", what)
    checked: Features = features
    return checked


def check_features(features: object, layers: list[str], name: str, what: str) -> None:
    """Raise Broken unless these are the layers asked for, in arrays as they must be."""
    if not isinstance(features, Mapping):
        raise Broken(
            f"type ({what}): {name}() returned {article(features)}, expected a mapping from layer to features: "
            f"return {{{layers[0]!r}: array}}"
        )
    if set(features) != set(layers):
        raise Broken(
            f"layers ({what}): asked for {short(layers)}, got {short(list(features))}; return the layers asked for and "
            "no other"
        )
    for layer, values in features.items():
        if not is_float_array(values) or values.ndim != 2 or not values.shape[1]:
            raise Broken(
                f"shape ({what}): layer {layer} is {article(values)}, expected a numpy array of floats (frames, dims); "
                f"{_mend_shape(values)}"
            )
    lengths = sorted({len(values) for values in features.values()})
    if len(lengths) > 1:
        raise Broken(
            f"frames ({what}): the layers have {lengths} frames; expected the same number, at least 1; cut them to the "
            "shortest, or make a layer at another rate an encoder of its own"
        )
    if lengths == [0]:
        raise Broken(f"frames ({what}): no frame at all; min_samples must be what one frame needs")


def _mend_shape(values: Any) -> str:
    mends = [] if is_float_array(values) else [to_floats(values)]
    if np.ndim(values) == 3:
        mends.insert(0, "take [0], the only one of its batch")
    elif np.ndim(values) == 1:
        mends.append("write [:, None] for a single dimension")
    return ", and ".join(mends) or "make its two axes frames and dimensions"
