"""Records → what each correction does to the score, paired with no correction at all.

A change is the mean over queries of corrected minus uncorrected, on the same queries. Its interval
resamples whole keywords (see ``stats``), its p turns the sign of whole keywords at random (see
``significance``), corrected over a whole table by Holm's method. All changes of a data set meet the
same resamples and the same signs, so that a thousand cells take seconds.

Layers are chosen as the leaderboard chooses them, on one half of the keywords for the other half,
and apart for the corrected and the uncorrected side: a correction may move the best layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np

from kwsbench import ranking, spec, stats
from kwsbench.errors import KwsbenchError, did_you_mean
from kwsbench.paired import Change, Hidden, Pair, Picture, Side, spearman
from kwsbench.ranking import HEADLINE
from kwsbench.results import Combination, Result

BASELINE = "none"
MAIN = ("cosine", "sdtw")
"""The distance and the matcher that the ladder, the correlations and the figures are of."""
LADDER = "none → center → standardize → whiten"
"""From mean effects to covariance effects: remove the mean, then the scales, then the correlations."""
LEAST_CELLS = 4
"""A rank correlation of fewer cells says nothing."""


class Correlation(NamedTuple):
    """Spearman's rho of a diagnostic and a metric over ``cells`` cells, and its interval over keywords."""

    group: str
    diagnostic: str
    cells: int
    rho: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Ablation:
    """All that one data set's records say about corrections."""

    dataset: str
    language: str
    speakers: int
    keywords: int
    queries: int
    metrics: tuple[str, str]
    """the one that is asked about, then the one that is shown beside it"""
    condition: str
    main: tuple[str, str]
    encoders: tuple[str, ...]
    """trained ones first"""
    controls: frozenset[str]
    """encoders without trained weights"""
    sides: tuple[Side, ...]
    """every scored cell"""
    cells: tuple[Change, ...]
    """every correction against none at the same layer"""
    answers: tuple[Change, ...]
    """every correction against none, the layer chosen for each"""
    chosen: tuple[Change, ...]
    """one an encoder: layer and correction chosen together, none among them, against none"""
    ladder: tuple[Change, ...]
    hidden: tuple[Hidden, ...]
    correlations: tuple[Correlation, ...]
    failed: tuple[str, ...]
    alone: int
    """corrected cells without an uncorrected cell of the same layer to compare them with"""


def ablations(records: Iterable[Result], *, metric: str = "map", condition: str = HEADLINE) -> list[Ablation]:
    """One for each data set, by name. Raises KwsbenchError where no record has the condition, or records differ."""
    records = list(records)
    measured = {name for record in records for name in record.conditions}
    if condition not in measured:
        known = did_you_mean(condition, sorted(measured))
        raise KwsbenchError(f"no record was scored under the condition {condition!r}. {known}")
    ranking.check_comparable(records)
    sets: dict[str, list[Result]] = {}
    for record in records:
        sets.setdefault(record.combination.dataset, []).append(record)
    return [
        _ablation(sets[name], (metric, "map" if metric == "p@n" else "p@n"), condition)
        for name in sorted(sets)
        if any(condition in record.conditions for record in sets[name])
    ]


def is_control(record: Result) -> bool:
    """Whether the encoder has no trained weights: its record names none, or says that they are random."""
    notes = record.identity.get("encoder", {}).get("provenance", {})
    weights = [str(value) for key, value in notes.items() if key.startswith("weights")]
    return not weights or any(value.startswith("random") for value in weights)


