"""w2v-BERT 2.0 against transformers' own forward pass with its mask, its frames against where sound is changed."""

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from kwsbench.errors import KwsbenchError, TooShort
from kwsbench.testing import check_encoder
from kwsbench_plugins import w2v_bert as w2v_bert_plugin
from kwsbench_plugins.mel_checkpoints import W2V_BERT
from kwsbench_plugins.w2v_bert import w2v_bert
from tests.tiny_models import edit, noise

pytestmark = pytest.mark.usefixtures("single_thread", "no_progress_bars")

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_depthwise_kernel_size": 7,
    # Dropout and layer drop as in training: whoever forgets eval() sees other features each time.
    "hidden_dropout": 0.5,
    "attention_dropout": 0.5,
    "activation_dropout": 0.5,
    "feat_proj_dropout": 0.5,
    "conformer_conv_dropout": 0.5,
    "layerdrop": 0.5,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("w2v-bert"))


def save_tiny(directory, *, seed=0, mels=80, stride=2, **changes):
    """A tiny untrained model on disk, as transformers saves it. Padding is with 1, which is no frame's mean."""
    config = transformers.Wav2Vec2BertConfig(**(TINY | changes))
    torch.manual_seed(seed)
    transformers.Wav2Vec2BertModel(config).save_pretrained(directory)
    extractor = transformers.SeamlessM4TFeatureExtractor(
        feature_size=mels, num_mel_bins=mels, stride=stride, padding_value=1
    )
    extractor.save_pretrained(directory)
    return directory


def direct(directory, wave, *, masked):
    """What transformers computes: the model's outputs, and the mask of the frames that are whole."""
    model = transformers.Wav2Vec2BertModel.from_pretrained(directory).eval()
    extractor = transformers.SeamlessM4TFeatureExtractor.from_pretrained(directory)
    batch = extractor(wave, sampling_rate=16_000, return_tensors="pt")
    whole = batch["attention_mask"][0].bool()
    with torch.inference_mode():
        if masked:
            output = model(batch["input_features"], batch["attention_mask"], output_hidden_states=True)
        else:
            output = model(batch["input_features"][:, whole], output_hidden_states=True)
    # The states, which are of blocks alone, have no last one beside last_hidden_state.
    states = [*output.hidden_states[:3], output.last_hidden_state]
    return [state[0].numpy() for state in states], whole.numpy()


# ── features ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("samples", [9000, 9160])
def test_layers_equal_transformers(tiny, samples):
    """Every layer asked for, alone or with others, is bit for bit the model's own output, of 54 or 55 mel frames."""
    encoder = w2v_bert(path=tiny)
    wave = noise(samples)
    expected, whole = direct(tiny, wave, masked=False)
    assert encoder.layers == ("0", "1", "2", "3")
    together = encoder.encode(wave, encoder.layers)
    for layer in encoder.layers:
        assert together[layer].shape == (27, 32) == (whole.sum(), 32)
        np.testing.assert_array_equal(together[layer], expected[int(layer)])
        np.testing.assert_array_equal(encoder.encode(wave, [layer])[layer], together[layer])


def test_what_padding_invented_is_cut_off_and_reaches_no_other_frame(tiny):
    """Of 55 mel frames the extractor makes 28 pairs, the last half of padding, and masks it.

    Leaving the pair out and masking it are one, up to the rounding of attention of another length (values of
    order 1). Without a mask it would be heard: by how much is what makes this a test.
    """
    wave = noise(9160)
    found = w2v_bert(path=tiny).encode(wave, ["3"])["3"]
    expected, whole = direct(tiny, wave, masked=True)
    assert (len(whole), whole.sum(), len(found)) == (28, 27, 27)
    np.testing.assert_allclose(found, expected[3][:27], rtol=0, atol=1e-5)
    model = transformers.Wav2Vec2BertModel.from_pretrained(tiny).eval()
    extractor = transformers.SeamlessM4TFeatureExtractor.from_pretrained(tiny)
    mel = extractor(wave, sampling_rate=16_000, return_tensors="pt")["input_features"]
    with torch.inference_mode():
        unmasked = model(mel).last_hidden_state[0].numpy()
    assert np.abs(unmasked[:27] - found).max() > 1e-3


