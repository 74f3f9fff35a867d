"""s3prl beside transformers: the same models through either, and both in one process."""

import numpy as np
import pytest
import torch

from kwsbench_plugins.hf import hf
from kwsbench_plugins.nano import nano_hubert
from kwsbench_plugins.s3prl import s3prl
from tests import s3prl_checkpoints as tiny
from tests.tiny_models import STABLE, noise

pytest.importorskip("s3prl", reason="the extra s3prl is not installed")
pytestmark = pytest.mark.usefixtures("single_thread")


@pytest.mark.parametrize("model_type", ["hubert", "wav2vec2"])
def test_transformers_models_equal_transformers_and_our_own(tmp_path, model_type):
    """Every layer, bit for bit. Ours has one more, ``cnn``, below layer 0."""
    import transformers

    with tiny.quiet():
        directory = tiny.save_transformers(tmp_path, model_type)
        model = transformers.AutoModel.from_pretrained(directory).eval()
    wave = noise(9000)
    inputs = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)(wave, sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        direct = model(inputs["input_values"], output_hidden_states=True).hidden_states
    encoder, own = s3prl(upstream=f"hf_{model_type}_custom", ckpt=directory), hf(path=directory)
    features, ours = encoder.encode(wave, encoder.layers), own.encode(wave, own.layers)
    assert own.layers == ("cnn", *encoder.layers)
    assert len(encoder.layers) == len(direct) == 4
    for layer, values in enumerate(direct):
        np.testing.assert_array_equal(features[str(layer)], values[0].numpy())
        np.testing.assert_array_equal(features[str(layer)], ours[str(layer)])


@pytest.mark.parametrize("model_type", ["hubert", "wav2vec2"])
def test_of_stable_layer_norm_models_the_last_layer_is_before_the_final_norm(tmp_path, model_type):
    """s3prl hands on transformers' hidden_states; our own top layer is last_hidden_state, after that norm."""
    with tiny.quiet():
        directory = tiny.save_transformers(tmp_path, model_type, **STABLE)
    encoder, own, wave = s3prl(upstream=f"hf_{model_type}_custom", ckpt=directory), hf(path=directory), noise(9000)
    features, ours = encoder.encode(wave, encoder.layers), own.encode(wave, encoder.layers)
    for layer in ("0", "1", "2"):
        np.testing.assert_array_equal(features[layer], ours[layer])
    assert not np.allclose(features["3"], ours["3"], atol=1e-2)
    norm = own._model.encoder.layer_norm  # noqa: SLF001 - what lies between the two
    with torch.inference_mode():
        np.testing.assert_allclose(norm(torch.from_numpy(features["3"])).numpy(), ours["3"], atol=1e-6)


def test_half_precision_files_are_computed_in_float32(tmp_path):
    import transformers

    with tiny.quiet():
        directory = tiny.save_transformers(tmp_path, "hubert")
        transformers.AutoModel.from_pretrained(directory).half().save_pretrained(directory)
    assert s3prl(upstream="hf_hubert_custom", ckpt=directory).encode(noise(5000), ["3"])["3"].dtype == np.float32


def test_one_process_holds_both(s3prl_encoders):
    """s3prl pulls torchaudio in, and transformers imports it wherever it is installed."""
    ours = nano_hubert()
    wave = noise(16_000)
    before = ours.encode(wave, ["6"])["6"]
    assert before.shape == (49, 256)
    assert s3prl(upstream="mfcc").encode(wave, ["0"])["0"].shape == (98, 39)
    assert s3prl_encoders["hf_hubert_custom"].encode(wave, ["3"])["3"].shape == (49, 32)
    np.testing.assert_array_equal(ours.encode(wave, ["6"])["6"], before)
