"""CTC posteriors against transformers' own logits, the blank against renormalised posteriors, and what is refused."""

import json

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from kwsbench.errors import KwsbenchError, TooShort
from kwsbench.testing import check_encoder
from kwsbench_plugins import ctc as ctc_plugin
from kwsbench_plugins.ctc import ctc
from kwsbench_plugins.hf import FAMILY, standard_score
from tests.tiny_models import STABLE, noise

pytestmark = pytest.mark.usefixtures("single_thread", "no_progress_bars")

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 11,
    "pad_token_id": 4,
    # Dropout and layer drop as in training: whoever forgets eval() sees other features each time.
    "hidden_dropout": 0.5,
    "attention_dropout": 0.5,
    "activation_dropout": 0.5,
    "feat_proj_dropout": 0.5,
    "final_dropout": 0.5,
    "layerdrop": 0.5,
}


def save_tiny(directory, model_type="wav2vec2", *, seed=0, auto="AutoModelForCTC", normalize=True, **changes):
    """A tiny untrained model on disk, as transformers saves it."""
    options = {"conv_pos_kernel_size": 7} if model_type == "data2vec-audio" else {}
    config = transformers.AutoConfig.for_model(model_type, **(TINY | options | changes))
    torch.manual_seed(seed)
    model = getattr(transformers, auto).from_config(config).eval()
    if hasattr(model, "lm_head"):
        # With the usual deviation of 0.02, all symbols of so small a model are about as likely.
        with torch.no_grad():
            model.lm_head.weight.normal_(0, 0.4)
    model.save_pretrained(directory)
    (directory / "preprocessor_config.json").write_text(json.dumps({"do_normalize": normalize}), encoding="utf-8")
    return model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ctc")
    save_tiny(directory)
    return directory


def softmax(logits):
    """In float64, written out."""
    shares = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


# ── features ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("model_type", FAMILY)
def test_logits_equal_transformers_and_posteriors_are_their_softmax(tmp_path, model_type):
    """Logits bit for bit; a float32 softmax of 11 is within 1e-6 of one in float64."""
    model = save_tiny(tmp_path, model_type)
    encoder = ctc(path=tmp_path)
    wave = noise(9000)
    with torch.inference_mode():
        direct = model(torch.from_numpy(standard_score(wave))[None]).logits[0].numpy()
    assert encoder.layers == ("logits", "posteriors")
    both = encoder.encode(wave, encoder.layers)
    np.testing.assert_array_equal(both["logits"], direct)
    np.testing.assert_allclose(both["posteriors"], softmax(direct), rtol=0, atol=1e-6)
    assert both["posteriors"].dtype == np.float32
    # Not all alike, or the softmax would be right of anything.
    assert both["posteriors"].max() > 0.3
    for layer in encoder.layers:
        np.testing.assert_array_equal(encoder.encode(wave, [layer])[layer], both[layer])


def test_without_normalising_the_waveform_goes_in_as_it_is(tmp_path):
    model = save_tiny(tmp_path, normalize=False)
    wave = noise(9000) + np.float32(0.3)
    with torch.inference_mode():
        raw = model(torch.from_numpy(wave)[None]).logits[0].numpy()
    np.testing.assert_array_equal(ctc(path=tmp_path).encode(wave, ["logits"])["logits"], raw)
    scored = ctc(path=tmp_path, normalize=True)
    np.testing.assert_array_equal(
        scored.encode(wave, ["logits"])["logits"],
        ctc(path=tmp_path).encode(standard_score(wave), ["logits"])["logits"],
    )
    assert scored.provenance["normalize"] == "true"


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_temperature_divides_the_logits_and_leaves_them_as_they_are(tiny, temperature):
    plain, tempered = (
        ctc(path=tiny, temperature=t).encode(noise(9000), ["logits", "posteriors"]) for t in (1, temperature)
    )
    np.testing.assert_array_equal(tempered["logits"], plain["logits"])
    np.testing.assert_allclose(
        tempered["posteriors"], softmax(plain["logits"] / np.float32(temperature)), rtol=0, atol=1e-6
    )
    surer = tempered["posteriors"].max(axis=1) > plain["posteriors"].max(axis=1)
    assert surer.all() if temperature < 1 else not surer.any()


