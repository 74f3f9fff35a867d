"""Every speaker's stream at every speed, and random crops of them that know where in the original they were."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kwsbench.errors import KwsbenchError
from kwsbench.types import SAMPLE_RATE_HZ

from .corpus import read_table
from .plan import ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

# The encoders' frames: one each 320 samples, made of 400.
SHIFT = 320
FIELD = 400

# The speed as recorded comes this much more often than its turn: it is what will be heard in use.
ORIGINAL_SHARE = 0.15


class Crops(NamedTuple):
    """samples: (batch, n) float32; speaker: (batch,); centres: (batch, frames), in samples of the original stream."""

    samples: torch.Tensor
    speaker: torch.Tensor
    centres: torch.Tensor


@dataclass(frozen=True)
class Streams:
    """samples: int16, all streams end to end; first, length: (speeds, speakers), where each lies."""

    speakers: Sequence[str]
    speeds: Sequence[str]
    samples: torch.Tensor
    first: torch.Tensor
    length: torch.Tensor

    @property
    def device(self) -> Any:
        return self.samples.device

    def stream(self, speaker: int, speed: str = "1/1") -> torch.Tensor:
        """float32 (n,) of one speaker at one speed, in [-1, 1)."""
        at = self.speeds.index(speed), speaker
        first, length = int(self.first[at]), int(self.length[at])
        return self.samples[first : first + length].float() / 32768

    def crops(self, batch: int, frames: int, generator: torch.Generator) -> Crops:
        """Crops of ``frames`` frames each. Who speaks much is drawn more often, but less than in proportion."""
        import torch

        samples = frames * SHIFT + FIELD - SHIFT
        original = self.speeds.index("1/1")
        seconds = self.length[original].double() / SAMPLE_RATE_HZ
        speaker = torch.multinomial(seconds**0.6, batch, replacement=True, generator=generator)
        speed = torch.randint(len(self.speeds), (batch,), generator=generator, device=self.device)
        speed[self._uniform(batch, generator) < ORIGINAL_SHARE] = original
        room = self.length[speed, speaker] - samples + 1
        start = (self._uniform(batch, generator) * room).long()
        at = torch.arange(samples, device=self.device)
        cut = self.samples[(self.first[speed, speaker] + start)[:, None] + at].float() / 32768
        factor = torch.tensor([p / q for p, q in map(ratio, self.speeds)], dtype=torch.float64, device=self.device)
        centre = torch.arange(frames, device=self.device) * SHIFT + FIELD / 2
        return Crops(cut, speaker, (start[:, None] + centre) * factor[speed][:, None])

    def _uniform(self, batch: int, generator: torch.Generator) -> torch.Tensor:
        import torch

        return torch.rand(batch, generator=generator, device=self.device, dtype=torch.float64)


def load(folder: Path, speeds: Sequence[str], longest_crop: int, device: str) -> Streams:
    """The streams of a corpus at the given speeds, on a device.

    Speed and pitch change together, as a record's do that turns faster: sample k at p/q is k·p/q of the
    original. Seven hours at nine speeds are 7 GB and some two minutes of resampling.
    """
    import torch

    speakers = sorted({clip.speaker for clip in read_table(folder)})
    with ThreadPoolExecutor() as pool:
        rows = list(pool.map(lambda name: _at_all_speeds(folder / f"{name}.flac", speeds), speakers))
    needed = longest_crop * SHIFT + FIELD - SHIFT
    for name, row in zip(speakers, rows, strict=True):
        shortest = min(map(len, row))
        if shortest < needed:
            raise KwsbenchError(
                f"{folder / name}.flac: {shortest} samples at the fastest speed, but a crop has {needed}; "
                "shorten crop_frames or leave the speaker out of the corpus"
            )
    lengths = np.array([[len(row[speed]) for row in rows] for speed in range(len(speeds))])
    ends = lengths.ravel().cumsum()
    samples = np.empty(ends[-1], np.int16)
    for end, part in zip(ends, (row[speed] for speed in range(len(speeds)) for row in rows), strict=True):
        samples[end - len(part) : end] = part
    first = (ends - lengths.ravel()).reshape(lengths.shape)
    return Streams(
        speakers,
        tuple(speeds),
        torch.from_numpy(samples).to(device),
        torch.from_numpy(first).to(device),
        torch.from_numpy(lengths).to(device),
    )


def _at_all_speeds(path: Path, speeds: Sequence[str]) -> list[np.ndarray]:
    import soundfile
    import soxr

    original, _ = soundfile.read(path, dtype="int16")
    return [original if p == q else soxr.resample(original, p, q) for p, q in map(ratio, speeds)]
