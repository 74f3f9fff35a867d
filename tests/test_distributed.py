"""A scheduler and two workers in processes of their own: what they do is what one process does, to the byte."""

from __future__ import annotations

import os
import re
import sys
import threading
import time

import cloudpickle
import numpy as np
import pytest

from kwsbench import fitting, plugins, results, tasks, trials
from kwsbench import store as stores
from kwsbench.distributed import connect
from kwsbench.errors import KwsbenchError
from kwsbench.spec import parse_chain
from kwsbench.store import FrameStore
from kwsbench.types import Clip
from tests.dask_cluster import PLUGIN, Dask, grid, killed_at_work, running


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    """The scheduler that the tests of this module share."""
    started = Dask(tmp_path_factory.mktemp("dask"))
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def cluster(dask):
    """The address of a scheduler that has two workers."""
    dask.fill()
    return dask.address


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "bands plugin.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture
def run(run_cli, archive, plugin, tmp_path, monkeypatch):
    return running(run_cli, archive, plugin, tmp_path, monkeypatch)


CELLS = grid(
    encoder=["bands@0"],
    transform=["none", "center:scope=speaker+whiten", "standardize:scope=heldout"],
    distance=["cosine", "euclidean"],
    matcher=["sdtw", "sdtw:rows=minmax+tnorm", "windows", "meanpool", "random"],
)


def test_a_cluster_returns_what_one_process_does_to_the_byte(run, cluster, archive):
    """30 cells; 108 frames of 21 dimensions fill a block, so there are several."""
    table = archive / "manifest.tsv"
    head, *rows = table.read_text().splitlines()
    rows = [f"{row}\t{'heldout' if 'story' in row and 'Ana' in row else 'search'}" for row in rows]
    table.write_text("\n".join([f"{head}\tsplit", *rows]))
    code, err, there = run("there", *CELLS, "--scheduler", cluster)
    assert code == 0, err
    _, _, here = run("here", *CELLS, "--workers", 1)
    assert len(here[0]) == len(here[1]) == 30
    assert there == here


def test_a_distance_that_looks_at_all_utterances_is_scored_here_and_a_line_says_so(run, cluster):
    cells = grid(encoder=["mfcc"], transform=["none", "center"], distance=["csls", "cosine"])
    code, err, there = run("there", *cells, "--scheduler", cluster)
    assert code == 0, err
    assert err.count("looks at neighbours among all utterances: its cells are scored on this machine") == 1
    assert there == run("here", *cells)[2]
    assert len(there[0]) == 4


def test_a_worker_that_is_killed_while_it_scores_costs_its_tasks_only(run, cluster, dask, tmp_path):
    log = tmp_path / "log.txt"
    cells = grid(encoder=["bands@0"], distance=[f"slow:log={log}", "cosine"])
    with killed_at_work(dask, log):
        code, err, there = run("there", *cells, "--scheduler", cluster)
        assert code == 0, err
    assert there == run("here", *cells)[2]


def test_a_worker_that_is_killed_while_it_encodes_costs_its_shard_only(run, cluster, dask, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "SHARD_ITEMS", 2)
    log = tmp_path / "log.txt"
    cells = grid(encoder=[f"bands:log={log}"])
    with killed_at_work(dask, log):
        code, err, there = run("there", *cells, "--scheduler", cluster)
        assert code == 0, err
    # Only the shard of the one that was killed was begun twice: its first clip, and at most its second.
    assert there == run("here", *cells)[2]
    assert "encoding bands" in err
    assert not list((tmp_path / "there" / "cache").rglob(".cluster-*"))


def test_a_task_that_ends_every_worker_is_a_record_with_one_line(run, cluster):
    """One block: two would end the two workers at once, and none would be left to end."""
    code, err, (records, _) = run(
        "b", *grid(encoder=["bands@0"], distance=["deadly"]), "--memory", "1GB", "--scheduler", cluster
    )
    assert code == 1, err
    ((*_, error),) = records.values()
    assert error == "2 workers died of the same task; give workers more memory, or --memory less"


def test_what_fails_fails_with_the_same_line(run, cluster, tmp_path):
    cells = grid(encoder=["bands@0", "bands@0:fails=true"], distance=["cosine", "bad", "worse"])
    code, err, there = run("there", *cells, "--scheduler", cluster)
    assert code == 1, err
    assert there == run("here", *cells)[2]
    errors = [record[-1] for record in there[0].values()]
    for line in ("NoDistance: no distance of 21", "ZeroDivisionError: no distance", "RuntimeError: out of luck"):
        assert line in errors
    records = {record.error: record for record in results.load_all(tmp_path / "there")}
    assert "on a worker:" in "".join(records["ZeroDivisionError: no distance"].provenance["traceback"])


