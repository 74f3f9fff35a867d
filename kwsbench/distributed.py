"""A run's work on a cluster: blocks of utterances and shards of clips as tasks of dask.distributed.

The plan, the metrics and the records stay with the client. A task that scores is one block of
``engine.score_grid`` under the same memory budget, so it does what a local run does, to the bit (on the
same kind of processor). All machines share the cache folder, or storage that each has a cache for
(``kwsbench.remote``): workers read frames from it, memory-mapped, and write what they encode into it; what
they need to know of a chain of transforms is a file in it too, so that no worker's death loses more than
the tasks it had.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from kwsbench import tasks
from kwsbench.console import say
from kwsbench.errors import KwsbenchError, one_line
from kwsbench.remote import Remote
from kwsbench.spec import Spec
from kwsbench.store import FrameStore, fingerprint
from kwsbench.tasks import Place, PluginFiles, Shard, Work
from kwsbench.types import Clip, Frames, FrameSource, NeighbourDistance, Progress, Scores, no_progress

if TYPE_CHECKING:
    from kwsbench.engine import Cell, Told

ANSWER_S = 5
"""How long a scheduler is waited for."""

LOOK_S = 1
"""How often, at most, finished tasks are counted."""

PENDING = object()

GONE = "the scheduler is gone; start it and run again, what is recorded stays"


@contextmanager
def connect(address: str, files: Sequence[Path], cache: Path, remote: Remote | None = None) -> Iterator[Cluster]:
    """The workers of the scheduler at an address (``tcp://host:8786``), told of the plugin files.

    Raises KwsbenchError when no scheduler answers, when a worker has other versions than this machine, or
    when it does not see the plugin files or, of the cache folder and the shared storage, what is to be used.
    """
    try:
        import dask
        from distributed import Client, Security
    except ImportError:
        raise KwsbenchError("--scheduler needs dask.distributed; pip install 'kwsbench[cluster]'") from None
    if not re.fullmatch(r"(tcp|tls)://.+:[0-9]+", address):
        raise KwsbenchError(f"--scheduler {address}: expected tcp://HOST:PORT, as 'dask scheduler' prints it")
    if address.startswith("tls") and not cast("Any", Security)().get_connection_args("client").get("ssl_context"):
        raise KwsbenchError(f"--scheduler {address}: no keys for TLS; set distributed.comm.tls in dask's configuration")
    try:
        with dask.config.set({"distributed.comm.timeouts.connect": f"{ANSWER_S}s"}):
            client = cast("Any", Client)(address, timeout=ANSWER_S, set_as_default=False)
    except OSError as error:
        raise KwsbenchError(
            f"no scheduler answers at {address} ({one_line(error)}); start one with 'dask scheduler' and give the "
            "address that it prints"
        ) from None
    with client, TemporaryDirectory(dir=cache, prefix=".cluster-") as folder:
        needed = tuple((path.resolve(), tasks.digest(path)) for path in files)
        ours = tasks.versions()
        for worker, theirs in client.run(_versions_there()).items():
            tasks.check_versions(worker, ours, theirs)
        name, mark = Path(folder).name, Place(Path(folder), "mark", remote)
        mark.put(b"seen")
        try:
            setup = tasks.Setup(ours, mark, needed)
            client.run(tasks.prepare, setup)
            client.register_plugin(_for_newcomers(setup), name=name)
            if not client.scheduler_info(n_workers=1)["workers"]:
                say(f"{address} has no workers yet; the run begins when they come")
            try:
                yield Cluster(client, Path(folder), needed, remote)
            finally:
                if client.status == "running":
                    client.unregister_worker_plugin(name)
        finally:
            mark.remove()


@dataclass
class Cluster:
    """Workers of dask.distributed, and what they are given to do."""

    client: Any
    folder: Path
    """where workers find what is the same for many tasks, or in shared storage of its name"""
    files: PluginFiles
    remote: Remote | None = None
    told: set[str] = field(default_factory=set)

    def score_grid(
        self,
        queries: Frames,
        utterances: FrameSource,
        cells: Sequence[Cell],
        *,
        memory_bytes: int,
        progress: Progress = no_progress,
        precision: str = "float32",
        device: str = "cpu",
        scored_on: Told | None = None,
        **here_only: Any,
    ) -> list[Scores]:
        """What ``engine.score_grid`` returns, made by the cluster, on CPUs. here_only: its other options.

        A distance that knows its neighbours looks at all utterances before the first score; its cells are
        scored on this machine, and a line says so.
        """
        from kwsbench import engine, products

        if precision not in products.PRECISIONS:
            raise KwsbenchError(
                f"a cluster scores on its CPUs, in {', '.join(products.PRECISIONS)}, not in {precision}"
            )
        if device.startswith("cuda") and device not in self.told:
            say(f"a cluster scores on its CPUs: --device {device} is where its workers encode")
            self.told.add(device)
        here = [at for at, (distance, _) in enumerate(cells) if isinstance(distance, NeighbourDistance)]
        there = [at for at in range(len(cells)) if at not in here]
        found: dict[int, Scores] = {}
        if here:
            for name in {type(cells[at][0]).__name__ for at in here} - self.told:
                say(f"{name} looks at neighbours among all utterances: its cells are scored on this machine")
                self.told.add(name)
            mine = engine.score_grid(
                queries,
                utterances,
                [cells[at] for at in here],
                memory_bytes=memory_bytes,
                progress=progress,
                precision=precision,
                **here_only,
            )
            found |= dict(zip(here, mine, strict=True))
        if there:
            work = Work(queries, utterances, [cells[at] for at in there], memory_bytes, precision)
            found |= dict(zip(there, self._score(work, progress), strict=True))
        if scored_on:
            scored_on(["cpu"] * len(cells))
        return [found[at] for at in range(len(cells))]

    def encode(
        self,
        spec: Spec,
        described: Mapping[str, Any],
        name: str,
        clips: Sequence[Clip],
        layers: Sequence[str],
        store: FrameStore,
        *,
        device: str,
        progress: Progress = no_progress,
    ) -> str:
        """Fill the store with what it lacks of these layers, a shard a task; the device that computed.

        described: what pins the encoder here; a worker whose encoder is another one refuses the work.
        """
        todo = [
            Shard(
                spec,
                fingerprint(described),
                name,
                [clips[item] for item in items],
                layers,
                store.part(shard),
                device,
                self.files,
            )
            for shard, items in enumerate(store.shards)
            if store.missing(shard, layers)
        ]
        sizes, used = [len(shard.clips) for shard in todo], device

        def tell(done: int) -> None:
            progress(f"encoding {name}", len(clips) - sum(sizes) + done, len(clips))

        arguments = [(shard,) for shard in todo]
        for shard, found in zip(todo, self._outcomes(tasks.encode_shard, arguments, sizes, tell), strict=True):
            used = found
            if shard.store.missing(0, layers):
                raise KwsbenchError(
                    f"a worker encoded a shard into {store.files.where('')}, and it is not there for this machine; "
                    "put the cache (KWSBENCH_CACHE) into a folder that all machines share"
                )
        return used

    def _score(self, work: Work, progress: Progress) -> list[Scores]:
        from kwsbench import engine, tiles

        lengths = np.asarray(work.utterances.lengths)
        engine.check(work.queries, lengths, work.cells, work.precision)
        # The same blocks as on one machine, or not the same bits.
        blocks = list(tiles.runs(lengths, engine.frames_within(work.memory_bytes, work.queries)))
        whole = [engine.no_scores(len(work.queries), len(lengths)) for _ in work.cells]
        with self.shared(work) as place:
            arguments = [(place, first, last) for first, last in blocks]
            sizes = [last - first for first, last in blocks]
            found = self._outcomes(
                tasks.score_block, arguments, sizes, lambda done: progress("score", done, len(lengths))
            )
            for (first, last), parts in zip(blocks, found, strict=True):
                for scores, part in zip(whole, parts, strict=True):
                    for array, values in zip(scores, part, strict=True):
                        array[:, first:last] = values
        return whole

    @contextmanager
    def shared(self, work: Work) -> Iterator[Place]:
        """The file from which workers take what is the same for all blocks."""
        import cloudpickle

        try:
            packed = cloudpickle.dumps(work)
        except Exception as error:
            raise KwsbenchError(
                f"a plugin of this run cannot be sent to workers ({one_line(error)}); run without --scheduler"
            ) from error
        # Named by its content: what a worker has read already it need not read again.
        place = Place(self.folder, sha256(packed).hexdigest(), self.remote)
        place.put(packed)
        try:
            yield place
        finally:
            place.remove()

    def _outcomes(
        self,
        function: Callable[..., Any],
        arguments: Sequence[tuple[Any, ...]],
        sizes: Sequence[int],
        tell: Callable[[int], None],
    ) -> Iterator[Any]:
        """What the function makes of each task, in order; the first error in this order ends the rest.

        tell: is told the sizes of all tasks that are finished, in whatever order they are.
        """
        if self.client.status != "running":
            raise KwsbenchError(GONE)
        futures = [self.client.submit(function, *given, pure=False) for given in arguments]
        looked = time.monotonic()
        try:
            for index, future in enumerate(futures):
                outcome = PENDING
                while outcome is PENDING:
                    outcome = self._result(future)
                    if time.monotonic() > looked + LOOK_S:
                        looked = time.monotonic()
                        later = zip(sizes[index:], futures[index:], strict=True)
                        tell(sum(sizes[:index]) + sum(size for size, other in later if other.done()))
                if isinstance(outcome, Exception):
                    raise outcome
                yield outcome
                future.release()
            tell(sum(sizes))
        finally:
            if self.client.status == "running":
                self.client.cancel([future for future in futures if not future.done()])

    def _result(self, future: Any) -> Any:
        """What a task returned, or PENDING after LOOK_S. Where the scheduler is lost, waiting would have no end."""
        from distributed import CancelledError, KilledWorker

        if self.client.status not in ("running", "connecting"):
            raise KwsbenchError(GONE)
        try:
            return future.result(timeout=LOOK_S)
        except TimeoutError:
            return PENDING
        except KilledWorker as error:
            raise KwsbenchError(
                f"{error.allowed_failures + 1} workers died of the same task; give workers more memory, or "
                "--memory less"
            ) from None
        except CancelledError:
            raise KwsbenchError(GONE) from None


def _for_newcomers(setup: tasks.Setup) -> Any:
    """A plugin of dask's, whose class is sent as code: workers that come during the run are checked, or stop."""
    from distributed import WorkerPlugin

    class Newcomer(WorkerPlugin):
        async def setup(self, worker: Any) -> None:
            try:
                setup.check(worker.address)
            except BaseException:
                # Dask logs the error of a plugin and would give the worker tasks all the same.
                await worker.close(reason="refused")
                raise

    return Newcomer()


def _versions_there() -> Callable[[], dict[str, str]]:
    """A function that is sent as code, since a worker with another kwsbench may lack this module."""
    names = tasks.SAME

    def found() -> dict[str, str]:
        import platform
        from importlib.metadata import PackageNotFoundError, version

        known = {"python": platform.python_version()}
        for name in names:
            try:
                known[name] = version(name)
            except PackageNotFoundError:
                known[name] = ""
        return known

    return found
