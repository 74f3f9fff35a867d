"""Encode a data set once for all layers, shard by shard, into the frame cache."""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from kwsbench import audio, windows
from kwsbench.errors import KwsbenchError, PluginError, TooShort, one_line
from kwsbench.plugins import Registry
from kwsbench.spec import Spec
from kwsbench.store import FrameStore
from kwsbench.threads import one_torch_thread, take_torch_threads
from kwsbench.types import SAMPLE_RATE_HZ, Clip, Encoder, Progress, Waveform, no_progress, sample_rate_hz
from kwsbench.windows import Window

T = TypeVar("T")
R = TypeVar("R")


def create(spec: Spec, registry: Registry) -> tuple[Encoder, Window | None]:
    """The encoder that a spec names, and the window in which it is to encode."""
    plain, window = windows.split(spec)
    encoder: Encoder = registry.create("encoders", plain)
    if window:
        windows.check(encoder, window, str(spec))
    return encoder, window


def move(encoder: Encoder, device: str, who: str) -> str:
    """Have the encoder compute on a torch device, where it can (``auto``: a GPU if there is one); the device used."""
    to = getattr(encoder, "to", None)
    if to is None:
        return "cpu"
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and getattr(encoder, "needs_gpu", False):
        raise KwsbenchError(f"{who} needs a GPU, and this machine has none that torch sees; run it on one that has")
    try:
        to(device)
    except (RuntimeError, AssertionError) as error:  # torch's for a device that it does not know or was not built for
        raise KwsbenchError(f"{who}: --device {device}: {one_line(error)}") from error
    return device


def describe(encoder: Encoder, spec: Spec, registry: Registry) -> dict[str, Any]:
    """What pins an encoder's output: name, owner's version, parameters, weights, numerics, window."""
    plain, window = windows.split(spec)
    plugin = registry.find("encoders", spec.name)
    described: dict[str, Any] = {
        "name": spec.name,
        "owner": plugin.maker,
        "version": plugin.version,
        "params": plugin.pinned(plain.params),
        "provenance": {str(key): str(value) for key, value in getattr(encoder, "provenance", {}).items()},
    }
    if window:
        described["window"] = window.as_dict()
    if sample_rate_hz(encoder) != SAMPLE_RATE_HZ:
        described["sample_rate_hz"] = sample_rate_hz(encoder)
        described["soxr"] = version("soxr")
    return described


def check_layers(encoder: Encoder, spec: Spec) -> None:
    """Raise PluginError unless the layers are names that files can be called by."""
    layers = list(encoder.layers)
    bad = [layer for layer in layers if not isinstance(layer, str) or not re.fullmatch(r"[A-Za-z0-9._-]+", layer)]
    if bad or not layers or len(set(layers)) < len(layers):
        what = f"a layer {bad[0]!r}" if bad else "no layers, or one twice"
        raise PluginError(f"{spec} has {what}; layers are different strings of letters, digits, '.', '_' and '-'")


def encode_missing(
    encoder: Encoder,
    name: str,
    clips: Sequence[Clip],
    layers: Sequence[str],
    store: FrameStore,
    *,
    window: Window | None = None,
    workers: int = 1,
    progress: Progress = no_progress,
) -> None:
    """Fill the store with what it lacks of these layers. Killed and called again, it goes on where it was.

    An encoder that says it is ``concurrent`` encodes as many blocks at once as there are workers, each
    with one thread: faster than many threads on one clip, and the features do not depend on workers.
    What is held in memory is the audio and the features of a few blocks, however long the corpus is.
    """
    what = f"encoding {name}"
    work = _Work(encoder, name, window)
    with (
        _pool(workers) as readers,
        _pool(workers if getattr(encoder, "concurrent", False) else 1) as encoders,
        one_torch_thread(),
    ):
        for shard, items in enumerate(store.shards):
            missing = store.missing(shard, layers)
            if missing:
                started = time.perf_counter()
                mine = [clips[index] for index in items]
                # Twice what is being worked on waits, so that nobody does.
                pieces = work.pieces(_ahead(readers, work.read, mine, 2 * workers))
                blocks = _blocks(pieces, getattr(encoder, "batch_s", 0.0))
                done = -1
                progress(what, items.start, len(clips))
                with store.writer(shard, missing) as writer:
                    for block, features in _ahead(encoders, partial(work.encode, layers=missing), blocks, 2 * workers):
                        for piece, found in zip(block, features, strict=True):
                            for _ in range(done, piece.item):
                                writer.start()
                            done = piece.item
                            progress(what, items.start + done, len(clips))
                            if found is not None:
                                try:
                                    writer.append(found)
                                except KwsbenchError as error:
                                    raise KwsbenchError(f"{name}: {error}") from error
                store.note_seconds(shard, time.perf_counter() - started)
            progress(what, items.stop, len(clips))


class _Piece(NamedTuple):
    """A stretch of the audio of one item of a shard, and which of its frames are kept."""

    item: int
    who: str
    samples: Waveform
    frames: slice


