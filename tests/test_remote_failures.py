"""What can go wrong with frames in shared storage: damage, pushes that are cut off, and errors of one line each."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest

from kwsbench import remote as remotes
from kwsbench.errors import KwsbenchError
from tests.shared_storage import (
    DIMS,
    FRAMES,
    KEYS,
    cut_after,
    filled,
    lying,
    made,
    opened,
    s3_server,
)

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("s3fs")
pytest.importorskip("moto")


def damage(url, name, content):
    files, root = fsspec.core.url_to_fs(url)
    files.pipe_file(f"{root}/{name}", content)


@pytest.mark.parametrize("what", ["layer-5", "lengths", "seconds"])
def test_a_file_that_is_damaged_in_storage_is_named(url, tmp_path, what):
    store = filled(url, tmp_path / "one")
    name = f"{store.folder.name}/00000/{what}.npy"
    whole = lying(url)[name]
    damage(url, name, whole[: len(whole) // 2])
    there = opened(url, tmp_path / "two")
    with pytest.raises(KwsbenchError) as raised:
        there.layer("5").item(0) if what != "seconds" else there.seconds
    assert str(raised.value).startswith(f"{url}/{name} is damaged (")
    assert str(raised.value).endswith("); delete its folder and run again")
    assert "\n" not in str(raised.value)
    damage(url, name, whole)
    assert len(opened(url, tmp_path / "two").layer("5").item(0)) == FRAMES


def test_a_copy_that_is_damaged_is_pulled_again(url, tmp_path):
    filled(url, tmp_path / "one")
    store = opened(url, tmp_path / "two")
    path = store.remote.copies / store.folder.name / "00000" / "layer-5.npy"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x93NUMPY half")
    np.testing.assert_array_equal(store.layer("5").item(3), made()[3])


def test_a_cache_that_takes_no_copies_is_one_line(url, tmp_path):
    filled(url, tmp_path / "there")
    cache = tmp_path / "here"
    store = opened(url, cache)
    cache.mkdir(exist_ok=True)
    (cache / "copies").write_text("a file where a folder should be")
    with pytest.raises(KwsbenchError, match=r"copies/.*: cannot keep a copy there .* give KWSBENCH_CACHE a folder"):
        store.layer("5")


def test_a_file_that_is_gone_from_storage_is_named(url, tmp_path):
    store = filled(url, tmp_path / "one")
    files, root = fsspec.core.url_to_fs(url)
    there = opened(url, tmp_path / "two")
    files.rm_file(f"{root}/{store.folder.name}/00000/layer-5.npy")
    files.rm_file(f"{root}/{store.folder.name}/00002/lengths.npy")
    with pytest.raises(KwsbenchError, match=r"/00000/layer-5.npy: not there \(.*\); make the bucket, or mend --frames"):
        there.values(0, "5")
    with pytest.raises(KwsbenchError, match=r"/00002/lengths.npy has gone; was the cache deleted\? Run again"):
        there.layer("5")


def test_a_push_that_is_cut_off_leaves_nothing_in_s3(s3, bucket, tmp_path, monkeypatch):
    """The connection ends after 20 kB, every time; a shard's file is 164 kB."""
    s3_url, part = f"s3://{bucket}/cut", np.ones((FRAMES, DIMS), np.float32)
    with cut_after(s3.port, 20_000) as port:
        monkeypatch.setitem(
            fsspec.config.conf,
            "s3",
            {**KEYS, "endpoint_url": f"http://127.0.0.1:{port}", "config_kwargs": {"retries": {"max_attempts": 0}}},
        )
        monkeypatch.setattr(fsspec.get_filesystem_class("s3"), "retries", 2)
        store = opened(s3_url, tmp_path / "one", items=128)
        with pytest.raises(KwsbenchError) as raised:
            store.write(0, "5", [part] * 128)
    assert str(raised.value).startswith(f"{s3_url}/{store.folder.name}/00000/layer-5.npy: cannot write it (")
    assert "\n" not in str(raised.value)
    monkeypatch.setitem(fsspec.config.conf, "s3", s3.options)
    remotes._files.cache_clear()  # noqa: SLF001 - a process has one configuration, this one had two
    left = {name.partition("/")[2] for name in lying(s3_url) if name.startswith(store.folder.name)}
    assert left == {"identity.json", "00000/lengths.npy"}
    assert [path.name for path in (tmp_path / "one").rglob("*layer*")] == []
    assert opened(s3_url, tmp_path / "two", items=128).missing(0, ["5"]) == ["5"]


