"""Log mel filter banks, as Kaldi computes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import kwsbench
from kwsbench.errors import KwsbenchError
from kwsbench_plugins.mfcc import Mfcc, extract

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kwsbench.plugins import Register
    from kwsbench.types import FloatArray, Waveform


class Fbank:
    """80 log mel energies (Kaldi: 25 ms frames every 10 ms, no deltas, no CMVN).

    Scaling, dithering and frames are those of ``mfcc``.
    """

    layers = Mfcc.layers
    frame_shift_s = Mfcc.frame_shift_s
    first_centre_s = Mfcc.first_centre_s
    min_samples = Mfcc.min_samples
    concurrent = Mfcc.concurrent

    def __init__(self, *, n_mels: int = 80) -> None:
        import kaldi_native_fbank

        if not 3 <= n_mels <= 120:
            # Past that, the lowest filters are narrower than one bin of the 512-point spectrum and hold nothing.
            raise KwsbenchError(f"fbank: n_mels={n_mels}; 3–120 are legal")
        self._options = kaldi_native_fbank.FbankOptions()
        self._options.frame_opts.dither = 0.0
        self._options.mel_opts.num_bins = n_mels
        self.provenance = {"kaldi-native-fbank": kaldi_native_fbank.__version__}

    def encode(self, samples: Waveform, layers: Sequence[str]) -> Mapping[str, FloatArray]:
        """(frames, n_mels) float32, under the one layer "0"."""
        from kaldi_native_fbank import OnlineFbank

        energies = extract(OnlineFbank(self._options), samples)
        return dict.fromkeys(layers, energies)


@kwsbench.hookimpl
def register_encoders(register: Register) -> None:
    """Register ``fbank``."""
    register("fbank", Fbank)
