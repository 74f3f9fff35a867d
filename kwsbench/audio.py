"""Sound files → Waveforms. What was resampled or mixed down is handed back, so that a run can count it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from kwsbench.errors import KwsbenchError
from kwsbench.types import SAMPLE_RATE_HZ, Waveform

# Labels are rounded, and lossy codecs drop a frame: a span may end this much after its file does.
END_TOLERANCE_S = 0.020

# Formats without a header, which nothing but their name tells apart.
_HEADERLESS: dict[str, dict[str, Any]] = {
    ".gsm": {"samplerate": 8000, "channels": 1, "format": "RAW", "subtype": "GSM610"}
}

# libsndfile seeks to the exact sample here and only here: in Vorbis near the end of the file and in MP3 after
# any seek, other samples come back than a read from the beginning gives (libsndfile 1.2.2).
_SEEKABLE_FORMATS = {"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "FLAC"}
_SEEKABLE_SUBTYPES = ("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW")

_G722_BYTES_PER_S = 8_000
_BLOCK_SAMPLES = 1 << 20


class Audio(NamedTuple):
    """samples: float32 (samples,), mono, at the rate asked for; the source's rate and channels are the file's."""

    samples: Waveform
    source_rate_hz: int
    source_channels: int


def read(
    path: Path, start_s: float | None = None, end_s: float | None = None, *, rate_hz: int = SAMPLE_RATE_HZ
) -> Audio:
    """A file, or a span of it, as mono float32 at 16 kHz, or at another rate.

    The span is samples ``round(start_s * rate)`` to ``round(end_s * rate)`` (exclusive) at the rate
    of the file; only then is it resampled (soxr, high quality), so that nothing outside the span is
    heard. Channels are averaged. An end at most 20 ms after the file's own is cut to it.

    Raises KwsbenchError, in one line that names the file: missing, empty, unreadable, NaN or inf,
    a span that is empty or leaves the file.
    """
    path = Path(path)
    _require(path)
    try:
        data, source_hz = _read_soundfile(path, start_s, end_s)
    except soundfile.LibsndfileError as error:
        data, source_hz = _read_av(path, start_s, end_s, reason=str(error.error_string).rstrip("."))
    if not len(data):
        raise KwsbenchError(f"{path}: no samples; remove the file from the data set or record it again")
    if not np.isfinite(data).all():
        raise KwsbenchError(f"{path}: holds NaN or infinite samples; export it again")
    channels = data.shape[1]
    mono = data.mean(axis=1, dtype=np.float32) if channels > 1 else data[:, 0]
    if source_hz != rate_hz:
        mono = soxr.resample(mono, source_hz, rate_hz, quality="HQ")
    if not len(mono):
        raise KwsbenchError(f"{path}: {len(data)} samples at {source_hz} Hz are less than one at {rate_hz} Hz")
    return Audio(np.ascontiguousarray(mono, dtype=np.float32), source_hz, channels)


class Info(NamedTuple):
    """What a file's header says."""

    duration_s: float
    rate_hz: int
    channels: int


def info(path: Path) -> Info:
    """Duration, rate and channels of a file, from its header alone where it has one."""
    path = Path(path)
    _require(path)
    if path.suffix.lower() == ".g722":
        return Info(path.stat().st_size / _G722_BYTES_PER_S, SAMPLE_RATE_HZ, 1)
    try:
        with soundfile.SoundFile(path, **_HEADERLESS.get(path.suffix.lower(), {})) as file:
            return Info(file.frames / file.samplerate, int(file.samplerate), int(file.channels))
    except soundfile.LibsndfileError as error:
        samples, rate_hz = _read_av(path, None, None, reason=str(error.error_string).rstrip("."))
        return Info(len(samples) / rate_hz, rate_hz, samples.shape[1])


def duration_s(path: Path) -> float:
    """Seconds of sound in a file, from its header alone where it has one."""
    return info(path).duration_s


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    _require(path)
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require(path: Path) -> None:
    if not path.is_file():
        raise KwsbenchError(f"{path}: no such sound file")
    if not path.stat().st_size:
        raise KwsbenchError(f"{path}: 0 bytes; the file is empty")


def _read_soundfile(path: Path, start_s: float | None, end_s: float | None) -> tuple[npt.NDArray[np.float32], int]:
    options: dict[str, Any] = _HEADERLESS.get(path.suffix.lower(), {})
    with soundfile.SoundFile(path, **options) as file:
        start, stop = _span(path, start_s, end_s, file.frames, file.samplerate)
        if file.format in _SEEKABLE_FORMATS and file.subtype.startswith(_SEEKABLE_SUBTYPES):
            file.seek(start)
        else:
            for first in range(0, start, _BLOCK_SAMPLES):
                file.read(min(_BLOCK_SAMPLES, start - first), dtype="float32")
        data = file.read(stop - start, dtype="float32", always_2d=True)
        if len(data) < stop - start:
            raise KwsbenchError(
                f"{path}: breaks off after {start + len(data)} of {file.frames} samples; fetch or export it again"
            )
        return data, int(file.samplerate)


def _read_av(
    path: Path, start_s: float | None, end_s: float | None, *, reason: str
) -> tuple[npt.NDArray[np.float32], int]:
    """What libsndfile does not read (G.722, AAC, video files), through ffmpeg's libraries: (samples, channels)."""
    import av

    try:
        with av.open(str(path), format="g722" if path.suffix.lower() == ".g722" else None) as container:
            if not container.streams.audio:
                raise KwsbenchError(f"{path}: has no sound in it")
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
            decoded = [out for frame in container.decode(stream) for out in resampler.resample(frame)]
            decoded += resampler.resample(None)
            rate_hz = int(stream.rate)
    except av.FFmpegError as error:
        raise KwsbenchError(f"{path}: cannot be read as sound ({reason}); convert it to WAV or FLAC") from error
    if not decoded:
        raise KwsbenchError(f"{path}: no samples; remove the file from the data set or record it again")
    data = np.concatenate([frame.to_ndarray() for frame in decoded], axis=1).T
    start, stop = _span(path, start_s, end_s, len(data), rate_hz)
    return np.ascontiguousarray(data[start:stop], dtype=np.float32), rate_hz


def _span(path: Path, start_s: float | None, end_s: float | None, samples: int, rate_hz: int) -> tuple[int, int]:
    """Samples of the file: (first, last + 1)."""
    start = 0 if start_s is None else round(start_s * rate_hz)
    stop = samples if end_s is None else round(end_s * rate_hz)
    length_s = samples / rate_hz
    if start < 0 or (end_s is not None and stop <= start):
        raise KwsbenchError(f"{path}: span {start_s}–{end_s} s is empty or begins before 0 s")
    if stop - samples > round(END_TOLERANCE_S * rate_hz):
        raise KwsbenchError(f"{path}: span ends at {end_s} s, but the file is {length_s:.3f} s long")
    if start >= samples > 0:
        raise KwsbenchError(f"{path}: span begins at {start_s} s, but the file is {length_s:.3f} s long")
    return start, min(stop, samples)