def test_an_address_that_nobody_answers_at_is_one_line_within_seconds(run):
    """5 s for an answer, and what the start of a client takes on a busy machine."""
    started = time.monotonic()
    code, err, _ = run("b", "--encoder", "mfcc", "--scheduler", "tcp://127.0.0.1:1")
    assert code == 2
    assert time.monotonic() - started < 25
    (line,) = err.splitlines()
    assert "no scheduler answers at tcp://127.0.0.1:1 (" in line
    assert line.endswith("start one with 'dask scheduler' and give the address that it prints")


def test_something_else_than_an_address_is_one_line(run):
    code, err, _ = run("b", "--encoder", "mfcc", "--scheduler", "localhost")
    assert (code, err) == (
        2,
        "error: --scheduler localhost: expected tcp://HOST:PORT, as 'dask scheduler' prints it\n",
    )


def test_without_dask_the_line_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, err, _ = run("b", "--encoder", "mfcc", "--scheduler", "tcp://127.0.0.1:1")
    assert (code, err) == (2, "error: --scheduler needs dask.distributed; pip install 'kwsbench[cluster]'\n")


def test_another_version_on_a_worker_is_refused(run, cluster, dask, tmp_path):
    """A worker whose metadata say 0.0.9: there before the run, it stops the run; come later, it stops itself."""
    (tmp_path / "old" / "kwsbench-0.0.9.dist-info").mkdir(parents=True)
    metadata = tmp_path / "old" / "kwsbench-0.0.9.dist-info" / "METADATA"
    metadata.write_text("Metadata-Version: 2.1\nName: kwsbench\nVersion: 0.0.9\n")
    older = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "old"), os.environ.get("PYTHONPATH", "")])}
    dask.wait_for(dask.begin_worker(**older), "Registered to")
    worker = dask.processes[-1]
    code, err, _ = run("b", "--encoder", "mfcc", "--scheduler", cluster)
    worker.terminate()
    worker.wait(30)
    ours = tasks.versions()["kwsbench"]
    assert code == 2
    (line,) = err.splitlines()
    assert re.fullmatch(
        f"error: worker tcp://\\S+ has kwsbench 0.0.9, the client {ours}; install the same version on all machines",
        line,
    )
    with connect(cluster, [], tmp_path):
        said = dask.begin_worker(**older)
        dask.processes[-1].wait(60)
        assert "has kwsbench 0.0.9, the client" in said.read_text()


# ── without a cluster ────────────────────────────────────────────────────────────────────────────


def frames_of(lengths, dims=5, seed=0):
    from kwsbench.types import Frames

    rng = np.random.default_rng(seed)
    return Frames.join([rng.standard_normal((length, dims)).astype(np.float32) for length in lengths])


def cells_of(*names):
    from kwsbench.spec import parse

    registry = plugins.load()
    return [(registry.create("distances", parse("cosine")), registry.create("matchers", parse(name))) for name in names]


@pytest.mark.parametrize("blocks", [[(0, 9)], [(0, 4), (4, 5), (5, 9)], [(at, at + 1) for at in range(9)]])
def test_blocks_are_scored_where_they_lie(blocks):
    """A chance matcher draws by place; an alignment of a pair depends on that pair, up to the product's rounding."""
    from kwsbench.engine import score_grid

    queries, utterances = frames_of([4, 7, 0]), frames_of([9, 30, 0, 12, 5, 5, 80, 3, 6], seed=1)
    cells = cells_of("random", "sdtw", "meanpool")
    whole = score_grid(queries, utterances, cells, workers=1, memory_bytes=10**6)
    work = tasks.Work(queries, utterances, cells, 10**6)
    for index, expected in enumerate(whole):
        parts = [work.score(first, last)[index] for first, last in blocks]
        found = [np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True)]
        if index == 0:
            np.testing.assert_array_equal(found[0], expected.scores)
        # Cosines of 5 dimensions: 5 products and as many sums, each within half an ulp of 1, and a mean of them.
        np.testing.assert_allclose(found[0], expected.scores, atol=10 * np.finfo(np.float32).eps)
        for array, wanted in zip(found[1:], expected[1:], strict=True):
            np.testing.assert_array_equal(array, wanted)


def test_an_utterance_at_fault_has_its_number_in_the_whole_set():
    utterances = frames_of([3, 4, 5, 6])
    utterances.values[3 + 4 + 1] = np.nan
    with pytest.raises(KwsbenchError, match=r"^utterance 2: frame 1 is not finite"):
        tasks.Work(frames_of([2]), utterances, cells_of("sdtw"), 10**6).score(1, 4)


