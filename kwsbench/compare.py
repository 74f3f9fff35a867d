"""Two records against each other: paired differences with intervals, a test, and what it would take to be sure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from tabulate import tabulate

from kwsbench.errors import KwsbenchError, did_you_mean
from kwsbench.metrics import Doubles
from kwsbench.power import POWER, Needed, needed, spread
from kwsbench.results import Groups, Result
from kwsbench.scoring import BOOTSTRAP_SEED
from kwsbench.significance import permutation_p
from kwsbench.stats import LEVEL, UNDEFINED, Interval, paired_difference

UNKNOWN_SPEAKER = ""


class Comparison(NamedTuple):
    """One metric under one condition, A and B over the same queries. NaN and None: undefined, or not recorded."""

    condition: str
    metric: str
    a: float
    b: float
    difference: float
    """a - b, over the queries that both define"""
    interval: Interval = UNDEFINED
    """over keywords"""
    two_way: Interval = UNDEFINED
    """over keywords and the queries' speakers"""
    p: float = math.nan
    """of the permutation test over keywords, not corrected for how many are made"""
    needed: Needed = Needed(None, None, None)
    keywords: int = 0
    speakers: int = 0
    """0: the records do not tell speakers apart"""


def compare(a: Result, b: Result, *, condition: str | None = None, metric: str | None = None) -> list[Comparison]:
    """Every metric under every condition that both records have, or those named.

    The records must be of the same data, protocol and version of scoring: KwsbenchError says which is
    not. A metric that is no mean over queries (the EER) has its figures and their difference alone:
    records hold nothing to pair it by.
    """
    _check_comparable(a, b)
    conditions = _shared("condition", condition, list(a.conditions), list(b.conditions))
    found = []
    for name in conditions:
        mine, theirs = a.conditions[name], b.conditions[name]
        if not _same_queries(mine.groups, theirs.groups):
            raise KwsbenchError(f"{name}: the records group other queries; run the older one again to compare them")
        for what in _shared("metric", metric, list(mine.metrics), list(theirs.metrics)):
            figures = (name, what, _number(mine.metrics[what].value), _number(theirs.metrics[what].value))
            paired = what in mine.groups.metrics and what in theirs.groups.metrics
            found.append(
                _paired(figures, mine.groups, theirs.groups)
                if paired
                else Comparison(*figures, difference=figures[2] - figures[3])
            )
    return found


def verdict(found: Comparison) -> str:
    """What a comparison allows to say, for these speakers and for others; empty where nothing was tested."""
    if math.isnan(found.p):
        return ""
    if found.difference == 0.0:
        return "not separated; there is no difference"
    separated = found.p <= 1.0 - LEVEL
    return f"{_for_these(found, separated=separated)}; for others {_for_others(found, separated=separated)}"


def _for_these(found: Comparison, *, separated: bool) -> str:
    if separated:
        return "separated for these speakers"
    keywords = _more(found.needed.same_speakers, found.keywords, "keywords")
    return "not separated" + (
        f"; for these speakers {keywords} would separate them at {POWER:.0%} power" * bool(keywords)
    )


def _for_others(found: Comparison, *, separated: bool) -> str:
    if found.speakers == 0:
        return "it cannot be told, the records do not tell speakers apart"
    if math.isnan(found.two_way.low):
        return f"it cannot be told from {found.speakers} speaker{'s' * (found.speakers != 1)}"
    if separated and (found.two_way.low > 0.0 or found.two_way.high < 0.0):
        return "too"
    ways = (
        _more(found.needed.keywords, found.keywords, "keywords"),
        _more(found.needed.speakers, found.speakers, "speakers"),
    )
    if any(ways):
        return f"{' or '.join(filter(None, ways))} would at {POWER:.0%} power"
    return f"neither more keywords nor more speakers alone would at {POWER:.0%} power"


