import json

import pytest

from kwsbench import results
from kwsbench.results import ConditionResult, Groups

SCHEMA_1 = {
    "schema": 1,
    "scoring": 1,
    "fingerprint": "f" * 64,
    "combination": {"dataset": "d", "encoder": "e", "layer": "0", "transform": "none", "distance": "cosine",
                    "matcher": "sdtw"},
    "identity": {},
    "conditions": {
        "across/isolated": {
            "queries": 3, "queries_without_positives": 0, "trials": 9, "positives": 3,
            "metrics": {"map": {"value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.3}},
            "per_keyword": {"keyword": ["ko", "ma"], "queries": [1, 2], "metrics": {"map": [1.0, 0.25]}},
        }
    },
    "isotropy": {when: {"mean_cosine": 0.9, "isoscore": 0.1, "frames": 7, "dims": 3} for when in ("before", "after")},
}  # fmt: skip


def test_a_record_of_schema_1_is_upgraded_on_reading(tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps(SCHEMA_1))
    record = results.load(path)
    assert record.schema == results.SCHEMA
    assert record.scoring == 1  # a table must not mix it with newer ones
    found = record.conditions["across/isolated"]
    assert found.groups.speaker == ["", ""]
    assert found.per_keyword.metrics["map"] == [1.0, 0.25]
    assert found.metrics["map"].two_way is None
    assert record.isotropy["after"].figure("isoscore") == 0.1
    assert record.isotropy["after"].figure("partition") is None
    assert results.load(results.save(record, tmp_path)) == record


def test_groups_of_a_keyword_become_one_by_the_weight_of_their_queries():
    groups = Groups(
        keyword=["ko", "ko", "ma"], speaker=["ana", "ben", "ana"], queries=[1, 3, 2],
        metrics={"map": [0.0, 1.0, 0.5], "auc": [None, 0.5, None]},
    )  # fmt: skip
    table = ConditionResult(
        queries=6, queries_without_positives=0, trials=9, positives=3, metrics={}, groups=groups
    ).per_keyword
    assert table.keyword == ["ko", "ma"]
    assert table.queries == [4, 2]
    assert table.metrics == {"map": [pytest.approx(0.75), 0.5], "auc": [0.5, None]}
