"""Masked prediction: which cluster a frame is of, from the frames around it. Hsu et al. (2021)."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from kwsbench_plugins.weights import import_transformers

_DIMS = 128
_TEMPERATURE = 0.1

# What is not masked counts less: it can be heard, so there is less to learn from it.
_UNMASKED = 0.3


class MaskedPrediction(torch.nn.Module):
    """HubertModel and a head of cosines between projected frames and an embedding of each cluster."""

    def __init__(self, config: Any, clusters: int) -> None:
        super().__init__()
        self.core = import_transformers().HubertModel(config)
        self.projection = torch.nn.Linear(config.hidden_size, _DIMS)
        self.embeddings = torch.nn.Parameter(torch.randn(clusters, _DIMS))

    def forward(
        self, samples: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor, **_: Any
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """(loss, what to log) of samples (batch, n), mask and labels (batch, frames)."""
        states = self.core(samples, mask_time_indices=mask).last_hidden_state
        frames = functional.normalize(self.projection(states).float(), dim=-1)
        logits = frames @ functional.normalize(self.embeddings.float(), dim=-1).T / _TEMPERATURE
        entropy = functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        right = (logits.argmax(-1) == labels).float()
        masked, heard = entropy[mask].mean(), entropy[~mask].mean()
        return masked + _UNMASKED * heard, {
            "masked": masked,
            "unmasked": heard,
            "masked right": right[mask].mean(),
            "unmasked right": right[~mask].mean(),
        }
