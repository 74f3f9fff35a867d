"""Nearness against naive loops, and the distances that are told of it."""

import numpy as np
import pytest

from kwsbench import neighbours
from kwsbench.engine import score_pairs
from kwsbench.errors import KwsbenchError
from kwsbench.types import Alignment
from tests import reference
from tests.grids import QUERIES, UTTERANCES, Diagonal, Hubs, matcher


def naive_nearness(frames, others, k, together):
    """Mean cosine of each frame with its k nearest: pure loops."""
    found = []
    for item in range(len(frames)):
        for frame in frames[item].astype(np.float64):
            cosines = [
                frame @ other / np.linalg.norm(frame) / np.linalg.norm(other)
                for at in range(len(others))
                if not together(item, at)
                for other in others[at].astype(np.float64)
            ]
            nearest = sorted(cosines)[::-1][:k]
            found.append(sum(nearest) / len(nearest) if nearest else 0.0)
    return np.array(found)


@pytest.mark.parametrize("k", [1, 3, 10**3])
@pytest.mark.parametrize("block_frames", [1, 25, 10**6])
def test_nearness_is_that_of_naive_loops(k, block_frames, monkeypatch):
    monkeypatch.setattr(neighbours, "_TILE_ROWS", 7)
    monkeypatch.setattr(neighbours, "_TILE_COLUMNS", 11)
    apart = np.zeros((len(QUERIES), len(UTTERANCES)), bool)
    apart[0, 0] = apart[3, 0] = apart[3, 4] = apart[5:20, 3] = True
    apart[2] = True  # one frame that has no neighbours at all
    found = neighbours.nearness(QUERIES, UTTERANCES, k, apart, workers=2, block_frames=block_frames)
    of_queries = naive_nearness(QUERIES, UTTERANCES, k, lambda q, u: apart[q, u])
    of_utterances = naive_nearness(UTTERANCES, QUERIES, k, lambda u, q: apart[q, u])
    assert found.queries == pytest.approx(of_queries, abs=1e-6)
    assert found.utterances == pytest.approx(of_utterances, abs=1e-6)


@pytest.mark.parametrize("how", [Alignment(), Diagonal()], ids=["fast", "slow"])
def test_a_distance_is_told_its_neighbours(how):
    found = score_pairs(QUERIES, UTTERANCES, Hubs(), how)
    never = lambda one, other: False  # noqa: E731
    of_queries = naive_nearness(QUERIES, UTTERANCES, 2, never)
    of_utterances = naive_nearness(UTTERANCES, QUERIES, 2, never)
    recipe = how if isinstance(how, Alignment) else None
    for query, utterance in [(0, 0), (3, 4), (len(QUERIES) - 1, 3)]:
        cost = reference.cost_matrix("cosine", QUERIES[query], UTTERANCES[utterance])
        mine = of_queries[QUERIES.offsets[query] : QUERIES.offsets[query + 1]]
        its = of_utterances[UTTERANCES.offsets[utterance] : UTTERANCES.offsets[utterance + 1]]
        cost = cost + (mine[:, None] + its[None, :] + 2) / 2
        want = reference.align(cost, recipe.steps) if recipe else how.match(cost)
        assert -found.scores[query, utterance] == pytest.approx(want[0], abs=1e-5)
        assert (found.starts[query, utterance], found.ends[query, utterance]) == tuple(want[1:3])


def test_pooling_has_no_neighbours():
    with pytest.raises(KwsbenchError, match="MeanPool aligns no frames, so Hubs has no neighbours to look at"):
        score_pairs(QUERIES, UTTERANCES, Hubs(), matcher("meanpool"))
