"""The encoder: transformers' own HubertModel or Wav2Vec2Model, and what is read off it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from kwsbench_plugins.weights import import_transformers

from . import streams
from .perturb import standardised

if TYPE_CHECKING:
    import torch

    from .plan import Recipe

# Frames of 25 ms every 20 ms, whatever the recipe says of the rest: streams.py counts on it.
CONVOLUTIONS = {"conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]}

# A layer is read in windows of 15 s that overlap by 1 s: a frame near an edge sees too little on one side.
_WINDOW = 750
_WINDOW_SAMPLES = _WINDOW * streams.SHIFT + streams.FIELD - streams.SHIFT
_EDGE = 25
_WINDOWS_TOGETHER = 32

MASK_PROBABILITY = 0.075
MASK_FRAMES = 10


def config(recipe: Recipe) -> Any:
    """HubertConfig or Wav2Vec2Config of a recipe."""
    transformers = import_transformers()
    kind = {"hubert": transformers.HubertConfig, "wav2vec2": transformers.Wav2Vec2Config}[recipe.objective]
    return kind(**{**recipe.model, **CONVOLUTIONS})


def mask(batch: int, frames: int, generator: torch.Generator) -> torch.Tensor:
    """(batch, frames) bool: spans of ten frames, begun at 7.5% of them, at least one whole span in each row.

    A frame is masked unless none of the ten up to it begins a span: 1 - 0.925¹⁰ = 54% of them.
    """
    import torch

    begins = torch.rand(batch, frames, generator=generator, device=generator.device) < MASK_PROBABILITY
    one = torch.randint(max(1, frames - MASK_FRAMES + 1), (batch, 1), generator=generator, device=generator.device)
    begins = begins.scatter(1, one, value=True)
    padded = torch.nn.functional.pad(begins.float(), (MASK_FRAMES - 1, 0))
    return torch.nn.functional.max_pool1d(padded[:, None], MASK_FRAMES, 1)[:, 0] > 0


def hidden(core: Any, samples: torch.Tensor, layer: int) -> torch.Tensor:
    """(frames, dims) float32: what leaves block ``layer`` (0: what enters the first) for a stream of any length."""
    import torch

    core.eval()
    spans = windows((len(samples) - streams.FIELD) // streams.SHIFT + 1)
    parts = []
    on_gpu = samples.device.type == "cuda"
    with torch.no_grad(), torch.autocast(samples.device.type, torch.bfloat16, enabled=on_gpu):
        for at in range(0, len(spans), _WINDOWS_TOGETHER):
            group = spans[at : at + _WINDOWS_TOGETHER]
            batch = torch.stack([samples[span.first * streams.SHIFT :][:_WINDOW_SAMPLES] for span in group])
            states = core(standardised(batch), output_hidden_states=True).hidden_states[layer].float()
            parts += [
                row[span.keep_from - span.first : span.keep_to - span.first]
                for row, span in zip(states, group, strict=True)
            ]
    return torch.cat(parts)


class Window(NamedTuple):
    """A window's first frame, and the frames that are kept of it."""

    first: int
    keep_from: int
    keep_to: int


def windows(frames: int) -> list[Window]:
    """Windows of 15 s (of the whole, where it is shorter) that together keep every frame once."""
    last = max(0, frames - _WINDOW)
    starts = [*range(0, last, _WINDOW - 2 * _EDGE), last]
    ends = [start + _WINDOW - _EDGE for start in starts[:-1]] + [frames]
    return [Window(*row) for row in zip(starts, [0, *ends[:-1]], ends, strict=True)]
