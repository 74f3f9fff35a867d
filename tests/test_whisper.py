"""Whisper's encoder against transformers' own, and its frames against where sound is changed."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from kwsbench import windows
from kwsbench.plugins import Plugin
from kwsbench.testing import check_encoder
from kwsbench_plugins.whisper import whisper
from tests.tiny_models import TINY_WHISPER, noise, save_whisper

pytestmark = pytest.mark.usefixtures("single_thread", "no_progress_bars")

LAYERS = ("cnn", "0", "1", "2", "3")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A directory with a tiny untrained Whisper, as transformers saves it, decoder and all."""
    return save_whisper(tmp_path_factory.mktemp("whisper"))


def direct(directory, wave):
    """What transformers itself computes of 30 s: {layer: (1500, dims)}, without ``cnn``."""
    model = transformers.WhisperModel.from_pretrained(directory).encoder.eval()
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(directory)
    mel = extractor(wave, sampling_rate=16_000, return_tensors="pt")["input_features"]
    with torch.inference_mode():
        output = model(mel, output_hidden_states=True)
    states = [*output.hidden_states[:-1], output.last_hidden_state]
    return {str(number): state[0].numpy() for number, state in enumerate(states)}


# ── features ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mels", [80, 128])
def test_layers_equal_transformers(tmp_path, mels):
    """Every layer asked for, alone or with others, is bit for bit the beginning of the model's own output."""
    encoder = whisper(path=save_whisper(tmp_path, mels=mels))
    wave = noise(9000)
    expected = direct(tmp_path, wave)
    assert encoder.layers == LAYERS
    together = encoder.encode(wave, encoder.layers)
    for layer in LAYERS[1:]:
        assert together[layer].shape == (29, 32)
        np.testing.assert_array_equal(together[layer], expected[layer][:29])
        np.testing.assert_array_equal(encoder.encode(wave, [layer])[layer], together[layer])
    np.testing.assert_array_equal(encoder.encode(wave, ["cnn"])["cnn"], together["cnn"])


def test_layer_0_is_cnn_with_the_positions_of_the_window_added(tiny):
    """float32 sums of values under 2: half an ulp each way."""
    found = whisper(path=tiny).encode(noise(9000), ["cnn", "0"])
    model = transformers.WhisperModel.from_pretrained(tiny)
    positions = model.encoder.embed_positions.weight.detach().numpy()
    np.testing.assert_allclose(found["0"] - found["cnn"], positions[:29], atol=1e-6)


