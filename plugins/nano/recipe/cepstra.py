"""MFCCs with the speaker taken out: mean, variance, and the length of the vocal tract. The targets of the first round.

Vocal tract length: Eide & Gish (1996); chosen for each speaker by the likelihood under a common codebook,
which takes the place of Lee & Rose's (1998) acoustic model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kwsbench.types import SAMPLE_RATE_HZ

from .kmeans import kmeans, sample, squared_distances

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

SHIFT = 160
FIELD = 400
_FFT = 512
_MELS = 26
_CEPSTRA = 13
_LOWEST_HZ, _HIGHEST_HZ = 80.0, 7600.0

# Warped centres rise by the factor up to here, and from there straight to a fixed end, so that none passes Nyquist.
_BEND_HZ, _END_HZ = 5500.0, 7900.0

_BLOCK_FRAMES = 50_000


def cepstra(samples: torch.Tensor, warps: Sequence[float]) -> dict[float, torch.Tensor]:
    """{warp: (frames, 13)} of a stream (n,); frame i is centred on sample 160·i + 200."""
    import torch

    emphasised = torch.cat([samples[:1], samples[1:] - 0.97 * samples[:-1]])
    window = torch.hann_window(FIELD, device=samples.device)
    filters = {warp: mel_filters(warp).to(samples.device) for warp in warps}
    cosines = _cosines().to(samples.device)
    parts: dict[float, list[torch.Tensor]] = {warp: [] for warp in warps}
    for frames in emphasised.unfold(0, FIELD, SHIFT).split(_BLOCK_FRAMES):
        power = torch.fft.rfft(frames * window, n=_FFT).abs().square()
        for warp, filter_bank in filters.items():
            parts[warp].append((power @ filter_bank.T + 1e-7).log() @ cosines.T)
    return {warp: torch.cat(part) for warp, part in parts.items()}


def mel_filters(warp: float) -> torch.Tensor:
    """(26, 257) triangles, evenly spaced in mel between 80 and 7600 Hz, all moved by the warp."""
    import torch

    low, high = (1127 * math.log(1 + hz / 700) for hz in (_LOWEST_HZ, _HIGHEST_HZ))
    centres = 700 * ((torch.linspace(low, high, _MELS + 2, dtype=torch.float64) / 1127).exp() - 1)
    beyond = _BEND_HZ * warp + (centres - _BEND_HZ) * (_END_HZ - _BEND_HZ * warp) / (_END_HZ - _BEND_HZ)
    centres = torch.where(centres < _BEND_HZ, centres * warp, beyond)
    left, middle, right = centres[:-2, None], centres[1:-1, None], centres[2:, None]
    hz = torch.linspace(0, SAMPLE_RATE_HZ / 2, _FFT // 2 + 1, dtype=torch.float64)
    return torch.minimum((hz - left) / (middle - left), (right - hz) / (right - middle)).clamp(min=0).float()


def choose_warps(
    voices: Sequence[Mapping[float, torch.Tensor]], generator: torch.Generator, turns: int = 4
) -> list[float]:
    """For each speaker the warp under which speech is most like everybody's.

    voices: each speaker's ``cepstra``. By turns a codebook of 64 is made of all speakers under their
    warps so far, and each takes the warp whose frames are likeliest under it (unit variances).
    """
    import torch

    active = [speech(voice[1.0]) for voice in voices]
    best = [1.0] * len(voices)
    for _ in range(turns):
        pool = torch.cat(
            [
                sample(normalised(voice[warp][mask]), 20_000, generator)
                for voice, warp, mask in zip(voices, best, active, strict=True)
            ]
        )
        codebook = kmeans(sample(pool, 200_000, generator), 64, 15, generator)
        best = [
            max(voice, key=lambda warp, voice=voice, mask=mask: _likelihood(voice[warp][mask], codebook))
            for voice, mask in zip(voices, active, strict=True)
        ]
    return best


def speech(frames: torch.Tensor) -> torch.Tensor:
    """(n,) bool: c0 in the upper 55% of its range, from the 5th to the 98th percentile of the voice."""
    import torch

    energy = frames[:, 0]
    # quantile takes 16 million values at most, and some thousands of them say as much.
    low, high = torch.quantile(energy[:: max(1, len(energy) // 20_000)], energy.new_tensor([0.05, 0.98]))
    return energy > high - 0.55 * (high - low)


def with_slopes(frames: torch.Tensor) -> torch.Tensor:
    """(n, 13) → (n, 39): normalised cepstra, their slopes, and the slopes' slopes at 0.7 of the weight."""
    import torch

    static = normalised(frames)
    first = slope(static)
    second = slope(first)
    return torch.cat([static, first / first.std(0), 0.7 * second / second.std(0)], 1)


def normalised(frames: torch.Tensor) -> torch.Tensor:
    """(n, d) with mean 0 and variance 1 in each dimension."""
    return (frames - frames.mean(0)) / (frames.std(0) + 1e-5)


def slope(frames: torch.Tensor, reach: int = 2) -> torch.Tensor:
    """(n, d): the slope of the least-squares line through five frames, the ends repeated."""
    import torch

    padded = torch.cat([frames[:1].expand(reach, -1), frames, frames[-1:].expand(reach, -1)])
    n = len(frames)
    rise = sum(k * (padded[reach + k : reach + k + n] - padded[reach - k : reach - k + n]) for k in (1, 2))
    return rise / 10


def _likelihood(frames: torch.Tensor, codebook: torch.Tensor) -> float:
    distances = squared_distances(normalised(frames)[:30_000], codebook)
    return float((-distances / 2).logsumexp(1).mean())


def _cosines() -> torch.Tensor:
    """(13, 26): the first rows of the orthonormal DCT-II, but for the scale of c0."""
    import torch

    order, place = torch.arange(_CEPSTRA)[:, None], torch.arange(_MELS)[None]
    return math.sqrt(2 / _MELS) * torch.cos(math.pi / _MELS * (place + 0.5) * order)
