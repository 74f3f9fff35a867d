"""Reading anybody's trials: CSV, TSV and TREC; every mistake is named with its line."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kwsbench.errors import KwsbenchError
from kwsbench.trialfiles import flat, read_table, read_trec

HEADER = "query,reference,label,prediction"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def table(tmp_path):
    return lambda text: write(tmp_path / "trials.csv", text)


@pytest.fixture
def trec(tmp_path):
    def read(run, qrels):
        return read_trec(write(tmp_path / "run", run), write(tmp_path / "qrels", qrels))

    return read


def test_a_table(table):
    rows, notes = read_table(table(f"{HEADER}\nma,u1,1,0.5\nma,u2,0,-inf\nŋko,u1,0,1e-3\n"))
    assert rows["query"].tolist() == ["ma", "ma", "ŋko"]
    assert rows["reference"].tolist() == ["u1", "u2", "u1"]
    assert rows["label"].tolist() == [1, 0, 0]
    assert rows["prediction"].tolist() == [0.5, -math.inf, 0.001]
    assert list(rows) == HEADER.split(",")
    assert notes == ()


def test_tabs_a_byte_order_mark_blank_lines_other_columns_and_any_order_of_columns(table):
    text = "\ufefflabel\tlayer\tprediction\tdecision\tquery\treference\tkeyword\tnote\r\n"
    text += '1\t11\t2\tYES\tma_1\t"u, 1"\tma\t\r\n\r\n0\t11\t3\tno\tma_1\tu2\tma\tx\r\n'
    rows, notes = read_table(table(text))
    assert rows["reference"].tolist() == ["u, 1", "u2"]
    assert rows["decision"].tolist() == [True, False]
    assert rows["keyword"].tolist() == ["ma", "ma"]
    assert "layer" not in rows
    assert notes == ("columns that are not read: layer, note",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: no column query, reference, label, prediction; found nothing; the first line must name query"),
        ("query,reference,label,score\n", ":1: no column prediction; found query, reference, label, score;"),
        ("query,query,reference,label,prediction\n", ":1: column query is named twice; keep one of them"),
        (f"{HEADER}\n", ": no trials below the first line"),
        (f"{HEADER}\nma,u1,1\n", ":2: 3 fields, expected 4 as in the first line"),
        (f"{HEADER}\nma,u1,1,0.5\n\nma,u2,yes,0.5\n", ":4: label 'yes', expected 0 or 1"),
        (f"{HEADER}\nma,u1,1,high\n", ":2: score 'high', expected a number, or -inf where there is no alignment"),
        (f"{HEADER}\nma,u1,1,nan\n", ":2: score 'nan', expected a number"),
        (f"{HEADER}\nma,u1,1,inf\n", ":2: score 'inf', expected a number"),
        (f"{HEADER}\nma,u1,1,\n", ":2: score '', expected a number"),
        (f"{HEADER}\n,u1,1,1\n", ":2: the query is empty; name it"),
        (f"{HEADER}\nma,u1,1,1\nma,u2,1,1\nma,u1,0,2\n", ":4: query 'ma' and reference 'u1' are given twice"),
        (f"{HEADER},decision\nma,u1,1,1,maybe\n", ":2: decision 'maybe', expected YES or NO"),
        (
            f"{HEADER},keyword\nq,u1,1,1,ma\nq,u2,1,1,na\n",
            ":3: query 'q' has keyword 'na' and, above, 'ma'; give a query one keyword",
        ),
        (f'{HEADER}\n"m\na",u1,1,1\nma,u1,2,1\n', ":4: label '2', expected 0 or 1"),  # a quoted line break counts
    ],
)
def test_mistakes_in_a_table_are_named_with_their_line(table, text, message):
    with pytest.raises(KwsbenchError) as error:
        read_table(table(text))
    assert f"trials.csv{message}" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_text(tmp_path):
    path = tmp_path / "trials.csv"
    path.write_bytes(b"query,reference,label,prediction\nm\xff,u,1,1\n")
    with pytest.raises(KwsbenchError, match=r"trials\.csv: not a readable CSV or TSV file in UTF-8"):
        read_table(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.floats(allow_nan=False, max_value=1e300)), max_size=8)
)
def test_scores_come_back_to_the_last_bit(table, trials):
    lines = [
        f"{query},u{i},{int(label)},{score!r}" for i, (query, label, score) in enumerate([("a", True, 0.1), *trials])
    ]
    rows, _ = read_table(table("\n".join([HEADER, *lines])))
    assert rows["prediction"].tolist() == [0.1, *(score for *_, score in trials)]
    assert rows["label"].tolist() == [1, *(int(label) for _, label, _ in trials)]


def test_trials_number_queries_in_the_order_they_come(table):
    text = f"{HEADER},keyword,decision\nb2,u1,1,1,b,YES\na1,u1,0,2,a,NO\nb2,u2,0,3,b,NO\nb1,u1,1,4,b,YES\n"
    trials = flat(read_table(table(text)).rows)
    assert trials.names == ("b2", "a1", "b1")
    assert trials.clusters == ("b", "a", "b")
    assert trials.queries.tolist() == [0, 1, 0, 2]
    assert trials.labels.tolist() == [1, 0, 0, 1]
    assert trials.accepted.tolist() == [True, False, False, True]
    assert trials.listed.all()
    assert trials.seconds is None


def test_without_keywords_queries_are_the_clusters(table):
    trials = flat(read_table(table(f"{HEADER}\nb,u1,1,-inf\na,u1,0,2\n")).rows)
    assert trials.clusters == trials.names == ("b", "a")
    assert trials.accepted is None
    assert trials.listed.all()  # a pair that was tried and has no alignment


def test_a_run_and_its_qrels(trec):
    run = "q1 Q0 d1 1 0.9 mine\nq1 Q0 d2 2 0.5 mine\nq1 Q0 d3 3 0.4 mine\nq1 Q0 d4 4 0.3 mine\nq9 Q0 d1 1 0.1 mine\n"
    qrels = "q1 0 d1 0\nq1 0 d2 2\nq1 0 d4 -1\nq1 0 d5 1\nq2 0 d1 1\nq2 0 d2 0\n\n"
    rows, notes = trec(run, qrels)
    assert set(rows.itertuples(index=False, name=None)) == {
        ("q1", "d1", 0, 0.9),
        ("q1", "d2", 1, 0.5),
        ("q1", "d3", 0, 0.4),  # nobody judged it
        ("q1", "d5", 1, -math.inf),
        ("q2", "d1", 1, -math.inf),
        ("q2", "d2", 0, -math.inf),
    }
    assert set(notes) == {
        "documents of the run that nobody judged, taken as negatives: 1",
        "documents of the run judged below 0, left out: 1",
        "queries of the run without judgements, left out: 1",
        "queries of the qrels that are not in the run, all of their documents score -inf: 1",
        "judged documents that the run does not hold, they score -inf: 3",
    }


@pytest.mark.parametrize(
    ("run", "qrels", "message"),
    [
        ("q Q0 d 1 0.5\n", "q 0 d 1\n", "run:1: 5 fields, expected 6: query Q0 document rank score tag"),
        ("q Q0 d 1 0.5 t\n", "q 0 d\n", "qrels:1: 3 fields, expected 4: query 0 document relevance"),
        ("q Q0 d 1 0.5 t\n", "\nq 0 d yes\n", "qrels:2: relevance 'yes', expected a whole number"),
        ("q Q0 d 1 x t\n", "q 0 d 1\n", "run:1: score 'x', expected a number"),
        ("q Q0 d 1 1 t\nq Q0 d 2 2 t\n", "q 0 d 1\n", "run:2: query 'q' and document 'd' are given twice"),
        ("q Q0 d 1 1 t\n", "q 0 d 1\nq 0 d 0\n", "qrels:2: query 'q' and document 'd' are given twice"),
        ("", "q 0 d 1\n", "run: no lines; give lines of: query Q0 document rank score tag"),
        ("q Q0 d 1 1 t\n", "\n", "qrels: no judgements; give lines of: query 0 document relevance"),
        ("q Q0 d 1 1 t\n", "q 0 d -1\n", "qrels: no judged document, so there is no trial"),
    ],
)
def test_mistakes_in_a_run_are_named_with_their_line(trec, run, qrels, message):
    with pytest.raises(KwsbenchError) as error:
        trec(run, qrels)
    assert message in str(error.value)


def test_a_run_agrees_with_ir_measures(trec):
    """Runs without ties that hold every judged document: the one case in which trec_eval has no rule of its own."""
    ir_measures = pytest.importorskip("ir_measures")
    from kwsbench.trialscore import Settings, score

    rng = np.random.default_rng(3)
    run, qrels = "", ""
    for query in range(7):
        size = int(rng.integers(12, 130))
        labels = rng.integers(0, 3, size) == 0
        labels[0] = True
        for rank, (document, label) in enumerate(zip(rng.permutation(size), labels, strict=True)):
            run += f"q{query} Q0 d{document} {rank + 1} {float(size - rank)} t\n"
            qrels += f"q{query} 0 d{document} {int(label)}\n"
    rows, notes = trec(run, qrels)
    assert notes == ()
    names = ("map", "p@1", "p@10", "p@n", "r@10", "r@100")
    report = score(flat(rows), Settings(names), rng=rng)
    measures = [ir_measures.parse_measure(name) for name in ("AP", "P@1", "P@10", "Rprec", "R@10", "R@100")]
    theirs = ir_measures.calc_aggregate(
        measures,
        list(ir_measures.read_trec_qrels(qrels)),
        list(ir_measures.read_trec_run(run)),
    )
    assert [figure.name for figure in report.figures] == list(names)
    for figure, measure in zip(report.figures, measures, strict=True):
        assert figure.value == pytest.approx(theirs[measure], abs=1e-12)