def report(a: Result, b: Result, *, condition: str | None = None, metric: str | None = None) -> Iterator[str]:
    """A comparison, for reading."""
    yield f"A  {a.combination}"
    yield f"B  {b.combination}"
    found = compare(a, b, condition=condition, metric=metric)
    for name in dict.fromkeys(one.condition for one in found):
        mine = [one for one in found if one.condition == name]
        counted = f"{max(one.keywords for one in mine)} keywords"
        speakers = max(one.speakers for one in mine)
        yield f"\n{name}: {counted}, {speakers or 'unknown'} speaker{'s' * (speakers != 1)}"
        rows = [
            (
                one.metric,
                _figure(one.a),
                _figure(one.b),
                _signed(one.difference),
                _span(one.interval),
                _span(one.two_way),
                "" if math.isnan(one.p) else f"{one.p:.4f}",
            )
            for one in mine
        ]
        heads = ["metric", "A", "B", "A − B", "95% over keywords", "… and speakers", "p"]
        yield tabulate(rows, headers=heads, disable_numparse=True)
        yield from (f"{one.metric}: {said}" for one in mine if (said := verdict(one)))
    yield (
        "\np: signs of whole keywords flipped; not corrected for the number of metrics, conditions or pairs looked at."
    )


def _check_comparable(a: Result, b: Result) -> None:
    for result in (a, b):
        if result.error is not None or result.data is None or not result.conditions:
            raise KwsbenchError(f"{result.combination}: failed, there is nothing to compare; run it again")
    for what, mine, theirs in (
        ("data", a.data and a.data.digest[:12], b.data and b.data.digest[:12]),
        ("protocols", a.protocol, b.protocol),
        ("scoring versions", str(a.scoring), str(b.scoring)),
    ):
        if mine != theirs:
            raise KwsbenchError(
                f"the records are of different {what}, {mine} and {theirs}; compare two runs on the same"
            )


def _shared(what: str, asked: str | None, mine: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """What both have, or the one asked for."""
    both = [name for name in mine if name in theirs]
    if not both:
        raise KwsbenchError(f"the records have no {what} in common, there is nothing to compare")
    if asked is None:
        return both
    if asked not in both:
        raise KwsbenchError(f"no {what} {asked!r} that both records have. {did_you_mean(asked, both)}")
    return [asked]


def _same_queries(a: Groups, b: Groups) -> bool:
    return (a.keyword, a.speaker, a.queries) == (b.keyword, b.speaker, b.queries)


def _paired(figures: tuple[str, str, float, float], a: Groups, b: Groups) -> Comparison:
    """The groups are means over queries, so their numbers of queries are the weights."""
    x, y = _column(a, figures[1]), _column(b, figures[1])
    defined = ~np.isnan(x - y)
    x, y = x[defined], y[defined]
    weights = np.array(a.queries, np.float64)[defined]
    keywords, speakers = np.array(a.keyword)[defined], np.array(a.speaker)[defined]

    def seeded() -> np.random.Generator:
        return np.random.default_rng(BOOTSTRAP_SEED)

    difference, interval = paired_difference(x, y, keywords, rng=seeded(), weights=weights)
    two_way = paired_difference(x, y, keywords, rng=seeded(), speakers=speakers, weights=weights).interval
    return Comparison(
        *figures,
        difference=difference,
        interval=interval,
        two_way=two_way,
        p=permutation_p(x - y, keywords, weights=weights, rng=seeded()),
        needed=needed(difference, spread(x - y, keywords, speakers, weights=weights)),
        keywords=len(set(keywords.tolist())),
        speakers=len(set(speakers.tolist()) - {UNKNOWN_SPEAKER}),
    )


def _column(groups: Groups, metric: str) -> Doubles:
    return np.array([_number(value) for value in groups.metrics[metric]], np.float64)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _more(count: int | None, have: int, what: str) -> str:
    """``57 keywords (have 40)``; empty where no number would do.

    The plan goes by what is expected, the interval by the sample: near the edge a plan may come out at
    what there is.
    """
    if count is None:
        return ""
    return f"{count} {what} (have {have})" if count > have else f"a few more {what} (have {have})"


def _figure(number: float) -> str:
    """Three decimals without the leading zero; empty for NaN."""
    return "" if math.isnan(number) else re.sub(r"^(-?)0\.", r"\1.", f"{number:.3f}")


def _signed(number: float) -> str:
    return "" if math.isnan(number) else re.sub(r"^([-+])0\.", r"\1.", f"{number:+.3f}")


def _span(interval: Interval) -> str:
    return "" if math.isnan(interval.low) else f"[{_signed(interval.low)}, {_signed(interval.high)}]"