def test_the_top_layer_is_after_the_final_layer_norm(tiny):
    """A fresh layer norm has gain 1 and bias 0: each frame has mean 0 and deviation 1 (its epsilon: 1e-5)."""
    top = whisper(path=tiny).encode(noise(9000), ["3"])["3"]
    np.testing.assert_allclose(top.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(top.std(axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("samples", [400, 9000, 479_999, 480_000])
def test_cropped_layers_equal_those_of_a_model_that_is_made_for_so_many_frames(tiny, samples):
    """The peer: the same weights in transformers' encoder, its table of positions cut to the clip's frames."""
    wave = noise(samples)
    encoder = whisper(path=tiny, crop=True)
    frames = encoder.frames(samples)
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(tiny)
    mel = extractor(wave, sampling_rate=16_000, return_tensors="pt")["input_features"][:, :, : 2 * frames]
    whole = transformers.WhisperModel.from_pretrained(tiny).encoder
    config = transformers.WhisperConfig(**(TINY_WHISPER | {"max_source_positions": frames}))
    peer = transformers.models.whisper.modeling_whisper.WhisperEncoder(config).eval()
    state = whole.state_dict()
    peer.load_state_dict(state | {"embed_positions.weight": state["embed_positions.weight"][:frames]})
    with torch.inference_mode():
        output = peer(mel, output_hidden_states=True)
    found = encoder.encode(wave, ["0", "2", "3"])
    for layer in ("0", "2"):
        np.testing.assert_allclose(found[layer], output.hidden_states[int(layer)][0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found["3"], output.last_hidden_state[0], rtol=0, atol=1e-5)


def test_cropping_gives_other_features_under_another_name(tiny):
    """The spectrogram is the same, so ``cnn`` is, but for its last frame, which looks past the edge.

    Above, each frame attends to up to 1471 frames of silence, or does not. Products of another shape round
    otherwise: 1e-5 of values of order 1.
    """
    wave = noise(9000)
    padded, cropped = (whisper(path=tiny, crop=crop).encode(wave, LAYERS) for crop in (False, True))
    np.testing.assert_allclose(cropped["cnn"][:-1], padded["cnn"][:-1], rtol=0, atol=1e-5)
    assert np.abs(cropped["cnn"][-1] - padded["cnn"][-1]).max() > 1e-3
    for layer in ("1", "2", "3"):
        assert cropped[layer].shape == padded[layer].shape
        assert np.linalg.norm(cropped[layer] - padded[layer]) / np.linalg.norm(padded[layer]) > 0.01
    plugin = Plugin("encoders", "whisper", "kwsbench", "0", whisper, {})
    assert plugin.canonical({"crop": "true"}) == {"crop": "true"}
    assert plugin.canonical({"crop": "false"}) == {}
    assert plugin.pinned({"crop": "true"})["crop"] != plugin.pinned({})["crop"]


@pytest.mark.parametrize("crop", [False, True])
def test_it_passes_the_kit(tiny, crop):
    assert check_encoder(whisper(path=tiny, crop=crop)) == []


def test_threads_do_not_mix_up_their_layers(tiny):
    encoder = whisper(path=tiny, crop=True)
    assert encoder.concurrent
    jobs = [(noise(2000 + 500 * i, seed=i), [LAYERS[i % 5]]) for i in range(20)]
    with ThreadPoolExecutor(5) as pool:
        together = list(pool.map(lambda job: encoder.encode(*job), jobs))
    for (wave, layers), features in zip(jobs, together, strict=True):
        alone = encoder.encode(wave, layers)
        assert features.keys() == alone.keys()
        np.testing.assert_array_equal(features[layers[0]], alone[layers[0]])


def test_half_precision_comes_back_as_float32(tiny):
    """bf16 keeps 8 bits: 0.4 % a step, some percent after three blocks, of features of norm sqrt(32)."""
    wave = noise(9000)
    exact, half = (whisper(path=tiny, crop=True, dtype=dtype).encode(wave, ["3"])["3"] for dtype in ("float32", "bf16"))
    assert half.dtype == np.float32
    assert 0 < np.linalg.norm(half - exact) / np.linalg.norm(exact) < 0.1


# ── frames and times ──────────────────────────────────────────────────────────────────────────────


@given(st.integers(400, 480_000))
@settings(deadline=None, max_examples=30)
def test_frame_counts_are_those_of_transformers_own_mask(tiny, samples):
    """The extractor marks the mel frames that begin within the audio; every other one is an encoder frame's centre."""
    encoder = whisper(path=tiny, crop=True)
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(tiny)
    batch = extractor(np.zeros(samples, np.float32), sampling_rate=16_000, return_attention_mask=True)
    assert encoder.frames(samples) == int(np.sum(batch["attention_mask"][0][::2]))


@given(st.integers(400, 20_000))
@settings(deadline=None, max_examples=20)
def test_frames_are_those_centred_within_the_audio(tiny, samples):
    counted = sum(1 for centre in range(0, 480_000, 320) if centre < samples)
    for crop in (False, True):
        found = whisper(path=tiny, crop=crop).encode(noise(samples), ["cnn", "3"])
        assert {len(values) for values in found.values()} == {counted}


@given(st.integers(4000, 14_000))
@settings(deadline=None, max_examples=20)
def test_a_sample_changes_just_the_frames_that_hear_it(tiny, at):
    """Mel frame j hears samples 160·j ± 199 (the ends of the window weigh 0), frame i mel frames 2i - 2 to 2i + 2.

    A louder beginning keeps the loudest mel, from which the floor of all is counted, where it is. What is
    heard is around 320·i on both sides alike, so frame i is centred at 0.02·i s.
    """
    encoder = whisper(path=tiny)
    assert (encoder.first_centre_s, encoder.frame_shift_s) == (0.0, 0.02)
    wave = noise(16_000)
    wave[:1600] *= 10
    touched = wave.copy()
    touched[at] += 0.5
    one, other = (encoder.encode(samples, ["cnn"])["cnn"] for samples in (wave, touched))
    heard = [
        any(abs(160 * mel - at) <= 199 for mel in range(2 * frame - 2, 2 * frame + 3)) for frame in range(len(one))
    ]
    changed = np.abs(other - one).max(axis=1) > 0
    # Beside the ends of its window a sample weighs so little that float32 may not show it.
    sure = [any(abs(160 * mel - at) <= 150 for mel in range(2 * frame - 2, 2 * frame + 3)) for frame in range(len(one))]
    assert not np.any(changed & ~np.array(heard))
    assert np.all(changed[np.array(sure)])


def test_sound_behind_the_clip_is_none(tiny):
    """A clip's frames do not depend on what was encoded before it, nor on how loud that was."""
    encoder = whisper(path=tiny)
    alone = encoder.encode(noise(8000), ["2"])["2"]
    encoder.encode(10 * noise(480_000, seed=1), ["2"])
    np.testing.assert_array_equal(encoder.encode(noise(8000), ["2"])["2"], alone)


@given(st.integers(480_001, 3_000_000))
@settings(deadline=None)
def test_windows_of_30_s_make_as_many_frames_as_one_long_window_would(tiny, samples):
    encoder = whisper(path=tiny)
    window = windows.Window(30.0)
    windows.check(encoder, window, "whisper")
    pieces = windows.pieces(samples, encoder, window)
    assert max(piece.stop - piece.start for piece in pieces) <= 480_000
    kept = [range(encoder.frames(piece.stop - piece.start))[piece.first : piece.last] for piece in pieces]
    assert sum(map(len, kept)) == encoder.frames(samples)
