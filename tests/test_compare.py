"""Two records against each other: figures against the functions they come from, wording, and every refusal."""

from __future__ import annotations

import math
import re

import msgspec
import numpy as np
import pytest

from kwsbench import results
from kwsbench.compare import Comparison, compare, verdict
from kwsbench.errors import KwsbenchError
from kwsbench.power import Needed, needed, spread
from kwsbench.results import Combination, ConditionResult, Data, Estimate, Groups, Result
from kwsbench.significance import permutation_p
from kwsbench.stats import Interval, paired_difference
from tests.conftest import call

KEYWORDS, SPEAKERS = 12, 3


def record(encoder, scores, *, speakers=SPEAKERS, digest="d" * 64, unknown=False, **changes):
    """A record whose groups score so on MAP: (keywords * speakers,), NaN undefined. Counts 1, 2, 3, 1, 2, …"""
    keyword, speaker = np.divmod(np.arange(len(scores)), speakers)
    counts = 1 + np.arange(len(scores)) % 3
    groups = Groups(
        keyword=[f"w{code:02}" for code in keyword],
        speaker=["" if unknown else f"s{code}" for code in speaker],
        queries=counts.tolist(),
        metrics={"map": [results.number(score) for score in scores], "auc": [0.5] * len(scores)},
    )
    defined = ~np.isnan(scores)
    value = float(np.average(scores[defined], weights=counts[defined])) if defined.any() else math.nan
    metrics = {
        "map": Estimate(results.number(value), None, None, 0.1),
        "auc": Estimate(0.5, None, None, 0.5),
        "eer": Estimate(0.25 if encoder == "one" else 0.375, None, None, 0.5),
    }
    condition = ConditionResult(
        queries=int(counts.sum()), queries_without_positives=0, trials=900, positives=90, metrics=metrics, groups=groups
    )
    data = Data(
        digest=digest, language="fra", heard=False, clips=1, speakers=speakers, keywords=1, queries=1, utterances=1,
        audio_s=1.0, left_out={}, audio={}, too_short=0, query_material={}, notes={},
    )  # fmt: skip
    made = Result(
        fingerprint=encoder * 20,
        combination=Combination("prompts/fr", encoder, "0", "none", "cosine", "sdtw"),
        identity={},
        data=data,
        conditions={"across/isolated": condition, "within/isolated": condition},
    )
    return msgspec.structs.replace(made, **changes)


def scores(seed=0, effect=0.0, speakers=SPEAKERS):
    return np.round(np.random.default_rng(seed).random(KEYWORDS * speakers) / 2 + effect, 6)


def test_figures_are_those_of_the_functions_over_the_groups():
    x, y = scores(0, 0.1), scores(1)
    x[4] = np.nan
    found = compare(record("one", x), record("two", y))
    assert [(one.condition, one.metric) for one in found] == [
        (condition, metric) for condition in ("across/isolated", "within/isolated") for metric in ("map", "auc", "eer")
    ]
    keyword, speaker = np.divmod(np.arange(KEYWORDS * SPEAKERS), SPEAKERS)
    counts = 1 + np.arange(len(x)) % 3

    def rng():
        return np.random.default_rng(0)

    one_way = paired_difference(x, y, keyword, rng=rng(), weights=counts)
    two_way = paired_difference(x, y, keyword, rng=rng(), weights=counts, speakers=speaker)
    kept = np.flatnonzero(~np.isnan(x))
    first = found[0]
    assert first.a == pytest.approx(np.average(x[kept], weights=counts[kept]), abs=1e-6)
    assert first.difference == pytest.approx(np.average((x - y)[kept], weights=counts[kept]))
    assert first.interval == pytest.approx(one_way.interval)
    assert first.two_way == pytest.approx(two_way.interval)
    assert first.p == permutation_p(x - y, keyword, weights=counts, rng=rng())
    assert (first.keywords, first.speakers) == (KEYWORDS, SPEAKERS)
    assert first.needed == needed(one_way.difference, spread(x - y, keyword, speaker, weights=counts))
    assert 0 < first.interval.high - first.interval.low < first.two_way.high - first.two_way.low


def test_the_other_way_round_is_the_negative():
    x, y = record("one", scores(0, 0.1)), record("two", scores(1))
    there, back = compare(x, y, metric="map")[0], compare(y, x, metric="map")[0]
    assert back.difference == -there.difference
    assert back.p == there.p
    assert back.needed == there.needed
    assert (back.a, back.b) == (there.b, there.a)
    assert back.interval == pytest.approx((-there.interval.high, -there.interval.low))


def test_a_record_against_itself_has_no_difference():
    same = record("one", scores())
    for found in compare(same, same):
        assert found.difference == 0.0
        if found.metric != "eer":
            assert found.p == 1.0
            assert found.interval == (0.0, 0.0)
            assert verdict(found) == "not separated; there is no difference"


def test_a_figure_that_is_no_mean_has_a_difference_and_nothing_else():
    (found,) = compare(record("one", scores()), record("two", scores(1)), metric="eer", condition="within/isolated")
    assert found.difference == pytest.approx(-0.125)
    assert np.isnan([*found.interval, *found.two_way, found.p]).all()
    assert verdict(found) == ""


