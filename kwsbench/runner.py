"""Do what a survey found undone: encode, fit, score, record.

The records of a tile (the cells of one layer under one correction) are written as soon as it is
scored, so a run may be killed at any point and nothing that is recorded is done again. A cell that
fails is recorded with its error and the others go on; the next run tries it again.

A record that another one replaces (its plugin was edited, its data changed) is moved to
results/superseded, so that a board never holds two answers to one question, and nothing is lost.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial, reduce
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from kwsbench import diagnostics, encoding, engine, fitting, results
from kwsbench.distributed import Cluster
from kwsbench.errors import KwsbenchError, PluginError, one_line
from kwsbench.plan import Chain
from kwsbench.plugins import Registry
from kwsbench.provenance import peak_memory_mb, provenance
from kwsbench.remote import Remote
from kwsbench.results import Combination, ConditionResult, Costs, Data, Isotropy, Result
from kwsbench.spec import Spec
from kwsbench.stages import Stages
from kwsbench.store import FrameStore, StoredFrames, atomic_write
from kwsbench.survey import ALL_LAYERS, Cell, Job, Survey
from kwsbench.trials import Trials
from kwsbench.types import Frames, FrameSource, Progress, ScoreNorm, Scores, no_progress

ISOTROPY_FRAMES = 10_000
"""Isotropy is measured on at most so many frames, evenly spaced over the utterances."""


@dataclass(frozen=True)
class Options:
    """How to run. Nothing here but ``precision`` may change a score."""

    board: Path
    cache: Path
    workers: int = 1
    memory_bytes: int = 2_000_000_000
    device: str = "cpu"
    """where encoders run that can: a name of torch's, ``auto`` for a GPU if there is one; ``cuda`` scores, too"""
    precision: str = "float32"
    """of the products; the one option that may change a score, and is in the fingerprint of each cell"""
    frames: Remote | None = None
    """the shared storage that frames lie in, where that is not the cache"""


class Measured(NamedTuple):
    """The frames that isotropy was measured on, (frames, dims), and what was found."""

    sample: npt.NDArray[np.float32]
    isotropy: Isotropy


@dataclass(frozen=True)
class _Layer:
    """One layer of one encoder on one data set."""

    frames: StoredFrames
    plain: Measured
    encode_s: float


