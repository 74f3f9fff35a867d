"""kwsbench score: published figures, figures by hand, every threshold tried one by one, and peer libraries."""

from __future__ import annotations

import csv
import io
import json
import math
import re

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
from kwsbench.trialscore import METRICS, Settings, mtwv_interval, score, settle, sweep
from tests import reference_trialscore as reference
from tests.conftest import ROOT
from tests.test_nist import ECF, FOUND, RTTM, TERMS

# Sums of a few dozen shares of order 1, each rounded to a double.
ROUNDING = 1e-12

HEADER = "query,reference,label,prediction"
SMALL = f"{HEADER}\na,u1,1,3\na,u2,0,2\na,u3,1,1\nb,u1,0,4\nb,u2,1,-inf\nc,u1,0,9\n"


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


def test_counts_and_queries_without_a_positive(run_cli, tmp_path):
    """By hand: a finds u1 first and u3 third, so (1 + 2/3) / 2; b's positive is last of two, 1/2; c has none."""
    path = tmp_path / "small.csv"
    path.write_text(SMALL)
    code, out, err = run_cli("score", path, "--metric", "map", "--metric", "eer", "--format", "json")
    assert code == 0
    assert err == ""  # neither beta nor seconds matters to these
    report = json.loads(out)
    assert report["figures"]["map"]["value"] == pytest.approx((5 / 6 + 1 / 2) / 2, abs=ROUNDING)
    # Three positives at 3, 1, -inf; three negatives at 9, 4, 2: at 3, two of three are missed and two accepted.
    assert report["figures"]["eer"]["value"] == pytest.approx(2 / 3, abs=ROUNDING)
    assert report["counts"] == {
        "queries": 2,
        "queries without a positive, left out": 1,
        "trials": 6,
        "positives": 3,
        "trials without a score (-inf)": 1,
    }
    assert report["settings"]["seconds"] is None


def test_what_is_printed(run_cli, tmp_path):
    path = tmp_path / "small.csv"
    path.write_text(
        SMALL.replace("prediction\n", "prediction,layer\n").replace("\n", ",3\n").replace("layer,3", "layer")
    )
    code, out, err = run_cli("score", path, "--metric", "mtwv", "--beta", "0.5")
    assert code == 0
    assert err.splitlines() == [
        "columns that are not read: layer",
        "no --seconds: P_fa is a share of each query's negative trials, not of seconds of speech",
    ]
    lines = [line.split() for line in out.splitlines()]
    # At 1: a accepts both positives and its negative, 1 - 0.5; b accepts its negative, 0 - 0.5. At 3: (0.5 - 0.5) / 2.
    # At -inf: both at 0.5.
    assert lines[2][:2] == ["mtwv", "0.5000"]
    assert lines[3][:3] == ["mtwv", "threshold", "-inf"]
    assert lines[4][:3] == ["accept", "all", "0.5000"]
    assert lines[5][:3] == ["accept", "none", "0.0000"]
    assert ["queries", "2"] in lines

    code, out, err = run_cli("score", path, "--format", "csv")
    assert "no --beta: 12.49, that of QUESST 2014" in err
    found = list(csv.DictReader(io.StringIO(out)))
    assert list(found[0]) == ["name", "value", "low", "high"]
    shown = [row["name"] for row in found if row["name"] not in ("mtwv threshold", "accept all", "accept none")]
    assert shown == [name for name in METRICS if name not in ("atwv", "cnxe")]  # no decisions, no likelihood ratios


def test_a_row_a_query(run_cli, tmp_path):
    path = tmp_path / "small.csv"
    path.write_text(SMALL)
    options = ("score", path, "--metric", "map", "--metric", "atwv", "--threshold", "2", "--beta", "0.5", "--per-query")
    _, out, _ = run_cli(*options, "--format", "json")
    assert json.loads(out) == [
        {"query": "a", "trials": 3, "positives": 2, "map": pytest.approx(5 / 6), "atwv": pytest.approx(0.5 - 0.5)},
        {"query": "b", "trials": 2, "positives": 1, "map": pytest.approx(0.5), "atwv": pytest.approx(-0.5)},
        {"query": "c", "trials": 1, "positives": 0, "map": None, "atwv": None},
    ]
    _, out, _ = run_cli(*options, "--format", "csv")
    assert out.splitlines()[0] == "query,trials,positives,map,atwv"
    assert out.splitlines()[3] == "c,1,0,,"
    _, out, _ = run_cli(*options)
    assert out.splitlines()[2].split() == ["a", "3", "2", "0.8333", "0.0000"]


