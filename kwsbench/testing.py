"""The conformance kit: what a plugin must keep to, checked from outside.

Each ``check_…`` takes one object and returns the rules it breaks, each in a line that says which
rule, what was seen and how to mend it; an empty list is a pass. Our own plugins pass the same checks
in the tests. What a plugin raises comes out as a problem too. What may be the cause of others comes first, and
each rule is told once, where it was first broken.

>>> from kwsbench.testing import check_encoder
>>> assert check_encoder(MyEncoder()) == []
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kwsbench import plugins
from kwsbench.dataset_rules import dataset_rules
from kwsbench.distance_rules import distance_rules
from kwsbench.encoder_rules import encoder_rules
from kwsbench.errors import KwsbenchError, one_line
from kwsbench.matcher_rules import alignment_rules, cost_matcher_rules, pair_matcher_rules
from kwsbench.rules import article, collect, seen
from kwsbench.score_rules import score_rules
from kwsbench.transform_rules import transform_rules
from kwsbench.types import (
    Alignment,
    CostMatcher,
    Dataset,
    DatasetSource,
    Distance,
    Encoder,
    Matcher,
    NeighbourDistance,
    PairMatcher,
    ScoreNorm,
    SpeakerTransform,
    Transform,
)

Problems = list[str]


class Finding(NamedTuple):
    """What the checks say of one registered plugin; no problems: it passed."""

    kind: str
    name: str
    problems: Problems


def check_file(path: Path) -> list[Finding]:
    """Check all that a single plugin file registers, each with its default parameters."""
    registry = plugins.load([path])
    return [check_plugin(plugin) for plugin in registry.all() if plugin.owner == str(path)]


def check_plugin(plugin: plugins.Plugin, params: Mapping[str, str] | None = None) -> Finding:
    """Create one registered plugin and check it by its kind. A data set is prepared first if it was not."""
    checks: dict[str, Callable[[Any], Problems]] = {
        "encoders": check_encoder,
        "transforms": check_transform,
        "distances": check_distance,
        "matchers": check_matcher,
        "score_norms": check_score_norm,
        "datasets": check_dataset,
    }
    problems: Problems = []
    if not plugin.summary:
        problems.append("docstring: the factory has none; its first line is what `kwsbench plugins` prints")
    try:
        made = plugin.create(params or {})
    except KwsbenchError as error:
        return Finding(plugin.kind, plugin.name, [*problems, f"factory: {one_line(error)}"])
    except Exception as error:  # noqa: BLE001 - whatever a stranger's factory raises is a finding
        told = f"factory: {seen(error, plugin.factory)}; it must make the object from its default parameters"
        return Finding(plugin.kind, plugin.name, [*problems, told])
    if made is None or isinstance(made, type):
        what = "None" if made is None else f"the class {made.__name__}"
        mend = "return what it makes" if made is None else f"return {made.__name__}(…)"
        return Finding(plugin.kind, plugin.name, [*problems, f"factory: returned {what}; {mend}"])
    return Finding(plugin.kind, plugin.name, problems + checks[plugin.kind](made))


def check_encoder(encoder: Encoder) -> Problems:
    """Layers, shapes, frame counts and times, determinism, short and silent audio."""
    return collect(encoder_rules(encoder))


def check_transform(transform: Transform | SpeakerTransform) -> Problems:
    """Shapes, determinism, frames transformed apart from one another, small and constant fits."""
    return collect(transform_rules(transform))


def check_distance(distance: Distance | NeighbourDistance) -> Problems:
    """Shape, range, zero vectors, precision; of one with a fast path, that both its ways agree."""
    return collect(distance_rules(distance))


def check_matcher(matcher: Matcher) -> Problems:
    """Spans within the utterance, finite costs, the smallest and the longest query."""
    if isinstance(matcher, Alignment):
        return collect(alignment_rules(matcher))
    if isinstance(matcher, PairMatcher):
        return collect(pair_matcher_rules(matcher))
    if isinstance(matcher, CostMatcher):
        return collect(cost_matcher_rules(matcher))
    told = article(matcher)
    return [f"type: {told}, neither an Alignment nor an object with match(cost) or score(queries, utterances, …)"]


def check_score_norm(norm: ScoreNorm) -> Problems:
    """Shape, -inf kept, pairs that are not used kept out of the estimates, rows without a spread."""
    return collect(score_rules(norm))


def check_dataset(source: DatasetSource | Dataset) -> Problems:
    """Ids, files, speakers, spans, and a keyword that two speakers say. Prepares the data when needed."""
    return collect(dataset_rules(source))
