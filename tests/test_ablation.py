"""Records → changes: a planted effect is found, no effect is not claimed, each figure is what its definition says."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from kwsbench import ablation, paired, ranks, stats
from kwsbench.errors import KwsbenchError
from kwsbench.results import Combination, ConditionResult, Data, Estimate, Groups, Isotropy, Result
from kwsbench.significance import permutation_p
from tests import reference_ablation as reference

KEYWORDS = [f"word{at:02}" for at in range(30)]
SPEAKERS = ["Ana", "Ben"]
GROUPS = [(keyword, speaker) for keyword in KEYWORDS for speaker in SPEAKERS]
QUERIES = [1 + at % 3 for at in range(len(GROUPS))]
DIFFICULTY = np.random.default_rng(0).uniform(0.2, 0.7, len(GROUPS))
METRICS = ("map", "p@1", "p@10", "p@n", "auc")


def record(transform="none", aps=None, *, encoder="deep", layer="0", distance="cosine", matcher="sdtw", cosine=0.5,
           dataset="d", digest="x", weights="pretrained", speakers=True, error=None):  # fmt: skip
    """A record whose groups have these APs; every other metric is equal to them."""
    aps = DIFFICULTY if aps is None else np.asarray(aps, float)
    column = [None if np.isnan(ap) else float(ap) for ap in aps]
    defined = ~np.isnan(aps)
    mean = float(np.average(aps[defined], weights=np.array(QUERIES)[defined])) if defined.any() else None
    estimate = Estimate(value=mean, low=mean and mean - 0.1, high=mean and mean + 0.1, chance=0.05)
    found = ConditionResult(
        queries=sum(QUERIES), queries_without_positives=0, trials=100, positives=10,
        metrics=dict.fromkeys(METRICS, estimate), hubness=1.0 - cosine,
        groups=Groups(keyword=[k for k, _ in GROUPS], speaker=[s if speakers else "" for _, s in GROUPS],
                      queries=QUERIES, metrics=dict.fromkeys(METRICS, column)),
    )  # fmt: skip
    data = Data(digest=digest, language="xx", heard=False, clips=1, speakers=2, keywords=30, queries=sum(QUERIES),
                utterances=9, audio_s=1.0, left_out={}, audio={}, too_short=0, query_material={}, notes={})  # fmt: skip
    shape = Isotropy(frames=10, dims=4, figures={"mean_cosine": cosine, "isoscore": 1.0 - cosine})
    cell = Combination(
        dataset=dataset, encoder=encoder, layer=layer, transform=transform, distance=distance, matcher=matcher
    )
    return Result(
        fingerprint=hashlib.sha256(str(cell).encode()).hexdigest(), combination=cell,
        data=None if error else data, error=error,
        identity={"encoder": {"provenance": {"weights": weights} if weights else {}}},
        conditions={} if error else {"across/isolated": found},
        isotropy={} if error else {"before": shape, "after": shape},
    )  # fmt: skip


def noisy(shift, seed, spread=0.05):
    """The keywords' difficulty, moved by so much, with a little noise for each group."""
    return DIFFICULTY + shift + np.random.default_rng(seed).normal(0, spread, len(GROUPS))


def planted():
    """Two layers and a control; ``center`` helps the deep encoder by .1, ``whiten`` harms it, ``abtt`` does neither."""
    made = []
    for layer, at in (("0", 0.0), ("1", 0.05)):
        for seed, (transform, shift) in enumerate([("none", 0.0), ("center", 0.1), ("whiten", -0.1), ("abtt", 0.0)]):
            cosine = 0.9 - 2 * shift - at
            aps = noisy(at + shift, seed + 10 * len(made))
            made.append(record(transform, aps, layer=layer, cosine=cosine))
    for seed, transform in enumerate(["none", "center", "whiten"]):
        made.append(record(transform, noisy(-0.1, 100 + seed), encoder="flat", weights=None))
    return made


def only(records, **options):
    (found,) = ablation.ablations(records, **options)
    return found


def by_transform(changes, encoder="deep", **axes):
    return {
        change.side.transform: change
        for change in changes
        if change.side.encoder == encoder and all(getattr(change.side, axis) == value for axis, value in axes.items())
    }


def test_a_planted_effect_is_found_and_no_effect_is_not_claimed():
    found = only(planted())
    answers = by_transform(found.answers)
    up, down, same = (answers[name].effects["map"] for name in ("center", "whiten", "abtt"))
    assert up.p_holm < 0.01
    assert up.low < 0.1 < up.high
    assert up.low > 0
    assert down.p_holm < 0.01
    assert down.low < -0.1 < down.high
    assert same.p_holm > 0.05
    assert same.low < 0 < same.high
    assert answers["center"].side.layer == answers["center"].base.layer == "1"
    chosen = by_transform(found.chosen)["center"]
    assert chosen.effects["map"].change == up.change
    for effect in (change.effects["map"] for change in by_transform(found.answers, "flat").values()):
        assert effect.p_holm > 0.05


