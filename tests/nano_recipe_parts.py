"""What the tests of the nano encoders' recipe share: two tiny recipes, a corpus of real digits, tones and noise."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from kwsbench import audio
from kwsbench_plugins.nano.recipe import corpus, plan, streams

SPEEDS = plan.Recipe("", "hubert", ()).speeds
CLIP = corpus.Clip("ana", "en", "package", "1", "MIT", "file.wav")

TINY = """
name = "tiny"
objective = "OBJECTIVE"
audio_s = 5
crop_frames = [40, 25]
warmup_steps = 4
checkpoint_steps = 7
speeds = ["4/5", "1/1", "5/4"]
label_speeds = ["4/5", "1/1"]
ROUNDS
[model]
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
intermediate_size = 48
conv_dim = [12, 12, 12, 12, 12, 12, 12]
conv_bias = true
feat_extract_norm = "layer"
do_stable_layer_norm = true
num_conv_pos_embeddings = 8
num_conv_pos_embedding_groups = 2
hidden_dropout = 0.1
layerdrop = 0.0
"""
HUBERT = TINY.replace("OBJECTIVE", "hubert").replace(
    "ROUNDS",
    "[[rounds]]\nclusters = 8\nsteps = 60\npeak_rate = 5e-3\n"
    "[[rounds]]\nlayer = 1\nclusters = 10\nsteps = 20\npeak_rate = 5e-3",
)
WAV2VEC2 = TINY.replace("OBJECTIVE", "wav2vec2").replace("ROUNDS", "[[rounds]]\nsteps = 60\npeak_rate = 5e-3") + (
    "num_codevectors_per_group = 8\nnum_codevector_groups = 2\ncodevector_dim = 16\nproj_codevector_dim = 16\n"
    "num_negatives = 20\n"
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tone_corpus(folder, **voices):
    """A corpus of given waveforms, one clip a speaker."""
    rows = [corpus.Recording(replace(CLIP, speaker=name), waveform) for name, waveform in voices.items()]
    return corpus.write(rows, folder)


def noise(seconds, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(round(16000 * seconds))).astype(np.float32)


def write_digits(fsdd, work):
    """The work folder given, whose corpus is now part of FSDD: six people, four takes of each digit."""
    files = [path for path in sorted(fsdd.rglob("*.wav")) if int(path.stem.split("_")[2]) < 5]
    rows = [
        corpus.Recording(replace(CLIP, speaker=path.stem.split("_")[1], file=path.name), audio.read(path).samples)
        for path in files
    ]
    corpus.write(rows, work / "corpus")
    return work


def digit_voices(fsdd, work):
    """The streams of those six people, as recorded and at 9/8 of the speed."""
    return streams.load(write_digits(fsdd, work) / "corpus", ("1/1", "9/8"), 40, "cpu")


def write_recipe(folder, text, name="tiny.toml"):
    """The path of a file of this text."""
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def tiny(text=HUBERT):
    """The recipe of a text."""
    with tempfile.TemporaryDirectory() as folder:
        return plan.read_recipe(write_recipe(Path(folder), text))


def eval_ratio(text):
    """A speed as written in a recipe, such as 9/8, as a number."""
    p, q = text.split("/")
    return int(p) / int(q)
