"""Utterances in the lanes against the engine, which lays queries there."""

import re

import numpy as np
import pytest

from kwsbench import engine, plugins, utterance_lanes
from kwsbench.dtw import STEPS
from kwsbench.errors import KwsbenchError
from kwsbench.neighbours import nearness
from kwsbench.spec import parse
from kwsbench.types import Alignment, Frames, Match
from kwsbench.utterance_lanes import FEW_QUERIES, score

REGISTRY = plugins.load()
MEMORY = 2**20


def distance(name):
    return REGISTRY.create("distances", parse(name))


COSINE, SDTW = distance("cosine"), Alignment()


def made(lengths, dims=6, seed=0):
    """Frames that vary slowly, as speech does, so that paths bend."""
    rng = np.random.default_rng(seed)
    steps = [rng.standard_normal((length, dims)).cumsum(axis=0) for length in lengths]
    return Frames.join([item - item.mean() if len(item) else item for item in steps])


# Two groups of lanes and part of a third; queries longer than utterances; items without frames and of one.
UTTERANCES = made([30, 0, 7, 55, 1, 2, 80, 41] * 10, seed=1)
QUERIES = made([9, 20, 0, 1, 33, 16], seed=2)


def by_engine(queries, utterances, one, matcher):
    return engine.score_grid(queries, utterances, [(one, matcher)], workers=1, memory_bytes=2**30)[0]


def in_lanes(monkeypatch, *given, **options):
    """Scores without the engine's help."""
    monkeypatch.setattr(engine, "score_grid", None)
    found = score(*given, **{"workers": 1, "memory_bytes": MEMORY, **options})
    monkeypatch.undo()
    return found


def assert_same(found, expected, atol=1e-5):
    """Scores equal up to the rounding of a product of 7 terms of size 1, 1e-6; frames equal but where that ties.

    A mean over frames rounds no more than its terms do; a sum of 100 costs a hundred times as much, 1e-4. Costs of
    these distances rise up to ten times as fast as cosines fall.
    """
    np.testing.assert_array_equal(np.isneginf(found.scores), np.isneginf(expected.scores))
    here = np.isfinite(expected.scores)
    np.testing.assert_allclose(found.scores[here], expected.scores[here], rtol=0, atol=atol)
    for one, other in ((found.starts, expected.starts), (found.ends, expected.ends)):
        assert np.count_nonzero(one != other) <= 0.01 * np.size(one)


RECIPES = [
    ((1, 0), (1, 1), (0, 1)),
    ((1, 0), (1, 1), (1, 2)),
    ((1, 1), (1, 2), (2, 1)),
    ((0, 1), (1, 1)),
    STEPS,
]


@pytest.mark.parametrize("normalize", ["query", "path", "none"])
@pytest.mark.parametrize("steps", RECIPES, ids=str)
def test_every_recipe_scores_as_in_the_engine(monkeypatch, steps, normalize):
    """Paths that begin above the query and such as are seeded; in small tiles some lanes end, and others go on."""
    monkeypatch.setattr(utterance_lanes.dtw, "TILE_CELLS", 2**14)
    alignment = Alignment(steps=steps, normalize=normalize)
    expected = by_engine(QUERIES, UTTERANCES, COSINE, alignment)
    monkeypatch.setattr(engine, "score_grid", None)
    found = score(QUERIES, UTTERANCES, COSINE, alignment, workers=1, memory_bytes=MEMORY)
    assert_same(found, expected, 1e-4 if normalize == "none" else 1e-5)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("name", ["angular", "exp-cosine", "sqeuclidean", "csls:k=3"])
def test_distances_made_of_products_score_as_in_the_engine(monkeypatch, name, workers):
    """Frames of norms up to 40: of a squared distance, twice their product times 1e-6 is rounded."""
    one = distance(name)
    found = in_lanes(monkeypatch, QUERIES, UTTERANCES, one, SDTW, workers=workers)
    assert_same(found, by_engine(QUERIES, UTTERANCES, one, SDTW), 4e-3 if name == "sqeuclidean" else 1e-5)