@pytest.mark.parametrize("positions", ["relative_key", "rotary", "relative"])
def test_it_passes_the_kit(tmp_path, positions):
    """Rotary and relative positions are kept on the model between calls, so threads would get one another's."""
    encoder = w2v_bert(path=save_tiny(tmp_path, position_embeddings_type=positions))
    assert encoder.concurrent == (positions == "relative_key")
    encoder.to("cpu")
    assert encoder.concurrent == (positions == "relative_key")
    assert check_encoder(encoder) == []


def test_half_precision_comes_back_as_float32(tiny):
    """bf16 keeps 8 bits: 0.4 % a step, some percent after three blocks."""
    wave = noise(9000)
    exact, half = (w2v_bert(path=tiny, dtype=dtype).encode(wave, ["3"])["3"] for dtype in ("float32", "bf16"))
    assert half.dtype == np.float32
    assert 0 < np.linalg.norm(half - exact) / np.linalg.norm(exact) < 0.1


def test_loudness_is_not_heard(tiny):
    """Filters are standardised over the waveform: a gain adds the same to each log. float32 logs of up to 20 keep 2e-6.

    Divided by a deviation of about 0.5, through a layer norm and three blocks.
    """
    encoder = w2v_bert(path=tiny)
    quiet, loud = (encoder.encode(gain * noise(9000), ["3"])["3"] for gain in (np.float32(1), np.float32(4)))
    np.testing.assert_allclose(loud, quiet, rtol=0, atol=1e-3)


# ── frames and times ─────────────────────────────────────────────────────────────────────────────


@given(st.integers(560, 20_000))
@settings(deadline=None, max_examples=30)
def test_frame_counts_are_whole_pairs_of_whole_frames(tiny, samples):
    encoder = w2v_bert(path=tiny)
    pairs = [first for first in range(0, samples, 320) if first + 560 <= samples]
    assert encoder.frames(samples) == len(pairs)
    assert len(encoder.encode(noise(samples), ["0"])["0"]) == len(pairs)
    assert encoder.frames(399) == encoder.frames(559) == 0


@given(st.integers(2000, 14_000))
@settings(deadline=None, max_examples=20)
def test_a_sample_changes_most_the_frames_that_hear_it(tiny, at):
    """Frame i hears samples 320·i to 320·i + 559. Standardising over 98 mel frames spreads a little over the others."""
    encoder = w2v_bert(path=tiny)
    assert (encoder.first_centre_s, encoder.frame_shift_s, encoder.min_samples) == (280 / 16_000, 0.02, 560)
    wave = noise(16_000)
    touched = wave.copy()
    touched[at] += 2
    one, other = (encoder.encode(samples, ["0"])["0"] for samples in (wave, touched))
    change = np.linalg.norm(other - one, axis=1)
    # A tenth of a mel frame from its ends, Povey's window lets little through.
    sure = [any(160 * mel + 40 <= at <= 160 * mel + 359 for mel in (2 * i, 2 * i + 1)) for i in range(len(one))]
    deaf = [not 320 * i <= at < 320 * i + 560 for i in range(len(one))]
    assert any(sure)
    assert change[sure].min() > 2 * change[deaf].max()


def test_one_sample_short_of_a_pair(tiny):
    encoder = w2v_bert(path=tiny)
    with pytest.raises(TooShort, match="559 samples, but one frame needs 560; use a longer clip"):
        encoder.encode(noise(559), ["0"])
    assert encoder.encode(noise(560), ["0", "3"])["3"].shape == (1, 32)


def test_audio_past_a_minute_is_left_to_windows(tiny):
    assert w2v_bert(path=tiny).longest_s == 60.0


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


