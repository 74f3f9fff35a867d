"""CTC posteriors: what a fine-tuned wav2vec 2.0, HuBERT or WavLM takes each frame to be, letter by letter."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import kwsbench
from kwsbench.errors import KwsbenchError
from kwsbench_plugins import weights as checkpoint_weights
from kwsbench_plugins.hf import HfEncoder, check_family

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kwsbench.plugins import Register
    from kwsbench.types import FloatArray, Waveform

POSTERIORS, LOGITS = "posteriors", "logits"


class CtcPosteriors:
    """``posteriors``, softmax(logits / temperature), and ``logits``, over a CTC head's vocabulary.

    Frames and times are those of the encoder below the head. With ``blank="drop"`` the column of the blank is
    left out and the others are renormalised: p_k / (1 - p_blank) = exp(l_k) / Σ exp(l_j) over j ≠ blank, which is
    the softmax of the other logits. So a frame that is nothing but blank needs no rule of its own, even where
    1 - p_blank rounds to 0: what it says is which letter would be next likeliest. Posteriors are float32, at
    least 0, and sum to 1 up to rounding; a small one may round to 0, of which ``kl`` and ``neglog-dot`` take care.
    """

    # The end of the chain is the last, which is what ``ctc@last`` means.
    layers = (LOGITS, POSTERIORS)

    def __init__(
        self, model: Any, *, normalize: bool, temperature: float, blank: str, provenance: Mapping[str, str]
    ) -> None:
        self._below = HfEncoder(model.base_model, normalize=normalize, provenance=provenance)
        self._head = model.lm_head
        self._temperature = temperature
        vocabulary = range(model.config.vocab_size)
        self._kept = [at for at in vocabulary if blank == "keep" or at != model.config.pad_token_id]
        self.frame_shift_s = self._below.frame_shift_s
        self.first_centre_s = self._below.first_centre_s
        self.min_samples = self._below.min_samples
        self.longest_s = self._below.longest_s
        self.provenance = self._below.provenance

    @property
    def concurrent(self) -> bool:
        return self._below.concurrent

    @property
    def batch_s(self) -> float:
        return self._below.batch_s

    def to(self, device: str) -> None:
        """Compute on another device from now on."""
        self._below.to(device)
        self._head.to(device)

    def encode(self, samples: Waveform, layers: Sequence[str]) -> Mapping[str, FloatArray]:
        """Layers asked for, each float32 (frames, symbols). Raises TooShort under ``min_samples``."""
        return self.encode_batch([samples], layers)[0]

    def encode_batch(self, waves: Sequence[Waveform], layers: Sequence[str]) -> list[Mapping[str, FloatArray]]:
        """What ``encode`` gives for each waveform alone; those that may are computed together."""
        top = self._below.layers[-1]
        return [self._read_head(found[top], layers) for found in self._below.encode_batch(waves, [top])]

    def _read_head(self, hidden: FloatArray, layers: Sequence[str]) -> Mapping[str, FloatArray]:
        import torch

        weight = self._head.weight
        with torch.inference_mode():
            entering = torch.from_numpy(hidden)[None].to(weight.device, weight.dtype)
            logits = self._head(entering)[0].float().cpu()[:, self._kept]
            found = {LOGITS: logits, POSTERIORS: torch.softmax(logits / self._temperature, dim=1)}
            return {layer: found[layer].numpy() for layer in layers}


def ctc(
    *,
    checkpoint: str = "",
    revision: str = "main",
    path: Path | None = None,
    weights: str = "pretrained",
    normalize: bool | None = None,
    temperature: float = 1.0,
    blank: Literal["keep", "drop"] = "keep",
    dtype: str = "float32",
) -> CtcPosteriors:
    """Posteriors over the letters of a fine-tuned wav2vec 2.0, HuBERT or WavLM model, from the hub or a directory.

    checkpoint: a hub id or a directory. path: a directory to use instead of the hub.
    weights: ``pretrained``, or ``random:seed=0`` for an untrained model of the same shape.
    normalize: whether the waveform is brought to mean 0 and variance 1 first; otherwise what
    preprocessor_config.json says.
    temperature: divides the logits; above 1 it flattens posteriors, which CTC training makes all but certain.
    blank: ``drop`` leaves the blank out and renormalises the others; where the blank is nearly certain, what
    is then seen is how little is left.
    dtype: ``float32``, or ``bf16`` or ``fp16``, faster on a GPU and less exact.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise KwsbenchError(f"ctc: temperature={temperature:g} must be more than 0; it divides the logits")
    directory = checkpoint_weights.locate("ctc", checkpoint, revision, path, weights=weights)
    check_family(directory)
    if normalize is None:
        normalize = checkpoint_weights.read_normalize(directory)
    model, provenance = _load(directory, weights=weights, dtype=dtype)
    blank_id = model.config.pad_token_id
    if blank == "drop" and (blank_id is None or not 0 <= blank_id < model.config.vocab_size > 1):
        raise KwsbenchError(
            f"{directory / 'config.json'}: pad_token_id, the blank, is {blank_id} of {model.config.vocab_size} symbols"
            ", and cannot be dropped; use blank=keep"
        )
    return CtcPosteriors(model, normalize=normalize, temperature=temperature, blank=blank, provenance=provenance)


def _load(directory: Path, *, weights: str, dtype: str) -> checkpoint_weights.Loaded:
    try:
        return checkpoint_weights.load(directory, auto="AutoModelForCTC", weights=weights, dtype=dtype)
    except checkpoint_weights.LacksWeightsError as error:
        # A model that was pretrained and never fine-tuned: all but the head is there.
        if all(name.startswith("lm_head.") for name in error.missing):
            raise KwsbenchError(
                f"{directory}: no CTC head among the weights (lm_head), so no posteriors; take its hidden layers "
                "instead: hf in place of ctc"
            ) from error
        raise


@kwsbench.hookimpl
def register_encoders(register: Register) -> None:
    """Register ``ctc``."""
    register("ctc", ctc)
