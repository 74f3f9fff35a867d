"""Self-similarity and CRV against loops over pairs and one collapse after another."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from kwsbench import isotropy
from kwsbench.errors import KwsbenchError
from kwsbench.subspaces import (
    centroids,
    crv,
    principal_directions,
    residual_variances,
    self_similarity,
    speaker_word_geometry,
)
from tests import reference_geometry as reference

# Sums of a few hundred float64 products of order 1, and a division.
ROUNDING = 1e-12


@pytest.fixture(autouse=True, params=[isotropy.BLOCK_VALUES, 7], ids=["one block", "many blocks"])
def block_values(request, monkeypatch):
    """Every test runs twice: whatever the size of the blocks, the results are the same."""
    monkeypatch.setattr(isotropy, "BLOCK_VALUES", request.param)


labelled_frames = st.integers(1, 3).flatmap(
    lambda dims: st.lists(
        st.tuples(
            st.integers(-1, 2),
            st.integers(-1, 3),
            st.lists(st.sampled_from([-3.0, 0.0, 0.0, 0.1, 1.0]), min_size=dims, max_size=dims),
        ),
        min_size=1,
        max_size=9,
    )
)


def speech(seed, frames=60, dims=6, speakers=3, words=5):
    """Frames, speakers, words: each word and each speaker has an offset of its own."""
    rng = np.random.default_rng(seed)
    speaker_of, word_of = rng.integers(0, speakers, frames), rng.integers(0, words, frames)
    offsets = rng.normal(size=(speakers, dims))[speaker_of] + rng.normal(size=(words, dims))[word_of]
    return (rng.normal(size=(frames, dims)) + offsets).astype(np.float32), speaker_of, word_of


def rotation(dims):
    return np.linalg.qr(np.random.default_rng(9).normal(size=(dims, dims)))[0]


def test_self_similarity_against_all_pairs():
    # inside, so that hypothesis does not see a fixture that outlives its examples
    @settings(deadline=None, max_examples=80)
    @given(labelled_frames)
    def check(rows):
        words, items = [word for word, _, _ in rows], [item for _, item, _ in rows]
        frames = np.array([frame for _, _, frame in rows], dtype=np.float32)
        expected = reference.self_similarity(frames, words, items)
        assert self_similarity(frames, words, items) == pytest.approx(expected, abs=ROUNDING, nan_ok=True)

    check()


def test_self_similarity_of_words_that_are_one_direction_each():
    frames = np.eye(3)[[0, 0, 1, 1, 2, 2]] * [[2], [1], [5], [1], [1], [3]]
    assert self_similarity(frames, [0, 0, 1, 1, 2, 2], range(6)) == pytest.approx(1.0)
    # One direction for all: cosines of 1 everywhere, none of it due to words.
    assert self_similarity(np.ones((6, 2)), [0, 0, 1, 1, 2, 2], range(6)) == pytest.approx(0.0, abs=ROUNDING)


def test_frames_of_one_item_are_no_pair():
    """Two items that hold both words: within an item all is alike, across items words are opposite."""
    frames = np.array([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    assert self_similarity(frames, [0, 1, 0, 1], [0, 0, 1, 1]) == pytest.approx(0.0, abs=ROUNDING)
    assert math.isnan(self_similarity(frames, [0, 0, 1, 1], [0, 0, 1, 1]))  # no word in two items


def test_unknown_words_change_nothing():
    frames, _, words = speech(0)
    items = np.arange(60) // 2
    padded = np.concatenate([frames, 100 * np.ones((5, 6), dtype=np.float32)])
    more = self_similarity(padded, [*words, *[-1] * 5], [*items, *range(100, 105)])
    assert more == pytest.approx(self_similarity(frames, words, items), abs=ROUNDING)


def test_centroids_against_loops_and_in_the_order_of_labels():
    frames, speakers, _ = speech(1)
    labels = np.where(speakers == 1, -1, 10 - speakers)
    assert centroids(frames, labels) == pytest.approx(np.array(reference.centroids(frames, labels)), abs=ROUNDING)
    assert centroids(frames, np.full(60, -1)).shape == (0, 6)


@pytest.mark.parametrize(("points", "dims"), [(4, 9), (9, 4), (2, 5), (5, 1)])
def test_directions_against_sklearn(points, dims):
    x = np.random.default_rng(2).normal(size=(points, dims)) * np.arange(1, dims + 1) + 7
    rank = min(points - 1, dims)
    directions = principal_directions(x)
    assert directions.shape == (rank, dims)
    peers = PCA(n_components=rank).fit(x).components_
    assert np.abs(np.sum(directions * peers, axis=1)) == pytest.approx(np.ones(rank), abs=1e-9)


@pytest.mark.parametrize("points", [np.ones((1, 3)), np.full((7, 3), 0.1), np.empty((0, 3))])
def test_points_that_do_not_vary_have_no_direction(points):
    assert principal_directions(points).shape == (0, 3)
    assert math.isnan(crv(np.eye(3), principal_directions(points)))
    assert np.isnan(residual_variances(points, np.eye(3)[:1])).all()


@pytest.mark.parametrize(("speakers", "words"), [(2, 5), (3, 5), (4, 12), (2, 2)])
def test_geometry_against_collapsing_one_direction_after_another(speakers, words):
    frames, speaker_of, word_of = speech(3, frames=200, speakers=speakers, words=words)
    speaker_points, word_points = reference.centroids(frames, speaker_of), reference.centroids(frames, word_of)
    left = reference.residuals(word_points, speaker_points)
    expected = (
        np.mean(left),
        np.mean(reference.residuals(speaker_points, word_points)),
        left[-1],
        np.mean(reference.residuals(speaker_points, speaker_points)),
        np.mean(reference.residuals(word_points, word_points)),
    )
    # The oracle deflates explicitly: a little more rounding than a projection.
    assert speaker_word_geometry(frames, speaker_of, word_of) == pytest.approx(expected, abs=1e-10)


def test_two_speakers_are_one_direction():
    """Words that differ by 3 along the speakers' axis and by 4 across it: 16 of 25 parts are left."""
    speakers, words = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    frames = np.array([[0.0, 0], [3, 4], [10, 0], [13, 4]])
    geometry = speaker_word_geometry(frames, speakers, words)
    assert geometry == pytest.approx((16 / 25, 16 / 25, 16 / 25, 0.0, 0.0), abs=ROUNDING)


