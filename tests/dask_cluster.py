"""A scheduler and its workers on this machine, and runs on them that are compared to the byte."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np

from kwsbench import results

PLUGIN = '''
import os
import time
from pathlib import Path
import numpy as np
import kwsbench


def note(log):
    """Where a test watches, say who works, and work slowly, so that it can be ended in the middle."""
    if log and Path(log).exists():
        with open(log, "a") as file:
            file.write(f"{os.getpid()}\\n")
        time.sleep(0.1)


class Bands:
    """Energy of 20 ms frames in some bands."""

    layers = ("0", "1")
    frame_shift_s, first_centre_s, min_samples = 0.02, 0.01, 320

    def __init__(self, log: str = "", weights: str = "", fails: bool = False):
        self.log, self.fails = log, fails
        self.provenance = {"weights": Path(weights).read_text()} if weights else {}

    def encode(self, samples, layers):
        note(self.log)
        if self.fails:
            raise RuntimeError("out of luck")
        frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
        spectrum = np.log(np.abs(np.fft.rfft(frames, axis=1)) + 1e-3)
        return {layer: spectrum[:, int(layer) :: 8].astype(np.float32) for layer in layers}


class Slow:
    """The cost of nothing in common, slowly."""

    def __init__(self, log: str = ""):
        self.log = log

    def cost(self, x, y):
        note(self.log)
        return np.abs(x[:, None] - y[None]).mean(axis=2)


class Deadly:
    """A distance that ends its process."""

    def cost(self, x, y):
        os._exit(9)


class NoDistance(Exception):
    """An error that pickle does not bring back."""

    def __init__(self, x, y):
        super().__init__(f"no distance of {x.shape[1]}\\nand {y.shape[1]}")


class Bad:
    """A distance that fails."""

    def cost(self, x, y):
        raise NoDistance(x, y)


class Worse:
    """A distance that fails in one of Python's own ways."""

    def cost(self, x, y):
        raise ZeroDivisionError("no distance")


@kwsbench.hookimpl
def register_encoders(register):
    register("bands", Bands)


@kwsbench.hookimpl
def register_distances(register):
    register("slow", Slow)
    register("bad", Bad)
    register("deadly", Deadly)
    register("worse", Worse)
'''


class Dask:
    """A scheduler on this machine, and workers that come and go."""

    def __init__(self, folder, *, own_caches=False):
        self.folder, self.own_caches, self.processes, self.workers = folder, own_caches, [], []
        said = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.address = self.wait_for(said, r"Scheduler at: +(tcp://\S+)")[1]

    def _start(self, what, *arguments, **environment):
        said = self.folder / f"{len(self.processes)}.txt"
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *map(str, arguments)]
        # One worker may die of a task; the second that does is one too many.
        environment = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1", **environment}
        with said.open("w") as file:
            # Not where the tests run: metadata that lie in the checkout would be found before all others.
            process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, cwd=self.folder)
        self.processes.append(process)
        return said

    def wait_for(self, said, pattern):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = re.search(pattern, said.read_text())
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(said.read_text())

    def begin_worker(self, **environment):
        """Start a worker of one thread, without a nanny that would start it again; what it says."""
        where = "--host", "127.0.0.1", "--no-dashboard", "--local-directory", self.folder
        return self._start("worker", self.address, "--nthreads", 1, "--no-nanny", *where, **environment)

    def fill(self):
        """Two workers."""
        self.workers = [process for process in self.workers if process.poll() is None]
        said = []
        while len(self.workers) < 2:
            cache = {"KWSBENCH_CACHE": str(self.folder / f"cache {len(self.processes)}")} if self.own_caches else {}
            said.append(self.begin_worker(**cache))
            self.workers.append(self.processes[-1])
        for path in said:
            self.wait_for(path, "Registered to")

    def stop(self):
        for process in self.processes[::-1]:
            process.kill()
        for process in self.processes:
            process.wait(30)


def running(run_cli, archive, plugin, tmp_path, monkeypatch):
    """run(name, *options) → (exit code, stderr, what came out), with a board and a cache of that name."""

    def call(name, *options):
        monkeypatch.setenv("KWSBENCH_CACHE", str(tmp_path / name / "cache"))
        data = f"manifest:path={str(archive).replace(' ', '%20')}"
        code, _, err = run_cli(
            "run", "--dataset", data, "--plugin", plugin, "--board", tmp_path / name, "--memory", "20K", *options
        )
        return code, err, outcome(tmp_path / name)

    return call


def outcome(board):
    """Fingerprint → all that a record says but costs and provenance; file → the raw scores that were kept."""
    records = {
        record.fingerprint: (str(record.combination), record.conditions, record.isotropy, record.data, record.error)
        for record in results.load_all(board)
    }
    kept = {}
    for path in (board / "cache" / "scores").glob("*.npz"):
        with np.load(path) as arrays:
            kept[path.name] = {name: arrays[name].tobytes() for name in arrays.files}
    return records, kept


def grid(**axes):
    return [part for axis, names in axes.items() for name in names for part in (f"--{axis}", name)]


@contextmanager
def killed_at_work(dask, log):
    """SIGKILL for the first worker that begins to work, as soon as it does; log holds the processes that worked."""
    log.touch()
    dead = []

    def kill():
        deadline = time.monotonic() + 60
        while not log.read_text().endswith("\n") and time.monotonic() < deadline:
            time.sleep(0.005)
        dead.append(int(log.read_text().split()[0]))
        os.kill(dead[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    yield dead
    killer.join()
    (process,) = [process for process in dask.workers if process.pid == dead[0]]
    assert process.wait(10) == -signal.SIGKILL
    assert log.read_text().split()[-1] != str(dead[0]), "the other worker had nothing left to do"
    log.unlink()