def test_a_cell_is_compared_with_no_correction_at_its_own_layer_on_the_same_queries():
    records = planted()
    records[1] = record("center", np.where(np.arange(60) % 7, noisy(0.1, 3), np.nan))
    found = only(records)
    for change in found.cells:
        side, base = change.side, change.base
        assert (base.encoder, base.layer, base.distance, base.matcher) == (
            *(side.encoder, side.layer, side.distance, side.matcher),
        )
        assert base.transform == "none"
        columns = [
            {group: None if np.isnan(ap) else ap for group, ap in zip(sorted(GROUPS), each.columns["map"], strict=True)}
            for each in (base, side)
        ]
        expected = reference.paired_change(*columns, dict(zip(GROUPS, QUERIES, strict=True)))
        assert change.effects["map"].change == pytest.approx(expected, abs=1e-8)
    assert len(found.cells) == 8


def test_intervals_are_those_of_the_paired_difference(monkeypatch):
    monkeypatch.setattr(paired, "LEAST_SPEAKERS", 2)
    one, two = record(), record("center", noisy(0.02, 1))
    effect = only([one, two]).cells[0].effects["map"]
    answer = only([one, two]).answers[0].effects["map"]
    keywords, speakers = ([group[which] for group in GROUPS] for which in (0, 1))
    a, b = (np.array(r.conditions["across/isolated"].groups.metrics["map"]) for r in (two, one))
    rng = np.random.default_rng(8)  # another seed: equal up to the spread of 2,000 resamples
    for interval, options in ((effect[3:5], {}), (answer.two_way, {"speakers": speakers})):
        expected = stats.paired_difference(a, b, keywords, rng=rng, weights=QUERIES, **options)
        assert interval == pytest.approx(tuple(expected.interval), abs=0.002)
        assert effect.change == pytest.approx(expected.difference, abs=1e-8)
    assert effect.two_way is None
    assert effect.p == pytest.approx(permutation_p(a - b, keywords, weights=QUERIES, rng=rng), abs=0.02)


def test_few_speakers_have_no_interval_over_them():
    found = only([record(), record("center", noisy(0.1, 1))])
    assert found.answers[0].effects["map"].two_way is None


def test_without_names_of_speakers_there_is_no_interval_over_them(monkeypatch):
    monkeypatch.setattr(paired, "LEAST_SPEAKERS", 1)
    found = only([record(speakers=False), record("center", noisy(0.1, 1), speakers=False)])
    assert found.answers[0].effects["map"].two_way is None


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(-3, 3), min_size=6, max_size=6), min_size=1, max_size=4))
def test_p_is_the_share_of_signs(rows):
    """Small whole numbers make many ties. 9,999 draws stray from the exact share by .005, so by .025 never."""
    found = paired.permutation_ps(np.array(rows, float), permutations=9_999)
    assert found == pytest.approx([reference.exact_p(row) for row in rows], abs=0.025)


def test_p_is_corrected_over_the_whole_table():
    found = only(planted())
    raw, corrected = zip(*((c.effects["map"].p, c.effects["map"].p_holm) for c in found.cells), strict=True)
    assert corrected == pytest.approx(reference.holm(raw), abs=1e-8)
    assert max(corrected) > max(raw) or max(raw) == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=9))
def test_spearman_is_scipys(pairs):
    x, y = np.array(pairs, float).T
    (found,) = paired.spearman(x, y[np.newaxis])
    if len(set(x)) > 1 and len(set(y)) > 1:
        assert found == pytest.approx(spearmanr(x, y).statistic)
    else:
        assert np.isnan(found)


def test_isotropy_is_correlated_with_the_score_within_and_across_encoders():
    found = only(planted())
    rho = {(each.group, each.diagnostic): each for each in found.correlations}
    mine = [side for side in found.sides if side.encoder == "deep"]
    expected = spearmanr([s.figure("mean_cosine") for s in mine], [s.estimate.value for s in mine]).statistic
    within = rho["deep", "mean_cosine"]
    assert within.cells == 8
    assert within.rho == pytest.approx(expected, abs=1e-8)
    assert within.low <= within.rho <= within.high < 0
    assert rho["deep", "isoscore"].rho == pytest.approx(-expected, abs=1e-8)
    assert rho["deep", "hubness"].rho == pytest.approx(-expected, abs=1e-8)
    assert rho["all", "mean_cosine"].cells == 11
    assert rho["all with trained weights", "mean_cosine"].cells == 8
    assert not any(group == "flat" for group, _ in rho)  # three cells are too few, and of one mean cosine


