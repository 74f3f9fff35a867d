"""wav2vec 2.0, HuBERT, WavLM and their kin, through transformers: every hidden layer is a representation.

Waveforms share a forward pass only where that changes nothing: of exactly equal length, or padded under a
mask in front of a front end with layer norm. Padding changes the features of group-norm front ends
(wav2vec2-base, hubert-base) by as much as half their size. Recordings longer than LONGEST_S are encoded
in windows, by name (``window_s``): attention looks at every pair of frames.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import kwsbench
from kwsbench.errors import KwsbenchError, TooShort
from kwsbench.types import SAMPLE_RATE_HZ
from kwsbench_plugins import weights as checkpoint_weights
from kwsbench_plugins.checkpoints import KNOWN, Known
from kwsbench_plugins.hidden_layers import HiddenLayers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kwsbench.plugins import Register
    from kwsbench.types import FloatArray, Waveform

# Convolutions over the raw waveform, then transformer blocks: frames follow from the config's kernels and strides.
FAMILY = ("data2vec-audio", "hubert", "unispeech", "unispeech-sat", "wav2vec2", "wavlm")

# Of these, padding under a mask changes nothing but rounding (1e-6) when the front end has layer norm. In
# data2vec-audio it changes everything: its positional convolutions run over the padding. In WavLM it would be
# as safe as elsewhere, but its attention warns of such a mask at every call.
MASKABLE = ("hubert", "unispeech", "unispeech-sat", "wav2vec2")

LONGEST_S = 600.0

ALIKE = 0.85
"""The shortest waveform of a batch is at least so much of the longest: padding costs time too."""

CNN = "cnn"
"""The layer before layer 0: what the convolutions hand to the projection."""


class HfEncoder:
    """Hidden layers of a model: ``cnn``, then layer 0 enters the first block and layer i leaves block i.

    The last layer is ``last_hidden_state``, after the final layer norm where the model has one;
    the layers below it are as the blocks hand them on. Frame i is centred on the middle of its
    receptive field. ``to(device)`` moves the model; features come back to the CPU, in float32.
    """

    concurrent = True
    longest_s = LONGEST_S

    def __init__(
        self,
        model: Any,
        *,
        normalize: bool,
        provenance: Mapping[str, str],
        languages: Sequence[str] = (),
        licence: str = "",
    ) -> None:
        config = model.config
        self._model = model
        self._normalize = normalize
        self._hidden = HiddenLayers(model.encoder.layers)
        self._thread = threading.local()
        model.feature_extractor.register_forward_hook(self._see_cnn)
        self._kernels = tuple(zip(config.conv_kernel, config.conv_stride, strict=True))
        self._maskable = config.model_type in MASKABLE and getattr(config, "feat_extract_norm", "layer") == "layer"
        shift_samples = int(np.prod(config.conv_stride))
        self.layers = (CNN, *map(str, range(self._hidden.top + 1)))
        self.min_samples = receptive_field(self._kernels)
        self.frame_shift_s = shift_samples / SAMPLE_RATE_HZ
        self.first_centre_s = self.min_samples / 2 / SAMPLE_RATE_HZ
        self.batch_s = 8.0
        self.languages = tuple(languages)
        self.licence = licence
        self.provenance = {
            **provenance,
            "normalize": str(normalize).lower(),
            **checkpoint_weights.versions(),
        }

    def to(self, device: str) -> None:
        """Compute on another device from now on."""
        self._model.to(device)
        on_cpu = self._model.device.type == "cpu"
        # cuDNN's flags belong to the process: threads that set them and put them back would cross.
        self.concurrent = on_cpu
        # What pays: on a CPU a few short clips together, whose products stay in its cache; a GPU wants to be filled.
        self.batch_s = 8.0 if on_cpu else 120.0

    def frames(self, samples: int) -> int:
        """Frames of so many samples: each convolution without padding takes ``(n - kernel) // stride + 1``."""
        for kernel, stride in self._kernels:
            samples = (samples - kernel) // stride + 1
        return max(samples, 0)

    def encode(self, samples: Waveform, layers: Sequence[str]) -> Mapping[str, FloatArray]:
        """Layers asked for, each float32 (frames, dims). Raises TooShort under ``min_samples``."""
        return self.encode_batch([samples], layers)[0]

    def encode_batch(self, waves: Sequence[Waveform], layers: Sequence[str]) -> list[Mapping[str, FloatArray]]:
        """What ``encode`` gives for each waveform alone; those that may are computed together."""
        for wave in waves:
            if len(wave) < self.min_samples:
                raise TooShort(len(wave), self.min_samples)
        found: dict[int, Mapping[str, FloatArray]] = {}
        for group in self._groups([len(wave) for wave in waves]):
            found |= zip(group, self._forward([waves[at] for at in group], layers), strict=True)
        return [found[at] for at in range(len(waves))]

    def _groups(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Positions of waveforms that share a forward pass: of like length, ``batch_s`` of padded audio at most."""
        group: list[int] = []
        for at in sorted(range(len(lengths)), key=lengths.__getitem__):
            if group:
                shortest = lengths[group[0]]
                alike = shortest == lengths[at] or (self._maskable and shortest >= ALIKE * lengths[at])
                if not alike or (len(group) + 1) * lengths[at] > self.batch_s * SAMPLE_RATE_HZ:
                    yield group
                    group = []
            group.append(at)
        if group:
            yield group

    def _forward(self, waves: Sequence[Waveform], layers: Sequence[str]) -> list[Mapping[str, FloatArray]]:
        import torch

        lengths = torch.tensor([len(wave) for wave in waves])
        inputs = torch.zeros(len(waves), int(lengths.max()))
        for row, wave in zip(inputs, waves, strict=True):
            row[: len(wave)] = torch.from_numpy(standard_score(wave) if self._normalize else np.array(wave, np.float32))
        inputs = inputs.to(self._model.device, self._model.dtype)
        mask = None
        if lengths.min() < lengths.max():
            mask = (torch.arange(inputs.shape[1]) < lengths[:, None]).long().to(inputs.device)
        wanted = [int(layer) for layer in layers if layer != CNN]
        with torch.inference_mode(), checkpoint_weights.exact_convolutions(self._model):
            self._thread.cnn = None
            if wanted:
                hidden = self._hidden.read(lambda: self._model(inputs, attention_mask=mask), wanted)
            else:
                hidden = {}
                self._model.feature_extractor(inputs)
            tensors = {layer: self._thread.cnn if layer == CNN else hidden[int(layer)] for layer in layers}
            self._thread.cnn = None
            return [
                {layer: self._of_one(layer, values[row], len(wave)) for layer, values in tensors.items()}
                for row, wave in enumerate(waves)
            ]

    def _of_one(self, layer: str, values: Any, samples: int) -> FloatArray:
        """One waveform's frames out of a batch, as float32 on the CPU."""
        frames = self.frames(samples)
        if len(values) < frames:
            raise RuntimeError(
                f"layer {layer} has {len(values)} frames of {samples} samples, the convolutions make {frames}"
            )
        features: FloatArray = values[:frames].float().cpu().numpy()
        return features

    def _see_cnn(self, _module: Any, _args: Any, output: Any) -> None:
        """(batch, channels, frames) of this thread's forward pass, kept as (batch, frames, channels)."""
        self._thread.cnn = output.transpose(1, 2)


def standard_score(samples: Waveform) -> Waveform:
    """Mean 0 and variance 1 over the whole waveform, as Wav2Vec2FeatureExtractor takes it. Silence stays 0."""
    return np.asarray((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7), dtype=np.float32)


def hf(
    *,
    checkpoint: str = "",
    revision: str = "main",
    path: Path | None = None,
    weights: str = "pretrained",
    normalize: bool | None = None,
    dtype: str = "float32",
) -> HfEncoder:
    """Hidden layers of a wav2vec 2.0, HuBERT or WavLM model, from the hub or a directory.

    checkpoint: a hub id or a directory. path: a directory to use instead of the hub.
    weights: ``pretrained``, or ``random:seed=0`` for an untrained model of the same shape, the
    control that every claim about training needs.
    normalize: whether the waveform is brought to mean 0 and variance 1 first; otherwise what
    preprocessor_config.json says.
    dtype: ``float32``, or ``bf16`` or ``fp16``, faster on a GPU and less exact (1.5e-2 and 2e-3 of a feature's size).
    """
    seed = checkpoint_weights.read_weights(weights)
    known = next((known for known in KNOWN if known.checkpoint == checkpoint), None)
    if known and seed is not None and path is None:
        return untrained(known, seed, normalize=normalize, dtype=dtype)
    directory = checkpoint_weights.locate("hf", checkpoint, revision, path, weights=weights)
    if known and normalize is None and not (directory / "preprocessor_config.json").is_file():
        normalize = known.normalize
    return from_directory(
        directory,
        weights=weights,
        normalize=normalize,
        dtype=dtype,
        languages=known.languages.split() if known and seed is None else (),
        licence=known.licence if known and seed is None else "",
    )


def from_directory(
    directory: Path,
    *,
    weights: str = "pretrained",
    normalize: bool | None = None,
    dtype: str = "float32",
    languages: Sequence[str] = (),
    licence: str = "",
) -> HfEncoder:
    """An encoder from config.json, preprocessor_config.json and the weights in one directory."""
    check_family(directory)
    if normalize is None:
        normalize = checkpoint_weights.read_normalize(directory)
    model, provenance = checkpoint_weights.load(directory, weights=weights, dtype=dtype)
    return HfEncoder(model, normalize=normalize, provenance=provenance, languages=languages, licence=licence)


def check_family(directory: Path) -> None:
    """Raise KwsbenchError unless config.json is of a model of this family."""
    config = checkpoint_weights.read_config(directory)
    model_type = config.get("model_type")
    if model_type not in FAMILY or config.get("add_adapter"):
        what = f"{model_type!r} model" + (" with an adapter" if model_type in FAMILY else "")
        raise KwsbenchError(f"{directory}: a {what} is not supported; the family is {', '.join(FAMILY)}")


def untrained(known: Known, seed: int, *, normalize: bool | None = None, dtype: str = "float32") -> HfEncoder:
    """A published architecture with random weights: needs no hub, so that the control can always be run."""
    config = checkpoint_weights.import_transformers().AutoConfig.for_model(known.model_type, **known.config)
    return HfEncoder(
        checkpoint_weights.narrow(checkpoint_weights.random_model(config, seed), dtype),
        normalize=known.normalize if normalize is None else normalize,
        provenance={"weights": f"random:seed={seed}", "architecture": known.name},
    )


def receptive_field(kernels: Sequence[tuple[int, int]]) -> int:
    """Samples that one frame sees."""
    samples = 1
    for kernel, stride in reversed(kernels):
        samples = (samples - 1) * stride + kernel
    return samples


@kwsbench.hookimpl
def register_encoders(register: Register) -> None:
    """Register ``hf`` and the published models by name."""
    register("hf", hf)
    for known in KNOWN:
        register(known.name, hf, checkpoint=known.checkpoint, revision=known.revision)
