"""Checkpoints of s3prl's models, tiny and untrained, in the formats that its loaders read.

Each ``save_…(folder)`` returns what is given as ``ckpt``. Dropout, layer drop and whatever else is random in
training are set high: whoever forgets eval() sees other features each time.
"""

import contextlib
import io
import json
import warnings

import torch

CONVOLUTIONS = "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2"
"""wav2vec 2.0's kernels and strides, with fewer channels."""

FAIRSEQ = {
    "conv_feature_layers": CONVOLUTIONS,
    "encoder_layers": 3,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 64,
    "encoder_attention_heads": 2,
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "dropout": 0.5,
    "attention_dropout": 0.5,
    "activation_dropout": 0.5,
    "dropout_input": 0.5,
    "dropout_features": 0.5,
    "encoder_layerdrop": 0.5,
    "mask_prob": 0.65,
}

STFT = {
    "win_ms": 25,
    "hop_ms": 10,
    "n_freq": 201,
    "n_mels": 40,
    "n_mfcc": 13,
    "input": {"feat_type": "mel", "channel": 0, "log": True, "delta": 0, "cmvn": True},
    "target_level": -25,
}

KALDI = {
    "kaldi": {"feat_type": "fbank", "fbank": {"num_mel_bins": 40, "frame_length": 25.0, "frame_shift": 10.0}},
    "delta": {"order": 2, "win_length": 5},
    "cmvn": {"use_cmvn": True},
}


@contextlib.contextmanager
def quiet():
    """Without the warnings, prints and bars of s3prl and transformers."""
    from transformers.utils import logging

    nowhere = io.StringIO()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.enable_progress_bar()


def save_apc(folder, **audio):
    """Autoregressive predictive coding: three GRUs over Kaldi's filter banks."""
    from s3prl.upstream.apc.apc import APC

    torch.manual_seed(0)
    settings = {"hidden_size": 16, "num_layers": 3, "dropout": 0.5, "residual": True}
    audio = {"feat_type": "fbank", "feat_dim": 40, "frame_length": 25.0, "frame_shift": 10.0, "cmvn": True} | audio
    config = {"data": {"audio": audio}, "model": {"paras": settings}}
    return _save(folder / "apc.ckpt", {"config": config, "model": APC(40, **settings).state_dict()})


def save_cpc(folder, **changes):
    """Contrastive predictive coding: convolutions and one LSTM, which carries its state on to the next call."""
    import argparse

    from s3prl.upstream.cpc.cpc_default_config import get_default_cpc_config
    from s3prl.upstream.cpc.feature_loader import getAR, getEncoder
    from s3prl.upstream.cpc.model import CPCModel

    torch.manual_seed(0)
    config = {"hiddenEncoder": 16, "hiddenGar": 16, "samplingType": "sequential", "arMode": "LSTM"} | changes
    settings = argparse.Namespace(**(vars(get_default_cpc_config()) | config))
    model = CPCModel(getEncoder(settings), getAR(settings))
    return _save(folder / "cpc.pt", {"config": config, "weights": model.state_dict()})


def save_tera(folder, audio=STFT, *, sequence_length=0, **changes):
    """TERA (and Mockingjay): a transformer over spectra of either of s3prl's two front ends."""
    from s3prl.upstream.mockingjay.model import TransformerConfig, TransformerModel

    torch.manual_seed(0)
    transformer = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "hidden_act": "gelu",
        "intermediate_size": 64,
        "hidden_dropout_prob": 0.5,
        "attention_probs_dropout_prob": 0.5,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "share_layer": False,
        "pre_layer_norm": False,
    } | changes
    dims = 120 if "kaldi" in audio else 40
    model = TransformerModel(TransformerConfig(transformer), dims)
    config = {"transformer": transformer, "task": {"sequence_length": sequence_length}, "audio": audio}
    return _save(folder / "tera.ckpt", {"Config": config, "Transformer": model.state_dict()})


def save_wav2vec2(folder, **changes):
    """wav2vec 2.0 as s3prl converts fairseq's file."""
    from s3prl.upstream.utils import merge_with_parent
    from s3prl.upstream.wav2vec2.wav2vec2_model import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(0)
    config = FAIRSEQ | {"final_dim": 16, "quantize_targets": False} | changes
    state = Wav2Vec2Model(merge_with_parent(Wav2Vec2Config, config)).state_dict()
    file = {"task_cfg": {"normalize": True}, "model_cfg": config, "model_weight": state}
    return _save(folder / "wav2vec2.pt", file)


def save_hubert(folder, **changes):
    """HuBERT as s3prl converts fairseq's file."""
    from s3prl.upstream.hubert.hubert_model import HubertConfig, HubertModel, HubertPretrainingConfig
    from s3prl.upstream.utils import merge_with_parent

    torch.manual_seed(0)
    config = FAIRSEQ | {"final_dim": 16, "label_rate": 50} | changes
    task = {"normalize": False}
    symbols = [["<s>", "<pad>", "</s>", "<unk>", "0", "1"]]
    model = HubertModel(
        merge_with_parent(HubertConfig, config), merge_with_parent(HubertPretrainingConfig, task), symbols
    )
    file = {
        "task_cfg": task,
        "model_cfg": config,
        "model_weight": model.state_dict(),
        "dictionaries_symbols": symbols,
    }
    return _save(folder / "hubert.pt", file)


def save_wavlm(folder, **changes):
    """WavLM (and UniSpeech-SAT) as Microsoft published it."""
    from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

    torch.manual_seed(0)
    config = FAIRSEQ | {"relative_position_embedding": True, "gru_rel_pos": True} | changes
    return _save(folder / "wavlm.pt", {"cfg": config, "model": WavLM(WavLMConfig(config)).state_dict()})


def save_transformers(folder, model_type, *, auto="AutoModel", **changes):
    """A directory as transformers' save_pretrained writes it. auto: one with a head, ``AutoModelForCTC``."""
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        model_type,
        **{
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "conv_dim": [16] * 7,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 4,
            "hidden_dropout": 0.5,
            "attention_dropout": 0.5,
            "feat_proj_dropout": 0.5,
            "layerdrop": 0.5,
        }
        | changes,
    )
    directory = folder / f"transformers-{model_type}"
    getattr(transformers, auto).from_config(config).save_pretrained(directory)
    preprocessor = {"do_normalize": True, "feature_extractor_type": "Wav2Vec2FeatureExtractor"}
    (directory / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")
    return directory


def _save(file, content):
    torch.save(content, file)
    return file
