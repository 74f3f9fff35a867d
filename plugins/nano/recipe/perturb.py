"""Disturbed copies of crops: what a recording can suffer without another word being said.

The targets come from the clean recording, so the encoder has to see through all of this. Each
function takes a torch.Generator: the same seed disturbs in the same way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kwsbench.types import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    import torch

# How often each happens, of all crops.
MIXED, EQUALISED, TELEPHONE, NOISY, REVERBERANT = 0.2, 0.7, 0.25, 0.5, 0.15


def perturb(samples: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(batch, n) → (batch, n), each row disturbed in its own way and brought to mean 0 and variance 1."""
    import torch

    draw = Draw(generator, len(samples))
    n = len(samples[0])
    size = transform_size(n)
    spectrum = torch.fft.rfft(with_another_voice(samples, draw), n=size)
    frequency = torch.linspace(0, 1, spectrum.shape[1], device=samples.device)
    band = telephone_band(frequency, draw)
    spectrum = spectrum * equaliser(frequency, draw) * band
    spectrum = spectrum + noise(spectrum, frequency, draw) * band
    spectrum = spectrum * reverberation(size, draw)
    return standardised(torch.fft.irfft(spectrum, n=size)[:, :n])


def transform_size(n: int) -> int:
    """A length that transforms fast and has room for the reverberation, which would come round to the beginning."""
    return (n + REVERBERATION + 4095) // 4096 * 4096


class Draw:
    """Random numbers, a column of them for the rows of a batch."""

    def __init__(self, generator: torch.Generator, batch: int) -> None:
        self.generator = generator
        self.batch = batch

    def between(self, low: float, high: float, columns: int = 1) -> torch.Tensor:
        """(batch, columns), uniform."""
        import torch

        drawn = torch.rand(self.batch, columns, generator=self.generator, device=self.generator.device)
        return low + (high - low) * drawn

    def happens(self, probability: float) -> torch.Tensor:
        """(batch, 1) of 0 and 1."""
        return (self.between(0, 1) < probability).float()

    def normal(self, columns: int) -> torch.Tensor:
        """(batch, columns), standard normal."""
        import torch

        return torch.randn(self.batch, columns, generator=self.generator, device=self.generator.device)


def with_another_voice(samples: torch.Tensor, draw: Draw) -> torch.Tensor:
    """(batch, n): another row is laid over at most half of some rows, 0–15 dB softer."""
    import torch

    n = samples.shape[1]
    other = samples[torch.randperm(draw.batch, generator=draw.generator, device=samples.device)]
    length = draw.between(0, n / 2)
    start = draw.between(0, 1) * (n - length)
    at = torch.arange(n, device=samples.device)
    window = (at >= start) & (at < start + length)
    gain = (_power(samples) / _power(other)).sqrt() * 10 ** (-draw.between(0, 15) / 20)
    return samples + other * window * gain * draw.happens(MIXED)


def equaliser(frequency: torch.Tensor, draw: Draw) -> torch.Tensor:
    """(batch, bins) gains of ± 8 dB, smooth over frequency; 1 where nothing is equalised."""
    return 10 ** (_curve(frequency, 8.0, draw) * draw.happens(EQUALISED) / 20)


def telephone_band(frequency: torch.Tensor, draw: Draw) -> torch.Tensor:
    """(batch, bins) gains: from 60–310 Hz to 3.3–3.8 kHz; 1 where there is no telephone."""
    import torch

    low, high = draw.between(60, 310) / 8000, draw.between(3300, 3800) / 8000
    band = torch.sigmoid((high - frequency) * 150) * torch.sigmoid((frequency - low) * 600)
    happens = draw.happens(TELEPHONE)
    return 1 - happens + happens * band


def noise(spectrum: torch.Tensor, frequency: torch.Tensor, draw: Draw) -> torch.Tensor:
    """(batch, bins) complex, 8–43 dB softer than the spectrum, falling with frequency as white to brown noise does."""
    import torch

    bins = spectrum.shape[1]
    colour = 10 ** (_curve(frequency, 6.0, draw) / 20) / (frequency + 0.02) ** draw.between(0, 1.2)
    noise = torch.complex(draw.normal(bins), draw.normal(bins)) * colour
    level = (_power(spectrum.abs()) / _power(noise.abs())).sqrt() * 10 ** (-draw.between(8, 43) / 20)
    return noise * level * draw.happens(NOISY)


REVERBERATION = SAMPLE_RATE_HZ * 3 // 10
_DIRECT = SAMPLE_RATE_HZ * 2 // 1000


def reverberation(size: int, draw: Draw) -> torch.Tensor:
    """(batch, bins): the direct sound and, for some, a noise after it that falls by 60 dB in 0.1–0.4 s."""
    import torch

    at = torch.arange(REVERBERATION, device=draw.generator.device)
    tail = draw.normal(REVERBERATION) * torch.exp(-6.9 * at / SAMPLE_RATE_HZ / draw.between(0.1, 0.4))
    tail = tail * 0.15 * draw.between(0, 1) * (at >= _DIRECT)
    return 1 + draw.happens(REVERBERANT) * torch.fft.rfft(tail, n=size)


def standardised(samples: torch.Tensor) -> torch.Tensor:
    """(batch, n) with mean 0 and variance 1 in each row, as the encoders are given their input in use."""
    centred = samples - samples.mean(1, keepdim=True)
    return centred / (centred.var(1, keepdim=True, correction=0) + 1e-7).sqrt()


def _curve(frequency: torch.Tensor, reach_db: float, draw: Draw, points: int = 9) -> torch.Tensor:
    """(batch, bins) in dB: straight between random points that are evenly spaced over the root of frequency."""
    heights = draw.between(-reach_db, reach_db, points)
    place = frequency.sqrt() * (points - 1)
    left = place.floor().long().clamp(max=points - 2)
    weight = place - left
    return heights[:, left] * (1 - weight) + heights[:, left + 1] * weight


def _power(values: torch.Tensor) -> torch.Tensor:
    return values.square().mean(1, keepdim=True) + 1e-8
