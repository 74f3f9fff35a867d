"""Recordings of four formats → mono 16 kHz FLAC of 16 bits, zero mean, silence cut from both ends."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from kwsbench.errors import KwsbenchError
from kwsbench.types import SAMPLE_RATE_HZ, Waveform


def decode(content: bytes, name: str) -> Waveform:
    """The samples of one recording: mono, 16 kHz, zero mean, trimmed. The format follows the name's suffix.

    Raises KwsbenchError that names the recording, when it is no audio or empty.
    """
    suffix = Path(name).suffix
    try:
        samples, rate_hz = _g722(content) if suffix == ".g722" else _by_libsndfile(content, suffix)
    except (av.error.FFmpegError, soundfile.LibsndfileError, ValueError) as error:
        raise KwsbenchError(f"{name} cannot be decoded ({error}); fetch its package again") from error
    if len(samples) == 0:
        raise KwsbenchError(f"{name} holds no audio; fetch its package again")
    if rate_hz != SAMPLE_RATE_HZ:
        samples = soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ)
    return trim(samples - samples.mean())


def trim(samples: Waveform) -> Waveform:
    """Cut the silence at both ends down to 0.1 s, so that a query is its word.

    Speech is where three frames of 10 ms in a row (a click is shorter) come within 35 dB of the
    loudest frame, or stand 8 dB out of the quietest ones where those are louder than that. The
    difference of neighbouring samples is measured, not the samples: hum does not count as speech.
    """
    frame = SAMPLE_RATE_HZ // 100
    differences = np.diff(samples, prepend=samples[:1])
    energy = np.square(differences[: len(samples) // frame * frame].reshape(-1, frame)).mean(axis=1, dtype=np.float64)
    if len(energy) < 3 or not energy.any():
        return samples.astype(np.float32)
    level_db = 10 * np.log10(energy / energy.max() + 1e-12)
    threshold_db = min(max(-35.0, np.percentile(level_db, 5) + 8), -28.0)
    loud = level_db > threshold_db
    (starts,) = np.nonzero(loud[:-2] & loud[1:-1] & loud[2:])
    if len(starts) == 0:
        return samples.astype(np.float32)
    margin = 10
    first, last = max(0, starts[0] - margin), starts[-1] + 3 + margin
    return samples[first * frame : last * frame].astype(np.float32)


def write_flac(path: Path, samples: Waveform) -> bytes:
    """Write 16-bit FLAC and return its samples as bytes, which tell equal recordings apart from others."""
    integers = np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, integers, SAMPLE_RATE_HZ, subtype="PCM_16", format="FLAC")
    return bytes(integers.tobytes())


def _g722(content: bytes) -> tuple[npt.NDArray[np.float32], int]:
    # Headerless: only the suffix tells. libsndfile does not know it, ffmpeg does.
    with av.open(io.BytesIO(content), mode="r", format="g722") as container:
        rate_hz = container.streams.audio[0].rate
        frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    return np.concatenate(frames).astype(np.float32) / 32768.0, rate_hz


def _by_libsndfile(content: bytes, suffix: str) -> tuple[npt.NDArray[np.float32], int]:
    file = io.BytesIO(content)
    if suffix == ".gsm":  # headerless too
        headerless = {"samplerate": 8000, "channels": 1, "format": "RAW", "subtype": "GSM610"}
        samples, rate_hz = soundfile.read(file, dtype="float32", always_2d=True, **headerless)
    else:
        samples, rate_hz = soundfile.read(file, dtype="float32", always_2d=True)
    return samples.mean(axis=1), rate_hz
