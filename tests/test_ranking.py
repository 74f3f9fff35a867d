import msgspec
import numpy as np
import pytest

from kwsbench import ranking, ranks, stats
from kwsbench.errors import KwsbenchError
from kwsbench.results import Combination, ConditionResult, Data, Estimate, Groups, Result

KEYWORDS = [f"word{i}" for i in range(12)]
HALF = ranks.halves(KEYWORDS)


def record(
    encoder="e", layer="0", aps=None, *, transform="none", dataset="d", digest="x", scoring=1, error=None, tag=""
):
    queries = [1 + i % 3 for i in range(len(KEYWORDS))]
    aps = [0.5] * len(KEYWORDS) if aps is None else list(map(float, aps))
    table = Groups(
        keyword=KEYWORDS, speaker=["s"] * len(KEYWORDS), queries=queries, metrics=dict.fromkeys(ranking.MEANS, aps)
    )
    mean = float(np.average(aps, weights=queries))
    metrics = {name: Estimate(value=mean, low=mean - 0.1, high=mean + 0.1, chance=0.1) for name in ranking.MEANS}
    metrics["eer"] = Estimate(value=0.3, low=0.2, high=0.4, chance=0.5)
    found = ConditionResult(
        queries=sum(queries), queries_without_positives=0, trials=100, positives=10, metrics=metrics, groups=table
    )
    data = Data(digest=digest, language="", heard=False, clips=1, speakers=2, keywords=12, queries=24, utterances=9,
                audio_s=1.0, left_out={}, audio={}, too_short=0, query_material={}, notes={})  # fmt: skip
    cell = Combination(
        dataset=dataset, encoder=encoder, layer=layer, transform=transform, distance="cosine", matcher="sdtw"
    )
    return Result(
        fingerprint=f"{cell}{tag}", scoring=scoring, combination=cell, identity={}, data=None if error else data,
        conditions={} if error else {"across/isolated": found}, error=error,
    )  # fmt: skip


def test_each_half_is_scored_by_what_was_chosen_on_the_other():
    """Layer 1 is good on one half only, layer 2 on the other only: chosen apart, each fails where it is scored."""
    one = record(layer="1", aps=np.where(HALF, 1.0, 0.0))
    two = record(layer="2", aps=np.where(HALF, 0.0, 1.0))
    (row,) = ranking.rows([one, two], ranking.by_configuration)
    assert row.value() == 0.0
    assert row.chosen("layer") == "2 / 1"
    assert row.oracle.layer in "12"


def test_one_layer_that_wins_both_halves_keeps_its_own_figures():
    good, bad = record(layer="1", aps=[0.8] * 12), record(layer="2", aps=[0.1] * 12)
    (row,) = ranking.rows([good, bad], ranking.by_configuration)
    assert row.metrics == {"across/isolated": good.conditions["across/isolated"].metrics}
    assert row.chosen("layer") == "1"


def test_shuffled_labels_gain_nothing_from_many_layers():
    """The point of the nested choice: among 200 layers of pure noise the best looks good, the nested one does not."""
    rng = np.random.default_rng(1)
    noise = [record(layer=str(i), aps=rng.random(12)) for i in range(200)]
    (row,) = ranking.rows(noise, ranking.by_configuration)
    oracle = max(r.metric("map").value for r in noise)
    assert oracle > 0.65
    # A half's mean is over about 12 queries of variance 1/12: the nested mean strays by about 0.08.
    assert abs(row.value() - 0.5) < 0.25
    assert row.value() < oracle - 0.1


def test_the_interval_of_a_mixed_row_is_that_of_its_own_figures():
    rng = np.random.default_rng(2)
    a, b = rng.random(12), rng.random(12)
    one = record(layer="1", aps=np.where(HALF, a + 1, a))
    two = record(layer="2", aps=np.where(HALF, b, b + 1))
    (row,) = ranking.rows([one, two], ranking.by_configuration)
    mixed = np.where(HALF, b, a)  # each half by the layer that was chosen on the other
    queries = np.array(one.conditions["across/isolated"].groups.queries)
    assert row.value() == pytest.approx(np.average(mixed, weights=queries), abs=1e-6)
    codes = np.repeat(np.unique(KEYWORDS, return_inverse=True)[1], queries)
    expected = stats.cluster_bootstrap(np.repeat(mixed, queries), codes, rng=np.random.default_rng(0))
    found = row.estimate()
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-5)
    assert row.estimate("eer") is None


def test_a_keyword_is_in_the_same_half_under_every_condition():
    """Layers of pure noise that favour one half when isolated: inside, without one keyword, gains nothing."""
    rng = np.random.default_rng(5)
    made = []
    for layer in range(40):
        aps = rng.random(12)
        full = record(layer=str(layer), aps=aps)
        found = full.conditions["across/isolated"]
        table = found.groups
        # Inside, each keyword does as isolated: whoever is scored on the half it was chosen on gains there, too.
        inside = msgspec.structs.replace(
            found,
            groups=Groups(
                keyword=table.keyword[1:],
                speaker=table.speaker[1:],
                queries=table.queries[1:],
                metrics={name: column[1:] for name, column in table.metrics.items()},
            ),
        )
        made.append(msgspec.structs.replace(full, conditions={**full.conditions, "across/inside": inside}))
    (row,) = ranking.rows(made, ranking.by_configuration)
    isolated, inside = (row.per_keyword[f"across/{kind}"] for kind in ("isolated", "inside"))
    assert isolated.metrics["map"][1:] == inside.metrics["map"]


def test_failed_cells_are_rows_at_the_end():
    rows = ranking.rows([record("bad", error="no weights"), record("good")], ranking.by_encoder)
    assert [row.chosen("encoder") for row in rows] == ["good", "bad"]
    assert rows[1].error == "1 of 1 cells failed: no weights"
    (row,) = ranking.rows([record(layer="1"), record(layer="2", error="oh")], ranking.by_encoder)
    assert row.error == "1 of 2 cells failed: oh"
    assert row.value() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"digest": "y"}, "d: the board mixes data digests x, y; delete the older records, run again"),
        ({"scoring": 2}, "d: the board mixes scoring versions 1, 2; delete the older records, run again"),
        ({"tag": "!"}, "two records that differ"),
    ],
)
def test_what_cannot_be_compared_is_never_in_one_table(other, message):
    layer = "0" if "tag" in other else "1"
    with pytest.raises(KwsbenchError, match=message):
        ranking.rows([record(layer="0"), record(layer=layer, **other)], ranking.by_encoder)


def test_rank_spans_tell_systems_that_differ_from_those_that_do_not():
    rng = np.random.default_rng(3)
    hard = rng.random(12) * 0.3
    rows = ranking.rows(
        [record("best", aps=hard + 0.6), record("middle", aps=hard + 0.3), record("same", aps=hard[::-1] + 0.3)],
        ranking.by_encoder,
    )
    spans = ranking.rank_spans(rows)
    assert spans[0] == "1"
    assert spans[1] == spans[2] == "2–3"
