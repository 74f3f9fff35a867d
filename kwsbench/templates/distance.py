"""my-plugin: what it costs to lay one frame on another. It runs as it stands.

Make it yours, then:

    kwsbench check my_plugin.py
    kwsbench run --plugin my_plugin.py --dataset prompts/it --encoder mfcc --distance cosine --distance my-plugin --quick
"""

import numpy as np

import kwsbench


class MyPlugin:
    """A power of the cosine distance: above 1, small angles cost less."""  # what `kwsbench plugins` prints

    def __init__(self, *, power: float = 2.0):  # set by my-plugin:power=3, read by the annotation
        if power < 1:
            raise kwsbench.KwsbenchError(f"my-plugin:power={power} must be at least 1")
        self.power = power

    def cost(self, x, y):
        """(n, dims) × (m, dims) → (n, m): finite, at least 0, in the precision of x. A frame may be all zeros."""
        norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)[None, :]
        cosine = x @ y.T / np.maximum(norms, 1e-12)
        return (np.maximum(1 - cosine, 0) ** self.power).astype(x.dtype)

    # The fast path, for a function of the cosine and the two norms. Any other distance leaves finish() out: then
    # it is computed pair by pair, slower, and the record is of the same kind.
    def finish(self, tile, utterance_norms, query_norms):
        """Turn a torch tile of cosine - 1 into -cost, in place: (utterance_frames, query_frames).

        Norms: (utterance_frames, 1) and (1, query_frames). Rounding can leave the tile just above 0.
        """
        tile.clamp_(max=0).neg_().pow_(self.power).neg_()


@kwsbench.hookimpl
def register_distances(register):
    register("my-plugin", MyPlugin)