def test_items_without_frames_have_no_score_and_nothing_is_searched_for_nothing(monkeypatch):
    found = in_lanes(monkeypatch, QUERIES, UTTERANCES, COSINE, SDTW)
    assert np.isneginf(found.scores[2]).all()
    assert np.isneginf(found.scores[:, 1::8]).all()
    assert (found.starts[2] == -1).all()
    assert (found.ends[:, 1::8] == -1).all()
    nothing = score(QUERIES.read(2, 3), UTTERANCES, COSINE, SDTW, workers=1, memory_bytes=MEMORY)
    assert np.isneginf(nothing.scores).all()
    assert score(QUERIES, UTTERANCES.read(0, 0), COSINE, SDTW, workers=1, memory_bytes=MEMORY).scores.shape == (6, 0)


def test_memory_is_bounded_by_reading_in_blocks(monkeypatch):
    """Room for 100 frames, and items of at most 80: no more than that is read at once, and all of it once."""

    class Watched:
        lengths, read_s = UTTERANCES.lengths, []

        def read(self, first, last):
            self.read_s.append((first, last))
            return UTTERANCES.read(first, last)

    source = Watched()
    found = in_lanes(monkeypatch, QUERIES, source, COSINE, SDTW, memory_bytes=100 * (6 * 8 + 16))
    assert max(UTTERANCES.offsets[last] - UTTERANCES.offsets[first] for first, last in source.read_s) <= 100
    assert sorted(at for span in source.read_s for at in range(*span)) == list(range(80))
    assert_same(found, by_engine(QUERIES, UTTERANCES, COSINE, SDTW))


def test_nearness_that_is_known_is_not_sought_again(monkeypatch):
    one = distance("csls:k=3")
    near = nearness(QUERIES, UTTERANCES, 3)
    monkeypatch.setattr(utterance_lanes, "nearness", None)
    found = score(QUERIES, UTTERANCES, one, SDTW, workers=1, memory_bytes=2**13, near=near)
    assert_same(found, by_engine(QUERIES, UTTERANCES, one, SDTW))


class Steps:
    """A distance that is no function of products."""

    def cost(self, x, y):
        return np.abs(x[:, None, 0] - y[None, :, 0])


class First:
    """A stranger's matcher."""

    def match(self, cost):
        return Match(float(cost[0, 0]), 0, 0)


@pytest.mark.parametrize(
    ("count", "one", "matcher"),
    [
        (FEW_QUERIES + 1, COSINE, SDTW),
        (1, COSINE, Alignment(whole=True)),
        (1, COSINE, Alignment(rows="minmax")),
        (1, Steps(), SDTW),
        (1, COSINE, First()),
    ],
)
def test_what_lanes_of_utterances_cannot_do_the_engine_does(monkeypatch, count, one, matcher):
    queries = made([5] * count)
    calls = []
    grid = engine.score_grid
    monkeypatch.setattr(engine, "score_grid", lambda *given, **how: calls.append(how) or grid(*given, **how))
    found = score(queries, UTTERANCES, one, matcher, workers=2, memory_bytes=MEMORY)
    assert calls == [{"workers": 2, "memory_bytes": MEMORY}]
    for mine, its in zip(found, by_engine(queries, UTTERANCES, one, matcher), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_mistakes_are_the_engines():
    """The same line for what is wrong, whichever of the two is asked."""
    bad = made([5, 5, 5])
    bad.values[12, 3] = np.nan
    narrow = made([4], dims=5)
    for queries, utterances, alignment, message in (
        (QUERIES, bad, SDTW, "utterance 2: frame 2 is not finite"),
        (bad, UTTERANCES, SDTW, "query 2: frame 2 is not finite"),
        (QUERIES, narrow, SDTW, "queries have 6 dimensions, utterances 5; use the same encoder"),
        (QUERIES, UTTERANCES, Alignment(steps=((3, 3),)), "an alignment has step (3, 3)"),
    ):
        for ask in (by_engine, lambda *given: score(*given, workers=1, memory_bytes=6400)):
            with pytest.raises(KwsbenchError, match=re.escape(message)) as error:
                ask(queries, utterances, COSINE, alignment)
            assert "\n" not in str(error.value)
