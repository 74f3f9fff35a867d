"""The index of an archive that changes: what is encoded again, what is found where, what a kill leaves."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from kwsbench import index as indices
from kwsbench import plugins
from kwsbench.errors import KwsbenchError
from kwsbench.index import Index, prune, update
from kwsbench.spec import parse
from kwsbench.types import Clip

PLUGIN = """
import os
import time
from pathlib import Path

import numpy as np

import kwsbench


class Noted:
    '''Means and maxima of 160 samples; each call adds a line to a file.'''

    layers, frame_shift_s, first_centre_s, min_samples = ("0", "1"), 0.01, 0.005, 160

    def __init__(self, *, calls: str, scale: float = 1.0, wait_s: float = 0.0) -> None:
        self.calls, self.scale, self.wait_s = Path(calls), scale, wait_s

    def encode(self, samples, layers):
        with self.calls.open("a") as file:
            file.write(f"{len(samples)}\\n")
        time.sleep(self.wait_s)
        blocks = samples[: len(samples) // 160 * 160].reshape(-1, 160)
        values = self.scale * np.stack([blocks.mean(axis=1), blocks.max(axis=1), np.ones(len(blocks))], axis=1)
        return dict.fromkeys(layers, values)


@kwsbench.hookimpl
def register_encoders(register):
    register("noted", Noted)
"""


class World:
    """An index, its encoder's calls, and the folder of recordings."""

    def __init__(self, root, recordings):
        self.root, self.archive, self.folder = root, root / "archive", root / "index"
        self.calls, self.plugin = root / "calls", root / "noted.py"
        self.plugin.write_text(PLUGIN)
        self.registry = plugins.load([self.plugin])
        self.archive.mkdir()
        for path in recordings:
            shutil.copy(path, self.archive)

    def clips(self):
        return [Clip(path.stem, path, "someone", path.stem) for path in self.archive.glob("*.wav")]

    def update(self, **options):
        """Update, and how many times the encoder was called."""
        self.calls.write_text("")
        spec = parse(f"noted:calls={self.calls}")
        done = update(self.folder, self.clips(), spec, "0", self.registry, **options)
        return done, len(self.calls.read_text().split())

    def check(self):
        """Every item's frames are those of its file, encoded here and now."""
        index = Index.open(self.folder)
        paths = sorted(str(path) for path in self.archive.glob("*.wav"))
        assert [item.path for item in index.items] == paths
        encoder = self.registry.create("encoders", parse(f"noted:calls={self.root / 'others'}"))
        expected = []
        for path in paths:
            samples = indices.audio.read(path).samples
            enough = len(samples) >= 160
            expected.append(encoder.encode(samples, ["0"])["0"].astype(np.float32) if enough else np.zeros((0, 3)))
        np.testing.assert_array_equal(index.frames.lengths, [len(frames) for frames in expected])
        for first, last in ((0, len(paths)), (1, 4), (2, 2), (len(paths) - 1, len(paths))):
            frames = index.frames.read(first, last)
            for found, wanted in zip([frames[i] for i in range(len(frames))], expected[first:last], strict=True):
                np.testing.assert_array_equal(found, wanted)
        return index


@pytest.fixture
def world(tmp_path, fsdd):
    return World(tmp_path, sorted((fsdd / "recordings").glob("*.wav"))[:150:5])


def settle(path):
    """Date a file back, so that its time counts."""
    old = time.time() - 100
    os.utime(path, (old, old))


def test_only_what_is_new_or_changed_is_encoded(world, fsdd):
    done, calls = world.update()
    assert done == (30, 0, 30)
    assert calls == 30
    world.check()
    assert world.update() == ((0, 0, 30), 0)

    shutil.copy(fsdd / "recordings" / "9_theo_3.wav", world.archive / "0_a_new_first.wav")
    assert world.update() == ((1, 0, 31), 1)
    world.check()

    changed = sorted(world.archive.glob("*.wav"))[7]
    samples, rate_hz = soundfile.read(changed)
    soundfile.write(changed, samples[::-1], rate_hz)
    assert world.update() == ((1, 1, 31), 1)
    world.check()

    sorted(world.archive.glob("*.wav"))[3].unlink()
    assert world.update() == ((0, 1, 30), 0)
    world.check()


def test_what_is_moved_touched_or_copied_is_not_encoded_again(world):
    world.update()
    first, second, third = sorted(world.archive.glob("*.wav"))[:3]
    first.rename(world.archive / "moved.wav")
    second.touch()
    shutil.copy(third, world.archive / "copy.wav")
    assert world.update() == ((0, 0, 31), 0)
    world.check()


def test_size_and_time_are_trusted_unless_one_wants_to_be_sure(world):
    """Same size, same time, other samples: the quick look cannot see it, and says so by what it leaves out."""
    for path in world.archive.glob("*.wav"):
        settle(path)
    world.update()
    path = min(world.archive.glob("*.wav"))
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert world.update()[1] == 0
    assert world.update(sure=True)[1] == 1
    world.check()


def test_a_time_too_fresh_to_prove_anything_is_not_trusted(world):
    """The case above, but written in the very moment of the update, as by a recorder that goes on."""
    path = min(world.archive.glob("*.wav"))
    path.touch()
    world.update()
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert world.update()[1] == 1
    world.check()


def test_spans_and_clips_too_short_for_a_frame(world):
    path = min(world.archive.glob("*.wav"))
    clips = [
        Clip("b", path, "s", "r", start_s=0.1, end_s=0.2),
        Clip("a", path, "s", "r", start_s=0.0, end_s=0.1),
        Clip("short", path, "s", "r", start_s=0.05, end_s=0.055),
    ]
    update(world.folder, clips, parse(f"noted:calls={world.calls}"), "0", world.registry)
    index = Index.open(world.folder)
    assert [(item.id, item.start_s) for item in index.items] == [("a", 0.0), ("short", 0.05), ("b", 0.1)]
    assert index.frames.lengths.tolist() == [10, 0, 10]
    assert index.frames.read(0, 3).lengths.tolist() == [10, 0, 10]
    assert index.frames.read(1, 2).values.shape == (0, 3)


def test_packs_are_filled_in_turn(world, monkeypatch):
    monkeypatch.setattr(indices, "SHARD_ITEMS", 8)
    world.update()
    index = world.check()
    assert [len(keys) for keys in index.table.packs.values()] == [8, 8, 8, 6]


def test_prune_gives_room_back_and_loses_nothing(world, monkeypatch):
    monkeypatch.setattr(indices, "SHARD_ITEMS", 8)
    world.update()
    for path in sorted(world.archive.glob("*.wav"))[5:16]:  # part of the first pack, all of the second
        path.unlink()
    world.update()
    (world.folder / "frames" / "left by a killed update").mkdir()
    assert prune(world.folder) == 11
    index = world.check()
    assert [len(keys) for keys in index.table.packs.values()] == [5, 8, 6]
    assert len(list((world.folder / "frames").iterdir())) == 3
    assert prune(world.folder) == 0
    assert world.update() == ((0, 0, 19), 0)


def test_an_update_that_is_killed_leaves_the_old_index_and_goes_on(world, monkeypatch):
    monkeypatch.setattr(indices, "SHARD_ITEMS", 8)
    for path in sorted(world.archive.glob("*.wav"))[3:]:
        path.rename(path.with_suffix(".later"))
    world.update()
    for path in world.archive.glob("*.later"):
        path.rename(path.with_suffix(".wav"))
    world.calls.write_text("")
    code = (
        "from pathlib import Path; from kwsbench import index, plugins; from kwsbench.spec import parse\n"
        "from kwsbench.types import Clip\n"
        f"index.SHARD_ITEMS = 8; archive = Path({str(world.archive)!r})\n"
        "clips = [Clip(p.stem, p, 's', p.stem) for p in archive.glob('*.wav')]\n"
        f"spec = parse('noted:calls={world.calls}')\n"
        "import time\n"
        f"registry = plugins.load([Path({str(world.plugin)!r})])\n"
        "create = index.encoding.create\n"
        "def slow(*given):\n"
        "    made = create(*given); made[0].wait_s = 0.05; return made\n"
        "index.encoding.create = slow\n"
        f"index.update(Path({str(world.folder)!r}), clips, spec, '0', registry)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while len(world.calls.read_text().split()) < 13 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be killed"
    with pytest.raises(KwsbenchError) as error:
        world.update()
    assert str(error.value) == f"{world.folder}: another process is updating this index; wait for it"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    old = Index.open(world.folder)
    assert len(old.items) == len(old.frames.lengths) == 3
    whole = sum(len(keys) for keys in old.table.packs.values())
    assert whole in (3 + 8, 3 + 16)
    done, calls = world.update()
    assert done == (30 - whole, 0, 30)
    assert calls == 30 - whole
    world.check()


def test_a_file_that_changes_while_it_is_encoded_is_not_kept(world, monkeypatch):
    path = sorted(world.archive.glob("*.wav"))[4]
    encode_missing = indices.encoding.encode_missing

    def meanwhile(*given, **options):
        encode_missing(*given, **options)
        path.write_bytes(path.read_bytes()[:-400])

    monkeypatch.setattr(indices.encoding, "encode_missing", meanwhile)
    with pytest.raises(KwsbenchError) as error:
        world.update()
    assert str(error.value) == f"{path} changed while it was encoded; update again when nothing writes to it"
    assert list((world.folder / "frames").iterdir()) == []
    monkeypatch.undo()
    world.update()
    world.check()


def test_mistakes_are_named_in_one_line(world, tmp_path):
    with pytest.raises(KwsbenchError) as error:
        Index.open(tmp_path / "none")
    assert str(error.value) == f"{tmp_path / 'none'}: no index; make one with update()"
    world.update()
    for spec, layer in ((f"noted:calls={world.calls},scale=2", "0"), (f"noted:calls={world.calls}", "1")):
        with pytest.raises(KwsbenchError) as error:
            update(world.folder, world.clips(), parse(spec), layer, world.registry)
        assert f"{world.folder}: the index of noted" in str(error.value)
        assert str(error.value).endswith("give each a folder of its own")
    with pytest.raises(KwsbenchError, match="has no layer '7'; it has 0, 1"):
        update(world.folder, world.clips(), parse(f"noted:calls={world.calls}"), "7", world.registry)
    gone = Clip("gone", world.archive / "gone.wav", "s", "r")
    with pytest.raises(KwsbenchError, match=r"gone\.wav: no such sound file; leave its clips out"):
        update(world.folder, [gone], parse(f"noted:calls={world.calls}"), "0", world.registry)
    (world.folder / "table.json").write_text("{")
    with pytest.raises(KwsbenchError, match=r"table\.json is damaged .*; delete the folder and update again"):
        Index.open(world.folder)
