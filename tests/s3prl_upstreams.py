"""s3prl's upstreams that the tests hear, one way or two of every family, and what is known of each."""

import importlib

import pytest
import torch

from kwsbench.errors import KwsbenchError
from kwsbench_plugins import s3prl_loading
from kwsbench_plugins.s3prl import s3prl
from tests import s3prl_checkpoints as tiny
from tests.tiny_models import STABLE

LAYER_NORM = {"extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True}

BASELINES = ("mfcc", "fbank", "fbank_no_cmvn", "spectrogram", "mel", "linear")

MODELS = {
    "apc_local": tiny.save_apc,
    "cpc_local": tiny.save_cpc,
    "tera_local": tiny.save_tera,
    "mockingjay_local": lambda folder: tiny.save_tera(folder, tiny.KALDI),
    "audio_albert_local": lambda folder: tiny.save_tera(folder, share_layer=True, sequence_length=60),
    "wav2vec2_local": tiny.save_wav2vec2,
    "wav2vec2_custom": lambda folder: tiny.save_wav2vec2(folder, **LAYER_NORM),
    "hubert_local": tiny.save_hubert,
    "hubert_custom": lambda folder: tiny.save_hubert(folder, **LAYER_NORM),
    "wavlm_local": tiny.save_wavlm,
    "unispeech_sat_local": lambda folder: tiny.save_wavlm(folder, **LAYER_NORM),
    "hf_hubert_custom": lambda folder: tiny.save_transformers(folder, "hubert"),
    "hf_wav2vec2_custom": lambda folder: tiny.save_transformers(folder, "wav2vec2", **STABLE),
}

KALDI = (400, 160, 0.0125)
CENTRED = (201, 160, 0.0)
WAV2VEC2 = (400, 320, 0.0125)

# Standard deviations over the frames need two of them: 560 samples, where one frame needs 400.
TIMES = {
    "mfcc": (560, *KALDI[1:]),
    "fbank": (560, *KALDI[1:]),
    "fbank_no_cmvn": KALDI,
    "spectrogram": (560, *KALDI[1:]),
    "mel": CENTRED,
    "linear": CENTRED,
    "apc_local": (560, *KALDI[1:]),
    "cpc_local": (159, 160, 79.5 / 16_000),
    "tera_local": CENTRED,
    "mockingjay_local": (560, *KALDI[1:]),
    "audio_albert_local": CENTRED,
} | dict.fromkeys(list(MODELS)[5:], WAV2VEC2)

DIMS = {"mfcc": 39, "fbank": 240, "fbank_no_cmvn": 240, "spectrogram": 257, "mel": 80, "linear": 201} | {
    name: 16 if name in ("apc_local", "cpc_local") else 32 for name in MODELS
}

LAYERS = dict.fromkeys(BASELINES, 1) | dict.fromkeys(MODELS, 4) | {"apc_local": 3, "cpc_local": 2}


def raw(name, ckpt, wave):
    """hidden_states as s3prl documents them to be had: make, eval, call with a list of one waveform."""
    with tiny.quiet(), torch.no_grad():
        factory = getattr(importlib.import_module(f"s3prl.upstream.{s3prl_loading.find(name)}.hubconf"), name)
        upstream = factory(**({} if ckpt is None else {"ckpt": str(ckpt)})).eval()
        return [values[0].numpy() for values in upstream([torch.from_numpy(wave)])["hidden_states"]]


def error_of(**params):
    """The one line in which s3prl refuses these parameters."""
    with pytest.raises(KwsbenchError) as error:
        s3prl(**params)
    assert "\n" not in str(error.value)
    return str(error.value)