def test_a_correction_that_needs_row_costs_as_they_are_is_seen_to_be_hidden():
    """Centring helps raw costs by .1; scaled by row, nothing is left to repair."""
    records = [record(), record("center", noisy(0.1, 1))]
    scaled = "sdtw:rows=minmax"
    records += [record(aps=noisy(0.1, 2), matcher=scaled), record("center", noisy(0.1, 3), matcher=scaled)]
    found = only(records)
    (hidden,) = found.hidden
    assert (hidden.raw.side.matcher, hidden.scaled.side.matcher) == ("sdtw", scaled)
    assert hidden.raw.effects["map"].low > 0
    assert hidden.scaled.effects["map"].low < 0 < hidden.scaled.effects["map"].high
    difference = hidden.raw.effects["map"].change - hidden.scaled.effects["map"].change
    assert hidden.difference.change == pytest.approx(difference, abs=1e-8)
    assert hidden.difference.low > 0
    assert found.main == ("cosine", "sdtw")


def test_the_ladder_has_the_steps_that_were_run_each_scope_apart():
    names = ["none", "center", "standardize", "center:scope=speaker", "whiten:scope=speaker", "center+whiten"]
    found = only([record(name, noisy(0, seed)) for seed, name in enumerate(names)])
    steps = [(change.base.transform, change.side.transform) for change in found.ladder]
    assert steps == [("none", "center"), ("center", "standardize"), ("none", "center:scope=speaker")]
    whiten = only([record(name, noisy(0, seed)) for seed, name in enumerate(["none", "standardize", "whiten"])])
    assert [(c.base.transform, c.side.transform) for c in whiten.ladder] == [("standardize", "whiten")]


def test_failed_cells_and_missing_ones_are_counted_not_compared():
    records = planted()
    failed = record("center", layer="1", error="no weights")
    alone = record("center", layer="7")
    found = only([*[r for r in records if str(r.combination) != str(failed.combination)], failed, alone])
    assert found.failed == ("d deep@1 center cosine sdtw: no weights",)
    assert found.alone == 1
    assert ("1", "center") not in {(c.side.layer, c.side.transform) for c in found.cells if c.side.encoder == "deep"}


def test_each_side_chooses_its_own_layer_on_the_other_half():
    """Uncorrected, layer 0 is best; corrected, layer 1: each keyword is scored by the other half's choice."""
    low, high = DIFFICULTY - 0.15, DIFFICULTY + 0.15
    records = [record(aps=high, layer="0"), record(aps=low, layer="1")]
    records += [record("center", low, layer="0"), record("center", high + 0.1, layer="1")]
    (answer,) = only(records).answers
    assert (answer.base.layer, answer.side.layer) == ("0", "1")
    assert answer.effects["map"].change == pytest.approx(0.1)


def test_halves_that_choose_differently_are_put_together_as_the_leaderboard_does():
    from kwsbench import ranking

    half = np.repeat(ranks.halves(KEYWORDS), 2)
    records = [record(aps=np.where(half, 1.0, 0.1), layer="1"), record(aps=np.where(half, 0.2, 1.0), layer="2")]
    records += [record("center", noisy(0, 1), layer="1")]
    (answer,) = only(records).answers
    (row,) = ranking.rows(records[:2], ranking.by_configuration)
    assert answer.base.layer == row.chosen("layer") == "2 / 1"
    assert answer.effects["map"].base == pytest.approx(row.value(), abs=1e-6)
    assert answer.base.estimate is None


def test_one_layer_and_one_keyword_have_a_change_and_no_interval():
    aps = np.full(60, np.nan)
    aps[:2] = 0.5
    (change,) = only([record(aps=aps), record("center", aps + 0.25)]).cells
    effect = change.effects["map"]
    assert effect.change == pytest.approx(0.25)
    assert np.isnan([effect.low, effect.high, effect.p, effect.p_holm]).all()


def test_no_change_at_all_has_p_1():
    (change,) = only([record(), record("center")]).cells
    assert change.effects["map"][2:7] == (0.0, 0.0, 0.0, 1.0, 1.0)


def test_controls_are_encoders_without_trained_weights():
    weights = {"trained": "pretrained", "mfcc-like": None, "untrained": "random:seed=0"}
    found = only([record(t, encoder=e, weights=w) for e, w in weights.items() for t in ("none", "center")])
    assert found.controls == {"mfcc-like", "untrained"}
    assert found.encoders == ("trained", "mfcc-like", "untrained")


def test_data_sets_are_apart_and_a_missing_condition_is_named():
    found = ablation.ablations([record(dataset=name, digest=name) for name in "ba"])
    assert [each.dataset for each in found] == ["a", "b"]
    message = "no record was scored under the condition 'across/inside'. Did you mean 'across/isolated'?"
    with pytest.raises(KwsbenchError) as error:
        ablation.ablations([record()], condition="across/inside")
    assert str(error.value) == message


def test_records_that_cannot_be_compared_are_refused():
    with pytest.raises(KwsbenchError, match="d: the board mixes data digests x, y; delete the older records"):
        ablation.ablations([record(), record("center", digest="y")])
