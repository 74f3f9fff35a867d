"""Coarse-to-fine search: coarse frames by loops, exact scores by the engine, and recall on real recordings."""

import numpy as np
import pytest

from kwsbench import coarse as coarse_search
from kwsbench import plugins
from kwsbench.coarse import Coarse, CoarseSource, score, search
from kwsbench.engine import score_pairs
from kwsbench.errors import KwsbenchError
from kwsbench.spec import parse
from kwsbench.types import Alignment, Frames

REGISTRY = plugins.load()


def distance(name):
    return REGISTRY.create("distances", parse(name))


def matcher(name):
    return REGISTRY.create("matchers", parse(name))


COSINE, SDTW = distance("cosine"), matcher("sdtw")


def made(lengths, dims=6, seed=0):
    """Frames that vary slowly, as speech does, so that neighbours are alike."""
    rng = np.random.default_rng(seed)
    steps = [rng.standard_normal((length, dims)).cumsum(axis=0) for length in lengths]
    return Frames.join([item - item.mean() if len(item) else item for item in steps])


UTTERANCES = made([30, 0, 7, 55, 1, 2, 80, 41] * 12, seed=1)
QUERIES = made([9, 20, 0, 1, 14, 33, 4, 12, 16, 10], seed=2)


def assert_same(found, expected):
    """Scores equal up to the rounding of a product of 7 terms of size 1, 1e-6; frames equal but where that ties.

    A mean over a query's frames rounds no more than its terms do.
    """
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=3e-6)
    for one, other in ((found.starts, expected.starts), (found.ends, expected.ends)):
        assert np.count_nonzero(one != other) <= 0.01 * np.size(one)


@pytest.mark.parametrize("pool", [1, 2, 3, 100])
def test_coarse_frames_are_means_of_neighbours_within_an_item(pool):
    found = Coarse(pool)(UTTERANCES)
    for item in range(len(UTTERANCES)):
        frames = UTTERANCES[item].astype(np.float64)
        expected = [frames[at : at + pool].mean(axis=0) for at in range(0, len(frames), pool)]
        assert len(found[item]) == len(expected)
        if expected:
            np.testing.assert_allclose(found[item], expected, rtol=1e-5, atol=1e-4)  # sums of up to 100 float32


