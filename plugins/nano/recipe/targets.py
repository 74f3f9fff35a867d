"""What a round predicts: a cluster for every frame of every stream, from the undisturbed recordings."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from kwsbench.errors import KwsbenchError

from . import cepstra, streams
from .kmeans import assign, kmeans, perplexity, sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from .streams import Crops, Streams

WARPS = (0.84, 0.88, 0.92, 0.96, 1.0, 1.04, 1.08, 1.12, 1.16)
_DIMS = 64
_MOST_POINTS = 600_000
_ITERATIONS = 30


@dataclass(frozen=True)
class Targets:
    """labels: all speakers' end to end, from ``first`` (speakers,) on; frame i is centred on sample shift·i + 200."""

    labels: torch.Tensor
    first: torch.Tensor
    shift: int
    clusters: int
    perplexity: float

    def at(self, crops: Crops) -> torch.Tensor:
        """(batch, frames) int64: the cluster of the frame whose centre is nearest in the original's time."""
        import torch

        frame = ((crops.centres - cepstra.FIELD / 2) / self.shift).round().long()
        ends = torch.cat([self.first[1:], self.first.new_tensor([len(self.labels)])])
        last = (ends - self.first - 1)[crops.speaker]
        return self.labels[self.first[crops.speaker][:, None] + frame.clamp(min=0).minimum(last[:, None])]


def from_cepstra(voices: Streams, clusters: int, generator: torch.Generator) -> Targets:
    """Clusters of cepstra, every 10 ms, after each speaker's mean, variance and vocal tract length are taken out."""
    by_warp = [cepstra.cepstra(voices.stream(speaker), WARPS) for speaker in range(len(voices.speakers))]
    warps = cepstra.choose_warps(by_warp, generator)
    features = [cepstra.with_slopes(voice[warp]) for voice, warp in zip(by_warp, warps, strict=True)]
    return clustered(features, clusters, cepstra.SHIFT, generator)


def from_layer(
    voices: Streams, core: Any, layer: int, speeds: Sequence[str], clusters: int, generator: torch.Generator
) -> Targets:
    """Clusters of a layer, every 20 ms: averaged over speeds, less the speaker's mean, whitened in 64 dimensions.

    The average over speeds leaves what does not depend on pitch and formants, the mean is the speaker's.
    """
    import torch

    from .model import hidden

    depth = len(core.encoder.layers)
    if not 0 <= layer <= depth:
        raise KwsbenchError(f"targets of layer {layer}, but the model has layers 0 to {depth}; mend the recipe's layer")
    features = []
    for speaker in range(len(voices.speakers)):
        frames = (len(voices.stream(speaker)) - streams.FIELD) // streams.SHIFT + 1
        views = []
        for speed in speeds:
            states = hidden(core, voices.stream(speaker, speed), layer)
            views.append(states[same_time(frames, speed).clamp(max=len(states) - 1).to(states.device)])
        mean = torch.stack(views).mean(0)
        features.append(mean - mean.mean(0))
    everything = sample(torch.cat(features), _MOST_POINTS, generator)
    turn = whitening(everything, min(_DIMS, everything.shape[1]))
    return clustered([voice @ turn for voice in features], clusters, streams.SHIFT, generator)


def same_time(frames: int, speed: str) -> torch.Tensor:
    """(frames,) int64: the frame of a stream at a speed that hears what each frame hears in the original."""
    import torch

    # A centre at sample t of the original is at t / speed: exact in float64 for any stream that fits into memory.
    centre = torch.arange(frames, dtype=torch.float64) * streams.SHIFT + streams.FIELD / 2
    return ((centre / float(Fraction(speed)) - streams.FIELD / 2) / streams.SHIFT).round().long().clamp(min=0)


def whitening(points: torch.Tensor, dims: int) -> torch.Tensor:
    """(d, dims): the leading principal axes of centred points, each divided by its spread.

    Softly: a twentieth of the largest variance is added to each, so that small axes are not blown up to noise.
    """
    import torch

    variances, axes = torch.linalg.eigh((points.T.double() @ points.double()) / len(points))
    soft = (variances[-dims:] + 0.05 * variances[-1]).sqrt()
    return (axes[:, -dims:] / soft).to(points.dtype)


def clustered(features: Sequence[torch.Tensor], clusters: int, shift: int, generator: torch.Generator) -> Targets:
    """The targets of each speaker's features (frames, dims): each frame's cluster, of a k-means over all."""
    import torch

    everything = torch.cat(list(features))
    if len(everything) < clusters:
        raise KwsbenchError(f"{clusters} clusters of {len(everything)} frames; give fewer clusters or more recordings")
    centres = kmeans(sample(everything, _MOST_POINTS, generator), clusters, _ITERATIONS, generator)
    labels = assign(everything, centres)
    lengths = torch.tensor([len(voice) for voice in features], device=labels.device)
    return Targets(labels, lengths.cumsum(0) - lengths, shift, clusters, perplexity(labels, clusters))
