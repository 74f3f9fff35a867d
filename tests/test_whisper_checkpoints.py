"""Whisper's checkpoints: what is refused, of audio and of files, what provenance pins, and the published names."""

import numpy as np
import pytest
import torch
import transformers

from kwsbench.errors import KwsbenchError, TooShort
from kwsbench_plugins import whisper as whisper_plugin
from kwsbench_plugins.mel_checkpoints import WHISPER
from kwsbench_plugins.whisper import whisper
from tests.tiny_models import edit, noise, save_whisper

pytestmark = pytest.mark.usefixtures("single_thread", "no_progress_bars")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A directory with a tiny untrained Whisper, as transformers saves it, decoder and all."""
    return save_whisper(tmp_path_factory.mktemp("whisper"))


# ── what is refused ───────────────────────────────────────────────────────────────────────────────


def refusal(directory, **params):
    with pytest.raises(KwsbenchError) as error:
        whisper(path=directory, **params)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("crop", [False, True])
def test_more_than_30_s_are_refused_and_not_cut_off(tiny, crop):
    encoder = whisper(path=tiny, crop=crop)
    assert encoder.longest_s == 30.0
    assert encoder.encode(noise(480_000), ["cnn"])["cnn"].shape == (1500, 32)
    with pytest.raises(KwsbenchError) as error:
        encoder.encode(noise(483_200), ["cnn"])
    assert str(error.value) == (
        "30.2 s, but Whisper hears 30 s at once; encode in windows: window_s=30 among the encoder's parameters"
    )


def test_less_than_one_window_of_the_spectrogram_is_too_short(tiny):
    encoder = whisper(path=tiny)
    with pytest.raises(TooShort, match="399 samples, but one frame needs 400; use a longer clip"):
        encoder.encode(noise(399), ["0"])
    assert len(encoder.encode(noise(400), ["0"])["0"]) == 2


def test_no_spectrogram_is_guessed(tmp_path):
    save_whisper(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path}: no preprocessor_config.json, which says how the spectrogram is made; ")
    assert message.endswith("or write WhisperFeatureExtractor(…).save_pretrained(DIR)")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"feature_size": 128},
            "feature_size is 128, and config.json's model takes 80; fetch both from one place",
        ),
        (
            {"chunk_length": 20},
            "frames (chunk_length over hop_length) is 2000, and config.json's model takes 3000; fetch both from",
        ),
        ({"dither": 0.1}, "dither, which makes the same audio differ each time, is 0.1, and config.json's model"),
        ({"sampling_rate": 8000}, "sampling_rate is 8000, expected 16000; it belongs to another model"),
        (
            {"feature_extractor_type": "Wav2Vec2FeatureExtractor"},
            "feature_extractor_type is Wav2Vec2FeatureExtractor, expected WhisperFeatureExtractor; it belongs to",
        ),
        ({"n_fft": "many"}, "a setting is wrong (TypeError: "),
    ],
)
def test_a_spectrogram_that_the_model_was_not_trained_on(tmp_path, changes, words):
    save_whisper(tmp_path)
    edit(tmp_path, "preprocessor_config.json", **changes)
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path / 'preprocessor_config.json'}: ")
    assert words in message


def test_a_damaged_preprocessor_config(tmp_path):
    file = save_whisper(tmp_path) / "preprocessor_config.json"
    for text in ("{", "[]"):
        file.write_text(text, encoding="utf-8")
        message = refusal(tmp_path)
        assert message.startswith(f"{file}: cannot be read (")
        assert message.endswith("); fetch the file again")


def test_filters_that_old_files_list_change_nothing(tmp_path):
    """The published preprocessor_config.json spells out its 80 × 201 filter weights."""
    save_whisper(tmp_path)
    expected = whisper(path=tmp_path).encode(noise(5000), ["3"])["3"]
    edit(tmp_path, "preprocessor_config.json", mel_filters=[[0.0] * 201] * 80)
    np.testing.assert_array_equal(whisper(path=tmp_path).encode(noise(5000), ["3"])["3"], expected)


def test_another_kind_of_model_is_refused(tmp_path):
    save_whisper(tmp_path)
    edit(tmp_path, "config.json", model_type="hubert")
    assert refusal(tmp_path) == (f"{tmp_path}: a 'hubert' model is no Whisper; kwsbench plugins lists what reads it")


def test_no_model_at_all():
    with pytest.raises(KwsbenchError, match="whisper needs a model; write whisper:checkpoint=HUB_ID or whisper:path="):
        whisper()


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_of_missing_weights_only_the_encoders_are_missed(tmp_path, half):
    save_whisper(tmp_path)
    state = transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path).state_dict()
    del state[f"model.{half}.layers.0.fc1.weight"]
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    if half == "encoder":
        assert "pytorch_model.bin: weights lack encoder.layers.0.fc1.weight (1 such)" in refusal(tmp_path)
    else:
        assert whisper(path=tmp_path).provenance["weights"] == "pretrained"


# ── names ─────────────────────────────────────────────────────────────────────────────────────────


def test_provenance_pins_the_weights_and_the_spectrogram(tmp_path):
    save_whisper(tmp_path)
    first = whisper(path=tmp_path).provenance
    assert first["transformers"] == transformers.__version__
    assert str(tmp_path) not in str(first)
    edit(tmp_path, "preprocessor_config.json", padding_value=0.5)
    second = whisper(path=tmp_path).provenance
    assert [key for key in first if first[key] != second[key]] == ["preprocessor sha256"]
    save_whisper(tmp_path, seed=1)
    third = whisper(path=tmp_path).provenance
    assert [key for key in first if first[key] != third[key]] == ["weights sha256"]


def test_random_weights_are_another_encoder_that_heard_no_language(tiny):
    trained, control = (whisper(path=tiny, crop=True, weights=weights) for weights in ("pretrained", "random:seed=3"))
    assert control.provenance["weights"] == "random:seed=3"
    wave = noise(5000)
    assert not np.allclose(trained.encode(wave, ["2"])["2"], control.encode(wave, ["2"])["2"], atol=0.1)
    named = whisper(path=tiny, checkpoint="openai/whisper-base")
    assert (len(named.languages), named.licence) == (99, "Apache-2.0")
    named = whisper(path=tiny, checkpoint="openai/whisper-base", weights="random:seed=3")
    assert (named.languages, named.licence) == ((), "")


def test_published_models_are_registered_by_name_and_pinned():
    registered = {}
    whisper_plugin.register_encoders(lambda name, factory, **defaults: registered.update({name: (factory, defaults)}))
    assert registered.pop("whisper") == (whisper, {})
    assert list(registered) == [known.name for known in WHISPER]
    for known in WHISPER:
        assert registered[known.name] == (whisper, {"checkpoint": known.checkpoint, "revision": known.revision})
        assert len(known.revision) == 40
        codes = known.languages.split()
        assert len(codes) == len(set(codes)) == (100 if known.name == "whisper-large-v3" else 99)
        assert all(2 <= len(code) <= 3 for code in codes)


def test_languages_are_those_that_the_tokenizer_has_a_token_for():
    """transformers' own list, in which Javanese is jw, and Cantonese came with large-v3."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    assert set(WHISPER[-1].languages.split()) == {"jv" if code == "jw" else code for code in LANGUAGES}
    assert set(WHISPER[0].languages.split()) == set(WHISPER[-1].languages.split()) - {"yue"}
