"""Upstreams of s3prl: the encoders of SUPERB, each with its own front end, layers and numbers."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import kwsbench
from kwsbench.errors import KwsbenchError, TooShort
from kwsbench.types import SAMPLE_RATE_HZ
from kwsbench_plugins.s3prl_frames import FAMILIES, FrontEnd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kwsbench.plugins import Register
    from kwsbench.types import FloatArray, Waveform

LONGEST_S = 600.0


class S3prlEncoder:
    """Layers ``0`` to ``N`` are the upstream's ``hidden_states`` in order, in evaluation mode, one waveform at a time.

    The numbers are s3prl's own, its choices with them: ``mfcc``, ``fbank`` and ``spectrogram`` see samples
    in [-1, 1], where the log floor that Kaldi means for 16-bit samples hides what is quiet, and all
    baselines but ``fbank_no_cmvn`` are standardised over the clip, so that a silent clip is rounding
    noise magnified. Frames that are centred past the end are cut.
    """

    def __init__(self, upstream: Any, front_end: FrontEnd, *, provenance: Mapping[str, str]) -> None:
        self._upstream = upstream
        self._front_end = front_end
        self.min_samples = front_end.min_samples
        self.frame_shift_s = front_end.shift_samples / SAMPLE_RATE_HZ
        self.first_centre_s = front_end.first_centre_samples / SAMPLE_RATE_HZ
        self.provenance = dict(provenance)
        # Hooks gather the layers of the others in one list of the model's: two calls at once would mix them.
        self.concurrent = hasattr(upstream, "hooks") and not upstream.hooks
        self.longest_s = _longest_s(upstream)
        self.layers = tuple(map(str, range(len(self._hidden_states(np.zeros(SAMPLE_RATE_HZ, np.float32))))))

    def frames(self, samples: int) -> int:
        """Frames of so many samples."""
        return self._front_end.frames(samples)

    def encode(self, samples: Waveform, layers: Sequence[str]) -> Mapping[str, FloatArray]:
        """Layers asked for, each float32 (frames, dims). Raises TooShort under ``min_samples``."""
        if len(samples) < self.min_samples:
            raise TooShort(len(samples), self.min_samples)
        hidden = self._hidden_states(samples)
        frames = self.frames(len(samples))
        features = {}
        for layer in layers:
            values = hidden[int(layer)][0]
            if len(values) < frames:
                raise RuntimeError(
                    f"layer {layer} has {len(values)} frames of {len(samples)} samples, the front end makes {frames}"
                )
            features[layer] = values[:frames].numpy()
        return features

    def _hidden_states(self, samples: Waveform) -> Sequence[Any]:
        """What the upstream returns, each (1, frames, dims)."""
        import torch

        with torch.inference_mode(), contextlib.nullcontext() if self.concurrent else _known_warnings():
            hidden: Sequence[Any] = self._upstream([torch.from_numpy(np.array(samples, np.float32))])["hidden_states"]
            return hidden


@contextlib.contextmanager
def _known_warnings() -> Iterator[None]:
    """WavLM hands torch two masks of different types, and torch means to refuse that one day."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask", UserWarning)
        yield


def _longest_s(upstream: Any) -> float | None:
    """Seconds that are encoded at once: attention looks at every pair of frames, recurrent networks do not."""
    transformer = getattr(upstream, "transformer", None)
    if transformer is not None:
        # A model that was trained on pieces of so many frames cuts longer clips up by itself. Without such
        # a length, its table of positions ends at frame 24,000.
        return None if transformer.max_input_length else min(LONGEST_S, 24_000 * 0.010)
    return LONGEST_S if hasattr(getattr(upstream, "model", None), "feature_extractor") else None


def _mend(upstream: Any) -> None:
    """Make the features of a clip depend on that clip alone, and on all of it."""
    recurrent = getattr(getattr(upstream, "model", None), "gAR", None)
    if hasattr(recurrent, "keepHidden"):
        # Trained on one long text read on, CPC would carry its state from one clip to the next.
        recurrent.keepHidden = False
    for module in upstream.modules():
        if "extract_fn" in vars(module):
            # torchaudio's default; a checkpoint's settings may say otherwise.
            module.kwargs = module.kwargs | {"dither": 0.0}
        if type(module).__name__ == "OnlinePreprocessor":
            module.register_forward_pre_hook(_tell_length, with_kwargs=True)


def _tell_length(_module: Any, args: Sequence[Any], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Without lengths, s3prl takes zeros at the end of a waveform for padding and cuts them off."""
    waves = args[0]
    return args, {"wavs_len": [waves.shape[-1]] * len(waves)} | options


def s3prl(*, upstream: str, ckpt: Path | None = None) -> S3prlEncoder:
    """Hidden states of an upstream of s3prl, by the name that it has there.

    upstream: ``mfcc``, ``fbank``, ``apc``, ``hubert_base``, … load what s3prl would (and download it where
    there is a network); ``apc_local``, ``wavlm_local``, ``hf_hubert_custom``, … take a ckpt.
    ckpt: a file, or a directory for ``hf_hubert_custom`` and ``hf_wav2vec2_custom``. Loaders of TERA's kind
    run code that a file holds: give them files that you trust.
    """
    from kwsbench_plugins import s3prl_loading

    folder = s3prl_loading.find(upstream)
    model, provenance = s3prl_loading.load(upstream, ckpt)
    _mend(model)
    try:
        front_end = FAMILIES[folder](model)
    except KwsbenchError as error:
        raise KwsbenchError(f"s3prl:upstream={upstream}: {error}") from None
    return S3prlEncoder(model, front_end, provenance=provenance)


@kwsbench.hookimpl
def register_encoders(register: Register) -> None:
    """Register ``s3prl``."""
    register("s3prl", s3prl)