def _ablation(records: Sequence[Result], metrics: tuple[str, str], condition: str) -> Ablation:
    good = [record for record in records if condition in record.conditions]
    picture = Picture(good, metrics, condition)
    cells = {record.combination: picture.cell(record) for record in good}
    main = _main(cells)
    nested = {
        ranking.by_configuration(row.choices[0])[1:]: picture.chosen(row, cells)
        for row in ranking.rows(good, ranking.by_configuration)
    }
    blind = {
        (side.encoder, side.distance, side.matcher): side
        for row in ranking.rows(good, lambda cell: (cell.dataset, cell.encoder, cell.distance, cell.matcher))
        for side in [picture.chosen(row, cells)]
    }
    controls = frozenset(record.combination.encoder for record in good if is_control(record))
    encoders = sorted({cell.encoder for cell in cells}, key=lambda name: (name in controls, name))
    bases = {cell: cells[base] for cell in cells if (base := _uncorrected(cell)) in cells and base != cell}
    corrected = [cell for cell in cells if cell.transform != BASELINE]
    answers = [
        (nested[encoder, BASELINE, *how], side)
        for (encoder, transform, *how), side in nested.items()
        if transform != BASELINE and (encoder, BASELINE, *how) in nested
    ]
    compare = picture.compare
    data = next(record.data for record in good if record.data)
    return Ablation(
        dataset=records[0].combination.dataset,
        language=data.language,
        speakers=data.speakers,
        keywords=len(picture.keywords),
        queries=int(picture.counts.sum()),
        metrics=metrics,
        condition=condition,
        main=main,
        encoders=tuple(encoders),
        controls=controls,
        sides=tuple(cells.values()),
        cells=compare([(base, cells[cell]) for cell, base in bases.items()]),
        answers=compare(answers, two_way=True),
        chosen=compare(
            [(nested[e, BASELINE, *main], blind[e, *main]) for e in encoders if (e, BASELINE, *main) in nested],
            two_way=True,
        ),
        ladder=compare(sorted(_ladder(nested, main), key=lambda pair: encoders.index(pair[0].encoder)), two_way=True),
        hidden=picture.hidden([pair for pair in answers if pair[0].distance == main[0]]),
        correlations=tuple(_correlations(picture, cells.values(), encoders, controls, main)),
        failed=tuple(f"{record.combination}: {record.error}" for record in records if record.error is not None),
        alone=len(corrected) - len(bases),
    )


def _ladder(nested: dict[tuple[str, ...], Side], main: tuple[str, str]) -> Iterable[Pair]:
    """The steps of the ladder that both ends were run of, each scope apart."""
    names = LADDER.split(" → ")
    sides = {(encoder, *_step(transform)): side for (encoder, transform, *how), side in nested.items()
             if tuple(how) == main and _step(transform)}  # fmt: skip
    for encoder, scope in sorted({(encoder, scope) for encoder, name, scope in sides if name != names[0]}):
        rungs = [sides.get((encoder, name, "" if name == names[0] else scope)) for name in names]
        yield from ((low, high) for low, high in pairwise(rungs) if low and high)


def _step(transform: str) -> tuple[str, str] | tuple[()]:
    """A transform that is a rung of the ladder as (name, scope), else empty."""
    first, *rest = spec.parse_chain(transform)
    if rest or first.name not in LADDER.split(" → ") or set(first.params) - {"scope"}:
        return ()
    return first.name, first.params.get("scope", "")


def _correlations(
    picture: Picture, sides: Iterable[Side], encoders: Sequence[str], controls: frozenset[str], main: tuple[str, str]
) -> Iterable[Correlation]:
    """Each diagnostic against the first metric, within each encoder and across them; isotropy is taken as fixed."""
    mine = [side for side in sides if (side.distance, side.matcher) == main]
    names = sorted({name for side in mine if side.isotropy for name in side.isotropy.figures})
    groups: dict[str, Callable[[Side], bool]] = {
        encoder: lambda side, encoder=encoder: side.encoder == encoder  # type: ignore[misc]
        for encoder in encoders
    }
    groups |= {"all with trained weights": lambda side: side.encoder not in controls, "all": lambda _: True}
    for group, belongs in groups.items():
        for name in [*names, "hubness"]:
            used = [side for side in mine if belongs(side) and side.figure(name) is not None]
            if len(used) < LEAST_CELLS:
                continue
            scores = picture.resampled([side.columns[picture.metrics[0]] for side in used])
            rho = spearman(np.array([side.figure(name) for side in used], np.float64), scores)
            if not np.isnan(rho[0]):
                tail = stats.expanded_tail(stats.LEVEL, len(picture.keywords)) if len(picture.keywords) > 1 else 0.0
                low, high = np.nanquantile(rho[1:], [tail, 1.0 - tail])
                yield Correlation(group, name, len(used), *np.round([rho[0], low, high], 9).tolist())


def _main(cells: Iterable[Combination]) -> tuple[str, str]:
    """The distance and matcher of the ladder and the figures: MAIN, or what most corrected cells have."""
    counts = Counter((cell.distance, cell.matcher) for cell in cells if cell.transform != BASELINE)
    return MAIN if MAIN in counts or not counts else counts.most_common(1)[0][0]


def _uncorrected(cell: Combination) -> Combination:
    return msgspec.structs.replace(cell, transform=BASELINE)
