"""Mel-frequency cepstra with their deltas, as Kaldi computes them: the baseline that needs no training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import kwsbench
from kwsbench.errors import KwsbenchError, TooShort
from kwsbench.types import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from kwsbench.plugins import Register
    from kwsbench.types import FloatArray, Waveform

FRAME_SAMPLES = 400
SHIFT_SAMPLES = 160

# Kaldi's window of 2: slope of the least-squares line through five frames.
_DELTA = np.arange(-2, 3) / 10.0


class Mfcc:
    """13 MFCCs, Δ and ΔΔ (Kaldi: 25 ms frames every 10 ms, 23 mel filters, c0, no CMVN).

    Samples are scaled to the 16-bit range, where Kaldi's log floor belongs, and nothing is dithered:
    the features of a file are always the same. Only whole frames count (snip_edges): n samples give
    ``1 + (n - 400) // 160`` of them. The first coefficient is c0, not the log energy. Normalisation
    is a transform's business (``center``, ``standardize``), so none is hidden here.

    deltas: how many orders of them are appended (0, 1 or 2), n_ceps · (1 + deltas) dimensions.
    """

    layers = ("0",)
    frame_shift_s = SHIFT_SAMPLES / SAMPLE_RATE_HZ
    first_centre_s = FRAME_SAMPLES / 2 / SAMPLE_RATE_HZ
    min_samples = FRAME_SAMPLES
    concurrent = True

    def __init__(self, *, n_ceps: int = 13, n_mels: int = 23, deltas: int = 2) -> None:
        import kaldi_native_fbank

        if not 1 <= n_ceps <= n_mels or not 0 <= deltas <= 2:
            raise KwsbenchError(f"mfcc: n_ceps={n_ceps}, n_mels={n_mels}, deltas={deltas}; 1–n_mels and 0–2 are legal")
        self._deltas = deltas
        self._options = kaldi_native_fbank.MfccOptions()
        self._options.frame_opts.dither = 0.0
        self._options.mel_opts.num_bins = n_mels
        self._options.num_ceps = n_ceps
        self._options.use_energy = False
        self.provenance = {"kaldi-native-fbank": kaldi_native_fbank.__version__}

    def encode(self, samples: Waveform, layers: Sequence[str]) -> Mapping[str, FloatArray]:
        """(frames, n_ceps · (1 + deltas)) float32, under the one layer "0"."""
        from kaldi_native_fbank import OnlineMfcc

        cepstra = extract(OnlineMfcc(self._options), samples)
        return {layer: add_deltas(cepstra, self._deltas) for layer in layers}


def extract(extractor: object, samples: Waveform) -> npt.NDArray[np.float32]:
    """Frames of one of kaldi-native-fbank's online extractors, fed the whole waveform. Raises TooShort."""
    if len(samples) < FRAME_SAMPLES:
        raise TooShort(len(samples), FRAME_SAMPLES)
    extractor.accept_waveform(SAMPLE_RATE_HZ, np.asarray(samples * np.float32(32768)))
    extractor.input_finished()
    return np.stack([extractor.get_frame(i) for i in range(extractor.num_frames_ready)]).astype(np.float32)


def add_deltas(features: npt.NDArray[np.float32], orders: int) -> npt.NDArray[np.float32]:
    """(n, d) → (n, d · (1 + orders)).

    Each order is a filter over the features themselves (ΔΔ: Kaldi's window convolved with itself),
    beyond whose first and last frame they stay what they were there. Source: Kaldi, feature-functions.cc.
    """
    blocks = [features]
    window = np.ones(1)
    for _ in range(orders):
        window = np.convolve(window, _DELTA)
        reach = len(window) // 2
        padded = np.pad(features, ((reach, reach), (0, 0)), mode="edge").astype(np.float64)
        slope = sum(weight * padded[i : i + len(features)] for i, weight in enumerate(window))
        blocks.append(slope.astype(np.float32))
    return np.concatenate(blocks, axis=1)


@kwsbench.hookimpl
def register_encoders(register: Register) -> None:
    """Register ``mfcc``."""
    register("mfcc", Mfcc)