@dataclass(frozen=True)
class _Work:
    """One encoder at work on clips."""

    encoder: Encoder
    name: str
    window: Window | None

    def read(self, clip: Clip) -> Waveform:
        """A clip's audio, at the encoder's rate. Raises KwsbenchError when it is too long to be encoded at once."""
        samples = audio.read(clip.path, clip.start_s, clip.end_s, rate_hz=sample_rate_hz(self.encoder)).samples
        longest_s = getattr(self.encoder, "longest_s", None)
        seconds = len(samples) / sample_rate_hz(self.encoder)
        if self.window is None and longest_s is not None and seconds > longest_s:
            raise KwsbenchError(
                f"{clip.id} ({clip.path.name}): {seconds:.0f} s, but {self.name} encodes at most {longest_s:g} s at "
                f"once; encode in windows: window_s={min(30.0, longest_s):g} among the encoder's parameters"
            )
        return samples

    def pieces(self, waves: Iterable[tuple[Clip, Waveform]]) -> Iterator[_Piece]:
        """Every clip, in as many pieces as its length asks for."""
        for item, (clip, samples) in enumerate(waves):
            who = f"{self.name} on {clip.id} ({clip.path.name})"
            for piece in windows.pieces(len(samples), self.encoder, self.window):
                yield _Piece(item, who, samples[piece.start : piece.stop], slice(piece.first, piece.last))

    def encode(self, block: Sequence[_Piece], layers: Sequence[str]) -> list[Mapping[str, Any] | None]:
        """Layers of each piece, each float32 (frames, dims) and checked; None when it is too short for a frame."""
        long = [piece for piece in block if len(piece.samples) >= self.encoder.min_samples]
        found = iter(self._encode(long, layers))
        return [next(found) if len(piece.samples) >= self.encoder.min_samples else None for piece in block]

    def _encode(self, block: Sequence[_Piece], layers: Sequence[str]) -> list[Mapping[str, Any] | None]:
        together = getattr(self.encoder, "encode_batch", None)
        if together is None or len(block) < 2:
            return [self._alone(piece, layers) for piece in block]
        try:
            batch = together([piece.samples for piece in block], layers)
        except Exception:  # noqa: BLE001 - each alone then, so that only the culprit is named
            return [self._alone(piece, layers) for piece in block]
        return [_checked(features, piece, layers) for features, piece in zip(batch, block, strict=True)]

    def _alone(self, piece: _Piece, layers: Sequence[str]) -> Mapping[str, Any] | None:
        try:
            return _checked(self.encoder.encode(piece.samples, layers), piece, layers)
        except TooShort:
            return None


def _checked(features: Mapping[str, Any], piece: _Piece, layers: Sequence[str]) -> Mapping[str, Any]:
    """A piece's features. Raises PluginError, which names the encoder and the clip, when they break the contract."""
    missing = [layer for layer in layers if layer not in features]
    if missing:
        raise PluginError(f"{piece.who}: no layer {missing[0]!r} came back; encode() must return every layer asked for")
    checked = {layer: np.asarray(features[layer]) for layer in layers}
    for layer, values in checked.items():
        if values.ndim != 2 or not len(values) or not np.issubdtype(values.dtype, np.floating):
            raise PluginError(
                f"{piece.who}: layer {layer} is {values.dtype} {values.shape}, expected floats (frames, dims)"
            )
        if not np.isfinite(values).all():
            raise PluginError(
                f"{piece.who}: layer {layer} holds NaN or infinity; mend the encoder or leave the clip out"
            )
    if len({len(values) for values in checked.values()}) > 1:
        raise PluginError(f"{piece.who}: layers differ in their number of frames")
    frames = len(next(iter(checked.values())))
    if piece.frames.stop is not None and piece.frames.stop > frames:
        raise PluginError(
            f"{piece.who}: {frames} frames of a window of {len(piece.samples)} samples, its frame times promise at "
            f"least {piece.frames.stop}"
        )
    return {layer: values[piece.frames].astype(np.float32, copy=False) for layer, values in checked.items()}


def _blocks(pieces: Iterable[_Piece], batch_s: float) -> Iterator[list[_Piece]]:
    """Pieces in order, in blocks of about four batches: of these an encoder can choose which are alike in length."""
    block: list[_Piece] = []
    seconds = 0.0
    for piece in pieces:
        block.append(piece)
        seconds += len(piece.samples) / SAMPLE_RATE_HZ
        if seconds >= 4 * batch_s:
            yield block
            block, seconds = [], 0.0
    if block:
        yield block


def _ahead(
    pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], depth: int
) -> Iterator[tuple[T, R]]:
    """Each item and what the function makes of it, in order, at most ``depth`` of them ahead of who asks."""
    waiting: deque[tuple[T, Future[R]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(function, item)))
        if len(waiting) > depth:
            first, future = waiting.popleft()
            yield first, future.result()
    for first, future in waiting:
        yield first, future.result()


@contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that are not waited for when work is interrupted: Ctrl-C must not encode a shard to its end."""
    pool = ThreadPoolExecutor(workers, initializer=take_torch_threads)
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
