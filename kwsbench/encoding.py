"""Encode a data set once for all layers, shard by shard, into the frame cache."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from kwsbench import audio
from kwsbench.errors import KwsbenchError, PluginError, TooShort
from kwsbench.plugins import Registry
from kwsbench.spec import Spec
from kwsbench.store import FrameStore
from kwsbench.threads import one_torch_thread
from kwsbench.types import SAMPLE_RATE_HZ, Clip, Encoder, Progress, Waveform, no_progress


def describe(encoder: Encoder, spec: Spec, registry: Registry) -> dict[str, Any]:
    """What pins an encoder's output: name, owner's version, parameters, weights and numerics."""
    plugin = registry.find("encoders", spec.name)
    return {
        "name": spec.name,
        "owner": plugin.maker,
        "version": plugin.version,
        "params": plugin.pinned(spec.params),
        "provenance": {str(key): str(value) for key, value in getattr(encoder, "provenance", {}).items()},
    }


def check_layers(encoder: Encoder, spec: Spec) -> None:
    """Raise PluginError unless the layers are names that files can be called by."""
    layers = list(encoder.layers)
    bad = [layer for layer in layers if not isinstance(layer, str) or not re.fullmatch(r"[A-Za-z0-9._-]+", layer)]
    if bad or not layers or len(set(layers)) < len(layers):
        what = f"a layer {bad[0]!r}" if bad else "no layers, or one twice"
        raise PluginError(f"{spec} has {what}; layers are different strings of letters, digits, '.', '_' and '-'")


def encode_clip(encoder: Encoder, samples: Waveform, layers: Sequence[str], who: str) -> Mapping[str, Any] | None:
    """Layers of one clip, each float32 (frames, dims) and checked; None when it is too short for a frame.

    Raises PluginError, which names the encoder and the clip, when the encoder breaks its contract.
    """
    if len(samples) < encoder.min_samples:
        return None
    try:
        features = encoder.encode(samples, layers)
    except TooShort:
        return None
    missing = [layer for layer in layers if layer not in features]
    if missing:
        raise PluginError(f"{who}: no layer {missing[0]!r} came back; encode() must return every layer asked for")
    checked = {layer: np.asarray(features[layer]) for layer in layers}
    for layer, values in checked.items():
        if values.ndim != 2 or not len(values) or not np.issubdtype(values.dtype, np.floating):
            raise PluginError(f"{who}: layer {layer} is {values.dtype} {values.shape}, expected floats (frames, dims)")
        if not np.isfinite(values).all():
            raise PluginError(f"{who}: layer {layer} holds NaN or infinity; mend the encoder or leave the clip out")
    if len({len(values) for values in checked.values()}) > 1:
        raise PluginError(f"{who}: layers differ in their number of frames")
    return {layer: values.astype(np.float32, copy=False) for layer, values in checked.items()}


def encode_missing(
    encoder: Encoder,
    name: str,
    clips: Sequence[Clip],
    layers: Sequence[str],
    store: FrameStore,
    *,
    workers: int = 1,
    progress: Progress = no_progress,
) -> None:
    """Fill the store with what it lacks of these layers. Killed and called again, it goes on where it was.

    An encoder that says it is ``concurrent`` encodes as many clips at once as there are workers, each
    with one thread: faster than many threads on one clip, and the features do not depend on workers.
    """
    what = f"encoding {name}"
    with _pool(workers if getattr(encoder, "concurrent", False) else 1) as pool, one_torch_thread():
        for shard, items in enumerate(store.shards):
            missing = store.missing(shard, layers)
            if missing:
                started = time.perf_counter()
                futures = [pool.submit(_encode, encoder, clips[index], missing, name) for index in items]
                encoded = []
                for index, future in zip(items, futures, strict=True):
                    progress(what, index, len(clips))
                    encoded.append(future.result())
                for layer in missing:
                    values = [None if item is None else item[layer] for item in encoded]
                    _check_dims(values, name, layer)
                    store.write(shard, layer, values)
                store.note_seconds(shard, time.perf_counter() - started)
            progress(what, items.stop, len(clips))


def _encode(encoder: Encoder, clip: Clip, layers: Sequence[str], name: str) -> Mapping[str, Any] | None:
    samples = audio.read(clip.path, clip.start_s, clip.end_s).samples
    return encode_clip(encoder, samples, layers, f"{name} on {clip.id} ({clip.path.name})")


@contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that are not waited for when work is interrupted: Ctrl-C must not encode a shard to its end."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def survey_audio(clips: Sequence[Clip]) -> tuple[npt.NDArray[np.float64], dict[str, int]]:
    """Seconds of audio of each clip, and how many files are read otherwise than as they are."""
    infos = {path: audio.info(path) for path in sorted({clip.path for clip in clips})}
    seconds = np.zeros(len(clips))
    for at, clip in enumerate(clips):
        duration_s = infos[clip.path].duration_s
        end_s = duration_s if clip.end_s is None else min(clip.end_s, duration_s)
        seconds[at] = end_s - (clip.start_s or 0.0)
    changes = Counter[str]()
    for info in infos.values():
        if info.rate_hz != SAMPLE_RATE_HZ:
            changes[f"resampled from {info.rate_hz} Hz"] += 1
        if info.channels != 1:
            changes[f"averaged {info.channels} channels"] += 1
    return seconds, dict(sorted(changes.items()))


def _check_dims(values: Sequence[npt.NDArray[np.float32] | None], name: str, layer: str) -> None:
    dims = {item.shape[1] for item in values if item is not None}
    if len(dims) > 1:
        raise KwsbenchError(f"{name}: layer {layer} has clips of {sorted(dims)} dimensions; an encoder has one width")
