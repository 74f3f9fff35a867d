"""my-plugin: a speech representation. It runs as it stands.

Make it yours, then:

    kwsbench check my_plugin.py
    kwsbench run --plugin my_plugin.py --dataset prompts/it --encoder my-plugin --encoder mfcc --quick
"""

import numpy as np

import kwsbench
from kwsbench.types import SAMPLE_RATE_HZ

FRAME_SAMPLES = 400  # 25 ms
SHIFT_SAMPLES = 160  # 10 ms


class MyPlugin:
    """Log energies of frequency bands, every 10 ms."""  # what `kwsbench plugins` prints

    layers = ("0",)  # a network names each of its layers, in order; who runs it chooses with @
    frame_shift_s = SHIFT_SAMPLES / SAMPLE_RATE_HZ  # from one frame to the next
    first_centre_s = FRAME_SAMPLES / 2 / SAMPLE_RATE_HZ  # the middle of what frame 0 sees
    min_samples = FRAME_SAMPLES  # one frame needs so many; shorter audio never gets here

    def __init__(self, *, bands: int = 20):  # set by my-plugin:bands=40, read by the annotation
        if not 1 <= bands <= FRAME_SAMPLES // 2:
            raise kwsbench.KwsbenchError(f"my-plugin:bands={bands} must be from 1 to {FRAME_SAMPLES // 2}")
        # A network is loaded here, torch imported first: self.model = load(path).eval()
        # Pin its weights too, so that other weights are another row: self.provenance = {"weights": "sha256:…"}
        self.bands = bands

    def encode(self, samples, layers):
        """float32 (samples,), mono, 16 kHz, in [-1, 1] → {layer: (frames, dims)} of the layers asked for."""
        windows = np.lib.stride_tricks.sliding_window_view(samples, FRAME_SAMPLES)[::SHIFT_SAMPLES]
        power = np.abs(np.fft.rfft(windows * np.hanning(FRAME_SAMPLES))) ** 2  # (frames, 201)
        energies = np.stack([part.sum(axis=1) for part in np.array_split(power, self.bands, axis=1)], axis=1)
        features = np.log(energies + 1e-6)  # the floor keeps silence finite
        return {layer: features.astype(np.float32) for layer in layers}


@kwsbench.hookimpl
def register_encoders(register):
    register("my-plugin", MyPlugin)
