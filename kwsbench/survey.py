"""What a plan amounts to: data sets loaded and pinned, encoders asked for their layers, cells fingerprinted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kwsbench import dataset as manifests
from kwsbench import encoding, fitting, results
from kwsbench.errors import KwsbenchError
from kwsbench.plan import Chain, Leaf, Plan, layer_plan
from kwsbench.plugins import Registry
from kwsbench.results import Combination
from kwsbench.scoring import Scorer
from kwsbench.spec import Spec, format_chain
from kwsbench.store import fingerprint
from kwsbench.trials import Trials, build
from kwsbench.types import Dataset, Encoder, Progress, no_progress

Asked = Mapping[str, Mapping[Chain, Sequence[Leaf]]]
"""layers as they were asked for → chain → leaves"""


@dataclass(frozen=True)
class Cell:
    """One cell and what pins it. state: ``recorded``, ``to do`` or ``failed before``."""

    combination: Combination
    leaf: Leaf
    identity: Mapping[str, Any]
    state: str = "to do"

    @property
    def fingerprint(self) -> str:
        """The hash of all that could change its scores."""
        return fingerprint(self.identity)


@dataclass(frozen=True)
class Searchable:
    """A data set that is loaded, pinned and labelled. Its clips: those that are searched, then those held out."""

    dataset: Dataset
    trials: Trials
    digest: str
    audio_keys: list[str]
    audio_s: float
    audio_changes: dict[str, int]
    scorer: Scorer


@dataclass(frozen=True)
class Job:
    """All cells of one encoder on one data set: layer → chain → cells."""

    data: Searchable
    encoder: Spec
    described: Mapping[str, Any]
    languages: tuple[str, ...]
    cells: Mapping[str, Mapping[Chain, list[Cell]]]
    error: Exception | None = None
    """why the encoder cannot be had; then its layers are those that were asked for"""

    @property
    def needs_heldout(self) -> bool:
        """Whether any transform is fitted on clips that are not searched; otherwise they need not be encoded."""
        return any(fitting.scope_of(link) == "heldout" for chains in self.cells.values() for c in chains for link in c)

    @property
    def all_cells(self) -> list[Cell]:
        """The cells in the order in which they are worked through."""
        return [cell for chains in self.cells.values() for cells in chains.values() for cell in cells]

    def unrecorded(self) -> Job:
        """The same job without the cells that have a record."""
        cells: dict[str, dict[Chain, list[Cell]]] = {}
        for layer, chains in self.cells.items():
            for chain, found in chains.items():
                todo = [cell for cell in found if cell.state != "recorded"]
                if todo:
                    cells.setdefault(layer, {})[chain] = todo
        return replace(self, cells=cells)


@dataclass(frozen=True)
class Survey:
    """The jobs of a plan, and the data sets that could not be opened (so that their cells are unknown)."""

    jobs: Sequence[Job]
    problems: Sequence[str]

    @property
    def cells(self) -> list[Cell]:
        """All cells of all jobs."""
        return [cell for job in self.jobs for cell in job.all_cells]


def survey(
    plan: Plan,
    registry: Registry,
    recorded: Mapping[str, bool],
    *,
    prepare: bool,
    progress: Progress = no_progress,
) -> Survey:
    """Find every cell of the plan. recorded: fingerprint → whether it ended well. Prepares data only if told to."""
    jobs: list[Job] = []
    problems: list[str] = []
    for spec, encoders in plan.tree.items():
        try:
            data = open_dataset(spec, registry, prepare=prepare, progress=progress)
        except KwsbenchError as error:
            problems.append(f"{spec}: {error}")
            continue
        jobs += [_job(data, encoder, asked, registry, recorded) for encoder, asked in encoders.items()]
    return Survey(jobs, problems)


def open_dataset(spec: Spec, registry: Registry, *, prepare: bool, progress: Progress = no_progress) -> Searchable:
    """Load, pin and label a data set."""
    source = registry.create("datasets", spec)
    if not prepare and not source.prepared:
        raise KwsbenchError(f"not prepared yet; run kwsbench datasets {spec} --prepare")
    loaded = source.load(progress)
    dataset = replace(loaded, clips=tuple(sorted(loaded.clips, key=lambda clip: clip.split == "heldout")))
    digests = manifests.file_digests(dataset.clips, progress)
    trials = build(dataset.clips, name=dataset.name)
    seconds, changes = encoding.survey_audio([clip for clip in dataset.clips if clip.split == "search"])
    keys = [manifests.audio_key(clip, digests[clip.path]) for clip in dataset.clips]
    digest = manifests.digest(dataset.clips, digests)
    return Searchable(dataset, trials, digest, keys, seconds, changes, Scorer(trials))


def _job(data: Searchable, encoder: Spec, asked: Asked, registry: Registry, recorded: Mapping[str, bool]) -> Job:
    error, described, languages, layers = None, {"name": str(encoder)}, (), asked
    try:
        made: Encoder = registry.create("encoders", encoder)
        layers = layer_plan(asked, encoder, list(made.layers))
        described = encoding.describe(made, encoder, registry)
        languages = tuple(getattr(made, "languages", ()))
    except Exception as caught:  # noqa: BLE001 - one encoder that cannot be had must not stop the others
        error = caught
    cells: dict[str, dict[Chain, list[Cell]]] = {}
    for layer, chains in layers.items():
        for chain, leaves in chains.items():
            for leaf in leaves:
                cell = _cell(data, (encoder, described, layer or "all"), chain, leaf, registry)
                state = {True: "recorded", False: "failed before", None: "to do"}[recorded.get(cell.fingerprint)]
                cells.setdefault(layer, {}).setdefault(chain, []).append(replace(cell, state=state))
    return Job(data, encoder, described, languages, cells, error)


def _cell(
    data: Searchable, encoder: tuple[Spec, Mapping[str, Any], str], chain: Chain, leaf: Leaf, registry: Registry
) -> Cell:
    spec, described, layer = encoder
    identity = {
        "scoring": results.SCORING,
        "dataset": {"name": data.dataset.name, "digest": data.digest},
        "encoder": described,
        "layer": layer,
        "transform": [
            {**_pin(registry, "transforms", fitting.without_scope(link)), "scope": fitting.scope_of(link)}
            for link in chain
        ],
        "distance": _pin(registry, "distances", leaf.distance),
        "matcher": _pin(registry, "matchers", leaf.matcher),
        "protocol": {"query": "cut", "ties": "expected value"},
        "numerics": {"frames": "float32", "fit_frames": fitting.FIT_FRAMES},
    }
    combination = Combination(
        dataset=data.dataset.name,
        encoder=str(spec),
        layer=layer,
        transform=format_chain(chain),
        distance=str(leaf.distance),
        matcher=str(leaf.matcher),
    )
    return Cell(combination, leaf, identity)


def _pin(registry: Registry, kind: str, spec: Spec) -> dict[str, Any]:
    plugin = registry.find(kind, spec.name)
    params = {key: str(value) for key, value in plugin.resolved(spec.params).items()}
    return {"name": spec.name, "owner": plugin.owner, "version": plugin.version, "params": params}