def test_a_metric_that_is_undefined_throughout():
    nothing = np.full(KEYWORDS * SPEAKERS, np.nan)
    (found,) = compare(record("one", nothing), record("two", scores()), metric="map", condition="across/isolated")
    assert np.isnan([found.a, found.difference, found.p]).all()
    assert verdict(found) == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"error": "boom"}, "prompts/fr two@0 none cosine sdtw: failed, there is nothing to compare; run it again"),
        (
            {"digest": "e" * 64},
            "the records are of different data, dddddddddddd and eeeeeeeeeeee; compare two runs on the same",
        ),
        (
            {"protocol": "loose"},
            "the records are of different protocols, strict and loose; compare two runs on the same",
        ),
        (
            {"scoring": 1},
            f"the records are of different scoring versions, {results.SCORING} and 1; compare two runs on the same",
        ),
        (
            {"unknown": True},
            "across/isolated: the records group other queries; run the older one again to compare them",
        ),
    ],
)
def test_what_cannot_be_compared(change, message):
    with pytest.raises(KwsbenchError, match=f"^{re.escape(message)}$"):
        compare(record("one", scores()), record("two", scores(1), **change))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"metric": "mapp"}, "no metric 'mapp' that both records have. Did you mean 'map'?"),
        ({"metric": "zzz"}, "no metric 'zzz' that both records have. Known: map, auc, eer"),
        (
            {"condition": "accross/isolated"},
            "no condition 'accross/isolated' that both records have. Did you mean 'across/isolated'?",
        ),
    ],
)
def test_what_neither_has(asked, message):
    with pytest.raises(KwsbenchError, match=f"^{re.escape(message)}$"):
        compare(record("one", scores()), record("two", scores(1)), **asked)


def test_only_what_both_have_is_compared():
    one, two = record("one", scores()), record("two", scores(1))
    across = {"across/isolated": two.conditions["across/isolated"]}
    assert {c.condition for c in compare(one, record("two", scores(1), conditions=across))} == {"across/isolated"}
    other = {"inside": across["across/isolated"]}
    with pytest.raises(KwsbenchError, match=r"^the records have no condition in common, there is nothing to compare$"):
        compare(one, record("two", scores(1), conditions=other))


WIDE, CLEAR = Interval(-0.1, 0.3), Interval(0.05, 0.3)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"p": 0.01, "two_way": CLEAR}, "separated for these speakers; for others too"),
        ({"p": 0.01, "two_way": Interval(-0.3, -0.05)}, "separated for these speakers; for others too"),
        (
            {"p": 0.01, "needed": Needed(9, 90, 12)},
            "separated for these speakers; for others 90 keywords (have 40) or 12 speakers (have 4) would at 80% power",
        ),
        (
            {"needed": Needed(57, None, 12)},
            (
                "not separated; for these speakers 57 keywords (have 40) would separate them at 80% power; "
                "for others 12 speakers (have 4) would at 80% power"
            ),
        ),
        (
            {"needed": Needed(40, 30, None)},
            (
                "not separated; for these speakers a few more keywords (have 40) would separate them at 80% power; "
                "for others a few more keywords (have 40) would at 80% power"
            ),
        ),
        (
            {"needed": Needed(None, None, None)},
            "not separated; for others neither more keywords nor more speakers alone would at 80% power",
        ),
        (
            {"needed": Needed(57, None, None), "speakers": 1, "two_way": Interval(math.nan, math.nan)},
            (
                "not separated; for these speakers 57 keywords (have 40) would separate them at 80% power; "
                "for others it cannot be told from 1 speaker"
            ),
        ),
        (
            {"p": 0.001, "speakers": 0, "two_way": Interval(math.nan, math.nan)},
            "separated for these speakers; for others it cannot be told, the records do not tell speakers apart",
        ),
    ],
)
def test_verdicts(changes, expected):
    plain = Comparison("across/isolated", "map", 0.4, 0.3, 0.1, WIDE, WIDE, 0.2, Needed(None, None, None), 40, 4)
    assert verdict(plain._replace(**changes)) == expected


def test_show_against_another_record(tmp_path):
    one, two = (results.save(record(n, scores(i, 0.3 * (1 - i))), tmp_path) for i, n in enumerate(("one", "two")))
    code, out, err = call("show", one, "--against", two, "--condition", "across/isolated")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:2] == ["A  prompts/fr one@0 none cosine sdtw", "B  prompts/fr two@0 none cosine sdtw"]
    assert "across/isolated: 12 keywords, 3 speakers" in lines
    assert "within/isolated" not in out
    found = compare(results.load(one), results.load(two), metric="map")[0]
    row = next(line for line in lines if line.startswith("map "))
    interval = f"[{found.interval.low:+.3f}, {found.interval.high:+.3f}]".replace("+0.", "+.").replace("-0.", "-.")
    assert interval in row
    assert f"{found.difference:+.3f}".replace("0.", ".", 1) in row
    assert f"{found.p:.4f}" in row
    assert f"map: {verdict(found)}" in lines
    assert next(line for line in lines if line.startswith("eer ")).split() == ["eer", ".250", ".375", "-.125"]
    assert not any(line.startswith("eer:") for line in lines)


def test_show_against_is_told_what_to_mend_in_one_line(tmp_path):
    one = results.save(record("one", scores()), tmp_path)
    other = results.save(record("two", scores(1), digest="e" * 64), tmp_path)
    code, _, err = call("show", one, "--against", other)
    assert code == 2
    assert err == (
        "error: the records are of different data, dddddddddddd and eeeeeeeeeeee; compare two runs on the same\n"
    )
    assert call("show", one, "--metric", "map")[::2] == (
        2,
        "error: --metric and --condition choose what to compare; name the other record: --against FILE\n",
    )
    assert "no record" in call("show", one, "--against", tmp_path / "nothing.json")[2]


def test_records_that_do_not_tell_speakers_apart(tmp_path):
    x, y = (record(name, scores(i), unknown=True, speakers=1) for i, name in enumerate(("one", "two")))
    paths = [results.save(made, tmp_path) for made in (x, y)]
    code, out, _ = call("show", paths[0], "--against", paths[1], "--metric", "map")
    assert code == 0
    assert "across/isolated: 36 keywords, unknown speakers" in out
    assert "the records do not tell speakers apart" in out
