"""A cluster without a shared disk: two workers with empty caches of their own, and frames in an S3 server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from hashlib import sha256

import cloudpickle
import numpy as np
import pytest

from kwsbench import fitting, plugins, tasks, trials
from kwsbench import store as stores
from kwsbench.errors import KwsbenchError
from kwsbench.remote import Remote
from kwsbench.spec import parse, parse_chain
from kwsbench.store import FrameStore
from kwsbench.types import Clip, Frames
from tests.dask_cluster import PLUGIN, Dask, grid, killed_at_work, running
from tests.shared_storage import lying, new_bucket

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("s3fs")
pytest.importorskip("moto")


@pytest.fixture(scope="module")
def dask(tmp_path_factory, s3):
    """A scheduler whose workers know the S3 server, and share no cache with anybody."""
    started = Dask(tmp_path_factory.mktemp("dask"), own_caches=True)
    before = {name: os.environ.get(name) for name in s3.environment}
    os.environ.update(s3.environment)
    try:
        yield started
    finally:
        for name in before:
            del os.environ[name]
        started.stop()


@pytest.fixture
def cluster(dask):
    dask.fill()
    return dask.address


@pytest.fixture
def url(s3, monkeypatch):
    """A folder in a bucket of the test's own."""
    monkeypatch.setitem(fsspec.config.conf, "s3", s3.options)
    return f"s3://{new_bucket()}/frames"


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
    transform=["none", "center:scope=speaker+whiten"],
    distance=["cosine", "euclidean"],
    matcher=["sdtw", "sdtw:rows=minmax+tnorm", "random"],
)


def test_what_one_machine_encoded_another_scores_to_the_byte(run, url, tmp_path, monkeypatch):
    """Without a cluster: the second machine finds all frames in storage, and encodes nothing."""
    monkeypatch.setattr(stores, "SHARD_ITEMS", 2)
    _, _, here = run("here", *CELLS)
    code, err, one = run("one", *CELLS, "--frames", url)
    assert (code, one) == (0, here), err
    assert "encoding bands" in err
    before = lying(url)
    assert len(before) == 1 + 3 * 4
    code, err, two = run("two", *CELLS, "--frames", url)
    assert (code, two) == (0, here), err
    assert "encoding bands" not in err
    assert lying(url) == before
    assert not [*(tmp_path / "one" / "cache").rglob("frames"), *(tmp_path / "two" / "cache").rglob("frames")]
    assert len(here[0]) == len(here[1]) == 12


def test_what_was_encoded_without_storage_is_scored_with_it(run, url, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "SHARD_ITEMS", 2)
    _, _, here = run("here", *CELLS)
    shutil.copytree(tmp_path / "here" / "cache" / "frames", tmp_path / "one" / "cache" / "frames")
    code, err, one = run("one", *CELLS, "--frames", url)
    assert (code, one) == (0, here), err
    assert "encoding bands" not in err
    own = tmp_path / "one" / "cache" / "frames"
    assert sorted(lying(url)) == sorted(str(path.relative_to(own)) for path in own.rglob("*.*"))


def test_workers_without_a_shared_disk_return_what_one_process_does_to_the_byte(run, cluster, dask, url, monkeypatch):
    monkeypatch.setattr(stores, "SHARD_ITEMS", 2)
    code, err, there = run("there", *CELLS, "--scheduler", cluster, "--frames", url)
    assert code == 0, err
    _, _, here = run("here", *CELLS, "--workers", 1)
    assert len(here[0]) == len(here[1]) == 12
    assert there == here
    assert not [name for name in lying(url) if "cluster" in name]
    caches = sorted(dask.folder.glob("cache *"))
    assert len(caches) >= 2
    assert all({path.name for path in cache.iterdir()} <= {"copies"} for cache in caches)
    assert any(list(cache.rglob("layer-0.npy")) for cache in caches)


def test_a_worker_without_a_shared_disk_that_is_killed_costs_its_tasks_only(run, cluster, dask, url, tmp_path):
    log = tmp_path / "log.txt"
    cells = grid(encoder=["bands@0"], distance=[f"slow:log={log}", "cosine"])
    with killed_at_work(dask, log):
        code, err, there = run("there", *cells, "--scheduler", cluster, "--frames", url)
        assert code == 0, err
    assert there == run("here", *cells)[2]


def test_a_worker_that_is_killed_while_it_encodes_leaves_whole_shards(run, cluster, dask, url, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "SHARD_ITEMS", 2)
    log = tmp_path / "log.txt"
    cells = grid(encoder=[f"bands:log={log}"])
    with killed_at_work(dask, log):
        code, err, there = run("there", *cells, "--scheduler", cluster, "--frames", url)
        assert code == 0, err
    assert there == run("here", *cells)[2]
    assert len(lying(url)) == 1 + 4 * 4  # four shards of two layers, lengths and seconds


