"""What an encoder must keep to: layers, frame counts, frame times, and features that depend on the clip alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from kwsbench.encoder_attributes import optional_rules, required_rules
from kwsbench.encoder_features import Features, check_features, encode, longest, noise, second
from kwsbench.rules import Broken, apart, article, call, check_signature, close, collect, seen
from kwsbench.types import Encoder, FloatArray, Waveform, sample_rate_hz

SEE = "kwsbench.types.Encoder"


def encoder_rules(encoder: Encoder) -> Iterator[str]:
    """Every rule that the encoder breaks, in a line each; what may be the cause of others comes first."""
    unusable = [*required_rules(encoder)]
    yield from unusable
    if any(problem.startswith("attributes") for problem in unusable):
        return
    yield from optional_rules(encoder)
    check_signature(encoder.encode, "encode", "samples", "layers", see=SEE)
    if unusable:
        return
    if getattr(encoder, "needs_gpu", False):
        _move_to_gpu(encoder)
    layers = list(encoder.layers)
    samples = noise(second(encoder), seed=0)
    what = f"{len(samples) / sample_rate_hz(encoder):.3g} s of noise"
    given = samples.copy()
    first = encode(encoder, given, layers, what)
    if not np.array_equal(given, samples):
        yield "argument: encode() changes the samples it is given; copy them first"
    yield from _finite(first, what, stop=True)
    between = min(len(samples) // 2 + encoder.min_samples, len(samples))
    encode(encoder, noise(between, seed=1), layers, f"{between} samples of noise")
    again = encode(encoder, samples.copy(), layers, f"{what}, again")
    other = [layer for layer in layers if not np.array_equal(first[layer], again[layer])]
    if other:
        yield (
            f"determinism: the same samples give other features the second time (layer {other[0]} differs "
            f"{apart(again[other[0]], first[other[0]])}); call .eval() (dropout), turn dither off, keep no state "
            "between calls"
        )
    # What compares features would report the same fault by other names.
    steady = not other
    if steady:
        yield from collect(_alone(encoder, samples, first))
    counts = collect(_frame_counts(encoder))
    yield from counts
    if steady and not counts:
        yield from collect(_frame_times(encoder))
    yield from collect(_silence(encoder, len(samples)))
    yield from collect(_shortest(encoder, samples))
    if steady and getattr(encoder, "concurrent", False):
        yield from collect(_concurrency(encoder))
    if steady and hasattr(encoder, "encode_batch"):
        yield from collect(_batches(encoder))


def _move_to_gpu(encoder: Any) -> None:
    import torch

    if not torch.cuda.is_available():
        raise Broken(
            "needs_gpu: set, and torch sees no GPU on this machine, so encode() was not checked; run the check on one "
            "that has"
        )
    if hasattr(encoder, "to"):
        call(encoder.to, "cuda", where="to, 'cuda'", mend="to(device) must move the model to a torch device")


def _finite(features: Features, what: str, *, stop: bool = False) -> Iterator[str]:
    for layer, values in features.items():
        if not np.isfinite(values).all():
            problem = f"finite ({what}): layer {layer} holds NaN or inf; put a floor under logarithms and divisions"
            if stop:
                raise Broken(problem)
            yield problem
            return


def _alone(encoder: Encoder, samples: Waveform, among: Features) -> Iterator[str]:
    """The last layer must be the same whatever else is asked for."""
    layer = list(encoder.layers)[-1]
    alone = encode(encoder, samples.copy(), [layer], f"layer {layer} alone")[layer]
    if not close(alone, among[layer]):
        yield (
            f"layers: layer {layer} asked for alone differs from the same layer among all ({apart(alone, among[layer])}"
            "); compute it in one way, whatever else is asked for"
        )


def _silence(encoder: Encoder, samples: int) -> Iterator[str]:
    features = encode(encoder, np.zeros(samples, np.float32), list(encoder.layers), "silence")
    yield from _finite(features, "silence")


def _shortest(encoder: Encoder, samples: Waveform) -> Iterator[str]:
    """min_samples must be enough for a frame."""
    count, layers = encoder.min_samples, list(encoder.layers)
    mend = "set it to the samples that one frame needs"
    try:
        features = encoder.encode(samples[:count].copy(), layers)
        empty = isinstance(features, Mapping) and any(np.shape(values)[:1] == (0,) for values in features.values())
    except Exception as error:  # noqa: BLE001 - a stranger's exception is the finding
        yield f"min_samples: {count} samples raised {seen(error, encoder.encode)}; {mend}"
        return
    if empty:
        yield f"min_samples: {count} samples give no frame; {mend}"
        return
    check_features(features, layers, "encode", f"min_samples={count}")
    yield from _finite(features, f"min_samples={count}")


def _concurrency(encoder: Encoder) -> Iterator[str]:
    """Four threads at once must get what one after the other gets."""
    layer = list(encoder.layers)[-1]
    waves = [noise(min(encoder.min_samples + 1000 * seed, longest(encoder)), seed=seed) for seed in range(8)]

    def last_layer(wave: Waveform, what: str) -> FloatArray:
        return encode(encoder, wave.copy(), [layer], what)[layer]

    alone = [last_layer(wave, f"{len(wave)} samples of noise") for wave in waves]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda wave: last_layer(wave, "four threads at once"), waves))
    for one, other in zip(together, alone, strict=True):
        if not close(one, other):
            yield (
                f"concurrent: threads at once get other features ({apart(one, other)}); keep no state in the encoder, "
                "or do not set it"
            )
            return


def _batches(encoder: Any) -> Iterator[str]:
    """Waveforms given together must get what each gets alone, in the order in which they were given."""
    check_signature(encoder.encode_batch, "encode_batch", "waves", "layers", see=SEE)
    layers, most = list(encoder.layers), longest(encoder)
    shortest = max(encoder.min_samples, sample_rate_hz(encoder) // 4)
    waves = [noise(min(shortest + extra, most), seed=extra) for extra in (4000, 0, 700, 4000, 9000)]
    given = [wave.copy() for wave in waves]
    what = f"{len(waves)} waveforms together"
    mend = "it must take waveforms of different lengths"
    together = call(encoder.encode_batch, given, layers, where=f"encode_batch, {what}", mend=mend)
    if not isinstance(together, list | tuple):
        raise Broken(f"batch: encode_batch() returned {article(together)}; give a list, a mapping for each waveform")
    if len(together) != len(waves):
        answers = f"{len(together)} answers to {len(waves)} waveforms"
        raise Broken(f"batch: encode_batch gave {answers}; give one for each, in order")
    if not all(np.array_equal(one, other) for one, other in zip(given, waves, strict=True)):
        yield "argument: encode_batch() changes the samples it is given; copy them first"
    for at, (wave, features) in enumerate(zip(waves, together, strict=True)):
        check_features(features, layers, "encode_batch", f"{what}, number {at}")
        alone = encode(encoder, wave.copy(), layers, f"{len(wave)} samples of noise")
        for layer in layers:
            if not close(features[layer], alone[layer]):
                yield (
                    f"batch: layer {layer} of waveform {at} of {len(waves)} differs from what encode() gives it alone "
                    f"({apart(features[layer], alone[layer])}); mask what padding adds, batch equal lengths only, or "
                    "leave encode_batch out"
                )
                return


def _frame_counts(encoder: Encoder) -> Iterator[str]:
    """n more samples must bring n / shift more frames, ± 1, none of them centred past the end."""
    layer = next(iter(encoder.layers))
    rate_hz, limit = sample_rate_hz(encoder), longest(encoder)
    base = max(encoder.min_samples, min(second(encoder), limit // 3 - 7))
    lengths = sorted({min(n, limit) for n in (base, base + 1001, 3 * base + 7)})
    shapes = {n: encode(encoder, noise(n, seed=2), [layer], f"{n} samples of noise")[layer].shape for n in lengths}
    most = lengths[-1]
    (few, dims), (many, dims_of_most) = shapes[base], shapes[most]
    if dims != dims_of_most:
        mend = "frames come first: transpose it (.T)" if few == many else "dims must not follow the length"
        raise Broken(
            f"shape: {base} samples give {shapes[base]} and {most} samples {shapes[most]}, expected (frames, dims), "
            f"dims always the same; {mend}"
        )
    off = [n for n in lengths if abs(shapes[n][0] - few - (n - base) / (encoder.frame_shift_s * rate_hz)) > 1]
    if off:
        more, extra = shapes[off[-1]][0] - few, off[-1] - base
        promised = extra / (encoder.frame_shift_s * rate_hz)
        mend = (
            f"a frame came about every {extra / rate_hz / more:.3g} s: set frame_shift_s (in seconds) to the exact "
            "shift, or mend the frames"
            if more > 0
            else "the number of frames must follow the length: do not pool over time or pad to a fixed length"
        )
        raise Broken(
            f"frame_shift_s: {extra} samples more, {extra / rate_hz:.3g} s, bring {more} frames more, where "
            f"{encoder.frame_shift_s:g} s a frame promises {promised:.0f}; {mend}"
        )
    for n in lengths:
        frames = shapes[n][0]
        last_s = encoder.first_centre_s + (frames - 1) * encoder.frame_shift_s
        if last_s > n / rate_hz:
            yield (
                f"frames: the last of {frames} is centred at {last_s:.4f} s, past the end of {n} samples "
                f"({n / rate_hz:.4f} s); do not pad, or cut the frames that padding invented, or lower first_centre_s"
            )


def _frame_times(encoder: Encoder) -> Iterator[str]:
    """Other noise around t must change the frames around t: their centroid, within two frames or 30 ms.

    The noise has the level of what it replaces, so that an encoder that normalises the whole
    waveform changes nothing elsewhere.
    """
    layer = next(iter(encoder.layers))
    rate_hz = sample_rate_hz(encoder)
    length = min(2 * second(encoder), longest(encoder))
    base = noise(length, seed=3)
    what = f"{length / rate_hz:.3g} s of noise"
    untouched = encode(encoder, base.copy(), [layer], what)[layer]
    tolerance_s = max(2 * encoder.frame_shift_s, 0.030)
    for quarter in (1, 2, 3):
        touched = base.copy()
        centre, reach = quarter * length // 4, min(rate_hz // 50, length // 8)
        at_s = centre / rate_hz
        touched[centre - reach : centre + reach] = noise(2 * reach, seed=4)
        features = encode(encoder, touched, [layer], what)[layer]
        if len(features) != len(untouched):
            raise Broken(
                f"frames: {length} samples of noise give {len(untouched)} frames, {length} of other noise "
                f"{len(features)}; the number must follow from the length alone, so leave no frame out"
            )
        change = np.linalg.norm(features - untouched, axis=1) ** 2
        if not change.any():
            yield (
                f"times: other sound at {at_s:.3g} s of {length / rate_hz:.3g} s changes no frame at all; features "
                "must follow the sound everywhere: is the audio cut, or a part of it left out?"
            )
            return
        # What convolution and attention spread over the other frames is not where the sound is.
        change = np.where(change >= change.max() / 4, change, 0.0)
        frame = float(change @ np.arange(len(change)) / change.sum())
        seen_s = encoder.first_centre_s + frame * encoder.frame_shift_s
        if abs(seen_s - at_s) > tolerance_s:
            way = "lower" if seen_s > at_s else "raise"
            yield (
                f"times: a sound at {at_s:.3g} s shows at {seen_s:.3f} s; {way} first_centre_s by about "
                f"{abs(seen_s - at_s):.2g} s, or mend what moves the frames"
            )
            return
