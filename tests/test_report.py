"""The ablation as people read it: words no stronger than intervals, tables that fit, files that are checked."""

from __future__ import annotations

import io
import math
import xml.etree.ElementTree as ET

import pandas as pd
import pytest

from kwsbench import ablation, figures, report, results, verdicts
from kwsbench.errors import KwsbenchError
from kwsbench.paired import Effect
from kwsbench.stats import Interval
from tests.conftest import call
from tests.test_ablation import noisy, only, planted, record

SVG_BYTES = 150_000


@pytest.fixture(scope="module")
def found():
    return ablation.ablations(planted())


@pytest.fixture
def board(tmp_path):
    for each in planted():
        results.save(each, tmp_path / "results")
    (tmp_path / "board.toml").write_text('title = "Planted"\n')
    return tmp_path


def effect(low, high, p=0.01, two_way=None):
    return Effect(0.5, 0.5 + (low + high) / 2, (low + high) / 2, low, high, p, p, two_way)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (effect(0.01, 0.09), "raises"),
        (effect(-0.09, -0.01), "lowers"),
        (effect(0.01, 0.09, p=0.05), "undecided"),
        (effect(0.001, 0.02, p=0.3), "undecided"),  # the interval has no 0: it is no proof of no difference
        (effect(-0.0101, 0.0034, p=0.3), "no difference larger than .011"),  # rounded up, never down
        (effect(-0.05, 0.01, p=0.3), "no difference larger than .050"),
        (effect(-0.051, 0.01, p=0.3), "undecided"),
        (effect(0.0, 0.0, p=1.0), "no difference larger than .000"),
        (effect(0.01, 0.09, two_way=Interval(-0.01, 0.1)), "undecided"),
        (effect(0.01, 0.09, two_way=Interval(0.005, 0.1)), "raises"),
        (effect(-0.02, 0.01, p=0.3, two_way=Interval(-0.2, 0.1)), "undecided"),
        (effect(math.nan, math.nan, p=math.nan), "undecided"),
        (effect(0.01, 0.09, two_way=Interval(math.nan, math.nan)), "raises"),
    ],
)
def test_words_say_no_more_than_the_interval(given, word):
    assert verdicts.verdict(given) == word


def test_the_answer_tells_what_was_planted_and_what_the_control_did(found):
    text = verdicts.answer(found[0])
    assert text.startswith("**xx, d** (2 speakers, 30 keywords), choosing correction and layer by MAP of the other")
    assert "deep raises MAP by +.1" in text
    assert "of 3 corrections 1 raise it and 1 lower it" in text
    controls = text.partition("Controls: ")[2]
    assert controls.startswith("flat ")
    assert "raises" not in controls
    assert "lowers" not in controls


def test_findings_name_each_correction_once_and_claim_only_what_was_planted(found):
    deep, flat = verdicts.findings(found[0])
    assert deep.startswith("**deep** (uncorrected MAP .")
    assert flat.startswith("**flat**, a control (uncorrected MAP .")
    parts = dict(part.split("*: ", 1) for part in deep.partition("): ")[2].lstrip("*").split("; *"))
    assert parts["raises"].startswith("`center` +.")
    assert parts["lowers"].startswith("`whiten` -.")
    assert "`abtt`" in parts.get("no difference", "") + parts.get("undecided", "")
    assert "raises" not in flat
    assert "lowers" not in flat


def test_caveats_count_speakers_and_what_was_left_out(found):
    assert "Queries of fewer than 6 speakers give no interval over speakers" in verdicts.caveats(found[0])
    unknown = only([record(speakers=False), record("center", noisy(0, 1), speakers=False),
                    record("center", layer="9"), record(error="no weights", layer="8")])  # fmt: skip
    text = verdicts.caveats(unknown)
    assert "all of this is said of these voices" in text
    assert "1 corrected cells have no uncorrected cell beside them" in text
    assert "Failed and left out: 1 cells, first d deep@8 none cosine sdtw: no weights." in text


def test_a_table_an_encoder_the_best_correction_first(found):
    tables = report.answer_tables(found[0])
    assert [heading.partition(", ")[0] for heading in tables] == ["deep", "flat (control)"]
    deep = next(iter(tables.values()))
    assert deep["correction"].tolist() == ["center", "abtt", "whiten"]
    assert deep["layer"].tolist() == ["1", "1", "1"]
    assert deep["mean cosine"][0] == ".850 → .650"
    assert deep["p"].tolist()[0] == "<.001"


@pytest.mark.parametrize(("width", "left_out"), [(1000, []), (120, []), (80, ["P@N", "MAP"])])
def test_the_answer_fits_the_terminal(found, width, left_out):
    text, dropped = report.plain(found, width)
    assert max(map(len, text.splitlines())) <= width
    assert dropped[: len(left_out)] == left_out
    assert "change" in text