def test_a_worker_pulls_the_shards_of_its_block_only(url, tmp_path, monkeypatch):
    cache = tmp_path / "client"
    store = FrameStore.open(cache, {}, 640, Remote.open(url, cache))
    rng = np.random.default_rng(0)
    for shard, items in enumerate(store.shards):
        frames = [rng.standard_normal((40, 8)).astype(np.float32) for _ in items]
        store.write(shard, "0", [None, *frames[1:]])
    clips = [Clip(f"{item:03d}", tmp_path, f"speaker {item % 3}", f"{item}", keyword="ab"[item // 3 % 2])
             for item in range(640)]  # fmt: skip
    registry = plugins.load()
    chain = parse_chain("center:scope=speaker+whiten")
    fitted = fitting.fit(store.layer("0"), trials.build(clips, name="x"), chain, registry)
    utterances = fitted.utterances()
    for item in range(640):
        utterances.read(item, item + 1)  # fits the chain, as measuring isotropy does
    cell = registry.create("distances", parse("cosine")), registry.create("matchers", parse("sdtw"))
    queries = Frames.join([rng.standard_normal((5, 8)).astype(np.float32)])
    work = tasks.Work(queries, utterances, [cell], 10**6)
    expected = work.score(256, 384)
    packed = cloudpickle.dumps(work)
    place = tasks.Place(tmp_path / ".cluster-x", sha256(packed).hexdigest(), store.remote)
    place.put(packed)
    monkeypatch.setenv("KWSBENCH_CACHE", str(tmp_path / "worker"))
    found = tasks.score_block(cloudpickle.loads(cloudpickle.dumps(place)), 256, 384)
    assert [part.tobytes() for part in found[0]] == [part.tobytes() for part in expected[0]]
    pulled = [path for path in (tmp_path / "worker").rglob("*") if path.is_file()]
    assert sorted(path.name for path in pulled) == sorted(["layer-0.npy", place.name])
    assert [path.parent.name for path in pulled if path.name != place.name] == ["00002"]
    place.remove()
    assert not [name for name in lying(url) if "cluster" in name]


def test_work_that_is_not_what_the_client_wrote_is_named_and_not_run(url, tmp_path, monkeypatch):
    place = tasks.Place(tmp_path / ".cluster-x", sha256(b"work").hexdigest(), Remote(url, tmp_path))
    place.put(b"work")
    assert place.read() == b"work"
    files, root = fsspec.core.url_to_fs(url)
    files.pipe_file(f"{root}/.cluster-x/{place.name}", b"other work")
    monkeypatch.setenv("KWSBENCH_CACHE", str(tmp_path / "worker"))
    outcome = tasks.score_block(cloudpickle.loads(cloudpickle.dumps(place)), 0, 1)
    assert str(outcome) == (
        f"{url}/.cluster-x/{place.name} is damaged (other content than its name says); delete its folder and run again"
    )


def test_a_worker_that_does_not_see_the_storage_says_so(url, tmp_path, monkeypatch):
    monkeypatch.setenv("KWSBENCH_CACHE", str(tmp_path / "worker"))
    mark = tasks.Place(tmp_path / ".cluster-x", "mark", Remote(url, tmp_path))
    setup = tasks.Setup(tasks.versions(), mark, ())
    with pytest.raises(KwsbenchError) as raised:
        setup.check("tcp://there:1")
    assert str(raised.value) == (
        f"worker tcp://there:1 does not see {url}; put the cache (KWSBENCH_CACHE) into a folder that all machines "
        "share, or name storage that all reach with --frames"
    )
    mark.put(b"seen")
    setup.check("tcp://there:1")
    elsewhere = mark._replace(remote=Remote(f"s3://no-{uuid.uuid4().hex}/x", tmp_path))
    with pytest.raises(KwsbenchError, match=r"^worker tcp://there:1: s3://no-.*/mark: not there|does not see s3://no-"):
        tasks.Setup(tasks.versions(), elsewhere, ()).check("tcp://there:1")


def test_a_local_run_imports_no_fsspec(archive, plugin, tmp_path):
    """In a process of its own, in which an import of fsspec fails."""
    data = f"manifest:path={str(archive).replace(' ', '%20')}"
    arguments = ["run", "--dataset", data, "--plugin", str(plugin), "--encoder", "bands@0", "--board", str(tmp_path)]
    code = (
        "import sys; sys.modules['fsspec'] = None; sys.modules['distributed'] = None\n"
        f"sys.argv = ['kwsbench', *{arguments!r}]\n"
        "from kwsbench.cli import main\nmain()"
    )
    environment = {**os.environ, "KWSBENCH_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 cells scored" in done.stderr
