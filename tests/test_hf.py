"""hf against transformers itself: layers, frames and their times, the waveform that goes in, and precision."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from kwsbench import plugins
from kwsbench.errors import KwsbenchError
from kwsbench.testing import check_encoder
from kwsbench_plugins import nano
from kwsbench_plugins.hf import hf, standard_score
from kwsbench_plugins.nano import nano_hubert
from tests.tiny_models import KINDS, noise, save_tiny

pytestmark = pytest.mark.usefixtures("single_thread", "no_progress_bars")

NANO = Path(nano.__file__).parent


@pytest.mark.parametrize("kind", KINDS)
def test_layers_equal_transformers(tmp_path, kind):
    """Every layer asked for, alone or with others, is bit for bit the model's own output."""
    model = save_tiny(tmp_path, kind)
    encoder = hf(path=tmp_path)
    wave = noise(9000)
    with torch.inference_mode():
        direct = model(torch.from_numpy(standard_score(wave))[None], output_hidden_states=True)
    assert encoder.layers == ("cnn", "0", "1", "2", "3")
    together = encoder.encode(wave, encoder.layers)
    for layer in range(3):
        np.testing.assert_array_equal(together[str(layer)], direct.hidden_states[layer][0].numpy())
        np.testing.assert_array_equal(encoder.encode(wave, [str(layer)])[str(layer)], together[str(layer)])
    np.testing.assert_array_equal(together["3"], direct.last_hidden_state[0].numpy())
    np.testing.assert_array_equal(encoder.encode(wave, ["3"])["3"], together["3"])


@pytest.mark.parametrize("kind", KINDS)
def test_models_pass_the_kit(tmp_path, kind):
    save_tiny(tmp_path, kind)
    assert check_encoder(hf(path=tmp_path)) == []


def test_the_top_layer_is_after_the_final_layer_norm(tmp_path):
    """transformers 5 hands out hidden_states[-1] before it, 4 did after: last_hidden_state is the same in both."""
    save_tiny(tmp_path, "wav2vec2-stable")
    top = hf(path=tmp_path).encode(noise(9000), ["3"])["3"]
    np.testing.assert_allclose(top.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(top.std(axis=1), 1, atol=1e-3)


@given(st.integers(400, 8000))
@settings(deadline=None, max_examples=25)
def test_frame_counts_follow_the_convolutions(samples):
    encoder = nano_hubert()
    assert encoder.frames(samples) == (samples - 400) // 320 + 1
    assert len(encoder.encode(noise(samples), ["0"])["0"]) == encoder.frames(samples)


@pytest.mark.parametrize("kind", ["wav2vec2-stable", "wavlm"])
def test_threads_do_not_mix_up_their_layers(tmp_path, kind):
    """transformers keeps the hidden states of a call in hooks on the one shared model, put there by the first call."""
    save_tiny(tmp_path, kind)
    encoder = hf(path=tmp_path)
    jobs = [(noise(2000 + 500 * i, seed=i), [str(i % 4)]) for i in range(24)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda job: encoder.encode(*job), jobs))
    for (wave, layers), features in zip(jobs, together, strict=True):
        alone = encoder.encode(wave, layers)
        assert features.keys() == alone.keys()
        np.testing.assert_allclose(features[layers[0]], alone[layers[0]], rtol=0, atol=1e-5)


def test_other_convolutions_give_other_times(tmp_path):
    save_tiny(tmp_path, conv_dim=[16] * 3, conv_kernel=[10, 4, 4], conv_stride=[5, 4, 4])
    encoder = hf(path=tmp_path)
    assert encoder.frame_shift_s == 80 / 16_000
    # 1 frame ← 4 ← (4 - 1)·4 + 4 = 16 ← (16 - 1)·5 + 10 = 85 samples
    assert encoder.min_samples == 85
    assert encoder.first_centre_s == 85 / 2 / 16_000
    assert check_encoder(encoder) == []


def test_standard_score_is_that_of_transformers():
    wave = noise(5000) + np.float32(0.3)
    peer = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)(wave, sampling_rate=16_000)["input_values"][0]
    np.testing.assert_array_equal(standard_score(wave), peer)
    np.testing.assert_array_equal(standard_score(np.zeros(500, np.float32)), 0)


def test_preprocessor_config_decides_on_normalising(tmp_path):
    save_tiny(tmp_path, normalize=False)
    wave = noise(5000)
    plain = hf(path=tmp_path)
    assert plain.provenance["normalize"] == "false"
    scored = hf(path=tmp_path, normalize=True)
    assert scored.provenance["normalize"] == "true"
    np.testing.assert_array_equal(plain.encode(standard_score(wave), ["2"])["2"], scored.encode(wave, ["2"])["2"])
    assert not np.allclose(plain.encode(wave, ["2"])["2"], scored.encode(wave, ["2"])["2"])


def test_without_preprocessor_config_nothing_is_guessed(tmp_path):
    save_tiny(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(KwsbenchError, match=r"no preprocessor_config\.json; say normalize=true or normalize=false"):
        hf(path=tmp_path)
    assert hf(path=tmp_path, normalize=False).provenance["normalize"] == "false"


def test_cnn_is_what_the_convolutions_make(tmp_path):
    model = save_tiny(tmp_path)
    wave = noise(9000)
    with torch.inference_mode():
        direct = model.feature_extractor(torch.from_numpy(standard_score(wave))[None])[0].T.numpy()
    encoder = hf(path=tmp_path)
    np.testing.assert_array_equal(encoder.encode(wave, ["cnn"])["cnn"], direct)
    np.testing.assert_array_equal(encoder.encode(wave, ["2", "cnn"])["cnn"], direct)


def test_blocks_above_the_highest_layer_wanted_are_not_computed(tmp_path):
    save_tiny(tmp_path)
    encoder = hf(path=tmp_path)
    done = []
    for number, block in enumerate(encoder._model.encoder.layers):  # noqa: SLF001
        block.register_forward_hook(lambda module, args, output, number=number: done.append(number))
    for layers, blocks in ((["cnn"], []), (["0"], []), (["1", "cnn"], [0]), (["2"], [0, 1]), (["0", "3"], [0, 1, 2])):
        done.clear()
        encoder.encode(noise(4000), layers)
        assert done == blocks


@pytest.mark.parametrize(("dtype", "error"), [("bf16", 2**-8), ("fp16", 2**-11)])
def test_half_precision_by_name(dtype, error):
    """Each of some ten roundings in a row errs by half a unit in the last place: within 30 of them, and not exact."""
    path = NANO / "nano-hubert"
    wave = noise(16_000)
    exact, half = hf(path=path).encode(wave, ["4"])["4"], hf(path=path, dtype=dtype).encode(wave, ["4"])["4"]
    assert half.dtype == np.float32
    change = np.linalg.norm(half - exact) / np.linalg.norm(exact)
    assert error / 100 < change < 30 * error


def test_half_precision_is_another_fingerprint():
    plugin = plugins.load().find("encoders", "hf")
    assert plugin.pinned({"checkpoint": "x"}) != plugin.pinned({"checkpoint": "x", "dtype": "bf16"})
    with pytest.raises(KwsbenchError, match="dtype=int8: expected float32, bf16, fp16"):
        hf(path=NANO / "nano-hubert", dtype="int8")


def test_a_file_saved_in_half_precision_is_computed_in_float32(tmp_path):
    save_tiny(tmp_path).half().save_pretrained(tmp_path)
    features = hf(path=tmp_path).encode(noise(5000), ["1", "3"])
    assert {values.dtype for values in features.values()} == {np.dtype(np.float32)}
