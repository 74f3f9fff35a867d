"""The conformance kit: what a plugin must keep to, checked from outside.

Each ``check_…`` takes one object and returns the rules it breaks, each in a line that says which
rule, what was seen and how to mend it; an empty list is a pass. Our own plugins pass the same checks
in the tests. What a plugin raises comes out as a problem too, so that one fault does not hide others.

>>> from kwsbench.testing import check_encoder
>>> assert check_encoder(MyEncoder()) == []
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kwsbench import plugins
from kwsbench.distance_rules import distance_rules
from kwsbench.encoder_rules import close, encoder_rules
from kwsbench.errors import one_line
from kwsbench.score_rules import score_rules
from kwsbench.types import (
    Alignment,
    Apply,
    CostMatcher,
    Dataset,
    DatasetSource,
    Distance,
    Encoder,
    FloatArray,
    Frames,
    Match,
    Matcher,
    NeighbourDistance,
    PairMatcher,
    ScoreNorm,
    Scores,
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
    except Exception as error:  # noqa: BLE001 - whatever a stranger's factory raises is a finding
        return Finding(plugin.kind, plugin.name, [*problems, f"factory: {one_line(error)}"])
    return Finding(plugin.kind, plugin.name, problems + checks[plugin.kind](made))


def check_encoder(encoder: Encoder) -> Problems:
    """Layers, shapes, frame counts and times, determinism, short and silent audio."""
    return _collect(encoder_rules(encoder))


def check_transform(transform: Transform | SpeakerTransform) -> Problems:
    """Shapes, determinism, frames transformed apart from one another, small and constant fits."""
    return _collect(_transform_rules(transform))


def check_distance(distance: Distance | NeighbourDistance) -> Problems:
    """Shape, range, zero vectors, precision; of one with a fast path, that both its ways agree."""
    return _collect(distance_rules(distance))


def check_matcher(matcher: Matcher) -> Problems:
    """Spans within the utterance, finite costs, the smallest and the longest query."""
    if isinstance(matcher, Alignment):
        return _collect(_alignment_rules(matcher))
    if isinstance(matcher, PairMatcher):
        return _collect(_pair_matcher_rules(matcher))
    if isinstance(matcher, CostMatcher):
        return _collect(_cost_matcher_rules(matcher))
    return ["type: neither an Alignment nor an object with match(cost) or score(queries, utterances, …)"]


def check_score_norm(norm: ScoreNorm) -> Problems:
    """Shape, -inf kept, pairs that are not used kept out of the estimates, rows without a spread."""
    return _collect(score_rules(norm))


def check_dataset(source: DatasetSource | Dataset) -> Problems:
    """Ids, files, speakers, spans, and a keyword that two speakers say. Prepares the data when needed."""
    return _collect(_dataset_rules(source))


def _collect(rules: Iterator[str]) -> Problems:
    """All that the rules say, and what the plugin raised if it did."""
    problems: Problems = []
    try:
        problems.extend(rules)
    except Exception as error:  # noqa: BLE001 - a stranger's exception is the finding
        problems.append(f"exception: {one_line(error)}")
    return problems


# ── transforms ───────────────────────────────────────────────────────────────────────────────────


Speakers = list[npt.NDArray[np.float32]]


def _transform_rules(transform: Transform | SpeakerTransform) -> Iterator[str]:
    rng = np.random.default_rng(0)
    frames = (rng.standard_normal((300, 24)) @ rng.standard_normal((24, 24)) + 3).astype(np.float32)
    constant = np.where(np.arange(24) == 5, np.float32(2), frames)
    if isinstance(transform, SpeakerTransform):
        # Three who differ in their mean, as speakers do, and in how much they say.
        offset = 4 * rng.standard_normal((3, 24)).astype(np.float32)
        said = [frames[:50] + offset[0], frames[50:120] + offset[1], frames[120:] + offset[2]]
        few = {
            "two speakers": said[:2],
            "four speakers": [*said, constant[:40]],
            "one frame a speaker": [frames[:1], frames[1:2]],
            "speakers who are equal": [frames[:9], frames[:9]],
            "a constant dimension": [constant[:100], constant[100:] + np.float32(1)],
            "fewer frames than dims": [frames[:3], frames[3:5]],
        }
        yield from _fitted_rules(transform.fit_speakers, said, few)
    elif hasattr(transform, "fit"):
        few = {
            "one frame": [frames[:1]],
            "equal frames": [np.repeat(frames[:1], 9, axis=0)],
            "a constant dimension": [constant],
            "fewer frames than dims": [frames[:5]],
        }
        yield from _fitted_rules(lambda parts: transform.fit(*parts), [frames], few)
    else:
        yield "attributes: fit missing (or fit_speakers, to be told who speaks); see kwsbench.types.Transform"


def _fitted_rules(fit: Callable[[Speakers], Apply], material: Speakers, few: Mapping[str, Speakers]) -> Iterator[str]:
    """What a fit must give, on ordinary material and on little of it; a plain fit takes all frames as one array."""
    other = material[0][:40] + np.float32(0.5)
    given, other_before = [part.copy() for part in material], other.copy()
    apply = fit(given)
    if not callable(apply):
        yield f"fit: returned {type(apply).__name__}, expected the function that transforms frames"
        return
    result = apply(other)
    if not isinstance(result, np.ndarray):
        yield f"shape: the function returned {type(result).__name__}, expected a numpy array (frames, dims)"
        return
    same = all(np.array_equal(part, before) for part, before in zip(given, material, strict=True))
    if not same or not np.array_equal(other, other_before):
        yield "argument: frames are changed in place; work on a copy"
    if result.ndim != 2 or len(result) != len(other):
        yield f"shape: {other_before.shape} became {result.shape}; expected (40, dims), one frame out for each one in"
        return
    if not np.isfinite(result).all():
        yield "finite: NaN or inf in the result"
    if not np.array_equal(fit([part.copy() for part in material])(other_before.copy()), result):
        yield "determinism: the same fit gives another result; seed what is random"
    if not close(apply(other_before[7:9].copy()), result[7:9]):
        yield "per frame: two frames alone come out otherwise than among others; learn in fit(), not when applied"
    for what, parts in few.items():
        if not np.isfinite(fit([part.copy() for part in parts])(other_before.copy())).all():
            yield f"finite: fitted on {what}, it gives NaN or inf; divide by 1 where there is no variance"


# ── matchers ─────────────────────────────────────────────────────────────────────────────────────


def _alignment_rules(alignment: Alignment) -> Iterator[str]:
    steps = alignment.steps
    if not steps or any(not (0 <= i <= 2 and 0 <= j <= 2) or (i, j) == (0, 0) for i, j in steps):
        yield f"steps: {steps}; each is (query frames back, utterance frames back), 0-2, and never (0, 0)"
    elif not any(i for i, _ in steps):
        yield f"steps: {steps}; none advances in the query"
    if alignment.normalize not in ("query", "path", "none"):
        yield f"normalize: {alignment.normalize!r}; expected query, path or none"
    if alignment.rows not in ("none", "minmax"):
        yield f"rows: {alignment.rows!r}; expected none or minmax"


def _cost_matcher_rules(matcher: CostMatcher) -> Iterator[str]:
    rng = np.random.default_rng(0)
    for n, m in ((1, 1), (1, 9), (6, 1), (6, 30), (30, 6)):
        cost = rng.random((n, m)).astype(np.float32)
        before = cost.copy()
        match = matcher.match(cost)
        where = f"query of {n} frames in an utterance of {m}"
        if not np.array_equal(cost, before):
            yield f"argument ({where}): match() changes the costs; work on a copy"
        if not isinstance(match, Match):
            yield f"type ({where}): returned {type(match).__name__}, expected kwsbench.Match(cost, start, end)"
            return
        if not np.isfinite(match.cost):
            yield f"finite ({where}): cost {match.cost}; every query must get a cost"
        if not 0 <= match.start <= match.end < m:
            yield f"span ({where}): {match.start}–{match.end}; 0 <= start <= end < {m}, both included"
        if matcher.match(before.copy()) != match:
            yield f"determinism ({where}): the same costs give another match"


class _Cosine:
    """The distance that pair matchers are checked with."""

    def cost(self, x: FloatArray, y: FloatArray) -> FloatArray:
        norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)[None, :]
        return np.asarray(np.clip(1 - x @ y.T / np.maximum(norms, 1e-12), 0, 2))


def _pair_matcher_rules(matcher: PairMatcher) -> Iterator[str]:
    rng = np.random.default_rng(0)
    queries = Frames.join([rng.standard_normal((n, 8)).astype(np.float32) for n in (1, 4, 30)])
    utterances = Frames.join([rng.standard_normal((n, 8)).astype(np.float32) for n in (1, 12, 20, 7)])
    whole = matcher.score(queries, utterances, _Cosine(), first_utterance=0)
    if not isinstance(whole, Scores) or any(part.shape != (3, 4) for part in whole):
        yield "shape: 3 queries × 4 utterances must give Scores of three (3, 4) arrays"
        return
    for part, dtype in zip(whole, (np.float32, np.int32, np.int32), strict=True):
        if part.dtype != dtype:
            yield f"precision: {part.dtype} where kwsbench.Scores says {np.dtype(dtype)}"
    if np.isnan(whole.scores).any() or (whole.scores == np.inf).any():
        yield "finite: a score is NaN or +inf; -inf means that there is no alignment"
    placed = whole.starts >= 0
    if (placed & ~((whole.starts <= whole.ends) & (whole.ends < utterances.lengths))).any():
        yield "span: a hit leaves its utterance; 0 <= start <= end < frames, or -1 and -1"
    halves = [
        matcher.score(queries, utterances.read(first, last), _Cosine(), first_utterance=first)
        for first, last in ((0, 1), (1, 4))
    ]
    if not close(np.concatenate([half.scores for half in halves], axis=1), whole.scores):
        yield "blocks: the scores depend on how the search set is cut into blocks; use first_utterance as the position"


# ── data sets ────────────────────────────────────────────────────────────────────────────────────


def _dataset_rules(source: DatasetSource | Dataset) -> Iterator[str]:
    if isinstance(source, Dataset):
        yield from _clip_rules(source)
        return
    missing = [name for name in ("prepared", "load") if not hasattr(source, name)]
    if missing:
        yield f"attributes: {', '.join(missing)} missing; see kwsbench.types.DatasetSource"
        return
    data = source.load()
    if not source.prepared:
        yield "prepared: still false after load(); it tells whether load() can answer without fetching"
    yield from _clip_rules(data)


def _clip_rules(data: Dataset) -> Iterator[str]:
    if not data.clips:
        yield "clips: the data set is empty"
        return
    twice = [clip_id for clip_id, times in Counter(clip.id for clip in data.clips).items() if times > 1]
    if twice:
        yield f"ids: {twice[0]!r} names two clips ({len(twice)} such); an id names one"
    for field in ("id", "speaker", "recording"):
        empty = [clip.id for clip in data.clips if not getattr(clip, field)]
        if empty:
            yield f"{field}: not set for clip {empty[0]!r} ({len(empty)} such)"
    absent = [clip.path for clip in data.clips if not clip.path.is_file()]
    if absent:
        yield f"files: {absent[0]} does not exist ({len(absent)} such)"
    spans = [clip.id for clip in data.clips if clip.end_s is not None and clip.end_s <= (clip.start_s or 0.0)]
    if spans:
        yield f"spans: clip {spans[0]!r} ends before it begins ({len(spans)} such)"
    speakers: dict[str, set[str]] = {}
    for clip in data.clips:
        if clip.keyword:
            speakers.setdefault(clip.keyword, set()).add(clip.speaker)
    if not any(len(said_by) > 1 for said_by in speakers.values()):
        yield "keywords: none is said by two speakers, so no cross-speaker trial exists; set Clip.keyword and speaker"
