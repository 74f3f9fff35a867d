"""Contrast: which of a hundred codes is a masked frame's own, by transformers' loss. Baevski et al. (2020)."""

from __future__ import annotations

from typing import Any

import torch

from kwsbench_plugins.weights import import_transformers

_HOTTEST, _COLDEST = 2.0, 0.5

# The convolutions learn slower than the blocks, or their features collapse to what is easily told apart.
_FRONT_GRADIENT = 0.1


class Contrast(torch.nn.Module):
    """Wav2Vec2ForPreTraining, whose quantizer and projections are left behind when training is done."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.whole = import_transformers().Wav2Vec2ForPreTraining(config)
        self.negatives = config.num_negatives
        self.core.feature_extractor.register_forward_hook(_slow_down)

    @property
    def core(self) -> Any:
        """The Wav2Vec2Model."""
        return self.whole.wav2vec2

    def forward(
        self, samples: torch.Tensor, mask: torch.Tensor, *, done: float, generator: torch.Generator, **_: Any
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """(loss, what to log) of samples (batch, n) and mask (batch, frames); done: share of the training behind."""
        # The choice of codes grows from nearly free to nearly fixed within the first 5/8 of the training.
        self.whole.set_gumbel_temperature(max(_COLDEST, _HOTTEST * 0.25 ** min(1.0, 1.6 * done)))
        output = self.whole(
            samples, mask_time_indices=mask, sampled_negative_indices=negatives(mask, self.negatives, generator)
        )
        masked = mask.sum()  # transformers gives sums over the masked frames
        return output.loss / masked, {
            "contrast": output.contrastive_loss / masked,
            "diversity": output.diversity_loss / masked,
            "codes in use": output.codevector_perplexity,
        }


def negatives(mask: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """(batch, frames, count): for each masked frame, others that are masked in its row, drawn with replacement.

    They are counted over the flattened batch, as transformers wants them; what stands at unmasked frames
    is not used. A row with one masked frame would have no other; ``model.mask`` masks at least ten.
    """
    batch, frames = mask.shape
    masked = mask.sum(1)
    # The masked frames of each row, in order, before the others.
    order = torch.argsort(mask.logical_not().to(torch.int8), dim=1, stable=True)
    rank = (mask.cumsum(1) - 1).clamp(min=0)[..., None]
    drawn = torch.rand(batch, frames, count, generator=generator, device=mask.device, dtype=torch.float64)
    other = (drawn * (masked - 1)[:, None, None]).long()
    other = other + (other >= rank).long()  # one place further from the frame itself on: it is never drawn
    chosen = order.gather(1, other.reshape(batch, -1)).reshape(batch, frames, count)
    return chosen + (torch.arange(batch, device=mask.device) * frames)[:, None, None]


def _slow_down(_module: Any, _arguments: Any, features: torch.Tensor) -> torch.Tensor:
    """The same features, with a tenth of their gradient."""
    return _FRONT_GRADIENT * features + (1 - _FRONT_GRADIENT) * features.detach()
