"""w2v-BERT 2.0: a Conformer over pairs of log-mel frames, trained on 143 languages; every layer a representation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import kwsbench
from kwsbench.errors import KwsbenchError, TooShort
from kwsbench.types import SAMPLE_RATE_HZ
from kwsbench_plugins import mel_checkpoints
from kwsbench_plugins import weights as checkpoint_weights
from kwsbench_plugins.hidden_layers import HiddenLayers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kwsbench.plugins import Register
    from kwsbench.types import FloatArray, Waveform

# Kaldi's frames, written into SeamlessM4TFeatureExtractor and no setting of it, and how many make one of ours.
MEL_SAMPLES, MEL_SHIFT = 400, 160
STACK = 2

# Relative keys take frames² · head size floats in each layer: 2.3 GB at 60 s.
LONGEST_S = 60.0


class W2vBert:
    """Hidden layers of a w2v-BERT 2.0: layer 0 enters the first block, layer i leaves block i.

    A frame is a pair of Kaldi's log-mel frames (25 ms each, 10 ms apart), whose filters are brought to mean 0
    and variance 1 over the waveform: frame i covers samples 320·i to 320·i + 560, and is centred on their
    middle. The extractor pads an odd number of mel frames to an even one; what it makes up never reaches the model.
    """

    min_samples = MEL_SAMPLES + (STACK - 1) * MEL_SHIFT
    frame_shift_s = STACK * MEL_SHIFT / SAMPLE_RATE_HZ
    first_centre_s = min_samples / 2 / SAMPLE_RATE_HZ
    longest_s = LONGEST_S

    def __init__(
        self,
        model: Any,
        extractor: Any,
        *,
        provenance: Mapping[str, str],
        languages: Sequence[str] = (),
        licence: str = "",
    ) -> None:
        self._model = model
        self._extractor = extractor
        self._hidden = HiddenLayers(model.encoder.layers)
        self.layers = tuple(map(str, range(self._hidden.top + 1)))
        self.concurrent = self._stateless
        self.languages = tuple(languages)
        self.licence = licence
        self.provenance = {**provenance, **checkpoint_weights.versions()}

    @property
    def _stateless(self) -> bool:
        # Rotary and "relative" positions are kept on the model from one call to the next; relative keys are not.
        return self._model.encoder.embed_positions is None

    def to(self, device: str) -> None:
        """Compute on another device from now on."""
        self._model.to(device)
        # cuDNN's flags belong to the process: threads that set them and put them back would cross.
        self.concurrent = self._stateless and self._model.device.type == "cpu"

    def frames(self, samples: int) -> int:
        """Whole pairs of whole mel frames in so many samples."""
        return max((samples - MEL_SAMPLES) // MEL_SHIFT + 1, 0) // STACK

    def encode(self, samples: Waveform, layers: Sequence[str]) -> Mapping[str, FloatArray]:
        """Layers asked for, each float32 (frames, dims). Raises TooShort under ``min_samples``."""
        import torch

        if len(samples) < self.min_samples:
            raise TooShort(len(samples), self.min_samples)
        mel = self._extractor(samples, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")["input_features"]
        mel = mel[:, : self.frames(len(samples))].to(self._model.device, self._model.dtype)
        with torch.inference_mode(), checkpoint_weights.exact_convolutions(self._model):
            hidden = self._hidden.read(lambda: self._model(mel), [int(layer) for layer in layers])
            return {layer: hidden[int(layer)][0].float().cpu().numpy() for layer in layers}


def w2v_bert(
    *,
    checkpoint: str = "",
    revision: str = "main",
    path: Path | None = None,
    weights: str = "pretrained",
    dtype: str = "float32",
) -> W2vBert:
    """Hidden layers of a w2v-BERT 2.0 model, from the hub or a directory.

    checkpoint: a hub id or a directory. path: a directory to use instead of the hub.
    weights: ``pretrained``, or ``random:seed=0`` for an untrained model of the same shape.
    dtype: ``float32``, or ``bf16`` or ``fp16``, faster on a GPU and less exact.
    """
    directory = checkpoint_weights.locate("w2v-bert", checkpoint, revision, path, weights=weights)
    config = checkpoint_weights.read_config(directory)
    model_type = config.get("model_type")
    if model_type != "wav2vec2-bert" or config.get("add_adapter"):
        what = f"{model_type!r} model" + (" with an adapter" if config.get("add_adapter") else "")
        raise KwsbenchError(f"{directory}: a {what} is not supported; expected wav2vec2-bert without an adapter")
    extractor, pinned = mel_checkpoints.read_extractor(directory, "SeamlessM4TFeatureExtractor")
    model, provenance = checkpoint_weights.load(directory, weights=weights, dtype=dtype)
    width = model.config.feature_projection_input_dim
    if extractor.stride != STACK or STACK * extractor.num_mel_bins != width:
        raise KwsbenchError(
            f"{directory / 'preprocessor_config.json'}: {extractor.stride} × {extractor.num_mel_bins} mels a frame, "
            f"and config.json's model takes {STACK} × {width // STACK}; fetch both from one place"
        )
    known = next((known for known in mel_checkpoints.W2V_BERT if known.checkpoint == checkpoint), None)
    trained = known if checkpoint_weights.read_weights(weights) is None else None
    return W2vBert(
        model,
        extractor,
        provenance=provenance | pinned,
        languages=trained.languages.split() if trained else (),
        licence=trained.licence if trained else "",
    )


@kwsbench.hookimpl
def register_encoders(register: Register) -> None:
    """Register ``w2v-bert`` and the published model by name."""
    register("w2v-bert", w2v_bert)
    for known in mel_checkpoints.W2V_BERT:
        register(known.name, w2v_bert, checkpoint=known.checkpoint, revision=known.revision)
