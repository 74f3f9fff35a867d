"""Tiny untrained models on disk, as transformers saves them, and noise for them to hear."""

import json

import numpy as np

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    # Dropout and layer drop as in training: whoever forgets eval() sees other features each time.
    "hidden_dropout": 0.5,
    "attention_dropout": 0.5,
    "activation_dropout": 0.5,
    "feat_proj_dropout": 0.5,
    "layerdrop": 0.5,
}
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
KINDS = {
    "wav2vec2": ("wav2vec2", {}),
    "wav2vec2-stable": ("wav2vec2", STABLE),
    "hubert": ("hubert", {}),
    "hubert-stable": ("hubert", STABLE),
    "wavlm": ("wavlm", {}),
    "wavlm-stable": ("wavlm", STABLE),
    "unispeech": ("unispeech", {}),
    "unispeech-stable": ("unispeech", STABLE),
    "unispeech-sat-stable": ("unispeech-sat", STABLE),
    "unispeech-sat": ("unispeech-sat", {}),
    "data2vec-audio": ("data2vec-audio", {"conv_pos_kernel_size": 7}),
}

TINY_WHISPER = {
    "d_model": 32,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 32,
    "vocab_size": 50,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 3,
    "begin_suppress_tokens": None,
    # With the usual 0.02, so small a model hears next to nothing but its own positions.
    "init_std": 0.4,
    # Dropout and layer drop as in training: whoever forgets eval() sees other features each time.
    "dropout": 0.5,
    "attention_dropout": 0.5,
    "activation_dropout": 0.5,
    "encoder_layerdrop": 0.5,
}


def noise(samples, seed=0):
    """(samples,) of float32: white noise of standard deviation 0.1."""
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def save_tiny(directory, kind="wav2vec2", *, seed=0, normalize=True, **changes):
    """A tiny untrained model on disk, as transformers saves it."""
    import torch
    import transformers

    model_type, options = KINDS[kind]
    config = transformers.AutoConfig.for_model(model_type, **(TINY | options | changes))
    torch.manual_seed(seed)
    model = transformers.AutoModel.from_config(config).eval()
    model.save_pretrained(directory)
    (directory / "preprocessor_config.json").write_text(json.dumps({"do_normalize": normalize}), encoding="utf-8")
    return model


def save_whisper(directory, *, mels=80, seed=0, **changes):
    """A tiny untrained Whisper, decoder and all; returns the directory."""
    import torch
    import transformers

    config = transformers.WhisperConfig(**(TINY_WHISPER | {"num_mel_bins": mels} | changes))
    torch.manual_seed(seed)
    transformers.WhisperForConditionalGeneration(config).save_pretrained(directory)
    transformers.WhisperFeatureExtractor(feature_size=mels).save_pretrained(directory)
    return directory


def edit(directory, name, **changes):
    """Change these settings in a JSON file of a saved model."""
    file = directory / name
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), encoding="utf-8")
