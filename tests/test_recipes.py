"""The published recipes: each preset's parts, put together by the engine, against a slow program of the recipe."""

from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from dtwalign import dtw_from_distance_matrix
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kwsbench import dtw, fitting, metrics, plan, plugins, results, trials
from kwsbench.engine import score_pairs
from kwsbench.errors import KwsbenchError
from kwsbench.spec import format_chain
from kwsbench.types import Clip, Frames, Match
from tests import reference_recipes as reference
from tests.conftest import ROOT
from tests.recipe_inputs import integer_costs, items

PRESETS = ("san21", "superb", "wisniewski25", "wisniewski25-with-self")


class Recipe(NamedTuple):
    """The parts that a preset names, made."""

    transform: object
    scope: str
    distance: object
    matcher: object
    norms: list


def read(name):
    return plan.read_run_file(plan.preset(name))


def recipe(name):
    """What a run of the preset makes: it names one of each but for encoders and data sets."""
    registry = plugins.load()
    asked = {"dataset": ["manifest:path=nowhere"], "encoder": ["mfcc"]}
    ((layers,),) = [encoders.values() for encoders in plan.build(read(name), asked, registry).tree.values()]
    (((link,), (leaf,)),) = layers[""].items()
    return Recipe(
        registry.create("transforms", fitting.without_scope(link)),
        fitting.scope_of(link),
        registry.create("distances", leaf.distance),
        registry.create("matchers", leaf.matcher),
        [registry.create("score_norms", norm) for norm in leaf.norms],
    )


def lists(arrays):
    return [array.astype(float).tolist() for array in arrays]


class Plain:
    """A distance by its slow way only."""

    def __init__(self, distance):
        self.cost = distance.cost


def test_the_presets_are_the_documented_ones():
    with pytest.raises(KwsbenchError) as error:
        plan.preset("san2")
    assert str(error.value) == "unknown preset 'san2'. Did you mean 'san21'?"
    found = {path.stem for path in plan.preset("san21").parent.glob("*.toml")}
    assert found == set(PRESETS)
    text = (ROOT / "docs" / "recipes.md").read_text()
    for name in PRESETS:
        assert f"`{name}`" in text


@pytest.mark.parametrize("name", PRESETS)
def test_every_name_in_a_preset_is_registered_and_written_the_short_way(name):
    run = read(name)
    (tree,) = plan.build(run, {"dataset": ["manifest:path=nowhere"]}, plugins.load()).tree.values()
    assert [f"{spec}{'@' + layer if layer else ''}" for spec, layers in tree.items() for layer in layers] == run.encoder
    for layers in tree.values():
        for chains in layers.values():
            ((chain, (leaf,)),) = chains.items()
            assert [format_chain(chain)] == run.transform
            assert [str(leaf.distance), leaf.matching] == run.distance + run.matcher


def test_the_two_forms_of_wisniewski_differ_in_the_protocol_only():
    without, with_self = (msgspec.structs.asdict(read(name)) for name in ("wisniewski25", "wisniewski25-with-self"))
    assert (without.pop("protocol"), with_self.pop("protocol")) == ("pooled", "pooled+self")
    assert without.pop("title") != with_self.pop("title")
    assert without == with_self


def test_wisniewski_by_hand():
    """Costs 3 1 2 / 4 5 1: sums from above, the diagonal or the left are 3 1 2 / 7 6 2; the best ends last.

    It comes down the diagonal from frame 1, and 2 over two query frames is 1.
    """
    cost = [[3.0, 1.0, 2.0], [4.0, 5.0, 1.0]]
    assert reference.subsequence_total(cost) == 2
    assert dtw.align(np.array(cost), recipe("wisniewski25").matcher) == Match(1.0, 1, 2)


@settings(max_examples=30, deadline=None)
@given(integer_costs())
def test_the_reference_of_wisniewski_is_librosas_subsequence_dtw(cost):
    from librosa.sequence import dtw as librosa_dtw

    assume(len(cost) <= cost.shape[1])  # librosa wants the shorter sequence first
    total = librosa_dtw(C=cost.astype(float), subseq=True, backtrack=False)
    assert reference.subsequence_total(cost.tolist()) == total[-1].min()


