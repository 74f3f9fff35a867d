"""The encoder half of Whisper: its hidden layers over the 30 s that it has always heard at once, or over less."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
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

CNN = "cnn"
"""The layer before layer 0: what the convolutions make of the spectrogram, before positions are added to it."""


class Whisper:
    """Hidden layers of Whisper's encoder: ``cnn``, then layer 0 enters the first block and layer i leaves block i.

    The last layer is after the final layer norm. Mel frame j is centred on sample 160·j, and the two
    convolutions are padded to stay centred, of which the second takes every other frame: frame i is centred
    on sample 320·i. The centres that lie within n samples are those of ceil(n / 320) frames; what follows,
    up to 1500, hears the silence after the audio and is cut off. A clip of less than one window of the
    spectrogram (25 ms) is too short, as it is for the encoders of waveforms.

    From layer 0 on, a frame knows how far it is from the beginning: the same sound has other features later.
    """

    concurrent = True
    first_centre_s = 0.0

    def __init__(
        self,
        model: Any,
        extractor: Any,
        *,
        crop: bool,
        provenance: Mapping[str, str],
        languages: Sequence[str] = (),
        licence: str = "",
    ) -> None:
        self._model = model
        self._extractor = extractor
        self._crop = crop
        self._hidden = HiddenLayers(model.layers)
        self._shift = 2 * extractor.hop_length
        self.layers = (CNN, *map(str, range(self._hidden.top + 1)))
        self.min_samples = extractor.n_fft
        self.frame_shift_s = self._shift / SAMPLE_RATE_HZ
        self.longest_s = extractor.n_samples / SAMPLE_RATE_HZ
        self.languages = tuple(languages)
        self.licence = licence
        self.provenance = {**provenance, **checkpoint_weights.versions()}

    def to(self, device: str) -> None:
        """Compute on another device from now on."""
        self._model.to(device)
        # cuDNN's flags belong to the process: threads that set them and put them back would cross.
        self.concurrent = self._model.device.type == "cpu"

    def frames(self, samples: int) -> int:
        """Frames that are centred within so many samples."""
        return -(-samples // self._shift)

    def encode(self, samples: Waveform, layers: Sequence[str]) -> Mapping[str, FloatArray]:
        """Layers asked for, each float32 (frames, dims). Raises TooShort under 25 ms, KwsbenchError over 30 s."""
        import torch

        if len(samples) < self.min_samples:
            raise TooShort(len(samples), self.min_samples)
        if len(samples) > self._extractor.n_samples:
            raise KwsbenchError(
                f"{len(samples) / SAMPLE_RATE_HZ:.1f} s, but Whisper hears {self.longest_s:g} s at once; encode in "
                f"windows: window_s={self.longest_s:g} among the encoder's parameters"
            )
        frames = self.frames(len(samples))
        mel = self._mel(samples, frames).to(self._model.device, self._model.dtype)
        wanted = [int(layer) for layer in layers if layer != CNN]
        with torch.inference_mode(), checkpoint_weights.exact_convolutions(self._model):
            entering = self._convolve(mel)
            hidden = self._hidden.read(lambda: self._attend(entering), wanted) if wanted else {}
            found = {layer: entering if layer == CNN else hidden[int(layer)] for layer in layers}
            return {layer: values[0, :frames].float().cpu().numpy() for layer, values in found.items()}

    def _mel(self, samples: Waveform, frames: int) -> Any:
        """(1, mels, 3000), or when cropped the first of these that ``frames`` are made of."""
        length = self._extractor.n_samples
        if self._crop:
            # One window of silence behind the last mel frame that is kept: it hears then what it hears in 30 s.
            length = min(frames * self._shift + self._extractor.n_fft, length)
        mel = self._extractor(samples, sampling_rate=SAMPLE_RATE_HZ, max_length=length, return_tensors="pt")
        return mel["input_features"][:, :, : 2 * frames if self._crop else None]

    def _convolve(self, mel: Any) -> Any:
        """(1, mels, 2 frames) → (1, frames, dims). As in the model's own forward(), which takes 30 s and no less."""
        from torch.nn.functional import gelu

        return gelu(self._model.conv2(gelu(self._model.conv1(mel)))).transpose(1, 2)

    def _attend(self, entering: Any) -> Any:
        hidden = entering + self._model.embed_positions.weight[: entering.shape[1]]
        for block in self._model.layers:
            hidden = block(hidden, None)
        return SimpleNamespace(last_hidden_state=self._model.layer_norm(hidden))


def whisper(
    *,
    checkpoint: str = "",
    revision: str = "main",
    path: Path | None = None,
    weights: str = "pretrained",
    dtype: str = "float32",
    crop: bool = False,
) -> Whisper:
    """Hidden layers of a Whisper encoder, from the hub or a directory; at most 30 s at once.

    checkpoint: a hub id or a directory. path: a directory to use instead of the hub.
    weights: ``pretrained``, or ``random:seed=0`` for an untrained model of the same shape.
    dtype: ``float32``, or ``bf16`` or ``fp16``, faster on a GPU and less exact.
    crop: the encoder is given the audio alone, not followed by silence up to 30 s: many times faster for short
    clips, and other features, since Whisper was trained on 30 s and attends to the silence too.
    """
    directory = checkpoint_weights.locate("whisper", checkpoint, revision, path, weights=weights)
    model_type = checkpoint_weights.read_config(directory).get("model_type")
    if model_type != "whisper":
        raise KwsbenchError(f"{directory}: a {model_type!r} model is no Whisper; kwsbench plugins lists what reads it")
    extractor, pinned = mel_checkpoints.read_extractor(directory, "WhisperFeatureExtractor")
    model, provenance = checkpoint_weights.load(directory, weights=weights, dtype=dtype, part="encoder")
    _check_fit(directory, model.config, extractor)
    known = next((known for known in mel_checkpoints.WHISPER if known.checkpoint == checkpoint), None)
    trained = known if checkpoint_weights.read_weights(weights) is None else None
    return Whisper(
        model,
        extractor,
        crop=crop,
        provenance=provenance | pinned,
        languages=trained.languages.split() if trained else (),
        licence=trained.licence if trained else "",
    )


def _check_fit(directory: Path, config: Any, extractor: Any) -> None:
    """Raise KwsbenchError unless the spectrogram is the one that the encoder takes, and always the same."""
    heard = 2 * config.max_source_positions
    for what, found, expected in (
        ("feature_size", extractor.feature_size, config.num_mel_bins),
        ("frames (chunk_length over hop_length)", extractor.nb_max_frames, heard),
        ("dither, which makes the same audio differ each time,", extractor.dither, 0),
    ):
        if found != expected:
            raise KwsbenchError(
                f"{directory / 'preprocessor_config.json'}: {what} is {found:g}, and config.json's model takes "
                f"{expected:g}; fetch both from one place"
            )


@kwsbench.hookimpl
def register_encoders(register: Register) -> None:
    """Register ``whisper`` and the published models by name."""
    register("whisper", whisper)
    for known in mel_checkpoints.WHISPER:
        register(known.name, whisper, checkpoint=known.checkpoint, revision=known.revision)
