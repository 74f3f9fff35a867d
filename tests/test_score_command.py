"""kwsbench score as it is typed: figures by hand, what is printed, NIST's files, and what the user can mend."""

from __future__ import annotations

import csv
import io
import json
import math
import re

import pandas as pd
import pytest

from kwsbench.trialscore import METRICS
from tests.conftest import ROOT
from tests.test_nist import ECF, FOUND, RTTM, TERMS

# Sums of a few dozen shares of order 1, each rounded to a double.
ROUNDING = 1e-12

HEADER = "query,reference,label,prediction"
SMALL = f"{HEADER}\na,u1,1,3\na,u2,0,2\na,u3,1,1\nb,u1,0,4\nb,u2,1,-inf\nc,u1,0,9\n"


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
