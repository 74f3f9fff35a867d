"""my-plugin: a way to lay a query on an utterance. It runs as it stands.

Make it yours, then:

    kwsbench check my_plugin.py
    kwsbench run --plugin my_plugin.py --dataset prompts/it --encoder mfcc --matcher sdtw --matcher my-plugin --quick

Dynamic time warping needs no code. A function that returns kwsbench.types.Alignment(steps=…) runs on the fast
kernels. A matcher that does not align has score(queries, utterances, distance, *, first_utterance): see
kwsbench.types.PairMatcher.
"""

import numpy as np

import kwsbench


class MyPlugin:
    """The query laid straight, without warping, where that costs least."""  # what `kwsbench plugins` prints

    def __init__(self, *, hop: int = 1):  # set by my-plugin:hop=2, read by the annotation
        if hop < 1:
            raise kwsbench.KwsbenchError(f"my-plugin:hop={hop} must be at least 1")
        self.hop = hop

    def match(self, cost):
        """(query_frames, utterance_frames), at least one of each → Match(cost, start, end); lower is better.

        start and end are frames of the utterance, both included. Every query must get a finite cost,
        one that is longer than the utterance too.
        """
        n, m = cost.shape
        starts = np.arange(0, max(1, m - n + 1), self.hop)
        frames = np.minimum(starts[:, None] + np.arange(n), m - 1)  # (starts, n): what is under each query frame
        means = cost[np.arange(n), frames].mean(axis=1)
        best = int(means.argmin())
        return kwsbench.Match(float(means[best]), int(frames[best, 0]), int(frames[best, -1]))


@kwsbench.hookimpl
def register_matchers(register):
    register("my-plugin", MyPlugin)
