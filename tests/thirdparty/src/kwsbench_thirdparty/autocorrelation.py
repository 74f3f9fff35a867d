"""Pitch as a representation: how like itself the sound is, a little later."""

import numpy as np

import kwsbench

FRAME_SAMPLES = 640
SHIFT_SAMPLES = 160


class Autocorrelation:
    """Autocorrelation of 40 ms frames at lags of up to 12.5 ms, every 10 ms."""

    layers = ("0",)
    frame_shift_s = SHIFT_SAMPLES / 16_000
    first_centre_s = FRAME_SAMPLES / 2 / 16_000
    min_samples = FRAME_SAMPLES

    def __init__(self, *, lags: int = 40):
        if not 1 <= lags <= 200:
            raise kwsbench.KwsbenchError(f"autocorrelation:lags={lags} must be from 1 to 200")
        self.lags = lags
        self.provenance = {"recipe": "1"}

    def encode(self, samples, layers):
        windows = np.lib.stride_tricks.sliding_window_view(samples, FRAME_SAMPLES)[::SHIFT_SAMPLES]
        power = np.abs(np.fft.rfft(windows, 2 * FRAME_SAMPLES)) ** 2
        correlation = np.fft.irfft(power)[:, : 5 * self.lags + 1 : 5]
        # The energy, lag 0, says how loud it is; the others are shares of it.
        energy = correlation[:, :1] + 1e-6
        features = np.concatenate([np.log(energy), correlation[:, 1:] / energy], axis=1).astype(np.float32)
        return dict.fromkeys(layers, features)


@kwsbench.hookimpl
def register_encoders(register):
    register("autocorrelation", Autocorrelation)
