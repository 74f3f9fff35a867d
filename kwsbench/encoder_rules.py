"""What an encoder must keep to: layers, frame counts, frame times, and features that depend on the clip alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from kwsbench.errors import one_line
from kwsbench.types import Encoder, FloatArray, Waveform, sample_rate_hz


def encoder_rules(encoder: Encoder) -> Iterator[str]:
    """Every rule that the encoder breaks, in a line each."""
    missing = [
        name
        for name in ("layers", "frame_shift_s", "first_centre_s", "min_samples", "encode")
        if not hasattr(encoder, name)
    ]
    if missing:
        yield f"attributes: {', '.join(missing)} missing; see kwsbench.types.Encoder"
        return
    layers = list(encoder.layers)
    if not layers or len(set(layers)) < len(layers) or not all(isinstance(layer, str) for layer in layers):
        yield f"layers: {layers} is not a list of different names; a single layer is called ('0',)"
        return
    if encoder.frame_shift_s <= 0 or encoder.first_centre_s < 0 or encoder.min_samples < 1:
        yield "times: frame_shift_s and min_samples must be > 0 and first_centre_s >= 0"
        return
    one_s = noise(max(sample_rate_hz(encoder), 2 * encoder.min_samples), seed=0)
    before = one_s.copy()
    first = encoder.encode(one_s, layers)
    if not np.array_equal(one_s, before):
        yield "argument: encode() changes the samples it is given; copy them first"
    yield from _layer_shapes(first, layers, "1 s of noise")
    if set(first) != set(layers):
        return
    alone = encoder.encode(before.copy(), layers[-1:])
    if set(alone) != set(layers[-1:]):
        yield f"layers: asked for {layers[-1:]}, got {sorted(alone)}; return the layers asked for and no other"
    elif not close(alone[layers[-1]], first[layers[-1]]):
        yield f"layers: layer {layers[-1]} asked for alone differs from the same layer among all"
    encoder.encode(noise(len(one_s) // 2 + encoder.min_samples, seed=1), layers[-1:])
    again = encoder.encode(before.copy(), layers)
    if not all(np.array_equal(first[layer], again[layer]) for layer in layers):
        yield (
            "determinism: the same samples give other features the second time; "
            "call .eval() (dropout), turn dither off, keep no state between calls"
        )
    if getattr(encoder, "concurrent", False):
        yield from _concurrency(encoder)
    if hasattr(encoder, "encode_batch"):
        yield from _batches(encoder)
    yield from _layer_shapes(encoder.encode(np.zeros_like(before), layers), layers, "silence")
    try:
        shortest = encoder.encode(before[: encoder.min_samples].copy(), layers)
    except Exception as error:  # noqa: BLE001 - a stranger's exception is the finding
        yield f"min_samples: {encoder.min_samples} samples raised {one_line(error)}; they must give one frame"
    else:
        yield from _layer_shapes(shortest, layers, f"min_samples={encoder.min_samples}")
    yield from _frame_counts(encoder)
    yield from _frame_times(encoder)


def _layer_shapes(features: Mapping[str, FloatArray], layers: list[str], what: str) -> Iterator[str]:
    if set(features) != set(layers):
        yield f"layers ({what}): asked for {layers}, got {sorted(features)}"
        return
    lengths = set()
    for layer, values in features.items():
        if not isinstance(values, np.ndarray) or values.ndim != 2 or not np.issubdtype(values.dtype, np.floating):
            seen = f"{type(values).__name__} {getattr(values, 'dtype', '')} {tuple(getattr(values, 'shape', ()))}"
            yield f"shape ({what}): layer {layer} is {seen}, expected a numpy array of floats (frames, dims)"
            return
        lengths.add(len(values))
        if not np.isfinite(values).all():
            yield f"finite ({what}): layer {layer} holds NaN or inf; put a floor under logarithms and divisions"
    if len(lengths) != 1 or 0 in lengths:
        yield f"frames ({what}): the layers have {sorted(lengths)} frames; expected the same number, at least 1"


def _concurrency(encoder: Encoder) -> Iterator[str]:
    """Four threads at once must get what one after the other gets."""
    layer = list(encoder.layers)[-1:]
    waves = [noise(encoder.min_samples + 1000 * seed, seed=seed) for seed in range(8)]
    alone = [encoder.encode(wave.copy(), layer)[layer[0]] for wave in waves]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda wave: encoder.encode(wave.copy(), layer)[layer[0]], waves))
    if not all(close(one, other) for one, other in zip(together, alone, strict=True)):
        yield "concurrent: threads at once get other features; keep no state in the encoder, or do not set it"


def _batches(encoder: Any) -> Iterator[str]:
    """Waveforms given together must get what each gets alone, in the order in which they were given."""
    if getattr(encoder, "batch_s", 0) <= 0:
        yield "batch: encode_batch is there, but batch_s (seconds of audio to be given together) is not above 0"
    layers = list(encoder.layers)
    shortest = max(encoder.min_samples, sample_rate_hz(encoder) // 4)
    waves = [noise(shortest + extra, seed=extra) for extra in (4000, 0, 700, 4000, 9000)]
    together = encoder.encode_batch([wave.copy() for wave in waves], layers)
    if len(together) != len(waves):
        yield f"batch: encode_batch gave {len(together)} answers to {len(waves)} waveforms; give one for each, in order"
        return
    for at, (wave, features) in enumerate(zip(waves, together, strict=True)):
        alone = encoder.encode(wave.copy(), layers)
        apart = [layer for layer in layers if not close(np.asarray(features[layer]), alone[layer])]
        if apart:
            yield (
                f"batch: layer {apart[0]} of waveform {at} of {len(waves)} differs from what encode() gives it alone; "
                "mask what padding adds, batch equal lengths only, or leave encode_batch out"
            )
            return


def _frame_counts(encoder: Encoder) -> Iterator[str]:
    """n more samples must bring n / shift more frames, ± 1, none of them centred past the end."""
    layer = list(encoder.layers)[:1]
    shift_samples = encoder.frame_shift_s * sample_rate_hz(encoder)
    base = max(sample_rate_hz(encoder), 2 * encoder.min_samples)
    counts = {n: len(encoder.encode(noise(n, seed=2), layer)[layer[0]]) for n in (base, base + 1001, 3 * base + 7)}
    for n, frames in counts.items():
        expected = counts[base] + (n - base) / shift_samples
        if abs(frames - expected) > 1:
            yield (
                f"frame_shift_s: {n} samples give {frames} frames, where {encoder.frame_shift_s} s "
                f"a frame promises {expected:.0f}"
            )
        last_s = encoder.first_centre_s + (frames - 1) * encoder.frame_shift_s
        if last_s > n / sample_rate_hz(encoder):
            yield (
                f"frames: the last of {frames} is centred at {last_s:.4f} s, past the end of {n} samples; "
                "do not pad, or cut the frames that padding invented"
            )


def _frame_times(encoder: Encoder) -> Iterator[str]:
    """Other noise around t must change the frames around t: their centroid, within two frames or 30 ms.

    The noise has the level of what it replaces, so that an encoder that normalises the whole
    waveform changes nothing elsewhere.
    """
    layer = list(encoder.layers)[:1]
    rate_hz = sample_rate_hz(encoder)
    base = noise(2 * rate_hz, seed=3)
    untouched = encoder.encode(base.copy(), layer)[layer[0]]
    tolerance_s = max(2 * encoder.frame_shift_s, 0.030)
    for at_s in (0.5, 1.0, 1.5):
        touched = base.copy()
        centre, reach = round(at_s * rate_hz), rate_hz // 50
        touched[centre - reach : centre + reach] = noise(2 * reach, seed=4)
        change = np.linalg.norm(encoder.encode(touched, layer)[layer[0]] - untouched, axis=1) ** 2
        if not change.any():
            yield f"times: other sound at {at_s} s changes no frame at all"
            return
        # What convolution and attention spread over the other frames is not where the sound is.
        change = np.where(change >= change.max() / 4, change, 0.0)
        frame = float(change @ np.arange(len(change)) / change.sum())
        seen_s = encoder.first_centre_s + frame * encoder.frame_shift_s
        if abs(seen_s - at_s) > tolerance_s:
            yield f"times: a sound at {at_s} s shows at {seen_s:.3f} s; check frame_shift_s and first_centre_s"
            return


def noise(samples: int, *, seed: int) -> Waveform:
    """Sound that is nowhere silent."""
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def close(x: FloatArray, y: FloatArray) -> bool:
    """Equal up to the rounding of matrix products of another shape (1e-4 of the largest value)."""
    return x.shape == y.shape and bool(np.allclose(x, y, rtol=0, atol=1e-4 * max(float(np.abs(y).max()), 1e-6)))