@dataclass
class Run:
    """One run, and what became of it."""

    registry: Registry
    options: Options
    progress: Progress = no_progress
    older: dict[tuple[str, Combination], list[Path]] = field(default_factory=dict)
    """the records that were there before, by protocol and cell"""
    superseded: int = 0
    failures: list[tuple[Combination, str]] = field(default_factory=list)
    device: str = "cpu"
    """where the last encoder computed"""
    scored_on: dict[tuple[Spec, Spec], str] = field(default_factory=dict)
    """where each distance and matcher was last scored, cpu or cuda"""
    stages: Stages = field(default_factory=Stages)
    cluster: Cluster | None = None
    """who encodes and scores, where it is not this process"""
    done: int = 0
    total: int = 0

    def execute(self, survey: Survey) -> None:
        """Do every cell that has no record."""
        for path in results.paths(self.options.board):
            record = results.load(path)
            self.older.setdefault((record.protocol, record.combination), []).append(path)
        jobs = [job.unrecorded() for job in survey.jobs]
        self.total = sum(len(job.all_cells) for job in jobs)
        for job in jobs:
            if job.all_cells:
                self._job(job)

    def _job(self, job: Job) -> None:
        if job.error:
            self._fail(job.all_cells, job.error)
            return
        try:
            with self.stages("encoding"):
                stores = self._encode(job)
            encode_s = sum(store.seconds for store in stores)
        except Exception as error:  # noqa: BLE001 - recorded, and the next encoder may be sound
            self._fail(job.all_cells, error)
            return
        for layer, chains in job.cells.items():
            try:
                frames = reduce(StoredFrames.then, (store.layer(layer) for store in stores))
                plain = fitting.fit(frames, job.data.trials, (), self.registry)
                with self.stages("isotropy"):
                    before = measure(plain.utterances(), job.data.trials)
            except Exception as error:  # noqa: BLE001 - recorded, and the next layer may be sound
                self._fail([cell for cells in chains.values() for cell in cells], error)
                continue
            for chain, cells in chains.items():
                self._chain(job, _Layer(frames, before, encode_s), chain, cells)

    def _encode(self, job: Job) -> list[FrameStore]:
        """Frames of the clips that are searched and, where a transform asks for them, of those held out."""
        splits = ["search", "heldout"] if job.needs_heldout else ["search"]
        layers, stores, made = list(job.cells), [], None
        for split in splits:
            at = [i for i, clip in enumerate(job.data.dataset.clips) if clip.split == split]
            identity = {"encoder": job.described, "audio": [job.data.audio_keys[i] for i in at]}
            store = FrameStore.open(self.options.cache, identity, len(at), self.options.frames)
            clips, name = [job.data.dataset.clips[i] for i in at], f"{job.encoder} on {job.data.dataset.name}"
            if self.options.frames:
                store.share(FrameStore(store.folder, len(at)), layers, progress=self.progress)
            lacking = any(store.missing(shard, layers) for shard in range(len(store.shards)))
            if lacking and self.cluster:
                self.device = self.cluster.encode(
                    job.encoder,
                    job.described,
                    name,
                    clips,
                    layers,
                    store,
                    device=self.options.device,
                    progress=self.progress,
                )
            elif lacking:
                made = made or encoding.create(job.encoder, self.registry)
                encoder, window = made
                self.device = encoding.move(encoder, self.options.device, str(job.encoder))
                encoding.encode_missing(
                    encoder,
                    name,
                    clips,
                    layers,
                    store,
                    window=window,
                    workers=self.options.workers,
                    progress=self.progress,
                )
            stores.append(store)
        return stores

    def _chain(self, job: Job, layer: _Layer, chain: Chain, cells: Sequence[Cell]) -> None:
        """Fit one chain of transforms on one layer, and do all cells below it."""
        started = time.perf_counter()
        try:
            with self.stages("fitting corrections"):
                fitted = fitting.fit(layer.frames, job.data.trials, chain, self.registry)
                fitted.fit_groups()
                queries = fitted.queries()
            with self.stages("isotropy"):
                after = measure(fitted.utterances(), job.data.trials, before=layer.plain)
                shape = {"before": layer.plain.isotropy, "after": after.isotropy}
        except Exception as error:  # noqa: BLE001 - recorded, and the next chain may be sound
            self._fail(cells, error)
            return
        fit_s, started = time.perf_counter() - started, time.perf_counter()
        with self.stages("scoring"):
            outcomes = self._score(queries, fitted.utterances(), job.data.trials, cells)
        score_s, started = time.perf_counter() - started, time.perf_counter()
        with self.stages("metrics"), ThreadPoolExecutor(self.options.workers) as pool:
            measured = list(pool.map(partial(_evaluate, job), outcomes))
        costs = Costs(
            encode_s=round(layer.encode_s, 3),
            encode_real_time_factor=round(layer.encode_s / job.data.audio_s, 5),
            fit_s=round(fit_s, 3),
            score_s=round(score_s, 3),
            metrics_s=round(time.perf_counter() - started, 3),
            cells=len(cells),
            peak_memory_mb=round(peak_memory_mb(), 1),
        )
        data = describe_data(job, layer.frames, chain)
        for cell, found in zip(cells, measured, strict=True):
            if isinstance(found, Exception):
                self._fail([cell], found)
                continue
            scores, conditions = found
            with self.stages("writing records"):
                self._keep_scores(cell, scores)
                notes = {**self._notes(), "scored_on": self.scored_on[cell.leaf.distance, cell.leaf.matcher]}
                self._save(cell, data=data, conditions=conditions, isotropy=shape, costs=costs, provenance=notes)

    def _score(
        self, queries: Frames, utterances: FrameSource, trials: Trials, cells: Sequence[Cell]
    ) -> list[Scores | Exception]:
        """One tile for all cells; if that fails, each alone, so that only the culprit is recorded as failed."""
        try:
            # Cells that name the same distance share the object, so the engine finishes its tile once.
            make = cache(self.registry.create)
            leaves = list(dict.fromkeys((cell.leaf.distance, cell.leaf.matcher) for cell in cells))
            score_grid = self.cluster.score_grid if self.cluster else engine.score_grid
            told: list[str] = []
            found = score_grid(
                queries,
                utterances,
                [(make("distances", distance), make("matchers", matcher)) for distance, matcher in leaves],
                workers=self.options.workers,
                memory_bytes=self.options.memory_bytes,
                apart=trials.apart,
                precision=self.options.precision,
                device=self.options.device,
                scored_on=told.extend,
                progress=self.progress if self.cluster else no_progress,
            )
            self.scored_on |= dict(zip(leaves, told, strict=True))
            by_leaf = dict(zip(leaves, found, strict=True))
            return [
                self._normalize(by_leaf[cell.leaf.distance, cell.leaf.matcher], trials, cell.leaf.norms)
                for cell in cells
            ]
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            if len(cells) == 1:
                return [error]
            return [outcome for cell in cells for outcome in self._score(queries, utterances, trials, [cell])]

    def _normalize(self, found: Scores, trials: Trials, norms: Chain) -> Scores:
        """Scores after the corrections that follow the matcher."""
        scores = found.scores
        for spec in norms:
            norm: ScoreNorm = self.registry.create("score_norms", spec)
            corrected = np.asarray(norm.normalize(scores.copy(), ~trials.apart & np.isfinite(scores)), np.float32)
            if corrected.shape != scores.shape:
                raise PluginError(f"{spec}: scores of shape {corrected.shape}, expected {scores.shape}")
            scores = corrected
        return found._replace(scores=scores)

    def _keep_scores(self, cell: Cell, scores: Scores) -> None:
        """Raw scores stay in the cache: metrics can be computed anew, and two runs compared pair by pair."""
        with atomic_write(self.options.cache / "scores" / f"{cell.fingerprint[:24]}.npz") as file:
            np.savez(file, scores=scores.scores, starts=scores.starts, ends=scores.ends)

    def _fail(self, cells: Sequence[Cell], error: Exception) -> None:
        """A mistake that the user can mend is recorded in a line, anything else with its traceback."""
        notes = self._notes()
        message = one_line(error)
        if not isinstance(error, KwsbenchError):
            notes = {**notes, "traceback": traceback.format_exception(error)}
        for cell in cells:
            self.failures.append((cell.combination, message))
            self._save(cell, provenance=notes, error=message)

    def _notes(self) -> dict[str, Any]:
        return {**provenance(), "device": self.device}

    def _save(self, cell: Cell, **outcome: Any) -> None:
        result = Result(
            fingerprint=cell.fingerprint,
            combination=cell.combination,
            identity=dict(cell.identity),
            protocol=_protocol(cell),
            **outcome,
        )
        place = self.options.board / "results" / result.file_name
        if not result.error:
            results.save(result, place.parent)
            # An encoder that could not be had was recorded under all layers, since they were not known.
            for answered in {cell.combination, msgspec.structs.replace(cell.combination, layer=ALL_LAYERS)}:
                self._supersede([path for path in self.older.get((result.protocol, answered), []) if path != place])
        # A failure never takes the place of a figure, not even of one that another run wrote meanwhile.
        elif not place.exists() or results.load(place).error:
            results.save(result, place.parent)
        self.done += 1
        self.progress("scoring", self.done, self.total)

    def _supersede(self, paths: Sequence[Path]) -> None:
        for path in paths:
            if path.exists():
                (path.parent / "superseded").mkdir(exist_ok=True)
                path.replace(path.parent / "superseded" / path.name)
                self.superseded += 1


