"""s3prl's upstreams: their own numbers, of every layer, from the clip alone."""

import numpy as np
import pytest
import torch

from kwsbench.testing import check_encoder
from kwsbench_plugins.s3prl import s3prl
from tests import s3prl_checkpoints as tiny
from tests.s3prl_upstreams import BASELINES, CENTRED, DIMS, LAYERS, MODELS, TIMES, raw
from tests.tiny_models import noise

pytest.importorskip("s3prl", reason="the extra s3prl is not installed")
pytestmark = pytest.mark.usefixtures("single_thread")


@pytest.mark.parametrize("name", [*BASELINES, *MODELS])
def test_upstreams_pass_the_kit(s3prl_encoders, name):
    assert check_encoder(s3prl_encoders[name]) == []


@pytest.mark.parametrize("name", [*BASELINES, *MODELS])
@pytest.mark.parametrize("samples", [16_000, 9_139])
def test_numbers_are_s3prls_own(s3prl_encoders, s3prl_ckpts, name, samples):
    """Bit for bit, every layer, at a length that is a whole number of frames and at one that is not."""
    encoder, wave = s3prl_encoders[name], noise(samples)
    direct = raw(name, s3prl_ckpts[name], wave)
    features = encoder.encode(wave, encoder.layers)
    assert list(features) == [str(layer) for layer in range(len(direct))]
    for layer, values in enumerate(direct):
        np.testing.assert_array_equal(features[str(layer)], values[: encoder.frames(samples)])
        # All that s3prl made came out, but for the frame of torch.stft that is centred on the end.
        assert len(values) - encoder.frames(samples) == (TIMES[name] == CENTRED and samples == 16_000)


@pytest.mark.parametrize("name", [*BASELINES, *MODELS])
def test_layers_dims_and_times(s3prl_encoders, name):
    encoder = s3prl_encoders[name]
    min_samples, shift, first_centre_s = TIMES[name]
    assert encoder.layers == tuple(map(str, range(LAYERS[name])))
    assert encoder.min_samples == min_samples
    assert encoder.frame_shift_s == shift / 16_000
    assert encoder.first_centre_s == first_centre_s
    features = encoder.encode(noise(16_000), encoder.layers)
    assert {values.shape for values in features.values()} == {(encoder.frames(16_000), DIMS[name])}
    assert {values.dtype for values in features.values()} == {np.dtype(np.float32)}


def test_zeros_at_the_end_are_part_of_the_clip(s3prl_encoders, s3prl_ckpts):
    """s3prl takes them for padding: 50 frames of a second whose second half is silent."""
    wave = noise(16_000)
    wave[8000:] = 0
    for name in ("mel", "linear"):
        assert len(raw(name, None, wave)[0]) == 50
        assert len(s3prl_encoders[name].encode(wave, ["0"])["0"]) == 100
    wave[100:] = 0
    assert s3prl_encoders["mel"].encode(wave, ["0"])["0"].shape == (100, 80)


def test_a_clip_does_not_see_the_one_before(s3prl_encoders, s3prl_ckpts):
    """CPC carries its state on where it was trained on one long text."""
    encoder, wave = s3prl_encoders["cpc_local"], noise(8000)
    first = encoder.encode(wave, ["1"])["1"]
    encoder.encode(noise(8000, seed=1), ["1"])
    np.testing.assert_array_equal(encoder.encode(wave, ["1"])["1"], first)
    np.testing.assert_array_equal(first, raw("cpc_local", s3prl_ckpts["cpc_local"], wave)[1])


def test_nothing_is_dithered(tmp_path):
    """A checkpoint's settings reach Kaldi's filter banks as they stand."""
    encoder = s3prl(upstream="apc_local", ckpt=tiny.save_apc(tmp_path, dither=1.0))
    wave = noise(8000)
    np.testing.assert_array_equal(*(encoder.encode(wave, ["2"])["2"] for _ in range(2)))
    assert not np.array_equal(*(raw("apc_local", tmp_path / "apc.ckpt", wave)[2] for _ in range(2)))


def test_only_what_keeps_no_state_is_concurrent(s3prl_encoders):
    """The kit proves it of those that say so; the others keep their layers in hooks on the one model."""
    concurrent = {name for name, encoder in s3prl_encoders.items() if encoder.concurrent}
    assert concurrent == {*BASELINES, "tera_local", "mockingjay_local", "audio_albert_local"}


def test_what_is_too_long_at_once(s3prl_encoders):
    """TERA's table of positions ends at 24,000 frames, unless it was trained on pieces and cuts clips up itself."""
    assert s3prl_encoders["tera_local"].longest_s == 240.0
    assert s3prl_encoders["audio_albert_local"].longest_s is None
    assert s3prl_encoders["mfcc"].longest_s is None
    assert s3prl_encoders["cpc_local"].longest_s is None
    assert s3prl_encoders["hubert_local"].longest_s == s3prl_encoders["hf_hubert_custom"].longest_s == 600.0


def test_loading_draws_no_random_numbers(s3prl_ckpts):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    s3prl(upstream="mel")
    s3prl(upstream="cpc_local", ckpt=s3prl_ckpts["cpc_local"])
    assert torch.equal(torch.rand(4), expected)