def test_dropping_the_blank_renormalises_the_others(tiny):
    """p_k / (1 - p_blank), from posteriors in float64."""
    kept, dropped = (
        ctc(path=tiny, blank=blank).encode(noise(9000), ["logits", "posteriors"]) for blank in ("keep", "drop")
    )
    whole = softmax(kept["logits"])
    expected = np.delete(whole, 4, axis=1) / (1 - whole[:, [4]])
    np.testing.assert_array_equal(dropped["logits"], np.delete(kept["logits"], 4, axis=1))
    assert dropped["posteriors"].shape[1] == 10
    np.testing.assert_allclose(dropped["posteriors"], expected, rtol=0, atol=1e-6)


def test_a_frame_that_is_nothing_but_blank_says_what_would_be_next(tmp_path):
    """A bias of 200 on the blank leaves the others e^-200, which is 0 in float32, and 1 - p_blank is 0 too."""
    model = save_tiny(tmp_path)
    before = ctc(path=tmp_path, blank="drop").encode(noise(9000), ["posteriors"])["posteriors"]
    with torch.no_grad():
        model.lm_head.bias[4] += 200
    model.save_pretrained(tmp_path)
    kept = ctc(path=tmp_path).encode(noise(9000), ["posteriors"])["posteriors"]
    np.testing.assert_array_equal(kept, np.eye(11)[[4] * len(kept)])
    np.testing.assert_array_equal(
        ctc(path=tmp_path, blank="drop").encode(noise(9000), ["posteriors"])["posteriors"], before
    )


@pytest.mark.parametrize("blank", ["keep", "drop"])
@given(st.integers(400, 6000), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=15)
def test_posteriors_are_probabilities_and_frames_are_those_of_the_convolutions(tiny, blank, samples, seed):
    """A float32 sum of 11 shares is within 11 roundings of 1e-7 of 1."""
    found = ctc(path=tiny, blank=blank).encode(noise(samples, seed), ["posteriors"])["posteriors"]
    assert len(found) == (samples - 400) // 320 + 1
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize("changes", [{}, STABLE])
@pytest.mark.parametrize("blank", ["keep", "drop"])
def test_it_passes_the_kit(tmp_path, blank, changes):
    save_tiny(tmp_path, **changes)
    encoder = ctc(path=tmp_path, blank=blank)
    assert encoder.concurrent
    assert (encoder.first_centre_s, encoder.frame_shift_s, encoder.min_samples) == (0.0125, 0.02, 400)
    assert check_encoder(encoder) == []


@pytest.mark.parametrize("changes", [{}, STABLE])
def test_batches_are_what_each_is_alone(tmp_path, changes):
    """What is padded under a mask, of a front end with layer norm, is off by rounding: 5e-7 of a feature's size.

    Group norm hears its padding, so there only clips of one length share a pass.
    """
    save_tiny(tmp_path, **changes)
    encoder = ctc(path=tmp_path)
    assert encoder.batch_s > 0
    waves = [noise(samples, seed) for seed, samples in enumerate((6000, 5000, 6000, 400, 5100))]
    for wave, found in zip(waves, encoder.encode_batch(waves, ["posteriors"]), strict=True):
        alone = encoder.encode(wave, ["posteriors"])["posteriors"]
        np.testing.assert_allclose(found["posteriors"], alone, rtol=0, atol=1e-5)


def test_half_precision_gives_probabilities_of_float32(tiny):
    """The softmax is taken in float32 of logits in bf16, so that rows sum to 1 all the same."""
    exact, half = (
        ctc(path=tiny, dtype=dtype).encode(noise(9000), ["posteriors"])["posteriors"] for dtype in ("float32", "bf16")
    )
    assert half.dtype == np.float32
    np.testing.assert_allclose(half.sum(axis=1), 1, rtol=0, atol=1e-6)
    assert 0 < np.abs(half - exact).max() < 0.2