CUT = """
import sys, time
from pathlib import Path
import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem

class Slow(LocalFileSystem):
    '''Storage that is no object store: a file grows while it is put.'''

    protocol = "slow"

    @classmethod
    def _strip_protocol(cls, path):
        return LocalFileSystem._strip_protocol(path.removeprefix("slow://"))

    def put_file(self, path, place, **options):
        if "layer" not in place:
            return super().put_file(path, place)
        content = Path(path).read_bytes()
        with open(place, "wb") as file:
            file.write(content[: len(content) // 2])
            file.flush()
            print("half", flush=True)
            time.sleep(60)

fsspec.register_implementation("slow", Slow)
from kwsbench.remote import Remote
from kwsbench.store import FrameStore
url, cache = sys.argv[1], Path(sys.argv[2])
store = FrameStore.open(cache, {"encoder": "x"}, 1, Remote.open(url, cache))
store.write(0, "5", [np.ones((40, 8), np.float32)])
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_push_that_is_killed_leaves_nothing_that_counts(tmp_path, end):
    command = [sys.executable, "-c", CUT, f"slow://{tmp_path}/shared", str(tmp_path / "one")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b"half\n"
    process.send_signal(end)
    process.communicate(timeout=30)
    store = opened(f"file://{tmp_path}/shared", tmp_path / "two", items=1)
    assert store.missing(0, ["5"]) == ["5"]
    halves = [path for path in (tmp_path / "shared").rglob("*") if "layer" in path.name]
    assert all(path.name.startswith(".layer-5.npy.") for path in halves)
    assert len(halves) == (end == signal.SIGKILL)
    assert not list((tmp_path / "one").rglob("layer*"))
    store.write(0, "5", [np.ones((40, 8), np.float32)])
    assert opened(f"file://{tmp_path}/shared", tmp_path / "three", items=1).layer("5").item(0).sum() == 320


# ── errors ───────────────────────────────────────────────────────────────────────────────────────


def refused(run_cli, url):
    """The one line of a run that cannot have this storage."""
    code, _, err = run_cli("run", "--encoder", "mfcc", "--dataset", "prompts/fr", "--frames", url)
    assert code == 2
    (line,) = err.splitlines()
    return line.removeprefix("error: ")


def test_no_bucket_no_network_and_no_permission_are_one_line_each(run_cli, s3, bucket, tmp_path, monkeypatch):
    line = refused(run_cli, f"s3://not-{bucket}/frames")
    assert line == (
        f"s3://not-{bucket}/frames: not there (FileNotFoundError: The specified bucket does not exist); make the "
        "bucket, or mend --frames; frames that were deleted are made anew when you run again"
    )
    monkeypatch.setitem(fsspec.config.conf, "s3", {**KEYS, "endpoint_url": "http://127.0.0.1:1"})
    line = refused(run_cli, f"s3://{bucket}/nobody")
    assert line.startswith(f"s3://{bucket}/nobody: cannot list it (EndpointConnectionError: Could not connect to the ")
    assert line.endswith("); see that the storage is up, and what fsspec's configuration says of it")
    with s3_server(tmp_path, INITIAL_NO_AUTH_ACTION_COUNT="0") as strict:
        monkeypatch.setitem(fsspec.config.conf, "s3", strict.options)
        line = refused(run_cli, f"s3://{bucket}/strict")
    assert line.startswith(f"s3://{bucket}/strict: no permission to list it (PermissionError: ")
    assert line.endswith("); give this machine keys that may, in fsspec's configuration")


def test_a_package_that_is_missing_and_a_wrong_protocol_are_one_line_each(run_cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    assert refused(run_cli, "gs://a/b") == (
        "gs://a/b: Please install gcsfs to access Google Storage; pip install it on every machine"
    )
    assert refused(run_cli, "s4://a/b") == "s4://a/b: Protocol not known: s4; s3, gs, az and file are protocols"
    assert refused(run_cli, "/shared/frames") == (
        "--frames /shared/frames: expected a URL, such as s3://bucket/folder or file:///shared/folder"
    )
    for nowhere in ("s3://", "file://", "file:///", "://a"):
        assert refused(run_cli, nowhere).startswith(f"--frames {nowhere}: expected a URL, such as ")
    line = refused(run_cli, "ftp://somebody:secret@127.0.0.1/a")
    assert line == "--frames: a URL with a user or a password; put them into fsspec's configuration"
    line = refused(run_cli, "ftp://127.0.0.1:1/a")
    assert line.startswith("ftp://127.0.0.1:1/a: cannot list it (ConnectionRefusedError: ")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert refused(run_cli, "s5://a/b") == "--frames needs fsspec; pip install 'kwsbench[cluster]'"