def test_figures_that_round_to_nothing_have_no_sign():
    assert [verdicts.plus(value) for value in (0.0651, -0.01, 0.0, -0.0001, math.nan)] == ["+.065", "-.010", ".000",
                                                                                        ".000", ""]  # fmt: skip
    assert [verdicts.p_value(p) for p in (0.0004, 0.0123, 1.0, math.nan)] == ["<.001", ".012", "1.000", ""]
    assert verdicts.signed(effect(math.nan, math.nan)._replace(change=0.25)) == "+.250"


def test_csv_has_every_cell_and_every_table(found):
    table = pd.read_csv(io.StringIO(report.csv(found)))
    cells = table[(table["table"] == "same layer") & (table["metric"] == "map")]
    assert len(cells) == len(found[0].cells) == 8
    line = cells[(cells["layer"] == 1) & (cells["transform"] == "center")].iloc[0]
    (change,) = [c for c in found[0].cells if (c.side.layer, c.side.transform) == ("1", "center")]
    assert line["change"] == pytest.approx(change.effects["map"].change, rel=1e-5)
    assert line["mean_cosine_before"] == 0.85
    assert line["mean_cosine_after"] == 0.65
    assert set(table["table"]) == {"same layer", "layer chosen", "layer and correction chosen", "ladder"}


def test_figures_are_svg_of_text_and_the_same_each_time(found):
    drawn = figures.draw(found)
    assert list(drawn) == list(figures.names(found))
    kinds = ("changes-d", "geometry-d", "layers-d-deep", "isotropy-d")
    assert list(drawn) == [f"ablation-{kind}.svg" for kind in kinds]
    assert figures.draw(found) == drawn
    for content in drawn.values():
        assert len(content) < SVG_BYTES
        texts = [text.text for text in ET.fromstring(content).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314
        assert any("flat" in str(text) for text in texts)  # the control is named
    assert b"center" in drawn["ablation-changes-d.svg"]
    assert b"+.1" in drawn["ablation-changes-d.svg"]


def test_one_layer_without_isotropy_and_with_one_keyword_can_be_drawn():
    bare = [record(), record("center")]
    import msgspec

    bare = [msgspec.structs.replace(each, isotropy={}) for each in bare]
    drawn = figures.draw(ablation.ablations(bare))
    assert list(drawn) == ["ablation-changes-d.svg", "ablation-layers-d-deep.svg"]


def test_a_cell_that_stays_the_same_claims_nothing():
    found = ablation.ablations([record(), record("center")])
    assert "*no difference*: `center` at most .000" in verdicts.findings(found[0])[0]
    assert "no difference larger than .000" in verdicts.answer(found[0])


def test_write_then_check_then_a_change(board):
    code, _, err = call("ablation", board, "--write")
    assert code == 0
    assert err.startswith("wrote ablation.md, ablation.csv, ablation-changes-d.svg")
    text = (board / "ablation.md").read_text()
    assert "# Planted: what correcting anisotropy does" in text
    assert "![d: change of MAP by correction (rows) and layer (columns)](ablation-changes-d.svg)" in text
    assert "Not measured on this board." in text  # no matcher that scales rows
    assert call("ablation", board, "--check")[0] == 0

    again = f"run kwsbench ablation {board} --write\n"
    (board / "ablation-isotropy-d.svg").unlink()
    assert call("ablation", board, "--check")[2] == f"error: {board / 'ablation-isotropy-d.svg'}: is missing; {again}"
    (board / "ablation.csv").write_text("")
    message = f"error: {board / 'ablation.csv'}: differs from the records; {again}"
    assert call("ablation", board, "--check")[2] == message
    results.save(record("center", noisy(0.3, 9), layer="5"), board / "results")
    results.save(record(layer="5"), board / "results")
    message = f"error: {board / 'ablation.md'}: differs from the records; {again}"
    assert call("ablation", board, "--check")[2] == message


def test_figures_of_before_go(board):
    (board / "ablation-changes-gone.svg").touch()
    (board / "mine.svg").touch()
    report.write(board, report.read(board), {}, {})
    assert not (board / "ablation-changes-gone.svg").exists()
    assert (board / "mine.svg").exists()


def test_the_command_in_every_format(board):
    code, out, _ = call("ablation", board, "--metric", "p@n")
    assert code == 0
    assert "choosing correction and layer by MAP" in out
    assert "deep raises P@N by +.1" in out
    assert call("ablation", board, "--format", "csv")[1].startswith("dataset,condition,table,metric,encoder")
    assert call("ablation", board, "--format", "github")[1].startswith(
        "<!-- made by kwsbench ablation, do not edit -->"
    )


def test_a_board_without_anything_to_compare_says_what_to_run(tmp_path):
    with pytest.raises(KwsbenchError) as error:
        report.read(tmp_path)
    assert (
        str(error.value) == f"{tmp_path}: no records in {tmp_path / 'results'}; run kwsbench run … --board {tmp_path}"
    )
    results.save(record("center"), tmp_path / "results")
    with pytest.raises(KwsbenchError) as error:
        report.read(tmp_path)
    expected = f"{tmp_path}: nothing to compare; run kwsbench run --transform none --transform … --board {tmp_path}"
    assert str(error.value) == expected