def _protocol(cell: Cell) -> str:
    """What a record says of how it was made; records that differ in it never stand in one table."""
    products = cell.identity["numerics"].get("products")
    lists: str = cell.identity["protocol"]["lists"]
    return f"{lists}, {products} products" if products else lists


def _evaluate(job: Job, outcome: Scores | Exception) -> tuple[Scores, dict[str, ConditionResult]] | Exception:
    """Metrics of one cell. A matcher that returned NaN is found out here: an error of its cell alone."""
    if isinstance(outcome, Exception):
        return outcome
    try:
        return outcome, job.data.scorer.evaluate(outcome, job.times)
    except KwsbenchError as error:
        return error


def measure(utterances: FrameSource, trials: Trials, *, before: Measured | None = None) -> Measured:
    """Isotropy of the frames that are searched, evenly thinned to ISOTROPY_FRAMES at most.

    before: of the same utterances uncorrected; it is the result where the correction changed no frame, as ``none``.
    """
    sample, items = thinned(utterances, ISOTROPY_FRAMES)
    if before and np.array_equal(sample, before.sample):
        return before
    clips = [trials.clips[index] for index in trials.utterances]
    figures = diagnostics.measure(
        sample,
        recordings=_codes([clip.recording for clip in clips])[items],
        speakers=_codes([clip.speaker for clip in clips])[items],
        words=_codes([clip.keyword or "" for clip in clips], missing="")[items],
        items=items,
    )
    named = {name: results.number(value) for name, value in figures.items()}
    return Measured(sample, Isotropy(frames=len(sample), dims=sample.shape[1], figures=named))


