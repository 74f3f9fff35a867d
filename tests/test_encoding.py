"""The encoding pipeline: order, batches, pieces, memory, what fails and what it is called."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

from kwsbench.encoding import encode_missing, move
from kwsbench.errors import KwsbenchError, PluginError
from kwsbench.store import FrameStore
from kwsbench.types import Clip
from kwsbench.windows import Window
from kwsbench_plugins.nano import nano_hubert

RATE = 16_000


def clips(folder, seconds, rate=RATE):
    """Recordings of noise of these lengths."""
    made = []
    for at, length in enumerate(seconds):
        path = folder / f"clip{at}.wav"
        samples = 0.1 * np.random.default_rng(at).standard_normal(round(length * rate))
        soundfile.write(path, samples, rate, subtype="FLOAT")
        made.append(Clip(f"clip{at}", path, "someone", f"r{at}"))
    return made


def encoded(tmp_path, encoder, made, layers, **options):
    store = FrameStore.open(
        tmp_path / "cache", {"encoder": str(encoder), **{k: str(v) for k, v in options.items()}}, len(made)
    )
    encode_missing(encoder, "it", made, layers, store, **options)
    return {layer: [store.layer(layer).item(i) for i in range(len(made))] for layer in layers}


class Plain:
    """An encoder of loops: every 100 samples, their mean and their number."""

    layers = ("0",)
    frame_shift_s, first_centre_s, min_samples = 100 / RATE, 50 / RATE, 100

    def encode(self, samples, layers):
        blocks = samples[: len(samples) // 100 * 100].reshape(-1, 100)
        return dict.fromkeys(layers, np.stack([blocks.mean(axis=1), blocks.max(axis=1)], axis=1))


class Batched(Plain):
    """The same in batches, which it notes."""

    batch_s = 0.5

    def __init__(self, harm=None):
        self.seen, self.harm = [], harm

    def encode_batch(self, waves, layers):
        self.seen.append(len(waves))
        if self.harm is not None:
            raise self.harm
        return [self.encode(wave, layers) for wave in waves]


LENGTHS = [0.3, 0.004, 1.7, 0.3, 0.31, 2.5, 0.005, 0.9] * 20  # 160: two shards, with clips too short among them


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("make", [Plain, Batched])
def test_every_clip_gets_its_own_frames(tmp_path, make, workers):
    made = clips(tmp_path, LENGTHS)
    encoder = make()
    encoder.concurrent = True
    found = encoded(tmp_path, encoder, made, ["0"], workers=workers)["0"]
    for clip, frames in zip(made, found, strict=True):
        samples, _ = soundfile.read(clip.path, dtype="float32")
        expected = Plain().encode(samples, ["0"])["0"] if len(samples) >= 100 else np.zeros((0, 2))
        np.testing.assert_array_equal(frames, expected)
    if make is Batched:
        assert max(encoder.seen) >= 3


def test_the_real_batches_of_nano_hubert_change_only_rounding(tmp_path):
    """Padding under a mask: 1e-6 of a feature's size (six blocks of float32 sums)."""
    made = clips(tmp_path, [0.5, 0.52, 0.6, 0.05, 1.0, 0.45, 0.02, 0.5])
    layers = ["cnn", "0", "5", "6"]
    encoder = nano_hubert()
    found = encoded(tmp_path, encoder, made, layers, workers=2)
    for layer in layers:
        for clip, frames in zip(made, found[layer], strict=True):
            samples, _ = soundfile.read(clip.path, dtype="float32")
            alone = encoder.encode(samples, [layer])[layer] if len(samples) >= 400 else np.zeros((0, 256))
            assert frames.shape == alone.shape
            np.testing.assert_allclose(frames, alone, rtol=0, atol=1e-5 * np.abs(alone).max(initial=0))


