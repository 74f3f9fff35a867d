"""Shared storage on this machine: an S3 server in a process of its own, a door to it that shuts, and stores in it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from kwsbench.remote import Remote
from kwsbench.store import FrameStore

SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print("%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
"""

KEYS = {"key": "somebody", "secret": "secret"}


DIMS, FRAMES, ITEMS = 8, 40, 300
LAYER_BYTES = 128 + 128 * FRAMES * DIMS * 4
"""What a full shard's file takes: numpy's header, and 128 items of 40 frames."""


class S3:
    """An S3 server, what it was asked for, and what makes fsspec find it."""

    def __init__(self, address, log):
        self.options = {**KEYS, "endpoint_url": f"http://{address}"}
        self.port = int(address.rpartition(":")[2])
        self.log = log

    @property
    def environment(self):
        """The same for processes that are started."""
        return {f"FSSPEC_S3_{name.upper()}": value for name, value in self.options.items()}

    @property
    def requests(self):
        """GET /bucket/name, … in order."""
        return re.findall(r'"\S*?((?:GET|HEAD|PUT|POST|DELETE) \S+) HTTP', self.log.read_text())


@contextmanager
def s3_server(folder, **environment):
    """A server that is up."""
    log = folder / "s3.txt"
    with log.open("w") as said:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env={**os.environ, **environment},
        )
    try:
        yield S3(server.stdout.readline().strip(), log)
    finally:
        server.send_signal(signal.SIGKILL)
        server.communicate()


@contextmanager
def cut_after(port, nbytes):
    """The port of a way to another port of this machine on which a connection ends after so many bytes to it."""
    door = socket.create_server(("127.0.0.1", 0))

    def carry(source, sink, most):
        with suppress(OSError):
            while most > 0 and (part := source.recv(min(65536, most))):
                sink.sendall(part)
                most -= len(part)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve():
        with suppress(OSError):
            while True:
                near = door.accept()[0]
                far = socket.create_connection(("127.0.0.1", port))
                threads = [
                    threading.Thread(target=carry, args=(near, far, nbytes)),
                    threading.Thread(target=carry, args=(far, near, 10**9)),
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                near.close()
                far.close()

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield door.getsockname()[1]
    finally:
        door.shutdown(socket.SHUT_RDWR)
        door.close()
        server.join(30)


def new_bucket():
    """The name of a bucket that nobody else has, where fsspec's configuration says that S3 is."""
    import fsspec

    name = f"b{uuid.uuid4().hex}"
    fsspec.filesystem("s3").mkdir(name)
    return name


def made(items=ITEMS):
    """Frames of items, some of them without any."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal((0 if i % 50 == 7 else FRAMES, DIMS), dtype=np.float32) for i in range(items)]


def opened(url, cache, items=ITEMS):
    return FrameStore.open(cache, {"encoder": "x"}, items, Remote.open(url, cache) if url else None)


def filled(url, cache, items=ITEMS, layers=("5",)):
    """A store of this machine, filled."""
    store, frames = opened(url, cache, items), made(items)
    for shard, members in enumerate(store.shards):
        for layer in layers:
            store.write(shard, layer, [frames[i] if len(frames[i]) else None for i in members])
        store.note_seconds(shard, 1.5)
    return store


def lying(url):
    """Name → bytes of all that lies in storage."""
    import fsspec

    files, root = fsspec.core.url_to_fs(url)
    files.invalidate_cache()
    return {path.removeprefix(f"{root}/"): files.cat_file(path) for path in files.find(root)}


def on_disk(folder):
    """Name → bytes of all that lies in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def nbytes(folder):
    return sum(Path(place, name).stat().st_size for place, _, names in os.walk(folder) for name in names)
