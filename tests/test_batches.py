"""What may share a pass through a model: padding, measured in every family; equal lengths; groups of like lengths."""

import warnings

import numpy as np
import pytest
import torch

from kwsbench_plugins.hf import hf, standard_score
from tests.tiny_models import KINDS, noise, save_tiny

pytestmark = pytest.mark.usefixtures("single_thread", "no_progress_bars")

GROUPED = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat")
SAFE = ("wav2vec2-stable", "hubert-stable", "unispeech-stable", "unispeech-sat-stable")


def test_padding_changes_group_norm_features_so_clips_are_encoded_alone(tmp_path):
    """The rule that a clip's features do not depend on other clips, and the fact that makes it one."""
    model = save_tiny(tmp_path, "wav2vec2")
    encoder = hf(path=tmp_path)
    short, long = noise(8000), noise(32_000, seed=1)
    alone = encoder.encode(short, ["2"])["2"]
    encoder.encode(long, ["2"])
    np.testing.assert_array_equal(encoder.encode(short, ["2"])["2"], alone)
    batch = np.stack([np.pad(standard_score(short), (0, 24_000)), standard_score(long)])
    with torch.inference_mode():
        padded = model(torch.from_numpy(batch), output_hidden_states=True).hidden_states[2][0, : len(alone)].numpy()
    assert np.linalg.norm(padded - alone) / np.linalg.norm(alone) > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_which_families_may_be_padded_is_measured(tmp_path, kind):
    """Padding under a mask, forced: rounding (1e-5 of a feature's size) where we allow it, ruin where we do not."""
    save_tiny(tmp_path, kind)
    encoder = hf(path=tmp_path)
    assert encoder._maskable == (kind in SAFE)  # noqa: SLF001
    encoder._maskable = True  # noqa: SLF001
    waves = [noise(8000), noise(7000, seed=1)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")  # WavLM's, the reason to leave it
        together = encoder.encode_batch(waves, encoder.layers)[1]
    alone = encoder.encode(waves[1], encoder.layers)
    change = max(np.abs(together[layer] - alone[layer]).max() / np.abs(alone[layer]).max() for layer in encoder.layers)
    if kind == "wavlm-stable" or kind in SAFE:
        assert change < 1e-5
    else:
        assert change > 0.01
        assert kind in (*GROUPED, "data2vec-audio")


@pytest.mark.parametrize("kind", KINDS)
def test_equal_lengths_are_one_batch_in_every_family(tmp_path, kind):
    """No padding, no mask: products of another shape, so rounding (1e-5 of a feature's size) and no more."""
    save_tiny(tmp_path, kind)
    encoder = hf(path=tmp_path)
    passes = []
    encoder._model.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))  # noqa: SLF001
    waves = [noise(8000, seed=seed) for seed in range(4)]
    together = encoder.encode_batch(waves, ["3"])
    assert passes == [4]
    for wave, features in zip(waves, together, strict=True):
        alone = encoder.encode(wave, ["3"])["3"]
        np.testing.assert_allclose(features["3"], alone, rtol=0, atol=1e-5 * np.abs(alone).max())


def test_a_batch_is_of_like_lengths_and_no_longer_than_it_may_be(tmp_path):
    save_tiny(tmp_path, "wav2vec2-stable")
    encoder = hf(path=tmp_path)
    shapes = []
    encoder._model.register_forward_pre_hook(lambda module, args: shapes.append(tuple(args[0].shape)))  # noqa: SLF001
    lengths = [1000, 50_000, 49_000, 900, 48_000, 5000, 4400, 3000]
    found = encoder.encode_batch([noise(n) for n in lengths], ["1"])
    assert [len(features["1"]) for features in found] == [encoder.frames(n) for n in lengths]
    # By length: 900 with 1000; 3000 alone (under .85 of 4400); 4400 with 5000; of 48,000 to 50,000, 8 s hold two.
    assert shapes == [(2, 1000), (1, 3000), (2, 5000), (2, 49_000), (1, 50_000)]