def test_it_moves_to_a_device_head_and_all(tiny):
    encoder = ctc(path=tiny)
    encoder.to("cpu")
    assert encoder.concurrent
    assert encoder.encode(noise(800), ["posteriors"])["posteriors"].shape == (2, 11)


def test_one_sample_short_of_a_frame(tiny):
    with pytest.raises(TooShort, match="399 samples, but one frame needs 400; use a longer clip"):
        ctc(path=tiny).encode(noise(399), ["posteriors"])


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


def refusal(directory, **params):
    with pytest.raises(KwsbenchError) as error:
        ctc(path=directory, **params)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("model_type", FAMILY)
def test_a_model_without_a_head_is_sent_to_hf(tmp_path, model_type):
    """transformers would make one up, at random, and its posteriors would look like any others."""
    save_tiny(tmp_path, model_type, auto="AutoModel")
    assert refusal(tmp_path) == (
        f"{tmp_path}: no CTC head among the weights (lm_head), so no posteriors; take its hidden layers instead: hf in "
        "place of ctc"
    )


def test_other_weights_that_are_missing_are_named(tmp_path):
    state = save_tiny(tmp_path).state_dict()
    del state["wav2vec2.encoder.layers.1.attention.k_proj.weight"]
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert "weights lack wav2vec2.encoder.layers.1.attention.k_proj.weight (1 such)" in refusal(tmp_path)


def test_a_head_of_another_vocabulary_is_refused(tmp_path):
    save_tiny(tmp_path, vocab_size=12)
    state = tmp_path / "model.safetensors"
    other = state.read_bytes()
    save_tiny(tmp_path)
    state.write_bytes(other)
    assert "model.safetensors: weights" in refusal(tmp_path)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_impossible_temperatures(tiny, temperature):
    assert refusal(tiny, temperature=temperature) == (
        f"ctc: temperature={temperature:g} must be more than 0; it divides the logits"
    )


@pytest.mark.parametrize("blank_id", [None, 11, -1])
def test_a_blank_that_is_no_symbol_cannot_be_dropped(tmp_path, blank_id):
    save_tiny(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"pad_token_id": blank_id}), encoding="utf-8")
    assert refusal(tmp_path, blank="drop") == (
        f"{file}: pad_token_id, the blank, is {blank_id} of 11 symbols, and cannot be dropped; use blank=keep"
    )
    assert ctc(path=tmp_path).encode(noise(800), ["posteriors"])["posteriors"].shape == (2, 11)


def test_models_of_another_family_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}', encoding="utf-8")
    assert "a 'whisper' model is not supported; the family is data2vec-audio, hubert" in refusal(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "wav2vec2", "add_adapter": true}', encoding="utf-8")
    assert "a 'wav2vec2' model with an adapter is not supported" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "no preprocessor_config.json; say normalize=true"), ('{"do_normalize": 1}', "do_normalize is 1, expected")],
)
def test_normalising_is_not_guessed(tmp_path, text, words):
    save_tiny(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    file.unlink()
    if text:
        file.write_text(text, encoding="utf-8")
    assert words in refusal(tmp_path)
    assert ctc(path=tmp_path, normalize=False).provenance["normalize"] == "false"


def test_no_model_at_all():
    with pytest.raises(KwsbenchError, match="ctc needs a model; write ctc:checkpoint=HUB_ID or ctc:path=DIR"):
        ctc()


def test_random_weights_are_the_control(tiny):
    control = ctc(path=tiny, weights="random:seed=2")
    assert control.provenance["weights"] == "random:seed=2"
    wave = noise(5000)
    trained = ctc(path=tiny).encode(wave, ["logits"])["logits"]
    assert not np.allclose(control.encode(wave, ["logits"])["logits"], trained, atol=0.1)


def test_it_is_registered():
    registered = {}
    ctc_plugin.register_encoders(lambda name, factory, **defaults: registered.update({name: (factory, defaults)}))
    assert registered == {"ctc": (ctc, {})}