def test_keywords_are_shown_beside_their_queries():
    found = trials([("a", 1, 2), ("b", 1, 1)], keywords={"a": "x", "b": "y"})
    report = score(found, Settings(("map",)), rng=np.random.default_rng(0))
    assert report.per_query["keyword"].tolist() == ["x", "y"]


def test_decisions_give_the_atwv_and_a_threshold_replaces_them(run_cli, tmp_path):
    """By hand, beta 0.5: the decisions hit 1 of 2 without a false alarm; from 2 on, one of one comes along."""
    path = tmp_path / "decided.csv"
    path.write_text(f"{HEADER},decision\na,u1,1,3,YES\na,u2,0,2,NO\na,u3,1,1,NO\n")
    for options, expected in (((), 0.5), (("--threshold", "2"), 0.0), (("--threshold", "inf"), 0.0)):
        _, out, _ = run_cli("score", path, "--metric", "atwv", "--beta", "0.5", "--format", "json", *options)
        assert json.loads(out)["figures"]["atwv"]["value"] == pytest.approx(expected, abs=ROUNDING)


@pytest.fixture
def evaluation(tmp_path):
    for name, text in (("found.xml", FOUND), ("terms.xml", TERMS), ("said.rttm", RTTM), ("speech.xml", ECF)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return (tmp_path / "found.xml", "--terms", tmp_path / "terms.xml", "--rttm", tmp_path / "said.rttm", "--ecf",
            tmp_path / "speech.xml")  # fmt: skip


def test_nist_files_by_hand(run_cli, evaluation):
    """T = 20 s. K1: 3 occurrences, so 17 chances; K2: 1 and 19; K3 has none and does not count.

    At 0.5, K1 has a hit and two false alarms and K2 its hit: (1/3 - 2 * 2/17 + 1) / 2 = 28/51. What was
    not listed can never be accepted, so accepting all that is listed reaches no more.
    Decisions: K1 a hit and a false alarm, K2 nothing: (1/3 - 2/17) / 2 = 11/102. Each at its best: (1/3 + 1) / 2.
    """
    code, out, err = run_cli("score", *evaluation, "--beta", "2", "--format", "json")
    assert code == 0, err
    report = json.loads(out)
    values = {name: figure["value"] for name, figure in report["figures"].items()}
    assert values == {
        "mtwv": pytest.approx(28 / 51, abs=ROUNDING),
        "mtwv threshold": 0.5,
        "accept all": pytest.approx(28 / 51, abs=ROUNDING),
        "accept none": 0.0,
        "atwv": pytest.approx(11 / 102, abs=ROUNDING),
        "ubtwv": pytest.approx(2 / 3, abs=ROUNDING),
    }
    assert report["settings"]["seconds"] == 20.0
    assert "detections of terms that are not in the term list, left out: 1" in err.splitlines()
    assert "no --seconds" not in err

    _, out, _ = run_cli("score", *evaluation, "--beta", "2", "--seconds", "103", "--format", "json")
    assert json.loads(out)["figures"]["mtwv"]["value"] == pytest.approx((4 / 3 - 4 / 100) / 2, abs=ROUNDING)


def test_a_system_that_lists_nothing_right_finds_nothing():
    """However low the threshold, an occurrence that is not in the list is missed."""
    found = trials([("a", 1, -math.inf), ("b", 1, -math.inf), ("b", 0, 1)], only_listed=True, seconds=100.0)
    report = figures(score(found, Settings(seconds=100.0, threshold=-math.inf), rng=np.random.default_rng(0)))
    assert report["mtwv"].value == report["ubtwv"].value == 0
    assert report["mtwv threshold"].value == math.inf
    assert report["atwv"].value == pytest.approx(-12.49 / 99 / 2, abs=1e-9)


def test_det_by_hand(run_cli, evaluation, tmp_path):
    """Three terms in 20 s with 4 occurrences leave 56 chances of a false alarm; two occurrences are never listed."""
    for name in ("curve.csv", "curve.svg", "curve.png"):
        code, _, err = run_cli("score", *evaluation, "--det", tmp_path / name)
        assert code == 0
        assert f"wrote {tmp_path / name}" in err
    points = pd.read_csv(tmp_path / "curve.csv")
    assert list(points) == ["threshold", "p_fa", "p_miss"]
    assert points["threshold"].tolist() == [math.inf, 0.9, 0.8, 0.7, 0.5, 0.4]
    assert points["p_fa"].tolist() == pytest.approx([0, 0, 1 / 56, 2 / 56, 2 / 56, 3 / 56], abs=ROUNDING)
    assert points["p_miss"].tolist() == pytest.approx([1, 0.75, 0.75, 0.75, 0.5, 0.5], abs=ROUNDING)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in (tmp_path / "curve.svg").read_text()

    code, _, err = run_cli("score", *evaluation, "--det", tmp_path / "curve.pdf")
    assert code == 2
    assert "curve.pdf: a DET curve is written as .csv, .svg or .png; choose one of these endings" in err


def test_det_without_negatives(tmp_path):
    trialreport.write_det(tmp_path / "det.csv", trials([("a", 1, 1)]), seconds=None)
    assert pd.read_csv(tmp_path / "det.csv")["p_fa"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metric", "mtvw"], "unknown metric 'mtvw'. Did you mean 'mtwv'?"),
        (["--metric", "atwv"], "atwv needs decisions: a decision for each trial, or --threshold"),
        (["--metric", "cnxe"], "cnxe needs log likelihood ratios; say that the scores are some with --llr"),
        (["--beta", "0"], "beta is 0, expected a number above 0"),
        (["--beta", "nan"], "beta is nan, expected a number above 0"),
        (["--seconds", "inf"], "seconds is inf, expected a number above 0"),
        (["--threshold", "nan"], "threshold is nan, expected a number; inf accepts nothing"),
        (["--seconds", "2"], "query 'a' has 2 positives in 2 s of speech; give --seconds of all that was searched"),
        (["--ecf", "e.xml"], "small.csv: NIST's XML needs all of --terms, --rttm and --ecf; given: --ecf"),
        (["--qrels", "q", "--ecf", "e"], "--qrels is for a TREC run and --ecf for NIST's XML; give one or the other"),
    ],
)
def test_what_the_user_can_mend(run_cli, tmp_path, options, message):
    path = tmp_path / "small.csv"
    path.write_text(SMALL)
    code, out, err = run_cli("score", path, *options)
    assert (code, out) == (2, "")
    assert message in err


