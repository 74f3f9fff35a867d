"""Long recordings in windows: which frames come from where, and how far they are from the unwindowed ones."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwsbench import audio, plugins, windows
from kwsbench.encoding import create
from kwsbench.errors import KwsbenchError
from kwsbench.spec import parse
from kwsbench.windows import Window, pieces, split
from kwsbench_plugins.mfcc import Mfcc
from kwsbench_plugins.nano import nano_hubert

RATE = 16_000


def joined(encoder, samples, window, layer):
    """Frames of the pieces, cut and laid side by side."""
    parts = []
    for piece in pieces(len(samples), encoder, window):
        frames = encoder.encode(samples[piece.start : piece.stop], [layer])[layer]
        assert piece.last is None or piece.last <= len(frames)
        parts.append(frames[piece.first : piece.last])
    return np.concatenate(parts)


class Numbers:
    """Each frame is the mean of its samples' numbers, so that a frame says where it is from."""

    layers = ("0",)

    def __init__(self, kernel, stride):
        self.min_samples = kernel
        self.stride = stride
        self.frame_shift_s = stride / RATE
        self.first_centre_s = kernel / 2 / RATE

    def encode(self, samples, layers):
        starts = np.arange(0, len(samples) - self.min_samples + 1, self.stride)
        return {"0": np.array([samples[i : i + self.min_samples].mean() for i in starts])[:, None]}


@settings(deadline=None, max_examples=200)
@given(
    kernel=st.integers(1, 40),
    stride=st.integers(1, 20),
    samples=st.integers(1, 3000),
    window=st.integers(200, 900),
    overlap=st.floats(0.3, 0.5),
)
def test_joined_frames_are_those_of_the_whole_in_order(kernel, stride, samples, window, overlap):
    """An encoder that sees nothing beyond its own frame must not notice the windows at all."""
    encoder = Numbers(kernel, stride)
    if samples < kernel:
        return
    wave = np.arange(samples, dtype=np.float64)
    cut = Window(window / RATE, overlap * window / RATE)
    if overlap * window < 2 * (kernel + stride):
        return
    windows.check(encoder, cut, "numbers")
    expected = encoder.encode(wave, ["0"])["0"]
    np.testing.assert_array_equal(joined(encoder, wave, cut, "0"), expected)
    for piece in pieces(samples, encoder, cut):
        assert piece.stop - piece.start <= window
        assert piece.start % stride == 0


def test_kaldi_features_do_not_notice_windows():
    """Without deltas a frame sees 25 ms and nothing else; with them it sees two frames more on each side."""
    wave = (0.1 * np.random.default_rng(0).standard_normal(7 * RATE)).astype(np.float32)
    for encoder in (Mfcc(deltas=0), Mfcc()):
        whole = encoder.encode(wave, ["0"])["0"]
        np.testing.assert_allclose(joined(encoder, wave, Window(2.0, 0.5), "0"), whole, atol=1e-4)


def test_no_window_longer_than_asked_and_the_last_one_is_whole():
    encoder = Mfcc()
    found = pieces(10 * RATE + 77, encoder, Window(3.0, 1.0))
    assert found[0].start == 0
    assert found[-1].stop == 10 * RATE + 77
    assert all(2.98 * RATE <= piece.stop - piece.start <= 3 * RATE for piece in found)
    for before, after in pairwise(found):
        shared = before.stop - after.start
        assert shared >= RATE
        # Both neighbours look half of the overlap beyond the seam.
        seam = before.start // 160 + before.last
        assert seam == after.start // 160 + after.first
        assert abs((seam * 160 + 200) - (after.start + shared / 2)) <= 160


def speech(shared, seconds):
    """Digits one after another, by six people."""
    files = sorted((shared / "data" / "fsdd").rglob("*.wav"))
    clips = [audio.read(file).samples for file in files[:: len(files) // 200]]
    return np.concatenate(clips)[: seconds * RATE]


def test_seams_of_a_transformer_are_small_and_smaller_with_more_overlap(shared):
    """nano-hubert in windows of 20 s against 60 s at once: cosine between the two, frame by frame.

    Two random frames have .25. Attention has less to look at everywhere in a window, so the middle of one is
    not equal either (benchmarks/README.md has the figures); what overlap must do is keep the seams no worse.
    """
    encoder = nano_hubert()
    wave = speech(shared, 60)
    whole = encoder.encode(wave, ["5"])["5"]

    def nearness(window):
        cut = joined(encoder, wave, window, "5")
        assert cut.shape == whole.shape
        return (cut * whole).sum(axis=1) / np.linalg.norm(cut, axis=1) / np.linalg.norm(whole, axis=1)

    generous, scant = nearness(Window(20.0, 5.0)), nearness(Window(20.0, 0.1))
    assert np.median(generous) > 0.97
    assert generous.min() > 0.8

    def around_seams(near, window):
        seams = [piece.start // 320 + piece.last for piece in pieces(len(wave), encoder, window)[:-1]]
        return np.mean([near[seam - 5 : seam + 5].mean() for seam in seams])

    assert around_seams(generous, Window(20.0, 5.0)) > np.mean(generous) - 0.02
    assert around_seams(scant, Window(20.0, 0.1)) < np.mean(scant) - 0.05


def test_audio_of_one_window_is_encoded_as_ever():
    assert pieces(3 * RATE, Mfcc(), Window(3.0, 1.0)) == [windows.Piece(0, 3 * RATE)]
    assert pieces(99 * RATE, Mfcc(), None) == [windows.Piece(0, 99 * RATE)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("mfcc", None), ("mfcc:window_s=30", Window(30.0)), ("mfcc:n_ceps=20,window_s=9,overlap_s=2", Window(9.0, 2.0))],
)
def test_windows_are_read_from_the_name(text, expected):
    plain, window = split(parse(text))
    assert window == expected
    assert not {"window_s", "overlap_s"} & set(plain.params)
    assert split(parse(f"mfcc@0:{text.partition(':')[2]}" if ":" in text else "mfcc@0"))[0].layers == "0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mfcc:window_s=long", "window_s=long: expected seconds"),
        ("mfcc:overlap_s=2", "overlap_s without window_s; write mfcc:window_s=30,overlap_s=…"),
        ("mfcc:window_s=8", "window_s=8, overlap_s=5: the overlap must be more than 0 and at most half of the window"),
        ("mfcc:window_s=8,overlap_s=0", "the overlap must be more than 0 and at most half"),
        ("mfcc:window_s=0.1,overlap_s=0.05", "overlap_s=0.05, but its frames need 0.07 s"),
        ("nano-hubert:window_s=900", "window_s=900, but it encodes at most 600 s at once"),
    ],
)
def test_windows_that_cannot_be(text, message):
    with pytest.raises(KwsbenchError) as error:
        create(parse(text), plugins.load())
    assert message in str(error.value)


def test_frames_that_do_not_fall_on_samples_have_no_windows():
    odd = SimpleNamespace(frame_shift_s=0.0133333, first_centre_s=0.01, min_samples=100)
    with pytest.raises(KwsbenchError, match="is no whole number of samples; no windows"):
        windows.check(odd, Window(30.0), "odd")
