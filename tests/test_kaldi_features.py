"""mfcc and fbank against Kaldi's formulas written out in numpy, and against kaldi-native-fbank."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwsbench import plugins
from kwsbench.errors import KwsbenchError
from kwsbench.spec import parse
from kwsbench.testing import check_encoder
from kwsbench_plugins.fbank import Fbank
from kwsbench_plugins.mfcc import Mfcc, add_deltas
from tests.tiny_models import noise


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


@pytest.mark.parametrize(
    "text", ["mfcc:n_ceps=0", "mfcc:n_ceps=24", "mfcc:deltas=3", "fbank:n_mels=2", "fbank:n_mels=500"]
)
def test_impossible_parameters(text):
    with pytest.raises(KwsbenchError, match="legal"):
        plugins.load().create("encoders", parse(text))
