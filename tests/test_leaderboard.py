"""Tables: what they show, what a narrow terminal leaves out, and that figures are written as they are."""

import msgspec
import pytest

from kwsbench import leaderboard, ranking
from kwsbench.results import Estimate
from tests.test_ranking import KEYWORDS, record


def rows(*records, metric="map"):
    return ranking.rows(records, ranking.by_configuration, metric=metric)


def within(full, keywords, value):
    """The same record with a condition of the same speaker, on some keywords."""
    found = full.conditions["across/isolated"]
    table = msgspec.structs.replace(
        found.groups,
        keyword=list(keywords),
        speaker=["s"] * len(keywords),
        queries=[1] * len(keywords),
        metrics={name: [value] * len(keywords) for name in ranking.MEANS},
    )
    other = msgspec.structs.replace(found, groups=table)
    return msgspec.structs.replace(full, conditions={**full.conditions, "within/isolated": other})


def test_the_gap_is_taken_over_keywords_of_both_conditions():
    full = record(aps=[0.1] * 6 + [0.9] * 6)
    (row,) = rows(within(full, KEYWORDS[:6], 0.4))
    assert leaderboard.table([row])["gap"].tolist() == ["+.300"]
    (row,) = rows(within(full, KEYWORDS[:4], 0.4))
    assert "gap" not in leaderboard.table([row])


def test_a_narrow_terminal_loses_columns_and_is_told_which():
    table = leaderboard.table(rows(record("one", aps=[0.2] * 12), record("two", aps=[0.7] * 12)))
    whole, left_out = leaderboard.fit(table, 1000)
    assert left_out == []
    assert list(whole) == list(table)
    narrow, left_out = leaderboard.fit(table, 70)
    assert {"EER", "AUC"} <= set(left_out)
    assert {"rank", "encoder", "MAP isolated"} <= set(narrow)
    assert max(map(len, leaderboard.render(narrow, "plain").splitlines())) <= 70


def test_rows_are_in_the_order_of_the_metric_that_is_asked_for():
    def with_auc(name, ap, auc):
        full = record(name, aps=[ap] * 12)
        found = full.conditions["across/isolated"]
        table = msgspec.structs.replace(found.groups, metrics={**found.groups.metrics, "auc": [auc] * 12})
        metrics = {**found.metrics, "auc": Estimate(value=auc, low=auc, high=auc, chance=0.5)}
        changed = msgspec.structs.replace(found, metrics=metrics, groups=table)
        return msgspec.structs.replace(full, conditions={"across/isolated": changed})

    records = (with_auc("a", 0.6, 0.7), with_auc("b", 0.5, 0.8))
    for metric, order in (("map", ["a", "b"]), ("auc", ["b", "a"])):
        table = leaderboard.table(rows(*records, metric=metric), metric=metric)
        assert table["encoder"].tolist() == order
        assert table["rank"].tolist() == ["1", "2"]


def test_a_table_of_one_configuration_of_many_layers_names_the_oracle():
    (row,) = rows(*(record(layer=str(i), aps=[0.1 * i] * 12) for i in range(1, 4)))
    table = leaderboard.table([row])
    assert table["layer"].tolist() == ["3"]
    assert table["oracle"].tolist() == ["3: .300"]
    (row,) = rows(record(layer="0"))
    assert "oracle" not in leaderboard.table([row])


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.3, 0.5, ".400 [.300, .500]"), (None, None, ".400"), (-0.25, 1.0, ".400 [-.250, 1.000]")],
)
def test_figures_as_they_are_written(low, high, text):
    assert leaderboard.interval(Estimate(value=0.4, low=low, high=high, chance=0.1)) == text


def test_baselines_stand_in_every_table_chosen_by_nobody(tmp_path):
    from kwsbench import results

    (tmp_path / "board.toml").write_text(
        '[[baseline]]\nencoder = "mfcc"\ntransform = "none"\ndistance = "cosine"\nmatcher = "sdtw"\n'
    )
    for made in (record("mfcc", aps=[0.2] * 12), record("mfcc", transform="center", aps=[0.6] * 12), record("other")):
        results.save(made, tmp_path / "results")
    table = leaderboard.table(leaderboard.read_rows(tmp_path, "encoders"))
    assert len(table) == len(table.drop_duplicates())
    assert [tuple(line) for line in table[["encoder", "transform"]].to_numpy()] == [
        ("mfcc", "center"),
        ("other", "none"),
        ("mfcc", "none"),
    ]


def test_a_baseline_that_was_chosen_anyway_is_shown_once(tmp_path):
    from kwsbench import results

    (tmp_path / "board.toml").write_text(
        '[[baseline]]\nencoder = "mfcc"\ntransform = "none"\ndistance = "cosine"\nmatcher = "sdtw"\n'
    )
    results.save(record("mfcc"), tmp_path / "results")
    assert len(leaderboard.read_rows(tmp_path, "encoders")) == 1