@settings(max_examples=40, deadline=None)
@given(items())
def test_wisniewski_is_its_reference(ragged):
    parts = recipe("wisniewski25")
    queries, utterances = ragged
    scores = score_pairs(Frames.join(queries), Frames.join(utterances), parts.distance, parts.matcher).scores
    expected = [[-reference.wisniewski_cost(q, u) for u in lists(utterances)] for q in lists(queries)]
    # Cosines of a float32 product are off by some units of 6e-8, and a path of k cells adds k of them up.
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["wisniewski25", "wisniewski25-with-self"])
@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(20, 130))
def test_the_lists_of_wisniewski_are_the_references(name, seed, size):
    """Three speakers, four words; a clip in three is a sentence of three words, and two clips share a recording."""
    rng = np.random.default_rng(seed)
    protocol = read(name).protocol
    said = [rng.choice(["ma", "ko", "se", "lu"], 1 if at % 3 else 3, replace=False).tolist() for at in range(size)]
    # One word is said once: a query that has itself as its one target, or no target.
    said[1] = ["once"]
    plain = [(f"r{at // 2}", words[0] if len(words) == 1 else None, words) for at, words in enumerate(said)]
    clips = [
        Clip(str(at), Path("x.wav"), f"s{rng.integers(3)}", recording, keyword, " ".join(words))
        for at, (recording, keyword, words) in enumerate(plain)
    ]
    built = trials.build(clips, name="made up", protocol=protocol)
    asked = [at for at, clip in enumerate(clips) if clip.keyword]
    every = rng.permutation(len(asked) * size).reshape(len(asked), size).astype(np.float32)
    (condition,) = built.conditions
    found = metrics.rank_rows(every[np.isin(asked, built.queries)], built.labels(condition))
    expected = reference.wisniewski_lists(plain, every.tolist(), with_self=protocol == "pooled+self")
    assert len(built.queries) == len(expected)
    assert (len(expected) < len(asked)) == (protocol == "pooled")
    np.testing.assert_allclose(np.transpose([found["p_at_10"], found["r_at_100"]]), expected, rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(items())
def test_san_is_its_reference(ragged):
    parts = recipe("san21")
    queries, utterances = ragged
    scores = score_pairs(Frames.join(queries), Frames.join(utterances), parts.distance, parts.matcher).scores
    expected = [[reference.san_score(q, u) for u in lists(utterances)] for q in lists(queries)]
    # Theirs is 1 - cost. Costs come as float32; a column whose range is 1e-2 turns 1e-7 into 1e-5.
    np.testing.assert_allclose(1 + scores, expected, atol=1e-4)


def test_superb_by_hand():
    """Costs 3 1 2 / 1 5 4 are 1 0 1/2 / 0 1 3/4 by row.

    A path takes one frame of each row, the next one 0, 1 or 2 frames on: 0 + 1, 1 + 0 and 3/4 + 0 are the
    sums, and 3/4 over two query frames is 3/8.
    """
    cost = [[3.0, 1.0, 2.0], [1.0, 5.0, 4.0]]
    assert reference.asymmetric_cost(reference.rows_to_unit_range(cost)) == 0.375
    assert dtw.align(np.array(cost), recipe("superb").matcher) == Match(0.375, 1, 2)


@settings(max_examples=60, deadline=None)
@given(integer_costs())
def test_the_reference_of_superb_is_dtwaligns_asymmetric(cost):
    peer = dtw_from_distance_matrix(cost.astype(float), step_pattern="asymmetric", open_begin=True, open_end=True)
    assert reference.asymmetric_cost(cost.tolist()) == peer.normalized_distance


def superb(parts, distance, queries, documents):
    """The preset's scores before and after its score norm."""
    assert parts.scope == "transductive"
    apply = parts.transform.fit(np.concatenate([*queries, *documents]))
    scores = score_pairs(
        Frames.join([apply(item) for item in queries]),
        Frames.join([apply(item) for item in documents]),
        distance,
        parts.matcher,
    ).scores
    (norm,) = parts.norms
    return scores, norm.normalize(scores, np.ones(scores.shape, bool))


@pytest.mark.parametrize("way", [lambda distance: distance, Plain], ids=["fast", "slow"])
@settings(max_examples=40, deadline=None)
@given(ragged=items(most=4))
def test_superb_is_its_reference(way, ragged):
    parts = recipe("superb")
    queries, documents = ragged
    raw, normalized = superb(parts, way(parts.distance), queries, documents)
    expected = np.array(reference.superb_raw_scores(lists(queries), lists(documents)))
    # A cost off by 2e-7 is off by 2e-7 / range once its row is scaled; two costs alone become exactly 0 and 1.
    np.testing.assert_allclose(raw, expected, atol=1e-4)
    # Divided by a deviation, an error grows as much; equal scores (one document, say) have none, and become 0.
    spread = expected.std(axis=1)
    known = (spread > 0.05) | (len(documents) == 1)
    expected = np.array(reference.superb_scores(lists(queries), lists(documents), fewest_frames=1))
    np.testing.assert_allclose(normalized[known], expected[known], atol=4e-3)


def test_superb_differs_from_the_original_in_queries_of_fewer_than_five_frames_only():
    rng = np.random.default_rng(3)
    queries = [rng.standard_normal((n, 6)).astype(np.float32) for n in (4, 5, 9)]
    documents = [rng.standard_normal((n, 6)).astype(np.float32) for n in (12, 7, 20, 15)]
    parts = recipe("superb")
    _, scores = superb(parts, parts.distance, queries, documents)
    original = np.array(reference.superb_scores(lists(queries), lists(documents)))
    np.testing.assert_allclose(scores[1:], original[1:], atol=1e-4)
    assert not original[0].any()
    assert scores[0].std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["superb", "wisniewski25", "wisniewski25-with-self"])
def test_a_preset_runs_from_the_command_line(run_cli, archive, tmp_path, name):
    folder, board = str(archive).replace(" ", "%20"), tmp_path / "board"
    code, _, err = run_cli(
        "run", "--preset", name, "--dataset", f"manifest:path={folder}", "--encoder", "mfcc", "--board", board
    )
    assert code == 0, err
    for record in results.load_all(board):
        assert record.protocol == ("pooled+self" if name.endswith("self") else "pooled")
        assert list(record.conditions) == ["any/any"]
        if name.endswith("self"):
            assert record.conditions["any/any"].metrics["p@1"].value == 1.0  # each query finds itself


def test_an_unknown_preset_is_one_line(run_cli):
    code, _, err = run_cli("run", "--preset", "suprb")
    assert code == 2
    assert "unknown preset 'suprb'. Did you mean 'superb'?" in err
