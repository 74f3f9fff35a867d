"""The built-in encoders against slow or direct oracles: Kaldi's formulas in numpy, transformers itself."""

import json
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from kwsbench import plugins
from kwsbench.errors import KwsbenchError, TooShort
from kwsbench.spec import parse
from kwsbench.testing import check_encoder, check_plugin
from kwsbench_plugins import hf as hf_plugin
from kwsbench_plugins.checkpoints import KNOWN
from kwsbench_plugins.fbank import Fbank
from kwsbench_plugins.hf import HfEncoder, hf, standard_score
from kwsbench_plugins.mfcc import Mfcc, add_deltas
from kwsbench_plugins.nano import nano_hubert, nano_wav2vec2

NANO = Path(hf_plugin.__file__).parent / "nano"


def noise(samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


# ── Kaldi's features, written out ────────────────────────────────────────────────────────────────


def slow_log_mel(samples, n_mels):
    """Kaldi's log filter banks in float64, frame by frame, filter by filter (mel-computations.cc)."""

    def mel(hz):
        return 1127 * np.log(1 + hz / 700)

    samples = samples.astype(np.float64) * 32768
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85  # Povey's
    edges = np.linspace(mel(20), mel(8000), n_mels + 2)
    bins = mel(np.arange(257) * 16_000 / 512)
    rows = []
    for first in range(0, len(samples) - 399, 160):
        frame = samples[first : first + 400]
        frame = frame - frame.mean()
        frame = np.concatenate([[frame[0] - 0.97 * frame[0]], frame[1:] - 0.97 * frame[:-1]]) * window
        power = np.abs(np.fft.rfft(frame, 512)) ** 2
        row = []
        for left, centre, right in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
            rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
            weights = np.clip(np.minimum(rising, falling), 0, None)
            weights[256] = 0  # Kaldi's filters leave out the Nyquist bin
            row.append(np.log(max(power @ weights, 1.1920929e-07)))
        rows.append(row)
    return np.array(rows)


def slow_cepstra(log_mel, n_ceps):
    n_mels = log_mel.shape[1]
    index = np.arange(n_ceps)[:, None]
    cosines = np.sqrt(2 / n_mels) * np.cos(np.pi / n_mels * (np.arange(n_mels) + 0.5) * index)
    cosines[0] = np.sqrt(1 / n_mels)
    lifter = 1 + 11 * np.sin(np.pi * np.arange(n_ceps) / 22)
    return log_mel @ cosines.T * lifter


def slow_deltas(features):
    """Furui's slope over five frames, order by order, each frame's neighbours looked up one by one."""
    n = len(features)

    def at(t):
        return features[min(max(t, 0), n - 1)].astype(np.float64)

    first = [sum(k * at(t + k) for k in range(-2, 3)) / 10 for t in range(n)]
    second = [sum(k * j * at(t + k + j) for k in range(-2, 3) for j in range(-2, 3)) / 100 for t in range(n)]
    return np.concatenate([features, first, second], axis=1)


@pytest.mark.parametrize("samples", [400, 559, 560, 16_000])
def test_fbank_equals_kaldis_formulas(samples):
    """float32 spectra are good to about 1e-6 of a frame's largest bin; the log of a weak filter magnifies that."""
    wave = noise(samples)
    np.testing.assert_allclose(Fbank().encode(wave, ["0"])["0"], slow_log_mel(wave, 80), atol=2e-3)


@pytest.mark.parametrize(("n_ceps", "n_mels"), [(13, 23), (20, 40)])
def test_mfcc_equals_kaldis_formulas(n_ceps, n_mels):
    """23 logs, each good to 1e-3 at worst, mixed with weights under 12 (the lifter)."""
    wave = noise(16_000)
    got = Mfcc(n_ceps=n_ceps, n_mels=n_mels, deltas=0).encode(wave, ["0"])["0"]
    np.testing.assert_allclose(got, slow_cepstra(slow_log_mel(wave, n_mels), n_ceps), atol=5e-3)


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_deltas_equal_the_naive_loops_at_any_length(frames, seed):
    features = np.random.default_rng(seed).standard_normal((frames, 3)).astype(np.float32)
    np.testing.assert_allclose(add_deltas(features, 2), slow_deltas(features), atol=1e-6)


def test_deltas_equal_kaldi_native_fbanks():
    import kaldi_native_fbank

    features = np.random.default_rng(0).standard_normal((50, 13)).astype(np.float32)
    peer = kaldi_native_fbank.compute_deltas(kaldi_native_fbank.DeltaOptions(), features)
    np.testing.assert_allclose(add_deltas(features, 2), peer, atol=1e-6)


@given(st.integers(400, 5000))
@settings(deadline=None, max_examples=30)
def test_kaldi_frames_are_whole_frames_only(samples):
    assert Mfcc().encode(noise(samples), ["0"])["0"].shape == (1 + (samples - 400) // 160, 39)


def test_mfcc_has_no_cmvn_inside_and_hears_level_as_c0_only():
    """Twice the amplitude adds log 4 to every filter, so sqrt(23)·log 4 to c0 and nothing to the others."""
    wave = noise(16_000)
    once, twice = (Mfcc(deltas=0).encode(x, ["0"])["0"] for x in (wave, 2 * wave))
    expected = np.zeros(13)
    expected[0] = np.sqrt(23) * np.log(4)
    np.testing.assert_allclose((twice - once).mean(axis=0), expected, atol=1e-3)


@pytest.mark.parametrize("encoder", [Mfcc(), Fbank(), Mfcc(deltas=0, n_ceps=1)])
def test_kaldi_encoders_pass_the_kit(encoder):
    assert check_encoder(encoder) == []


@pytest.mark.parametrize("make", [Mfcc, Fbank, nano_hubert])
def test_one_sample_short_of_a_frame(make):
    encoder = make()
    with pytest.raises(TooShort, match="399 samples, but one frame needs 400; use a longer clip"):
        encoder.encode(noise(399), ["0"])
    assert len(encoder.encode(noise(400), ["0"])["0"]) == 1


@pytest.mark.parametrize(
    "text", ["mfcc:n_ceps=0", "mfcc:n_ceps=24", "mfcc:deltas=3", "fbank:n_mels=2", "fbank:n_mels=500"]
)
def test_impossible_parameters(text):
    with pytest.raises(KwsbenchError, match="legal"):
        plugins.load().create("encoders", parse(text))


# ── transformers ─────────────────────────────────────────────────────────────────────────────────

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


@pytest.fixture(scope="module", autouse=True)
def _quiet_and_single():
    """Saving and the tests' own loading draw bars (that the plugin draws none is tested in a process apart).

    Several threads on models as small as these only wait for one another.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    yield
    transformers.utils.logging.enable_progress_bar()
    torch.set_num_threads(threads)


def save_tiny(directory, kind="wav2vec2", *, seed=0, normalize=True, **changes):
    """A tiny untrained model on disk, as transformers saves it."""
    model_type, options = KINDS[kind]
    config = transformers.AutoConfig.for_model(model_type, **(TINY | options | changes))
    torch.manual_seed(seed)
    model = transformers.AutoModel.from_config(config).eval()
    model.save_pretrained(directory)
    (directory / "preprocessor_config.json").write_text(json.dumps({"do_normalize": normalize}), encoding="utf-8")
    return model


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


GROUPED = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat")
SAFE = ("wav2vec2-stable", "hubert-stable", "unispeech-stable", "unispeech-sat-stable")


@pytest.mark.parametrize("kind", KINDS)
def test_which_families_may_be_padded_is_measured(tmp_path, kind):
    """Padding under a mask, forced: rounding (1e-5 of a feature's size) where we allow it, ruin where we do not."""
    save_tiny(tmp_path, kind)
    encoder = hf(path=tmp_path)
    assert encoder._maskable == (kind in SAFE)  # noqa: SLF001
    encoder._maskable = True  # noqa: SLF001
    waves = [noise(8000), noise(6100, seed=1)]
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
    lengths = [1000, 50_000, 49_000, 900, 48_000, 5000, 4100, 3000]
    found = encoder.encode_batch([noise(n) for n in lengths], ["1"])
    assert [len(features["1"]) for features in found] == [encoder.frames(n) for n in lengths]
    # By length: 900 with 1000; 3000 alone (under .75 of 4100); 4100 with 5000; of 48,000 to 50,000, 8 s hold two.
    assert shapes == [(2, 1000), (1, 3000), (2, 5000), (2, 49_000), (1, 50_000)]


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


# ── weights ──────────────────────────────────────────────────────────────────────────────────────


def load_error(directory, **params):
    with pytest.raises(KwsbenchError) as error:
        hf(path=directory, **params)
    assert "\n" not in str(error.value)
    return str(error.value)


def save_state(directory, state):
    (directory / "model.safetensors").unlink(missing_ok=True)
    torch.save(state, directory / "pytorch_model.bin")


def test_a_truncated_file(tmp_path):
    save_tiny(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "model.safetensors: weights cannot be read (SafetensorError" in load_error(tmp_path)
    assert load_error(tmp_path).endswith("fetch the file again")


def test_no_weights_at_all(tmp_path):
    save_tiny(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert "no model.safetensors and no pytorch_model.bin; weights=random:seed=0 needs none" in load_error(tmp_path)
    assert hf(path=tmp_path, weights="random:seed=0").provenance["weights"] == "random:seed=0"


def test_no_directory(tmp_path):
    assert "no config.json" in load_error(tmp_path / "gone")


def test_a_missing_weight_is_never_left_random(tmp_path):
    """transformers initialises it and warns; three layers of a model would then be trained and one not."""
    state = save_tiny(tmp_path).state_dict()
    del state["encoder.layers.1.attention.k_proj.weight"]
    save_state(tmp_path, state)
    message = load_error(tmp_path)
    assert "pytorch_model.bin: weights lack encoder.layers.1.attention.k_proj.weight (1 such)" in message


def test_weights_of_another_model_are_refused(tmp_path):
    save_state(tmp_path, {f"strange.{key}": value for key, value in save_tiny(tmp_path).state_dict().items()})
    assert "weights lack" in load_error(tmp_path)


def test_weights_with_more_layers_than_the_config_are_refused(tmp_path):
    state = save_tiny(tmp_path, num_hidden_layers=4).state_dict()
    save_tiny(tmp_path)
    save_state(tmp_path, state)
    assert "encoder.layers.3." in load_error(tmp_path)


def test_a_weight_of_another_shape_is_refused(tmp_path):
    state = save_tiny(tmp_path).state_dict()
    state["encoder.layer_norm.weight"] = torch.ones(7)
    save_state(tmp_path, state)
    assert "pytorch_model.bin" in load_error(tmp_path)


def test_heads_and_the_old_names_of_weight_norm_load(tmp_path):
    """Published checkpoints hold the quantizer too, and weight_g and weight_v in the older .bin files."""
    model = save_tiny(tmp_path)
    state = {f"wav2vec2.{key}": value for key, value in model.state_dict().items()}
    for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
        key = f"wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.{new}"
        state[f"wav2vec2.encoder.pos_conv_embed.conv.{old}"] = state.pop(key)
    state["quantizer.codevectors"] = torch.zeros(1, 640, 8)
    expected = hf(path=tmp_path).encode(noise(5000), ["3"])["3"]
    save_state(tmp_path, state)
    np.testing.assert_array_equal(hf(path=tmp_path).encode(noise(5000), ["3"])["3"], expected)


@pytest.mark.parametrize(
    ("config", "words"),
    [({"model_type": "whisper"}, "a 'whisper' model is not supported"), ({}, "a None model is not supported")],
)
def test_models_of_another_family_are_refused(tmp_path, config, words):
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert words in load_error(tmp_path)
    assert "the family is data2vec-audio, hubert" in load_error(tmp_path)


def test_provenance_pins_the_weights(tmp_path):
    save_tiny(tmp_path)
    first = hf(path=tmp_path).provenance
    assert first["transformers"] == transformers.__version__
    assert str(tmp_path) not in str(first)
    assert len(first["weights sha256"]) == 64
    save_tiny(tmp_path, seed=1)
    assert hf(path=tmp_path).provenance["weights sha256"] != first["weights sha256"]


def test_random_weights_follow_their_seed_and_touch_no_other_randomness(tmp_path):
    save_tiny(tmp_path)
    wave = noise(5000)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, same, other = (
        hf(path=tmp_path, weights=weights) for weights in ("random", "random:seed=0", "random:seed=1")
    )
    assert torch.equal(torch.rand(3), expected)
    assert first.provenance == same.provenance
    np.testing.assert_array_equal(first.encode(wave, ["2"])["2"], same.encode(wave, ["2"])["2"])
    assert not np.allclose(first.encode(wave, ["2"])["2"], other.encode(wave, ["2"])["2"])
    assert other.languages == ()


@pytest.mark.parametrize("weights", ["rand", "random:0", "random:seed=x", "random:seed=-1", ""])
def test_weights_that_cannot_be_read(weights):
    with pytest.raises(KwsbenchError, match=r"expected pretrained or random:seed=N"):
        nano_hubert(weights=weights)


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_named_models_are_pinned(known):
    plugin = plugins.load().find("encoders", known.name)
    assert plugin.parameters["checkpoint"] == known.checkpoint
    assert plugin.parameters["revision"] == known.revision
    assert len(known.revision) == 40 or known.name in ("mms-300m", "mhubert-147")
    assert known.licence
    assert all(2 <= len(code) <= 3 for code in known.languages.split())
    assert len(set(known.languages.split())) == len(known.languages.split())


def test_untrained_control_of_a_named_model_needs_no_hub():
    encoder = plugins.load().create("encoders", parse("wav2vec2-base:weights=random:seed=2"))
    assert encoder.provenance["weights"] == "random:seed=2"
    assert encoder.provenance["architecture"] == "wav2vec2-base"
    assert encoder.languages == ()
    assert encoder.encode(noise(16_000), ["12"])["12"].shape == (49, 768)


def test_a_named_model_from_a_directory_keeps_its_normalising_when_the_directory_does_not_say(tmp_path):
    save_tiny(tmp_path, "wavlm")
    (tmp_path / "preprocessor_config.json").unlink()
    encoder = plugins.load().create("encoders", parse(f"wavlm-base-plus:path={tmp_path}"))
    assert encoder.provenance["normalize"] == "false"
    assert encoder.languages == ("en",)


def test_hf_without_a_model():
    with pytest.raises(KwsbenchError, match="write hf:checkpoint=HUB_ID or hf:path=DIR"):
        hf()


def python(code, **environment):
    """What a fresh interpreter prints, with no network and every warning an error."""
    import os

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HF_HUB_OFFLINE": "1"} | environment,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_a_model_that_is_nowhere_says_what_to_do(tmp_path):
    code = """
from kwsbench.errors import KwsbenchError
from kwsbench_plugins.hf import hf
try:
    hf(checkpoint="facebook/hubert-base-ls960", revision="0" * 40)
except KwsbenchError as error:
    print(error)
"""
    done = python(code, HF_HOME=str(tmp_path))
    assert done.stdout.startswith("facebook/hubert-base-ls960: not in the local cache, and the hub did not give it (")
    assert done.stdout.endswith("go online once, or download it elsewhere and give path=DIR\n")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_model_in_the_hubs_cache_loads_offline(tmp_path, file):
    snapshot = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    state = save_tiny(snapshot).state_dict()
    if file == "pytorch_model.bin":
        save_state(snapshot, state)
    code = f"""
from kwsbench_plugins.hf import hf
encoder = hf(checkpoint="someone/tiny", revision="{"a" * 40}")
print(encoder.provenance["weights"], len(encoder.provenance["weights sha256"]))
"""
    done = python(code, HF_HOME=str(tmp_path))
    assert done.stdout == "pretrained 64\n"
    assert done.stderr == ""


# ── nano ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["nano-hubert", "nano-wav2vec2"])
def test_nano_loads_with_no_network_and_no_noise(name, tmp_path):
    code = f"""
import numpy as np
from kwsbench import plugins
from kwsbench.spec import parse
encoder = plugins.load().create("encoders", parse("{name}"))
print(encoder.encode(np.ones(16000, np.float32), ["6"])["6"].shape, len(encoder.layers))
"""
    done = python(code, HF_HOME=str(tmp_path))
    assert done.stdout == "(49, 256) 8\n"
    assert done.stderr == ""


@pytest.mark.parametrize("make", [nano_hubert, nano_wav2vec2])
def test_nano_passes_the_kit_and_is_not_random(make):
    encoder = make()
    assert check_encoder(encoder) == []
    wave = noise(16_000)
    control = make(weights="random:seed=0")
    assert not np.allclose(encoder.encode(wave, ["5"])["5"], control.encode(wave, ["5"])["5"], atol=0.1)
    assert control.languages == ()
    assert not {"fr", "it", "wa", "nn"} & set(encoder.languages)
    assert len(encoder.languages) == 31


def test_nano_card_names_the_files_that_are_shipped():
    import hashlib

    card = (NANO / "README.md").read_text(encoding="utf-8")
    for name in ("nano-hubert", "nano-wav2vec2"):
        assert hashlib.sha256((NANO / name / "model.safetensors").read_bytes()).hexdigest() in card


# ── start-up ─────────────────────────────────────────────────────────────────────────────────────


def test_discovery_imports_nothing_heavy():
    code = """
import sys
from kwsbench import plugins
import kwsbench_plugins.hf, kwsbench_plugins.nano, kwsbench_plugins.mfcc, kwsbench_plugins.fbank
registry = plugins.load()
[plugin.summary for plugin in registry.all()]
assert {"mfcc", "fbank", "hf", "nano-hubert", "xlsr-53"} <= set(registry.plugins["encoders"])
print([name for name in ("torch", "transformers", "numba", "kaldi_native_fbank", "scipy") if name in sys.modules])
"""
    assert python(code).stdout == "[]\n"


@pytest.mark.parametrize("name", ["mfcc", "fbank"])
def test_registered_encoders_pass_the_kit(name):
    assert check_plugin(plugins.load().find("encoders", name)).problems == []


def test_an_encoder_moves_to_a_device():
    encoder = nano_hubert()
    assert isinstance(encoder, HfEncoder)
    encoder.to("cpu")
    assert encoder.concurrent
    assert encoder.encode(noise(800), ["0"])["0"].shape == (2, 256)