def test_xml_without_its_companions(run_cli, evaluation):
    code, _, err = run_cli("score", evaluation[0])
    assert code == 2
    assert "found.xml: NIST's XML needs all of --terms, --rttm and --ecf; given: none" in err


def test_no_file(run_cli, tmp_path):
    code, _, err = run_cli("score", tmp_path / "none.csv")
    assert code == 2
    assert "none.csv: No such file" in err


def test_a_ranking_needs_every_occurrence(run_cli, evaluation):
    code, _, err = run_cli("score", *evaluation, "--metric", "map")
    assert code == 2
    assert "map needs a score for every occurrence, but 2 were not listed; use mtwv, atwv or ubtwv" in err


def test_nothing_to_find():
    with pytest.raises(KwsbenchError, match="no trial is a positive, so there is nothing to find; check the labels"):
        score(trials([("a", 0, 1)]), Settings(), rng=np.random.default_rng(0))


def test_unknown_metrics_are_no_surprise_in_python_either():
    with pytest.raises(UnknownName, match="unknown metric 'MAP'"):
        score(trials([("a", 1, 1)]), Settings(("MAP",)), rng=np.random.default_rng(0))


def test_the_document_names_every_figure_and_option(run_cli):
    text = (ROOT / "docs" / "scoring.md").read_text(encoding="utf-8")
    table = text.partition("| figure | what it is |")[2].partition("\n\n")[0]
    assert re.findall(r"`([a-z_@0-9]+)`", "".join(line.split("|")[1] for line in table.splitlines() if line)) == list(
        METRICS
    )
    known = run_cli("score", "--help")[1]
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert named >= {"--qrels", "--terms", "--rttm", "--ecf", "--det", "--llr", "--per-query"}
    for option in named:
        assert option in known, option


def test_settling_prefers_what_is_given_to_what_the_file_says():
    found = trials([("a", 1, 1)], seconds=60.0)
    assert settle(found)[0].seconds == 60.0
    assert settle(found, seconds=30.0, beta=1.0) == (Settings(seconds=30.0, beta=1.0), [])
    assert settle(found, metrics=("map",)) == (Settings(("map",), seconds=60.0), [])
