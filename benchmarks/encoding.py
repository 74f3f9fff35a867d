"""From recordings to stored frames: what the pipeline adds to the bare model, and what windows change."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks._measure import seconds, table
from kwsbench import audio, plugins
from kwsbench.encoding import encode_missing
from kwsbench.spec import parse
from kwsbench.store import FrameStore
from kwsbench.windows import Window, pieces

DATASET = "prompts/it"
CLIPS = {"nano-hubert": 200, "wav2vec2-base:weights=random:seed=0": 16, "xls-r-300m:weights=random:seed=0": 8}
MINUTES = 2
WINDOWS = [Window(10.0, 2.0), Window(20.0, 5.0), Window(30.0, 5.0), Window(60.0, 10.0)]


def bare(model, waves):
    """The model's own forward pass over audio in memory, one waveform at a time, nothing kept."""

    def run():
        torch.set_num_threads(1)
        with torch.inference_mode():
            for wave in waves:
                model(wave[None])

    return run


def pipeline(encoder, clips, layers):
    """Read, encode and store the same clips, from nothing."""

    def run():
        with tempfile.TemporaryDirectory() as cache:
            encode_missing(encoder, "it", clips, layers, FrameStore.open(Path(cache), {}, len(clips)))

    return run


def joined(encoder, wave, window, layer):
    """Frames of the windows of a recording, side by side."""
    found = []
    for piece in pieces(len(wave), encoder, window):
        frames = encoder.encode(wave[piece.start : piece.stop], [layer])[layer]
        found.append(frames[piece.first : piece.last])
    return np.concatenate(found)


def nearness(x, y):
    """Cosine of each frame of x with the same frame of y."""
    return (x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)


def window_rows(clips):
    encoder = plugins.load().create("encoders", parse("nano-hubert"))
    wave = np.concatenate([audio.read(clip.path).samples for clip in clips])[: MINUTES * 60 * 16_000]
    rng = np.random.default_rng(0)
    for layer in ("1", "3", "5", "6"):
        whole = encoder.encode(wave, [layer])[layer]
        chance = nearness(whole, whole[rng.permutation(len(whole))]).mean()
        for window in WINDOWS:
            near = nearness(whole, joined(encoder, wave, window, layer))
            shown = f"{np.median(near):.3f}", f"{np.quantile(near, 0.01):.3f}", f"{near.min():.3f}", f"{chance:.2f}"
            yield layer, f"{window.window_s:g} s, {window.overlap_s:g} s shared", *shown


def report():
    registry = plugins.load()
    every = registry.create("datasets", parse(DATASET)).load().clips
    rows = []
    for name, count in CLIPS.items():
        clips = every[:: len(every) // count][:count]
        encoder = registry.create("encoders", parse(name))
        # The frames that DTW needs, of one layer and of all of them.
        waves = [torch.from_numpy(audio.read(clip.path).samples) for clip in clips]
        top = list(encoder.layers)[-1:]
        model = encoder._model  # noqa: SLF001 - the bare model is what we compare with
        works = [bare(model, waves), pipeline(encoder, clips, top), pipeline(encoder, clips, encoder.layers)]
        least = seconds(*works, repeats=2)
        audio_s = sum(map(len, waves)) / 16_000
        for what, spent in zip(("bare forward pass", "top layer, stored", "all layers, stored"), least, strict=True):
            rows.append((name, what, f"{audio_s / spent:.1f}", f"{spent / least[0]:.2f}"))
    return (
        "## From recordings to stored frames\n\n"
        f"Clips of {DATASET}, one by one through the model from memory, and through the pipeline: read, batched where "
        "that changes nothing, encoded, checked, written. Untrained weights cost what trained ones do.\n\n"
        + table(rows, ["encoder", "", "times faster than the audio", "CPU time, bare pass = 1"])
        + "\n\n## Windows\n\n"
        f"Cosine of nano-hubert's frames in windows with those of {MINUTES} minutes of {DATASET} encoded at once; "
        "chance: of two random frames.\n\n"
        + table(list(window_rows(every)), ["layer", "window", "median", "1 in 100", "least", "chance"])
    )


if __name__ == "__main__":
    print(report())