def test_windows_on_the_way_to_the_store(tmp_path):
    """Loops see nothing beyond a frame, so the stored frames must be those of the whole recording."""
    made = clips(tmp_path, [0.2, 7.3, 1.0, 3.001])
    whole = encoded(tmp_path, Plain(), made, ["0"])["0"]
    for encoder in (Plain(), Batched()):
        cut = encoded(tmp_path, encoder, made, ["0"], window=Window(1.0, 0.2), workers=2)["0"]
        for one, other in zip(cut, whole, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_recording_that_is_too_long_names_the_way_out(tmp_path):
    encoder = Plain()
    encoder.longest_s = 2.0
    made = clips(tmp_path, [1.0, 3.0])
    with pytest.raises(KwsbenchError) as error:
        encoded(tmp_path, encoder, made, ["0"])
    assert str(error.value) == (
        "clip1 (clip1.wav): 3 s, but it encodes at most 2 s at once; encode in windows: window_s=2 among the "
        "encoder's parameters"
    )
    assert len(encoded(tmp_path, encoder, made, ["0"], window=Window(1.0, 0.2))["0"][1]) == 480


def test_a_batch_that_fails_is_done_clip_by_clip_so_that_the_culprit_is_named(tmp_path):
    made = clips(tmp_path, [0.1, 0.2, 0.3])

    class Moody(Batched):
        def encode(self, samples, layers):
            if len(samples) == 3200:
                raise PluginError("no")
            return super().encode(samples, layers)

    sound = encoded(tmp_path, Batched(RuntimeError("out of memory")), made, ["0"])["0"]
    assert [len(frames) for frames in sound] == [16, 32, 48]
    with pytest.raises(PluginError, match="no"):
        encoded(tmp_path, Moody(RuntimeError("out of memory")), made, ["0"], workers=2)


def test_an_encoder_whose_frame_times_are_wrong_is_found_out_in_windows(tmp_path):
    class Short(Plain):
        def encode(self, samples, layers):
            return {layer: values[::2] for layer, values in super().encode(samples, layers).items()}

    with pytest.raises(PluginError, match=r"it on clip0 \(clip0.wav\): 80 frames of a window of 16000 samples"):
        encoded(tmp_path, Short(), clips(tmp_path, [3.0]), ["0"], window=Window(1.0, 0.2))


def test_an_encoder_of_another_rate_is_given_that_rate(tmp_path):
    """A tone keeps its pitch: so many zero crossings a second, whatever the rate it is read at."""

    class Crossings:
        layers = ("0",)
        sample_rate_hz = 24_000
        frame_shift_s, first_centre_s, min_samples = 0.1, 0.05, 2400

        def encode(self, samples, layers):
            blocks = samples[: len(samples) // 2400 * 2400].reshape(-1, 2400)
            return {"0": (np.diff(np.sign(blocks), axis=1) != 0).sum(axis=1, dtype=np.float32)[:, None]}

    path = tmp_path / "tone.wav"
    soundfile.write(path, np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000), 8000)
    found = encoded(tmp_path, Crossings(), [Clip("tone", path, "s", "r")], ["0"])["0"][0]
    assert len(found) == 10
    np.testing.assert_allclose(found, 200, atol=2)


def test_devices(tmp_path):
    assert move(Plain(), "cuda", "plain") == "cpu"
    assert move(nano_hubert(), "cpu", "nano-hubert") == "cpu"
    with pytest.raises(KwsbenchError, match=r"nano-hubert: --device nonsense: RuntimeError: Expected one of cpu, cuda"):
        move(nano_hubert(), "nonsense", "nano-hubert")
    big = nano_hubert()
    big.needs_gpu = True
    with pytest.raises(KwsbenchError, match="big needs a GPU, and this machine has none that torch sees"):
        move(big, "cpu", "big")


def test_memory_follows_the_clip_and_not_the_corpus(tmp_path):
    """40 clips of 30 s whose frames are 240 MB in all: a process that kept a shard would hold them at once."""
    code = f"""
import resource, sys
import numpy as np, soundfile
from pathlib import Path
from kwsbench.encoding import encode_missing
from kwsbench.store import FrameStore
from kwsbench.types import Clip

class Wide:
    layers = ("0",)
    frame_shift_s, first_centre_s, min_samples = 0.02, 0.01, 320
    def encode(self, samples, layers):
        return {{"0": np.ones((len(samples) // 320, 1000), np.float32)}}

path = Path({str(tmp_path)!r}) / "x.wav"
soundfile.write(path, np.zeros(30 * 16000), 16000)
clips = [Clip(str(i), path, "s", str(i)) for i in range(40)]
store = FrameStore.open(path.parent / "cache", {{}}, 40)
encode_missing(Wide(), "wide", clips[:1] * 40, ["0"], FrameStore.open(path.parent / "warm", {{}}, 1))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
encode_missing(Wide(), "wide", clips, ["0"], store, workers=2)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3, len(store.layer("0").item(39)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    megabytes, frames = done.stdout.split()
    assert int(frames) == 1500
    assert float(megabytes) < 80
