"""Hits as tables for programs and spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from kwsbench.search import export
from tests.hits import make_found


def rows(found):
    return list(csv.DictReader(io.StringIO(export.as_csv(found), newline="")))


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", "'=", "''+"])
def test_no_text_of_a_table_is_a_formula(tmp_path, begin):
    """With or without apostrophes before it; JSON is for programs and has the text as it is."""
    text = f'{begin}HYPERLINK("http://x",1)'
    found = replace(make_found(tmp_path, hits=2, text=text, only_names=True), query=text)
    for row in rows(found):
        assert [row[name] for name in ("recording", "text", "speaker", "query")] == [f"'{text}"] * 4
    assert {hit["text"] for hit in json.loads(export.as_json(found))["hits"]} == {text}


def test_other_texts_and_all_figures_stay_as_they_are(tmp_path):
    """A score below 0 begins with a minus, too, and is a number."""
    found = make_found(tmp_path, hits=1, text="a, 'b' = \"ŋ\"", only_names=True)
    (hit,) = found.hits
    found = replace(found, hits=(hit._replace(score=-1.5, confidence=None),))
    (row,) = rows(found)
    assert row["text"] == row["recording"] == "a, 'b' = \"ŋ\""
    assert row["score"] == "-1.5"
    assert row["confidence"] == ""
    assert (row["rank"], float(row["start_s"])) == ("1", pytest.approx(hit.start_s, abs=5e-4))
