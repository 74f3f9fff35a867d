"""Frames in shared storage, an S3 server or a folder under file://, seen from machines that have their own caches."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kwsbench import remote as remotes
from kwsbench import store as stores
from kwsbench.errors import KwsbenchError
from kwsbench.store import FrameStore
from tests.shared_storage import (
    DIMS,
    FRAMES,
    ITEMS,
    LAYER_BYTES,
    filled,
    lying,
    made,
    nbytes,
    on_disk,
    opened,
)

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("s3fs")
pytest.importorskip("moto")


@pytest.fixture
def s3_url(bucket):
    return f"s3://{bucket}/frames"


def test_what_one_machine_puts_in_comes_out_on_another_to_the_byte(url, tmp_path):
    filled(url, tmp_path / "one")
    local = filled("", tmp_path / "plain")
    assert lying(url) == on_disk(tmp_path / "plain" / "frames")
    there = opened(url, tmp_path / "two")
    assert [there.missing(shard, ["5", "6"]) for shard in range(3)] == [["6"]] * 3
    assert there.seconds == 4.5
    frames, expected = there.layer("5"), local.layer("5")
    np.testing.assert_array_equal(frames.lengths, expected.lengths)
    for item in range(ITEMS):
        assert frames.item(item).tobytes() == expected.item(item).tobytes()
    assert isinstance(frames.values[0], np.memmap)
    copies = on_disk(there.remote.copies)
    assert copies == {name: content for name, content in lying(url).items() if "layer" in name}


def test_a_shard_that_another_machine_wrote_counts(url, tmp_path):
    mine = opened(url, tmp_path / "one")
    assert [mine.missing(shard, ["5"]) for shard in range(3)] == [["5"]] * 3
    part = pickle.loads(pickle.dumps(mine.part(1)))  # noqa: S301
    part.write(0, "5", [np.ones((1, DIMS), np.float32)] * 128)
    assert mine.missing(1, ["5"]) == ["5"]  # as it was when it was asked first
    assert pickle.loads(pickle.dumps(mine)).missing(1, ["5"]) == []  # noqa: S301
    later = opened(url, tmp_path / "two")
    assert [later.missing(shard, ["5"]) for shard in range(3)] == [["5"], [], ["5"]]
    assert later.part(1).missing(0, ["5"]) == []
    assert later.part(0).missing(0, ["5"]) == ["5"]


def test_what_was_encoded_before_is_put_into_storage_and_not_made_anew(url, tmp_path):
    own = filled("", tmp_path, layers=("5", "6"))
    store = opened(url, tmp_path)
    store.share(FrameStore(store.folder, ITEMS), ["5"])
    assert [store.missing(shard, ["5", "6"]) for shard in range(3)] == [["6"]] * 3
    whole = on_disk(own.folder.parent)
    assert lying(url) == {name: content for name, content in whole.items() if "layer-6" not in name}
    assert on_disk(own.folder.parent) == whole


def test_what_encoding_took_adds_up_wherever_it_was_done(url, tmp_path):
    filled("", tmp_path / "here", layers=("6",))
    filled(url, tmp_path / "there")
    store = opened(url, tmp_path / "here")
    store.share(FrameStore(store.folder, ITEMS), ["6"])
    assert opened(url, tmp_path).seconds == 3 * (1.5 + 1.5)


def test_a_store_is_looked_up_and_measured_with_few_requests(s3, s3_url, tmp_path):
    filled(s3_url, tmp_path / "one")
    there, before = opened(s3_url, tmp_path / "two"), len(s3.requests)
    assert not any(there.missing(shard, ["5"]) for shard in range(3))
    assert there.layer("5").lengths.sum() == 294 * FRAMES
    key = there.folder.name
    asked = s3.requests[before:]
    assert sum("list-type" in request for request in asked) == 1
    assert sorted(request for request in asked if "lengths" in request) == [
        f"GET /{s3_url[5:]}/{key}/{shard:05d}/lengths.npy" for shard in range(3)
    ]
    there.part(1).missing(0, ["5"])
    assert f"{key}/00001/" in s3.requests[-1]
    # The first shard, whose columns are counted.
    assert [request.split()[0] for request in asked if "layer" in request] == ["GET"]


def test_pickled_frames_know_their_lengths_and_read_nothing(url, tmp_path, monkeypatch):
    frames = filled(url, tmp_path / "one").layer("5")
    sent = pickle.dumps(frames)
    assert len(sent) < frames.lengths.nbytes + 1500
    monkeypatch.setenv("KWSBENCH_CACHE", str(tmp_path / "worker"))
    came = pickle.loads(sent)  # noqa: S301
    np.testing.assert_array_equal(came.lengths, frames.lengths)
    assert came.item(7).shape == (0, DIMS)
    assert not (tmp_path / "worker").exists()
    np.testing.assert_array_equal(came.item(200), frames.item(200))
    assert [path.parent.name for path in (tmp_path / "worker").rglob("*.npy")] == ["00001"]


def test_copies_stay_within_their_room_and_those_in_use_stay(url, tmp_path, monkeypatch):
    """Room for two of three shards: of the two that are there, the one that was opened last stays."""
    filled(url, tmp_path / "one")
    room = 2 * LAYER_BYTES + 100
    monkeypatch.setenv("KWSBENCH_COPIES", str(room))
    store = opened(url, tmp_path / "two")
    folder = tmp_path / "two" / "copies"
    values = []

    def read(shard):
        time.sleep(0.02)  # a file system's clock ticks every 4 ms or so
        values.append(store.values(shard, "5"))
        assert nbytes(folder) <= room
        return sorted(path.parent.name for path in folder.rglob("*.npy"))

    assert read(0) == ["00000"]
    assert read(1) == ["00000", "00001"]
    assert read(0) == ["00000", "00001"]
    before = values[1].copy()
    assert read(2) == ["00000", "00002"]
    np.testing.assert_array_equal(values[1], before)  # mapped, and removed since
    assert before.tobytes() == np.concatenate(made()[128:256]).tobytes()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/maps is Linux's")
def test_copies_that_were_removed_do_not_stay_mapped(url, tmp_path, monkeypatch):
    """Thirty shards of 5 kB, room for five: what is mapped yet removed takes room on the disk as well."""
    monkeypatch.setattr(stores, "SHARD_ITEMS", 1)
    one = np.ones((400, 3), np.float32)
    store = opened(url, tmp_path / "one", items=30)
    for shard in range(30):
        store.write(shard, "5", [one])
    monkeypatch.setenv("KWSBENCH_COPIES", str(5 * (one.nbytes + 128)))
    frames = opened(url, tmp_path / "two", items=30).layer("5")
    for item in range(30):
        assert frames.item(item).sum() == 1200
        lines = Path("/proc/self/maps").read_text().splitlines()
        mapped = [line for line in lines if f"{tmp_path}/two" in line]
        assert len(mapped) == min(item + 1, stores.MAPPED_COPIES)
        assert len(list((tmp_path / "two").rglob("*.npy"))) <= 5


def test_what_is_encoded_stays_within_the_room_once_it_is_in_storage(url, tmp_path, monkeypatch):
    monkeypatch.setenv("KWSBENCH_COPIES", str(2 * LAYER_BYTES + 5000))
    own = filled("", tmp_path / "one")
    filled(url, tmp_path / "one", items=ITEMS)
    assert nbytes(tmp_path / "one" / "copies") <= 2 * LAYER_BYTES + 5000
    assert lying(url) == on_disk(own.folder.parent)  # what this machine encoded for itself is still there


def test_a_file_without_a_name_is_left_alone_for_a_day(tmp_path, monkeypatch):
    monkeypatch.setenv("KWSBENCH_COPIES", "100")
    for name, age in ((".young", 0), (".old", remotes.LEFT_S + 60), ("new", 0)):
        (tmp_path / name).write_bytes(bytes(60))
        then = (tmp_path / name).stat().st_mtime - age
        os.utime(tmp_path / name, (then, then))
    remotes.trim(tmp_path, tmp_path / "new", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".young", "new"]


def test_a_file_that_does_not_fit_at_all_is_one_line(url, tmp_path, monkeypatch):
    store = filled(url, tmp_path / "one")
    monkeypatch.setenv("KWSBENCH_COPIES", "30K")
    with pytest.raises(KwsbenchError) as raised:
        opened(url, tmp_path / "two").layer("5")
    name = f"{url}/{store.folder.name}/00000/layer-5.npy"
    assert (
        str(raised.value)
        == f"{name} is {LAYER_BYTES - 3 * FRAMES * DIMS * 4} bytes, KWSBENCH_COPIES lets copies be 30000; raise it"
    )
    monkeypatch.setenv("KWSBENCH_COPIES", "much")
    with pytest.raises(KwsbenchError, match=r"^KWSBENCH_COPIES: 'much' is no size; write it as 2GB or 500MB$"):
        opened(url, tmp_path / "two")


READER = """
import sys
from pathlib import Path
import numpy as np
from kwsbench.remote import Remote
from kwsbench.store import FrameStore
url, cache, seed = sys.argv[1:]
store = FrameStore.open(Path(cache), {"encoder": "x"}, 300, Remote.open(url, Path(cache)))
for shard in np.random.default_rng(int(seed)).integers(3, size=60).tolist():
    print(shard, store.values(shard, "5").sum(dtype=np.float64))
"""


def test_processes_that_share_little_room_pull_again_what_another_removed(url, s3, tmp_path):
    """Two processes, three shards, room for one and a half: each removes what the other is about to open."""
    store = filled(url, tmp_path / "one")
    sums = {str(shard): str(store.values(shard, "5").sum(dtype=np.float64)) for shard in range(3)}
    environment = {**os.environ, **s3.environment, "KWSBENCH_COPIES": str(LAYER_BYTES * 3 // 2)}
    command = [sys.executable, "-c", READER, url, str(tmp_path / "two")]
    readers = [
        subprocess.Popen(
            [*command, str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        for seed in range(2)
    ]
    for reader in readers:
        out, err = reader.communicate(timeout=120)
        assert reader.returncode == 0, err
        found = [line.split() for line in out.splitlines()]
        assert len(found) == 60
        assert all(sums[shard] == total for shard, total in found)
    assert nbytes(tmp_path / "two" / "copies") <= LAYER_BYTES * 3 // 2