def test_a_matcher_at_fault_has_its_own_name():
    class Wrong:
        def score(self, queries, utterances, distance, *, first_utterance):
            return np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1))

    cell = (cells_of("sdtw")[0][0], Wrong())
    with pytest.raises(KwsbenchError, match=r"^Wrong: scores of shape \(1, 1\), expected \(1, 2\)"):
        tasks.Work(frames_of([2]), frames_of([3, 4]), [cell], 10**6).score(0, 2)


def corrected(tmp_path, count=300):
    """A chain fitted on the frames of clips in three shards."""
    store = FrameStore.open(tmp_path, {}, count)
    rng = np.random.default_rng(0)
    for shard, items in enumerate(store.shards):
        store.write(shard, "0", [rng.standard_normal((40, 8)).astype(np.float32) for _ in items])
    clips = [
        Clip(f"{item:03d}", tmp_path, f"speaker {item % 3}", f"{item}", keyword="ab"[item // 3 % 2])
        for item in range(count)
    ]
    built = trials.build(clips, name="x")
    return fitting.fit(store.layer("0"), built, parse_chain("center:scope=speaker+whiten"), plugins.load())


def test_a_fitted_chain_travels_without_frames_and_labels(tmp_path):
    fitted = corrected(tmp_path)
    expected = fitted.utterances().read(100, 200).values
    bare = len(cloudpickle.dumps(fitted))
    labels = fitted.trials.apart, fitted.trials.left_out
    assert labels[0].nbytes == 300 * 300
    sent = cloudpickle.dumps(fitted)
    # Frames of 384 kB, labels of 90 kB and more: what travels is clips, 8 × 8 matrices and code.
    assert len(sent) == bare < 60_000
    came = cloudpickle.loads(sent)
    assert "apart" not in vars(came.trials)
    assert came.links[0].fits.keys() == fitted.links[0].fits.keys()
    np.testing.assert_array_equal(came.utterances().read(100, 200).values, expected)
    assert isinstance(came.frames.values[0], np.memmap)


def test_a_shard_is_filled_as_a_store_of_its_own(tmp_path):
    store = FrameStore.open(tmp_path, {}, 300)
    part = store.part(1)
    assert [list(items) for items in part.shards] == [list(range(128))]
    part.write(0, "0", [np.full((1, 2), item, np.float32) for item in range(128)])
    part.note_seconds(0, 2.0)
    assert [store.missing(shard, ["0"]) for shard in range(3)] == [["0"], [], ["0"]]
    assert (store.seconds, part.seconds) == (2.0, 2.0)


def test_a_worker_that_sees_other_files_says_so(tmp_path, plugin):
    ours = tasks.versions()
    with pytest.raises(KwsbenchError, match=r"^worker tcp://there:1 does not see .*; put the cache"):
        tasks.Setup(ours, tasks.Place(tmp_path / "not shared" / "x", "mark"), ()).check("tcp://there:1")
    seen = tasks.Place(tmp_path, "mark")
    seen.put(b"seen")
    for path in (plugin, tmp_path / "absent.py"):
        with pytest.raises(KwsbenchError, match=r"\.py is not the same file on .*; keep plugin files where all"):
            tasks.Setup(ours, seen, ((path, "0" * 64),)).check("tcp://there:1")
    with pytest.raises(KwsbenchError, match=r"has torch 1\.0, the client"):
        tasks.check_versions("w", ours, {**ours, "torch": "1.0"})


def test_a_worker_with_another_encoder_refuses(tmp_path):
    from kwsbench.spec import parse

    store = FrameStore.open(tmp_path, {}, 0)
    shard = tasks.Shard(parse("mfcc"), "another", "mfcc on x", [], ["0"], store, "cpu", ())
    found = tasks.encode_shard(shard)
    assert re.match(r"mfcc on .* has other weights or parameters than on the client", str(found))
    assert isinstance(found, KwsbenchError)


def test_an_error_that_pickle_does_not_bring_back_keeps_its_line():
    class HeldError(Exception):
        """It holds a lock."""

        def __init__(self):
            super().__init__("held by\na lock")
            self.lock = threading.Lock()

    def hold():
        raise HeldError

    found = tasks.outcome_of(hold)
    assert isinstance(found, KwsbenchError)
    assert str(found) == "HeldError: held by"


def test_a_plugin_that_cannot_be_sent_is_one_line(tmp_path):
    from kwsbench.distributed import Cluster

    class Locked:
        def __init__(self):
            self.lock = threading.Lock()

        def match(self, cost):
            return None

    work = tasks.Work(frames_of([2]), frames_of([3]), [(cells_of("sdtw")[0][0], Locked())], 10**6)
    with (
        pytest.raises(
            KwsbenchError, match=r"cannot be sent to workers \(TypeError: .*lock.*\); run without --scheduler"
        ),
        Cluster(None, tmp_path, ()).shared(work),
    ):
        pass
    assert not list(tmp_path.iterdir())
