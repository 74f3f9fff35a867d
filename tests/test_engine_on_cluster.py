"""score_grid of a cluster, whose scheduler and two workers are threads of this process: progress, and what it says."""

import threading

import numpy as np
import pytest

from kwsbench import distributed, dtw, plugins
from kwsbench.engine import score_grid
from kwsbench.errors import KwsbenchError
from kwsbench.spec import parse
from kwsbench.types import Alignment, Frames

DIMS = 5
LENGTHS = [4, 7, 3, 9, 5, 6]
COSINE = plugins.load().create("distances", parse("cosine"))
# Utterances of one block each.
OPTIONS = {"workers": 1, "memory_bytes": 1}


def frames(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return Frames.join([rng.standard_normal((length, DIMS)).astype(np.float32) for length in lengths])


QUERIES, UTTERANCES = frames([3, 2]), frames(LENGTHS, seed=1)


@pytest.fixture
def cluster(tmp_path):
    from distributed import Client

    # Any port: without an address dask takes 8787 all the same, which the scheduler of another test may have.
    options = {"processes": False, "n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with Client(**options, set_as_default=False) as client:
        yield distributed.Cluster(client, tmp_path, ())


def test_finished_tasks_are_told_while_an_earlier_one_is_at_work(cluster, monkeypatch):
    """The first block waits until the other five are told of: whoever counted in order would wait for ever."""
    monkeypatch.setattr(distributed, "LOOK_S", 0.05)
    calls, may_go_on = [], threading.Event()
    # Threads of this process unpickle what is sent to them: they find the event by its name.
    monkeypatch.setattr(threading, "may_go_on", may_go_on, raising=False)

    class Patient:
        def cost(self, x, y):
            if len(y) == LENGTHS[0]:
                assert threading.may_go_on.wait(30), "nobody told of the other tasks"
            return np.abs(x[:, None] - y[None]).sum(axis=2)

    def progress(*call):
        calls.append(call)
        if call[1] == 5:
            may_go_on.set()

    cells = [(Patient(), Alignment())]
    (found,) = cluster.score_grid(QUERIES, UTTERANCES, cells, progress=progress, **OPTIONS)
    (wanted,) = score_grid(QUERIES, UTTERANCES, cells, **OPTIONS)
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(got, want)
    assert {(what, total) for what, _, total in calls} == {("score", 6)}
    done = [number for _, number, _ in calls]
    assert done == sorted(done)
    assert 5 in done
    assert done[-1] == 6


def test_what_cannot_be_scored_is_said_before_it_is_sent(cluster, monkeypatch):
    """In the words of one machine: the fourth utterance is the fourth of all, not the first of its block."""
    monkeypatch.setattr(dtw, "MAX_FRAMES", 9)
    monkeypatch.setattr(cluster.client, "submit", lambda *_, **__: pytest.fail("a task was sent"))
    lines = []
    for call in (score_grid, cluster.score_grid):
        with pytest.raises(KwsbenchError) as error:
            call(QUERIES, UTTERANCES, [(COSINE, Alignment())], **OPTIONS)
        lines.append(str(error.value))
    assert lines == ["utterance 3 has 9 frames, expected < 9; cut it"] * 2
    line = "^a cluster scores on its CPUs, in float32, bfloat16, int8, not in float16$"
    with pytest.raises(KwsbenchError, match=line):
        cluster.score_grid(QUERIES, UTTERANCES, [(COSINE, Alignment())], precision="float16", **OPTIONS)


def test_a_cluster_scores_on_its_cpus_and_a_line_says_so_where_a_gpu_was_asked_for(cluster, capsys):
    cells, told = [(COSINE, Alignment()), (plugins.load().create("distances", parse("csls:k=1")), Alignment())], []
    for device in ("auto", "cuda", "cuda"):
        cluster.score_grid(QUERIES, UTTERANCES, cells, device=device, scored_on=told.extend, **OPTIONS)
    assert told == ["cpu"] * 6
    line, other = capsys.readouterr().err.splitlines()
    assert line == "CSLS looks at neighbours among all utterances: its cells are scored on this machine"
    assert other == "a cluster scores on its CPUs: --device cuda is where its workers encode"
