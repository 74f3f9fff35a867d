"""Figures of trials: published ones, every threshold tried one by one, and peer libraries."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from kwsbench import calibration, detection, trialreport, trialscore
from kwsbench.errors import KwsbenchError, UnknownName
from kwsbench.stats import LEVEL, expanded_tail, multiplicities
from kwsbench.trialfiles import flat
from kwsbench.trialscore import Settings, mtwv_interval, score, settle, sweep
from tests import reference_trialscore as reference

# Sums of a few dozen shares of order 1, each rounded to a double.
ROUNDING = 1e-12


def trials(rows, *, only_listed=False, keywords=None, seconds=None):
    """Trials of (query, label, score)."""
    frame = pd.DataFrame(
        {
            "query": [str(query) for query, *_ in rows],
            "reference": [str(place) for place in range(len(rows))],
            "label": [label for _, label, _ in rows],
            "prediction": [float(score) for *_, score in rows],
        }
    )
    if keywords:
        frame["keyword"] = [keywords[query] for query, *_ in rows]
    return flat(frame, only_listed=only_listed, seconds=seconds)


def figures(report):
    return {figure.name: figure for figure in report.figures}


def score_small(*metrics, rows=(("a", 1, 3), ("a", 0, 2), ("b", 0, 1), ("b", 1, 0)), **options):
    return figures(score(trials(rows), Settings(metrics, **options), rng=np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("name", "seconds", "published"), [("gup-wat", 1940, 0.5601), ("mwf-jm", 809, 0.5217), ("wbp-jk", 367, 0.4210)]
)
def test_published_values_of_san_2021_through_the_command_line(run_cli, shared, name, seconds, published):
    """wav2vec2-large, layer 11, scored by NIST's tool: San et al. (2021), printed with four decimals."""
    path = shared / "data" / "san2021" / f"{name}.csv"
    code, out, err = run_cli(
        "score", path, "--metric", "mtwv", "--beta", "3.48423", "--seconds", seconds, "--format", "json"
    )
    assert code == 0, err
    found = json.loads(out)["figures"]
    assert round(found["mtwv"]["value"], 4) == published
    assert found["mtwv"]["low"] < published < found["mtwv"]["high"]
    assert found["accept none"]["value"] == 0
    assert found["accept all"]["value"] < published
    assert found.keys() == {"mtwv", "mtwv threshold", "accept all", "accept none"}


rows_of_trials = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([0, 0, 1]), st.sampled_from([-math.inf, 0.0, 1.0, 2.0, 3.0])),
    min_size=1,
    max_size=9,
)


def is_miss(row):
    return row[1] == 1 and row[2] == -math.inf


@settings(deadline=None, max_examples=150)
@given(rows_of_trials, st.sampled_from([None, 11.5]), st.sampled_from([0.25, 3.0]), st.booleans())
def test_every_threshold_tried_one_by_one(rows, seconds, beta, only_listed):
    if only_listed:  # nobody lists what scores -inf, so it can only be an occurrence that was missed
        rows = [row for row in rows if row[2] != -math.inf or is_miss(row)]
    if not any(label for _, label, _ in rows):
        return
    found = trials(rows, only_listed=only_listed)
    value, threshold = sweep(found, beta=beta, seconds=seconds).best(np.ones(len(found.names)))
    slow = [(*row, not (only_listed and is_miss(row))) for row in rows]
    best, where = reference.mtwv(slow, beta, seconds)
    assert value == pytest.approx(best, abs=ROUNDING)
    # Where rounding decides between equally good thresholds, either will do.
    assert reference.twv(slow, threshold, beta, seconds) == pytest.approx(best, abs=ROUNDING)
    assert threshold <= where or reference.twv(slow, where, beta, seconds) == pytest.approx(best, abs=ROUNDING)

    by_name = figures(
        score(found, Settings(("ubtwv", "atwv"), beta, seconds, threshold=1.0), rng=np.random.default_rng(0))
    )
    assert by_name["atwv"].value == pytest.approx(reference.twv(slow, 1.0, beta, seconds), abs=ROUNDING)
    alone = [
        reference.mtwv([row for row in slow if row[0] == query], beta, seconds)[0]
        for query in "abc"
        if any(row[1] for row in slow if row[0] == query)
    ]
    assert by_name["ubtwv"].value == pytest.approx(sum(alone) / len(alone), abs=ROUNDING)


@settings(deadline=None)
@given(rows_of_trials, st.sampled_from([None, 11.5]))
def test_where_all_is_listed_it_is_the_mtwv_of_detection(rows, seconds):
    if not any(label for _, label, _ in rows):
        return
    found = trials(rows)
    theirs = detection.mtwv(found.scores, found.labels, found.queries, beta=2.0, seconds=seconds)
    upper = detection.ubtwv(found.scores, found.labels, found.queries, beta=2.0, seconds=seconds)
    ours = figures(score(found, Settings(("mtwv", "ubtwv"), 2.0, seconds), rng=np.random.default_rng(0)))
    assert ours["mtwv"].value == pytest.approx(theirs.value, abs=ROUNDING)
    assert ours["accept all"].value == pytest.approx(theirs.accept_all, abs=ROUNDING)
    assert ours["accept none"].value == theirs.accept_none
    assert ours["ubtwv"].value == pytest.approx(upper, abs=ROUNDING)


