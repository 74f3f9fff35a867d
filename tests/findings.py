"""What the tests of the conformance kit share: how they read what it finds, and a correct encoder to break."""

import numpy as np


def only(problems, *words):
    """Exactly one problem, in one line, that says all the words."""
    assert len(problems) == 1, problems
    assert "\n" not in problems[0]
    for word in words:
        assert word in problems[0]


class Energy:
    """A correct encoder: log energy and its square root, 20 ms frames every 10 ms."""

    layers = ("a", "b")
    frame_shift_s = 0.010
    first_centre_s = 0.010
    min_samples = 320

    def encode(self, samples, layers):
        count = 1 + (len(samples) - 320) // 160
        energy = np.stack([[np.mean(samples[160 * i : 160 * i + 320] ** 2)] for i in range(count)])
        made = {"a": np.log(energy + 1e-9), "b": np.sqrt(energy)}
        return {layer: made[layer] for layer in layers}


def encoder(**attributes):
    """A correct encoder, but for these attributes; a function among them becomes a method."""
    return type("Faulty", (Energy,), attributes)()
