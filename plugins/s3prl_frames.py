"""Where the frames of s3prl's upstreams lie: their front ends, all read as convolutions over the waveform.

Kaldi's frames are one convolution of 400 samples every 160. torch.stft's are the same behind a border of
half a window, mirrored, so that the first is centred on sample 0. CPC pads its convolutions a little;
wav2vec 2.0 and what follows it do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from kwsbench.errors import KwsbenchError
from kwsbench.types import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Convolution(NamedTuple):
    """One layer, in samples of its input; ``padding`` is added on both sides."""

    kernel: int
    stride: int
    padding: int = 0


class FrontEnd(NamedTuple):
    """Convolutions in order.

    mirrored: the padding is a reflection, which must be shorter than the waveform.
    standardised: features are divided by their standard deviation over the frames, and one frame has none.
    """

    layers: tuple[Convolution, ...]
    mirrored: bool = False
    standardised: bool = False

    @property
    def shift_samples(self) -> int:
        """From one frame to the next."""
        shift = 1
        for layer in self.layers:
            shift *= layer.stride
        return shift

    @property
    def first_centre_samples(self) -> float:
        """The middle of what frame 0 sees: of samples 0 to 399 that is 200."""
        start, seen, shift = 0, 1, 1
        for layer in self.layers:
            start -= layer.padding * shift
            seen += (layer.kernel - 1) * shift
            shift *= layer.stride
        return start + seen / 2

    @property
    def min_samples(self) -> int:
        """The shortest waveform that the upstream turns into finite features."""
        samples = 2 if self.standardised else 1
        for layer in reversed(self.layers):
            samples = max((samples - 1) * layer.stride + layer.kernel - 2 * layer.padding, 1)
        return max(samples, self.layers[0].padding + 1) if self.mirrored else samples

    def frames(self, samples: int) -> int:
        """Frames that are centred inside so many samples: torch.stft may make one more, on the very end."""
        if samples < self.min_samples:
            return 0
        made = samples
        for layer in self.layers:
            made = (made + 2 * layer.padding - layer.kernel) // layer.stride + 1
        inside = -int((self.first_centre_samples - samples) // self.shift_samples)
        return min(made, inside)


def _baseline(upstream: Any) -> FrontEnd:
    return _spectral(upstream.config)


def _transformer(upstream: Any) -> FrontEnd:
    return _spectral(upstream.transformer.config["audio"])


def _apc(upstream: Any) -> FrontEnd:
    extractor = upstream.preprocessor
    return _kaldi(extractor.kwargs, standardised=extractor.apply_cmvn)


def _cpc(upstream: Any) -> FrontEnd:
    encoder = upstream.model.gEncoder
    if type(encoder).__name__ != "CPCEncoder":
        raise KwsbenchError(
            f"a CPC model over {type(encoder).__name__} is not supported; give one with encoder_type 'cpc'"
        )
    return _waveform(encoder)


def _wav2vec2(upstream: Any) -> FrontEnd:
    return _waveform(upstream.model.feature_extractor)


FAMILIES: Mapping[str, Callable[[Any], FrontEnd]] = {
    "apc": _apc,
    "audio_albert": _transformer,
    "baseline": _baseline,
    "cpc": _cpc,
    "hf_hubert": _wav2vec2,
    "hf_wav2vec2": _wav2vec2,
    "hubert": _wav2vec2,
    "mockingjay": _transformer,
    "tera": _transformer,
    "unispeech_sat": _wav2vec2,
    "wav2vec2": _wav2vec2,
    "wavlm": _wav2vec2,
}
"""Folders of s3prl.upstream whose frames are known, and how their front end is read off a loaded upstream."""


def _waveform(module: Any) -> FrontEnd:
    """The one-dimensional convolutions of a module, in the order in which they are applied."""
    import torch

    return FrontEnd(
        tuple(
            Convolution(layer.kernel_size[0], layer.stride[0], layer.padding[0])
            for layer in module.modules()
            if isinstance(layer, torch.nn.Conv1d)
        )
    )


def _spectral(audio: Mapping[str, Any]) -> FrontEnd:
    """The ``audio`` section that the baselines and the transformers over spectra share."""
    if "kaldi" in audio:
        options = audio["kaldi"]
        return _kaldi(options[options.get("feat_type", "fbank")], standardised=audio["cmvn"]["use_cmvn"])
    window = 2 * (audio.get("n_freq", 201) - 1)
    layer = Convolution(window, _samples(audio.get("hop_ms", 10)), window // 2)
    return FrontEnd((layer,), mirrored=True, standardised=bool(audio["input"].get("cmvn", False)))


def _kaldi(options: Mapping[str, Any], *, standardised: bool) -> FrontEnd:
    if not options.get("snip_edges", True):
        raise KwsbenchError("snip_edges=false invents frames at the ends and is not supported; set it to true")
    layer = Convolution(_samples(options.get("frame_length", 25.0)), _samples(options.get("frame_shift", 10.0)))
    return FrontEnd((layer,), standardised=standardised)


def _samples(milliseconds: float) -> int:
    return round(milliseconds * SAMPLE_RATE_HZ / 1000)