def thinned(utterances: FrameSource, most: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """At most so many frames (frames, dims), evenly spaced over all, and the utterance (frames,) of each."""
    starts = np.concatenate([[0], np.cumsum(utterances.lengths)]).tolist()
    step = max(1, -(-starts[-1] // most))
    parts = {
        # Copied: what is only a view would keep all frames of the corpus in memory.
        item: utterances.read(item, item + 1).values[-start % step :: step].copy()
        for item, (start, stop) in enumerate(pairwise(starts))
        if -start % step < stop - start  # of a large corpus most utterances give none, and are not read
    }
    return np.concatenate(list(parts.values())), np.repeat(list(parts), [len(part) for part in parts.values()])


def _codes(names: Sequence[str], missing: str | None = None) -> npt.NDArray[np.int64]:
    """Numbers for names, alike for equal ones; -1 for what is missing."""
    codes = np.unique(names, return_inverse=True)[1]
    return np.where(np.array(names) == missing, -1, codes)


def describe_data(job: Job, frames: StoredFrames, chain: Chain) -> Data:
    """What was searched, and all that was left out or changed on the way."""
    data, trials = job.data, job.data.trials
    clips = data.dataset.clips
    by_speaker = any(fitting.scope_of(link) == "speaker" for link in chain)
    return Data(
        digest=data.digest,
        language=data.dataset.language,
        heard=bool(data.dataset.language) and data.dataset.language in job.languages,
        clips=len(clips),
        speakers=len({clip.speaker for clip in clips if clip.split == "search"}),
        keywords=len(set(trials.keywords)),
        queries=len(trials.queries),
        utterances=len(trials.utterances),
        audio_s=round(data.audio_s, 3),
        left_out={"keyword_clips_without_a_target": trials.queries_left_out, **trials.left_out},
        audio=data.audio_changes,
        too_short=int((frames.lengths == 0).sum()),
        query_material=fitting.query_material(trials) if by_speaker else {},
        notes=dict(data.dataset.notes or {}),
    )
