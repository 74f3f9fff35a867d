"""What a plan amounts to: data sets loaded and pinned, encoders asked for their layers, cells fingerprinted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, NamedTuple

from kwsbench import dataset as manifests
from kwsbench import encoding, fitting, results
from kwsbench.errors import KwsbenchError, one_line
from kwsbench.plan import Chain, Leaf, Plan, layer_plan
from kwsbench.plugins import Registry
from kwsbench.quick import sample
from kwsbench.results import Combination
from kwsbench.scoring import FrameTimes, Scorer
from kwsbench.spec import Spec, format_chain
from kwsbench.store import fingerprint
from kwsbench.trials import Trials, build
from kwsbench.types import Dataset, Progress, no_progress

ALL_LAYERS = "all"
"""The layer of a cell whose encoder could not be had, so that its layers are not known."""

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
    audio_numerics: dict[str, str]
    """the library that changed samples on the way, where any did"""
    scorer: Scorer


@dataclass(frozen=True)
class Job:
    """All cells of one encoder on one data set: layer → chain → cells."""

    data: Searchable
    encoder: Spec
    described: Mapping[str, Any]
    languages: tuple[str, ...]
    times: FrameTimes | None
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
    quick: bool = False,
    precision: str = "float32",
    progress: Progress = no_progress,
) -> Survey:
    """Find every cell of the plan. recorded: fingerprint → whether it ended well. Prepares data only if told to.

    quick: of every data set only a sample (``kwsbench.quick``). precision: of the products (``kwsbench.products``).
    """
    jobs: list[Job] = []
    problems: list[str] = []
    make = _Encoders(registry, precision)
    for spec, encoders in plan.tree.items():
        try:
            data = open_dataset(spec, registry, protocol=plan.protocol, prepare=prepare, quick=quick, progress=progress)
        except Exception as error:  # noqa: BLE001 - a data set's plugin may raise anything; the others go on
            problems.append(f"{spec}: {one_line(error)}")
            continue
        for encoder, asked in encoders.items():
            try:
                jobs.append(_job(data, encoder, asked, make, recorded))
            except KwsbenchError as error:
                problems.append(f"{encoder}: {error}")
    return Survey(jobs, list(dict.fromkeys(problems)))


def open_dataset(
    spec: Spec,
    registry: Registry,
    *,
    prepare: bool,
    protocol: str = "strict",
    quick: bool = False,
    progress: Progress = no_progress,
) -> Searchable:
    """Load, pin and label a data set."""
    source = registry.create("datasets", spec)
    if not prepare and not source.prepared:
        raise KwsbenchError(f"not prepared yet; run kwsbench datasets {spec} --prepare")
    loaded = sample(source.load(progress)) if quick else source.load(progress)
    # One order, whatever that of the table: controls that draw by place, and thinned fits, depend on it.
    dataset = replace(loaded, clips=tuple(sorted(loaded.clips, key=lambda clip: (clip.split == "heldout", clip.id))))
    digests = manifests.file_digests(dataset.clips, progress)
    manifests.check_copies(dataset, digests)
    trials = build(dataset.clips, name=dataset.name, protocol=protocol)
    seconds, changes = encoding.survey_audio([clip for clip in dataset.clips if clip.split == "search"])
    keys = [manifests.audio_key(clip, digests[clip.path]) for clip in dataset.clips]
    digest = manifests.digest(dataset.clips, digests)
    numerics = {"soxr": version("soxr")} if any(change.startswith("resampled") for change in changes) else {}
    return Searchable(dataset, trials, digest, keys, float(seconds.sum()), changes, numerics, Scorer(trials, seconds))


class _Description(NamedTuple):
    """What a survey needs to know of an encoder, so that the encoder itself need not be kept."""

    described: Mapping[str, Any]
    layers: list[str]
    languages: tuple[str, ...]
    times: FrameTimes | None
    error: Exception | None = None


class _Encoders:
    """Each encoder is made once for all data sets, asked what it is, and let go."""

    def __init__(self, registry: Registry, precision: str) -> None:
        self.registry = registry
        self.precision = precision
        self.known: dict[Spec, _Description] = {}

    def describe(self, spec: Spec) -> _Description:
        """What the encoder says of itself, or why it cannot be had."""
        if spec not in self.known:
            try:
                encoder, _ = encoding.create(spec, self.registry)
                encoding.check_layers(encoder, spec)
                described = encoding.describe(encoder, spec, self.registry)
                languages = tuple(getattr(encoder, "languages", ()))
                times = FrameTimes(encoder.frame_shift_s, encoder.first_centre_s)
                self.known[spec] = _Description(described, list(encoder.layers), languages, times)
            except Exception as error:  # noqa: BLE001 - one encoder that cannot be had must not stop the others
                self.known[spec] = _Description({"name": str(spec)}, [], (), None, error)
        return self.known[spec]


def _job(data: Searchable, encoder: Spec, asked: Asked, encoders: _Encoders, recorded: Mapping[str, bool]) -> Job:
    found = encoders.describe(encoder)
    layers: Asked
    if found.error:
        layers = {ALL_LAYERS: {chain: leaves for chains in asked.values() for chain, leaves in chains.items()}}
    else:
        layers = layer_plan(asked, encoder, found.layers)
    cells: dict[str, dict[Chain, list[Cell]]] = {}
    for layer, chains in layers.items():
        for chain, leaves in chains.items():
            for leaf in leaves:
                cell = _cell(data, (encoder, found.described, layer), chain, leaf, encoders)
                state = {True: "recorded", False: "failed before", None: "to do"}[recorded.get(cell.fingerprint)]
                cells.setdefault(layer, {}).setdefault(chain, []).append(replace(cell, state=state))
    return Job(data, encoder, found.described, found.languages, found.times, cells, found.error)


def _cell(
    data: Searchable, encoder: tuple[Spec, Mapping[str, Any], str], chain: Chain, leaf: Leaf, encoders: _Encoders
) -> Cell:
    spec, described, layer = encoder
    registry = encoders.registry
    products = {} if encoders.precision == "float32" else {"products": encoders.precision}
    identity = {
        "scoring": results.SCORING,
        "dataset": {"name": data.dataset.name, "digest": data.digest, "language": data.dataset.language},
        "encoder": described,
        "layer": layer,
        "transform": [
            {**_pin(registry, "transforms", fitting.without_scope(link)), "scope": fitting.scope_of(link)}
            for link in chain
        ],
        "distance": _pin(registry, "distances", leaf.distance),
        "matcher": _pin(registry, "matchers", leaf.matcher),
        "score_norms": [_pin(registry, "score_norms", norm) for norm in leaf.norms],
        "protocol": {"lists": data.trials.protocol, "query": "cut", "ties": "expected value"},
        "numerics": {"frames": "float32", "fit_frames": fitting.FIT_FRAMES, **products, **data.audio_numerics},
    }
    combination = Combination(
        dataset=data.dataset.name,
        encoder=str(spec),
        layer=layer,
        transform=format_chain(chain),
        distance=str(leaf.distance),
        matcher=leaf.matching,
    )
    return Cell(combination, leaf, identity)


def _pin(registry: Registry, kind: str, spec: Spec) -> dict[str, Any]:
    plugin = registry.find(kind, spec.name)
    return {
        "name": spec.name,
        "owner": plugin.maker,
        "version": plugin.version,
        "params": plugin.pinned(spec.params),
    }