def test_directions_are_those_of_most_energy():
    """Against numpy's singular vectors of the frames as they are, not centred; a sign is nobody's choice."""
    coarse = Coarse.fit(UTTERANCES.values, pool=1, dims=2)
    _, _, rows = np.linalg.svd(UTTERANCES.values.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(np.abs(coarse.directions.T @ rows[:2].T), np.eye(2), atol=1e-5)
    np.testing.assert_allclose(coarse(UTTERANCES).values, UTTERANCES.values @ coarse.directions, rtol=1e-6)


def test_a_full_set_of_directions_turns_space_and_changes_no_score():
    turned = Coarse.fit(UTTERANCES.values, pool=1, dims=6)
    assert_same(score_pairs(turned(QUERIES), turned(UTTERANCES)), score_pairs(QUERIES, UTTERANCES))


def test_coarse_frames_read_in_parts_are_the_same():
    coarse = Coarse(3)
    source, whole = CoarseSource(UTTERANCES, coarse), coarse(UTTERANCES)
    np.testing.assert_array_equal(source.lengths, whole.lengths)
    np.testing.assert_array_equal(source.read(2, 9).values, whole.read(2, 9).values)


def test_the_key_follows_the_map_and_nothing_else():
    keys = {Coarse(2).key, Coarse(3).key, Coarse.fit(UTTERANCES.values, dims=2).key}
    keys.add(Coarse.fit(UTTERANCES.values, dims=3).key)
    assert len(keys) == 4
    assert Coarse.fit(UTTERANCES.values, dims=2).key == Coarse.fit(UTTERANCES.values.copy(), dims=2).key


RECIPES = [
    ("cosine", "sdtw"),
    ("cosine", "sdtw:steps=asymmetric"),
    ("euclidean", "sdtw:normalize=path"),
    ("exp-cosine", "sdtw"),
    ("cosine", "dtw"),
    ("seuclidean", "sdtw"),
]


@pytest.mark.parametrize(("metric", "alignment"), RECIPES)
def test_what_is_kept_has_the_scores_and_spans_of_an_exhaustive_search(metric, alignment):
    d, m = distance(metric), matcher(alignment)
    hits = search(QUERIES, UTTERANCES, Coarse(2), d, m, keep=0.2, top=5)
    whole = score_pairs(QUERIES, UTTERANCES, d, m)
    assert hits.utterances.shape == (10, 5)
    for query in range(len(QUERIES)):
        at = hits.utterances[query]
        some = at >= 0
        assert_same(
            type(whole)(hits.scores[query][some], hits.starts[query][some], hits.ends[query][some]),
            type(whole)(*(part[query, at[some]] for part in whole)),
        )
        assert np.all(np.diff(hits.scores[query][some]) <= 0)
        assert len(set(at[some])) == some.sum()
        np.testing.assert_array_equal(np.isneginf(hits.scores[query]), ~some)
        assert np.all(hits.starts[query][~some] == -1)
    assert np.all(hits.utterances[2] == -1)  # the query without frames
    assert np.count_nonzero(hits.utterances < 0) < 10 * 5 / 2


@pytest.mark.parametrize("alignment", ["sdtw", "sdtw:steps=asymmetric", "sdtw:normalize=path"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_utterances_in_the_lanes_score_as_queries_in_the_lanes_do(monkeypatch, metric, alignment):
    """Tiles of few frames, so that the state is carried from one to the next."""
    monkeypatch.setattr(coarse_search.dtw, "TILE_CELLS", 2**14)
    d, m = distance(metric), matcher(alignment)
    monkeypatch.setattr(coarse_search, "FEW_QUERIES", 100)
    monkeypatch.setattr(coarse_search, "score_grid", None)
    found = score(QUERIES, UTTERANCES, d, m)
    assert_same(found, score_pairs(QUERIES, UTTERANCES, d, m))


def test_memory_is_bounded_by_reading_in_chunks(monkeypatch):
    """Room for 100 frames, and items of at most 55: no more than seven are read together."""
    utterances = made([30, 7, 55, 1] * 20, seed=3)

    class Watched:
        lengths, most = utterances.lengths, 0

        def read(self, first, last):
            self.most = max(self.most, last - first)
            return utterances.read(first, last)

    source = Watched()
    monkeypatch.setattr(coarse_search, "MEMORY_BYTES", 100 * (6 * 8 + 16))
    found = score(QUERIES.read(0, 2), source, COSINE, SDTW)
    assert source.most <= 7
    assert_same(found, score_pairs(QUERIES.read(0, 2), utterances))


def test_hits_of_an_exhaustive_search_are_the_best_scores():
    hits = search(QUERIES, UTTERANCES, Coarse(2), COSINE, SDTW, keep=1.0, top=7)
    whole = score_pairs(QUERIES, UTTERANCES)
    np.testing.assert_allclose(hits.scores, -np.sort(-whole.scores, axis=1)[:, :7], atol=3e-6)


def test_pairs_apart_are_no_hits():
    whole = search(QUERIES, UTTERANCES, Coarse(2), COSINE, SDTW, top=3)
    apart = np.zeros((10, len(UTTERANCES)), dtype=bool)
    for query, utterance in enumerate(whole.utterances[:, 0]):
        apart[query, utterance] = utterance >= 0
    hits = search(QUERIES, UTTERANCES, Coarse(2), COSINE, SDTW, top=3, apart=apart)
    for query in (0, 1, 4, 5):
        assert whole.utterances[query, 0] not in hits.utterances[query]


def test_the_same_whether_coarse_frames_were_there_already():
    coarse = Coarse(2)
    made_now = search(QUERIES, UTTERANCES, coarse, COSINE, SDTW, keep=0.1, top=2)
    given = search(QUERIES, UTTERANCES, coarse, COSINE, SDTW, keep=0.1, top=2, coarse_utterances=coarse(UTTERANCES))
    for one, other in zip(made_now, given, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("encoder", ["mfcc", "fbank"])
def test_recall_on_spoken_digits(fsdd, encoder):
    """450 recordings, a third of them queries: of the exact best ten, 12% by twofold coarse frames keep 99%."""
    made_by = REGISTRY.create("encoders", parse(encoder))
    layer = made_by.layers[-1]
    paths = sorted((fsdd / "recordings").glob("*.wav"))[::2]
    from kwsbench import audio

    frames = Frames.join([made_by.encode(audio.read(path).samples, [layer])[layer] for path in paths])
    values = ((frames.values - frames.values.mean(axis=0)) / frames.values.std(axis=0)).astype(np.float32)
    frames = Frames(values, frames.offsets)
    mine = np.arange(0, len(paths), 3)
    queries = Frames.join([frames[i] for i in mine])
    apart = mine[:, None] == np.arange(len(paths))
    exact = search(queries, frames, Coarse(2), COSINE, SDTW, keep=1.0, apart=apart).utterances
    found = search(queries, frames, Coarse(2), COSINE, SDTW, apart=apart).utterances
    recall = np.mean([np.isin(one, other).mean() for one, other in zip(exact, found, strict=True)])
    assert recall >= 0.99


def test_mistakes_are_named_in_one_line():
    def error(*given, **options):
        with pytest.raises(KwsbenchError) as caught:
            search(QUERIES, UTTERANCES, *given, **options)
        return str(caught.value)

    coarse = Coarse(2)
    assert error(coarse, COSINE, SDTW, keep=0) == "keep=0, top=10: expected a share in (0, 1] and at least one hit"
    assert error(coarse, COSINE, SDTW, top=0).startswith("keep=0.12, top=0: expected a share")
    assert error(coarse, distance("csls"), SDTW).endswith(
        "so no share of them scores exactly; search exhaustively with score_pairs"
    )
    assert "aligns no frames; search exhaustively" in error(coarse, COSINE, matcher("meanpool"))
    assert "are not of these utterances" in error(coarse, COSINE, SDTW, coarse_utterances=QUERIES)
    assert error(coarse, COSINE, SDTW, apart=np.zeros((1, 1), bool)) == "apart has shape (1, 1), expected (10, 96)"
    with pytest.raises(KwsbenchError, match="pool=0: expected the number of frames to average, at least 1"):
        Coarse(0)
    with pytest.raises(KwsbenchError, match="dims=7: the frames have 6 dimensions; use fewer, or 0 for all"):
        Coarse.fit(UTTERANCES.values, dims=7)
    bad = Frames(np.full((3, 6), np.nan, np.float32), np.array([0, 3]))
    with pytest.raises(KwsbenchError, match="not finite"):
        score(QUERIES, bad, COSINE, Alignment())
    with pytest.raises(KwsbenchError, match="not finite"):
        score(QUERIES.read(0, 1), bad, COSINE, Alignment())
