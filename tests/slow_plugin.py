"""A plugin file that waits, logs and fails as it is told, and a run with it."""

from kwsbench import results

SLOW = '''
import time
import numpy as np
import kwsbench

class Slow:
    """Energy of 20 ms frames in three bands, slowly."""

    layers = ("0", "1")
    frame_shift_s, first_centre_s, min_samples = 0.02, 0.01, 320

    def __init__(self, wait_s: float = 0.0, fail_on: str = "", log: str = ""):
        self.wait_s, self.fail_on, self.log = wait_s, fail_on, log

    def encode(self, samples, layers):
        time.sleep(self.wait_s)
        if self.log:
            with open(self.log, "a") as file:
                file.write(",".join(layers) + "\\n")
        if self.fail_on == "nan":
            return {layer: np.full((3, 2), np.nan) for layer in layers}
        if self.fail_on == "shape":
            return {layer: np.zeros(7) for layer in layers}
        if self.fail_on == "raise":
            raise RuntimeError("out of luck")
        frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
        spectrum = np.log(np.abs(np.fft.rfft(frames, axis=1)) + 1e-3)
        return {layer: spectrum[:, int(layer) :: 8].astype(np.float32) for layer in layers}

class Bad:
    """A distance that fails."""

    def cost(self, x, y):
        raise ZeroDivisionError("no distance")

class Mine:
    """A matcher of one's own: the least cost anywhere."""

    def match(self, cost):
        end = int(cost.min(axis=0).argmin())
        return kwsbench.Match(float(cost.min()), end, end)

@kwsbench.hookimpl
def register_encoders(register):
    register("slow", Slow)

@kwsbench.hookimpl
def register_distances(register):
    register("bad", Bad)

@kwsbench.hookimpl
def register_matchers(register):
    register("mine", Mine)
'''


def arguments(archive, plugin, board, *more):
    return [
        "run",
        "--dataset",
        f"manifest:path={str(archive).replace(' ', '%20')}",
        "--plugin",
        plugin,
        "--board",
        board,
        *more,
    ]


def scores(board):
    """All that a record says but costs and provenance, by fingerprint."""
    found = {}
    for record in results.load_all(board):
        found[record.fingerprint] = (str(record.combination), record.conditions, record.isotropy, record.error)
    return found
