"""my-plugin: a correction of finished scores. It runs as it stands.

Make it yours, then:

    kwsbench check my_plugin.py
    kwsbench run --plugin my_plugin.py --dataset prompts/it --encoder mfcc --matcher sdtw --matcher sdtw+my-plugin --quick
"""

import numpy as np

import kwsbench


class MyPlugin:
    """Each query's scores minus their median, over their spread."""  # what `kwsbench plugins` prints

    def __init__(self, *, share: float = 0.5):  # set by my-plugin:share=0.8, read by the annotation
        if not 0 < share < 1:
            raise kwsbench.KwsbenchError(f"my-plugin:share={share} must lie between 0 and 1")
        self.share = share

    def normalize(self, scores, used):
        """(queries, utterances), higher is better → the same shape. No argument may be changed.

        used: the pairs to estimate from; False for a query's own recording. All scores are corrected.
        -inf, where there is no alignment, stays -inf.
        """
        result = scores.astype(np.float64)
        for row, mask in zip(result, used, strict=True):
            known = row[mask & np.isfinite(row)]
            if len(known):
                low, middle, high = np.quantile(known, [0.5 - self.share / 2, 0.5, 0.5 + self.share / 2])
                spread = high - low if high > low else 1  # equal scores, or a single one, are only centred
                row[:] = (row - middle) / spread
        return result.astype(np.float32)


@kwsbench.hookimpl
def register_score_norms(register):
    register("my-plugin", MyPlugin)