def refusal(directory, **params):
    with pytest.raises(KwsbenchError) as error:
        w2v_bert(path=directory, **params)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_no_spectrogram_is_guessed(tmp_path):
    save_tiny(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path}: no preprocessor_config.json, which says how the spectrogram is made; ")
    assert message.endswith("or write SeamlessM4TFeatureExtractor(…).save_pretrained(DIR)")


@pytest.mark.parametrize(("mels", "stride"), [(40, 2), (40, 4), (20, 8)])
def test_a_spectrogram_that_the_model_was_not_trained_on(tmp_path, mels, stride):
    """40 mels stacked by four, and 20 by eight, are as wide as 80 by two, and other frames."""
    save_tiny(tmp_path, mels=mels, stride=stride)
    assert refusal(tmp_path) == (
        f"{tmp_path / 'preprocessor_config.json'}: {stride} × {mels} mels a frame, and config.json's model takes "
        "2 × 80; fetch both from one place"
    )


def test_whispers_spectrogram_is_refused(tmp_path):
    save_tiny(tmp_path)
    transformers.WhisperFeatureExtractor().save_pretrained(tmp_path)
    words = "feature_extractor_type is WhisperFeatureExtractor, expected SeamlessM4TFeatureExtractor"
    assert words in refusal(tmp_path)


def test_adapters_and_other_kinds_of_model_are_refused(tmp_path):
    save_tiny(tmp_path)
    edit(tmp_path, "config.json", add_adapter=True)
    expected = "is not supported; expected wav2vec2-bert without an adapter"
    assert refusal(tmp_path) == f"{tmp_path}: a 'wav2vec2-bert' model with an adapter {expected}"
    edit(tmp_path, "config.json", add_adapter=False, model_type="wav2vec2")
    assert refusal(tmp_path) == f"{tmp_path}: a 'wav2vec2' model {expected}"


def test_no_model_at_all():
    with pytest.raises(KwsbenchError, match="w2v-bert needs a model; write w2v-bert:checkpoint=HUB_ID or w2v-bert:pat"):
        w2v_bert()


# ── names ────────────────────────────────────────────────────────────────────────────────────────


def test_provenance_pins_the_weights_and_the_spectrogram(tmp_path):
    save_tiny(tmp_path)
    first = w2v_bert(path=tmp_path).provenance
    assert first["transformers"] == transformers.__version__
    assert str(tmp_path) not in str(first)
    edit(tmp_path, "preprocessor_config.json", padding_value=0.5)
    second = w2v_bert(path=tmp_path).provenance
    assert [key for key in first if first[key] != second[key]] == ["preprocessor sha256"]
    save_tiny(tmp_path, seed=1)
    third = w2v_bert(path=tmp_path).provenance
    assert [key for key in first if first[key] != third[key]] == ["weights sha256"]


def test_random_weights_are_another_encoder_that_heard_no_language(tiny):
    wave = noise(5000)
    trained, control = (w2v_bert(path=tiny, weights=weights) for weights in ("pretrained", "random:seed=3"))
    assert control.provenance["weights"] == "random:seed=3"
    assert not np.allclose(trained.encode(wave, ["2"])["2"], control.encode(wave, ["2"])["2"], atol=0.1)
    named = w2v_bert(path=tiny, checkpoint="facebook/w2v-bert-2.0")
    assert (len(named.languages), named.licence) == (95, "MIT")
    named = w2v_bert(path=tiny, checkpoint="facebook/w2v-bert-2.0", weights="random:seed=3")
    assert (named.languages, named.licence) == ((), "")


def test_the_published_model_is_registered_by_name_and_pinned():
    registered = {}
    w2v_bert_plugin.register_encoders(lambda name, factory, **defaults: registered.update({name: (factory, defaults)}))
    (known,) = W2V_BERT
    assert registered == {
        "w2v-bert": (w2v_bert, {}),
        "w2v-bert-2.0": (w2v_bert, {"checkpoint": "facebook/w2v-bert-2.0", "revision": known.revision}),
    }
    assert len(known.revision) == 40
    codes = known.languages.split()
    assert len(codes) == len(set(codes))
    assert all(2 <= len(code) <= 3 for code in codes)
