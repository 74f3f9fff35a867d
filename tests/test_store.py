import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from kwsbench import store as stores
from kwsbench.errors import KwsbenchError
from kwsbench.store import FrameStore, atomic_write, fingerprint


def items(n, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 4, n)
    return [None if not k else rng.standard_normal((k, 3)).astype(np.float32) for k in lengths]


def fill(store, layer, made):
    for shard, members in enumerate(store.shards):
        store.write(shard, layer, [made[i] for i in members])


@pytest.mark.parametrize("count", [1, 127, 128, 129, 300])
def test_what_goes_in_comes_out_item_by_item(tmp_path, count):
    made = items(count)
    made[-1] = np.ones((2, 3), np.float32)
    store = FrameStore.open(tmp_path, {"a": 1}, count)
    fill(store, "5", made)
    frames = store.layer("5")
    for i, item in enumerate(made):
        expected = np.zeros((0, 3), np.float32) if item is None else item
        np.testing.assert_array_equal(frames.item(i), expected)
        assert frames.lengths[i] == len(expected)


def test_one_store_behind_another(tmp_path):
    first, second = (FrameStore.open(tmp_path, {"n": n}, n) for n in (130, 5))
    made = items(130, seed=1), items(5, seed=2)
    for store, mine in zip((first, second), made, strict=True):
        fill(store, "5", mine)
    frames = first.layer("5").then(second.layer("5"))
    for i, item in enumerate([*made[0], *made[1]]):
        np.testing.assert_array_equal(frames.item(i), np.zeros((0, 3), np.float32) if item is None else item)


def test_equal_identities_share_frames_and_different_ones_do_not(tmp_path):
    a = FrameStore.open(tmp_path, {"x": 1, "y": 2}, 3)
    assert FrameStore.open(tmp_path, {"y": 2, "x": 1}, 3).folder == a.folder
    assert FrameStore.open(tmp_path, {"y": 2, "x": 2}, 3).folder != a.folder
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})


def test_layers_that_are_missing_are_named(tmp_path):
    store = FrameStore.open(tmp_path, {}, 2)
    assert store.missing(0, ["1", "2"]) == ["1", "2"]
    fill(store, "1", items(2))
    assert store.missing(0, ["1", "2"]) == ["2"]


def test_a_damaged_file_is_named(tmp_path):
    store = FrameStore.open(tmp_path, {}, 2)
    fill(store, "1", [np.ones((2000, 3), np.float32)] * 2)
    path = next(store.folder.glob("*/layer-1.npy"))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(KwsbenchError, match=r"is damaged .*; delete its folder and run again"):
        store.layer("1")


def test_a_write_that_fails_leaves_nothing(tmp_path):
    path = tmp_path / "x.npy"

    def write_half():
        with atomic_write(path) as file:
            file.write(b"half")
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_is_killed_is_not_there(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from kwsbench.store import atomic_write\n"
        f"with atomic_write(Path({str(tmp_path)!r}) / 'x.npy') as f:\n"
        "    f.write(b'half'); f.flush(); print('writing', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"writing\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "x.npy").exists()


def test_seconds_add_up(tmp_path):
    store = FrameStore.open(tmp_path, {}, stores.SHARD_ITEMS + 1)
    store.note_seconds(0, 1.5)
    store.note_seconds(1, 1.0)
    store.note_seconds(0, 0.5)
    assert store.seconds == 3.0


def test_frames_know_their_lengths_before_a_file_of_frames_is_opened(tmp_path):
    store = FrameStore.open(tmp_path, {}, 300)
    fill(store, "5", [np.ones((2, 3), np.float32)] * 300)
    for path in store.folder.glob("0000[12]/layer-5.npy"):
        path.unlink()
    frames = store.layer("5")
    assert frames.lengths.tolist() == [2] * 300
    assert frames.dims == 3
    assert len(frames.item(0)) == 2
    with pytest.raises(KwsbenchError, match=r"00001/layer-5.npy has gone; was the cache deleted\?"):
        frames.item(128)


def test_pickled_frames_read_no_file_of_lengths(tmp_path):
    store = FrameStore.open(tmp_path, {}, 300)
    fill(store, "5", [np.full((2, 3), item, np.float32) for item in range(300)])
    sent = pickle.dumps(store.layer("5").then(store.layer("5")))
    for path in store.folder.glob("*/lengths.npy"):
        path.unlink()
    came = pickle.loads(sent)  # noqa: S301
    assert came.lengths.tolist() == [2] * 600
    assert came.item(599).tolist() == [[299.0] * 3] * 2
    assert len(sent) < 600 * 8 + 1000


def maps_of(folder):
    """Files below a folder that this process has mapped."""
    return {
        line.split(maxsplit=5)[5] for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line
    }


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/maps is Linux's")
def test_no_more_files_are_mapped_than_are_promised(tmp_path, monkeypatch):
    """Half as many shards again, each of more than the 4 kB up to which files are read; what is held stays readable."""
    monkeypatch.setattr(stores, "SHARD_ITEMS", 1)
    count = stores.MAPPED_SHARDS * 3 // 2
    store = FrameStore.open(tmp_path, {}, count)
    fill(store, "5", [np.full((400, 3), item, np.float32) for item in range(count)])
    frames = store.layer("5")
    assert len(maps_of(tmp_path)) <= 1
    held = frames.item(0)
    for item in range(count):
        assert frames.item(item)[7].tolist() == [item] * 3
        assert len(maps_of(tmp_path)) <= min(item + 1, stores.MAPPED_SHARDS) + 1
    assert len(maps_of(tmp_path)) == stores.MAPPED_SHARDS + 1
    assert held[399].tolist() == [0, 0, 0]
    del held
    assert len(maps_of(tmp_path)) == stores.MAPPED_SHARDS


def test_threads_that_read_one_layer_get_their_own_items(tmp_path, monkeypatch):
    """Eight threads on 30 shards of which three are kept mapped."""
    monkeypatch.setattr(stores, "SHARD_ITEMS", 1)
    monkeypatch.setattr(stores, "MAPPED_SHARDS", 3)
    store = FrameStore.open(tmp_path, {}, 30)
    fill(store, "5", [np.full((400, 3), item, np.float32) for item in range(30)])
    frames = store.layer("5")

    def read(seed):
        return all(
            (frames.item(item) == item).all() for item in np.random.default_rng(seed).integers(30, size=300).tolist()
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))