def test_orthogonal_and_identical_subspaces():
    across = np.array([[0.0, 0, 5], [0, 0, -5], [0, 0, 1]])
    plane = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 2, 0], [0, -2, 0]])
    assert crv(across, principal_directions(plane)) == pytest.approx(1.0)
    assert residual_variances(plane, principal_directions(plane)) == pytest.approx([1, 0.2, 0], abs=ROUNDING)
    assert crv(plane, principal_directions(across)) == pytest.approx(1.0)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_self_crv_of_equal_variances(k):
    cross = np.concatenate([np.eye(k), -np.eye(k)])
    assert crv(cross, principal_directions(cross)) == pytest.approx((k - 1) / (2 * k), abs=ROUNDING)


def test_no_points_beat_equal_variances_and_residuals_only_fall():
    @settings(deadline=None, max_examples=60)
    @given(st.integers(0, 10_000), st.integers(2, 7), st.integers(1, 5))
    def check(seed, points, dims):
        x = np.random.default_rng(seed).normal(size=(points, dims)) * np.arange(1, dims + 1)
        directions = principal_directions(x)
        left = residual_variances(x, directions)
        assert left[0] == 1.0
        assert (np.diff(left) <= 0).all()
        assert left[-1] == pytest.approx(0.0, abs=ROUNDING)
        assert crv(x, directions) <= (len(directions) - 1) / (2 * len(directions)) + ROUNDING

    check()


def test_neither_rotation_nor_shift_nor_scale_matters():
    frames, speakers, words = speech(4)
    moved = 3.0 * frames.astype(np.float64) @ rotation(6) + 20
    expected = speaker_word_geometry(frames, speakers, words)
    assert speaker_word_geometry(moved, speakers, words) == pytest.approx(expected, abs=1e-9)
    turned = frames.astype(np.float64) @ rotation(6)
    assert self_similarity(turned, words, range(60)) == pytest.approx(self_similarity(frames, words, range(60)))


def test_undefined_with_one_speaker_or_no_frame():
    frames, _, words = speech(5)
    one = speaker_word_geometry(frames, np.zeros(60), words)
    assert np.isnan([one.words_along_speakers, one.speakers_along_words, one.words_left, one.speakers_self]).all()
    assert one.words_self == pytest.approx(np.mean(reference.residuals(*[reference.centroids(frames, words)] * 2)))
    assert np.isnan(speaker_word_geometry(frames[:0], [], [])).all()
    assert math.isnan(self_similarity(frames[:0], [], []))
    assert math.isnan(self_similarity(frames, np.full(60, -1), range(60)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_mistakes_are_named(bad):
    frames, speakers, words = speech(6)
    spoilt = frames.copy()
    spoilt[4, 1] = bad
    for function in (self_similarity, speaker_word_geometry):
        with pytest.raises(KwsbenchError, match="frame 4 holds NaN or inf; use finite features"):
            function(spoilt, words, np.arange(60))
        with pytest.raises(KwsbenchError, match=r"frames have shape \(6,\), expected \(frames, dims\)"):
            function(frames[0], words, speakers)
    with pytest.raises(KwsbenchError, match="3 words for 60 frames, expected one a frame"):
        self_similarity(frames, words[:3], np.arange(60))
    with pytest.raises(KwsbenchError, match="2 items for 60 frames, expected one a frame"):
        self_similarity(frames, words, [0, 1])
    with pytest.raises(KwsbenchError, match="59 labels for 60 frames, expected one a frame"):
        centroids(frames, speakers[1:])


def test_arguments_are_not_changed():
    frames, speakers, words = speech(7)
    kept = frames.copy(), speakers.copy(), words.copy()
    self_similarity(frames, words, np.arange(60))
    points = centroids(frames, words)
    kept_points = points.copy()
    residual_variances(points, principal_directions(points))
    speaker_word_geometry(frames, speakers, words)
    assert all(np.array_equal(a, b) for a, b in zip((frames, speakers, words), kept, strict=True))
    assert np.array_equal(points, kept_points)
