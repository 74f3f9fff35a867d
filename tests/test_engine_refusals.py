"""What the engine refuses: frames that are not finite, and distances and matchers of the wrong shape."""

import numpy as np
import pytest

from kwsbench.engine import score_grid, score_pairs
from kwsbench.errors import KwsbenchError, PluginError
from kwsbench.types import Alignment, Frames, Scores
from tests.grids import distance, frames


def bad_frames(value):
    values = np.ones((6, 3), np.float32)
    values[4, 1] = value
    return Frames(values, np.array([0, 2, 2, 3, 6]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_frames_that_are_not_finite_are_named(value):
    good = frames([3], dims=3)
    tail = " frame 1 is not finite (or its norm is past 1e+18); check its encoder and transforms"
    with pytest.raises(KwsbenchError) as error:
        score_pairs(bad_frames(value), good)
    assert str(error.value) == "query 3:" + tail
    with pytest.raises(KwsbenchError) as error:
        score_grid(good, bad_frames(value), [(distance("cosine"), Alignment())], workers=1, memory_bytes=1)
    assert str(error.value) == "utterance 3:" + tail


def test_dimensions_must_agree():
    with pytest.raises(KwsbenchError) as error:
        score_pairs(frames([3], dims=39), frames([3], dims=13))
    assert str(error.value) == (
        "queries have 39 dimensions, utterances 13; use the same encoder, layer and transforms for both"
    )


def returns(value):
    return type("Broken", (), {"cost": lambda *_: value, "match": lambda *_: value})()


@pytest.mark.parametrize(
    ("how_far", "how", "message"),
    [
        ("cosin", "sdtw", "unknown distance 'cosin'. Did you mean 'cosine'?"),
        ("cosine", "sdwt", "unknown matcher 'sdwt'. Did you mean 'sdtw'?"),
        ("cosine", "sdtw:steps=both", "sdtw:steps=both: expected one of symmetric1, asymmetric, skip"),
        (object(), "sdtw", "object is no distance: it has no cost(x, y)"),
        ("cosine", object(), "object is no matcher: it has neither match(cost) nor score(queries, …)"),
        ("cosine", Alignment(((3, 1),)), "an alignment has step (3, 1); use some of (1, 0), "),
        (returns(np.zeros((2, 2))), "sdtw", "Broken: costs of shape (2, 2), expected (3, 4)"),
        (returns(np.full((3, 4), np.nan)), "sdtw", "Broken: costs that are not finite; clamp them"),
        ("cosine", returns((np.nan, 0, 0)), "Broken: a cost that is NaN; return inf where nothing matches"),
    ],
)
def test_wrong_distances_and_matchers(how_far, how, message):
    with pytest.raises(KwsbenchError) as error:
        score_pairs(frames([3]), frames([4]), how_far, how)
    assert str(error.value).startswith(message)


def test_a_pair_matcher_of_the_wrong_shape():
    class Flat:
        def score(self, queries, *_, **__):
            return Scores(*[np.zeros(len(queries))] * 3)

    with pytest.raises(PluginError, match=r"Flat: scores of shape \(1,\), expected \(1, 1\)"):
        score_pairs(frames([3]), frames([4]), "cosine", Flat())
