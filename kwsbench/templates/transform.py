"""my-plugin: a correction of frames. It runs as it stands.

Make it yours, then:

    kwsbench check my_plugin.py
    kwsbench run --plugin my_plugin.py --dataset prompts/it --encoder mfcc --transform none --transform my-plugin --quick

What it is fitted on is not its own affair: my-plugin:scope=speaker, scope=utterance, scope=heldout, …
"""

import numpy as np

import kwsbench


class MyPlugin:
    """Subtract the median and divide by the spread between two quantiles."""  # what `kwsbench plugins` prints

    def __init__(self, *, share: float = 0.5):  # set by my-plugin:share=0.8, read by the annotation
        if not 0 < share < 1:
            raise kwsbench.KwsbenchError(f"my-plugin:share={share} must lie between 0 and 1")
        self.share = share

    def fit(self, frames):
        """(n, dims) float32 frames → the function (m, dims) → (m, k) that corrects other frames.

        n is 1 when a scope holds a single frame. No argument may be changed.
        """
        median = np.median(frames.astype(np.float64), axis=0)
        low, high = np.quantile(frames.astype(np.float64), [0.5 - self.share / 2, 0.5 + self.share / 2], axis=0)
        spread = np.where(high > low, high - low, 1)  # a dimension that does not vary is only centred
        return lambda x: ((x - median) / spread).astype(np.float32)


@kwsbench.hookimpl
def register_transforms(register):
    register("my-plugin", MyPlugin)