def test_the_interval_of_the_mtwv_resamples_whole_keywords(monkeypatch):
    """Against copies of the drawn queries, every threshold tried; query d has no positive and is not drawn."""
    monkeypatch.setattr(trialscore, "RESAMPLES", 20)
    rng = np.random.default_rng(1)
    rows = [(query, int(rng.random() < 0.4), float(rng.integers(8))) for query in "abcef" for _ in range(5)]
    rows += [(query, 1, 5.0) for query in "abcef"] + [("d", 0, 9.0)]
    keywords = {"a": "x", "b": "x", "c": "y", "d": "z", "e": "z", "f": "w"}
    found = trials(rows, keywords=keywords)
    interval = mtwv_interval(sweep(found, beta=1.5, seconds=None), found.clusters, rng=np.random.default_rng(5))

    samples = []
    order = ["w", "x", "y", "z"]
    for times in multiplicities(4, rng=np.random.default_rng(5), resamples=20):
        drawn = [
            (f"{query}{copy}", label, value, True)
            for query, label, value in rows
            for copy in range(times[order.index(keywords[query])])
        ]
        samples.append(reference.mtwv(drawn, 1.5, None)[0])
    tail = expanded_tail(LEVEL, 4)
    assert interval == pytest.approx(np.quantile(samples, [tail, 1 - tail]), abs=ROUNDING)
    assert interval.low < interval.high


def test_one_keyword_has_no_interval():
    found = trials([("a", 1, 2), ("a", 0, 1), ("b", 1, 2), ("b", 0, 3)], keywords={"a": "x", "b": "x"})
    report = score(found, Settings(("map", "mtwv")), rng=np.random.default_rng(0))
    assert all(math.isnan(figure.low) and math.isnan(figure.high) for figure in report.figures)
    assert report.counts["keywords, which intervals resample"] == 1


def test_rankings_are_those_of_scikit_learn():
    rng = np.random.default_rng(2)
    rows = [(query, int(rng.random() < 0.3), rng.normal()) for query in "abcd" for _ in range(30)]
    found = score_small("map", "auc", rows=rows)
    lists = [[row for row in rows if row[0] == query] for query in "abcd"]
    for name, theirs in (("map", average_precision_score), ("auc", roc_auc_score)):
        values = [theirs([label for _, label, _ in mine], [value for *_, value in mine]) for mine in lists]
        assert found[name].value == pytest.approx(np.mean(values), abs=ROUNDING)
        assert (
            min(values) <= found[name].low + ROUNDING < found[name].value < found[name].high - ROUNDING <= max(values)
        )


def test_cross_entropies_take_the_prior_that_weighs_errors_as_beta_does():
    """QUESST 2014: beta 12.49 and an effective prior of .0741289; both are published."""
    assert Settings().prior == pytest.approx(0.0741289, abs=1e-7)
    assert Settings().beta == pytest.approx(12.49, abs=1e-9)
    rows = [("a", 1, 2.0), ("a", 0, 1.0), ("b", 0, 3.0), ("b", 1, 0.5)]
    scores, labels = np.array([2.0, 1.0, 3.0, 0.5]), np.array([1, 0, 0, 1])
    found = score_small("cnxe", "min_cnxe", "lower_bound_cnxe", rows=rows, beta=4.0, llr=True)
    assert found["cnxe"].value == calibration.cnxe(scores, labels, prior=0.2)
    assert found["min_cnxe"].value == calibration.min_cnxe(scores, labels, prior=0.2).value
    assert found["lower_bound_cnxe"].value == calibration.lower_bound_cnxe(scores, labels, prior=0.2)


def test_keywords_are_shown_beside_their_queries():
    found = trials([("a", 1, 2), ("b", 1, 1)], keywords={"a": "x", "b": "y"})
    report = score(found, Settings(("map",)), rng=np.random.default_rng(0))
    assert report.per_query["keyword"].tolist() == ["x", "y"]


def test_a_system_that_lists_nothing_right_finds_nothing():
    """However low the threshold, an occurrence that is not in the list is missed."""
    found = trials([("a", 1, -math.inf), ("b", 1, -math.inf), ("b", 0, 1)], only_listed=True, seconds=100.0)
    report = figures(score(found, Settings(seconds=100.0, threshold=-math.inf), rng=np.random.default_rng(0)))
    assert report["mtwv"].value == report["ubtwv"].value == 0
    assert report["mtwv threshold"].value == math.inf
    assert report["atwv"].value == pytest.approx(-12.49 / 99 / 2, abs=1e-9)


def test_det_without_negatives(tmp_path):
    trialreport.write_det(tmp_path / "det.csv", trials([("a", 1, 1)]), seconds=None)
    assert pd.read_csv(tmp_path / "det.csv")["p_fa"].tolist() == [0, 0]


def test_nothing_to_find():
    with pytest.raises(KwsbenchError, match="no trial is a positive, so there is nothing to find; check the labels"):
        score(trials([("a", 0, 1)]), Settings(), rng=np.random.default_rng(0))


def test_unknown_metrics_are_no_surprise_in_python_either():
    with pytest.raises(UnknownName, match="unknown metric 'MAP'"):
        score(trials([("a", 1, 1)]), Settings(("MAP",)), rng=np.random.default_rng(0))


def test_settling_prefers_what_is_given_to_what_the_file_says():
    found = trials([("a", 1, 1)], seconds=60.0)
    assert settle(found)[0].seconds == 60.0
    assert settle(found, seconds=30.0, beta=1.0) == (Settings(seconds=30.0, beta=1.0), [])
    assert settle(found, metrics=("map",)) == (Settings(("map",), seconds=60.0), [])
