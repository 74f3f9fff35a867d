"""Isotropy against loops over pairs, eigenvalues and the IsoScore package."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IsoScore.IsoScore import IsoScore

from kwsbench import isotropy
from kwsbench.errors import KwsbenchError
from kwsbench.isotropy import isoscore, mean_cosine, mean_cosine_within_between, participation_ratio
from tests import reference_metrics as reference

# Sums of a few hundred float64 products of order 1, and a division by the number of pairs.
ROUNDING = 1e-12

small_frames = st.integers(1, 4).flatmap(
    lambda dims: st.lists(
        st.tuples(
            st.integers(0, 2), st.lists(st.sampled_from([-3.0, 0.0, 0.0, 0.1, 1.0]), min_size=dims, max_size=dims)
        ),
        min_size=1,
        max_size=9,
    )
)


@pytest.fixture(autouse=True, params=[isotropy.BLOCK_VALUES, 7], ids=["one block", "many blocks"])
def block_values(request, monkeypatch):
    """Every test runs twice: whatever the size of the blocks, the results are the same."""
    monkeypatch.setattr(isotropy, "BLOCK_VALUES", request.param)


def frames_of(seed, frames, dims):
    return np.random.default_rng(seed).normal(size=(frames, dims)).astype(np.float32)


def test_mean_cosines_against_all_pairs():
    # inside, so that hypothesis does not see a fixture that outlives its examples
    @settings(deadline=None, max_examples=60)
    @given(small_frames)
    def check(rows):
        groups = [group for group, _ in rows]
        frames = np.array([frame for _, frame in rows], dtype=np.float32)
        every, within, between = reference.mean_cosines(frames, groups)
        assert mean_cosine(frames) == pytest.approx(every, abs=ROUNDING, nan_ok=True)
        computed = mean_cosine_within_between(frames, np.array(groups))
        assert computed == pytest.approx((within, between), abs=ROUNDING, nan_ok=True)

    check()


def test_groups_may_have_any_names_and_any_order():
    frames = frames_of(0, 6, 3)
    by_name = mean_cosine_within_between(frames, ["b", "a", "b", "c", "a", "a"])
    assert by_name == mean_cosine_within_between(frames, [1, 0, 1, 2, 0, 0])


def test_a_frame_of_zeros_has_cosine_zero_with_all():
    frames = np.array([[1, 0], [2, 0], [0, 0]], dtype=np.float32)
    assert mean_cosine(frames) == pytest.approx(1 / 3)


def test_one_direction_and_two_opposite_ones():
    assert mean_cosine(np.ones((5, 3), dtype=np.float32)) == pytest.approx(1.0)
    assert mean_cosine(np.array([[1.0, 2.0], [-1.0, -2.0]])) == pytest.approx(-1.0)


@pytest.mark.parametrize(("frames", "dims"), [(50, 8), (400, 20), (9, 20), (2, 3)])
def test_participation_ratio_against_eigenvalues(frames, dims):
    x = frames_of(1, frames, dims) * np.arange(1, dims + 1, dtype=np.float32)
    assert participation_ratio(x) == pytest.approx(reference.participation_ratio(x), rel=1e-10)


@pytest.mark.parametrize(("frames", "dims"), [(50, 8), (400, 20), (9, 20), (300, 2)])
def test_isoscore_against_the_package(frames, dims):
    """The package takes float32 square roots on its way: 1e-6, not rounding."""
    x = frames_of(2, frames, dims) * np.arange(1, dims + 1, dtype=np.float32) + 3
    assert isoscore(x) == pytest.approx(float(IsoScore(x.astype(np.float64))), abs=1e-6)


def test_isoscore_runs_from_one_direction_to_all_directions():
    line = np.outer(np.arange(10.0), [1.0, -2.0, 3.0]) + 5
    cross = np.concatenate([np.eye(4), -np.eye(4)])
    assert isoscore(line) == pytest.approx(0.0, abs=ROUNDING)
    assert isoscore(cross) == pytest.approx(1.0, abs=ROUNDING)


def test_isoscore_sees_neither_mean_nor_rotation_nor_scale():
    x = frames_of(3, 60, 5).astype(np.float64) * [1, 2, 3, 4, 5]
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))
    assert isoscore(1e-3 * x @ rotation + 100) == pytest.approx(isoscore(x), rel=1e-9)


def test_fewer_frames_than_dimensions_cap_isoscore():
    assert isoscore(frames_of(4, 6, 30)) <= (6 - 2) / (30 - 1)


def test_a_rogue_dimension_costs_no_digits():
    """One dimension of mean 50 and deviation 0.1, as in large encoders; float32 sums would lose the 0.1."""
    x = frames_of(5, 300, 6)
    x[:, 2] = 50 + 0.1 * x[:, 2]
    every, _, _ = reference.mean_cosines(x[:60], np.zeros(60))
    assert every > 0.99
    assert mean_cosine(x[:60]) == pytest.approx(every, abs=ROUNDING)
    # The shift itself is not what is measured: taking it off exactly changes nothing.
    centred = x.astype(np.float64)
    centred[:, 2] -= 50
    assert participation_ratio(x) == pytest.approx(reference.participation_ratio(centred), rel=1e-10)
    assert isoscore(x) == pytest.approx(float(IsoScore(centred)), abs=1e-6)


@pytest.mark.parametrize(
    "x",
    [
        np.empty((0, 3)),
        np.ones((1, 3)),
        np.full((7, 3), 0.1),
        np.full((7, 3), 0.1, dtype=np.float32),
        np.full((2, 3), 0.1),
    ],
    ids=["no frame", "one frame", "constant", "constant float32", "constant, fewer frames than dims"],
)
def test_undefined_spread(x):
    assert math.isnan(participation_ratio(x))
    assert math.isnan(isoscore(x))


def test_undefined_for_one_dimension_or_no_pairs():
    x = np.arange(5.0)[:, np.newaxis]
    assert participation_ratio(x) == pytest.approx(1.0)
    assert math.isnan(isoscore(x))
    assert math.isnan(mean_cosine(x[:1]))
    assert math.isnan(mean_cosine(x[:0]))
    assert np.isnan(mean_cosine_within_between(x[:0], [])).all()
    assert math.isnan(mean_cosine_within_between(x, [0, 1, 2, 3, 4]).within)
    assert math.isnan(mean_cosine_within_between(x, [0] * 5).between)


def test_tiny_and_huge_features_are_neither_lost_nor_infinite():
    x = frames_of(6, 20, 4)
    for scale in (1e-30, 1e30):
        scaled = x * np.float32(scale)
        # float32 products with the scale round once: relative 6e-8 in each feature
        assert isoscore(scaled) == pytest.approx(isoscore(x), rel=1e-5)
        assert mean_cosine(scaled) == pytest.approx(mean_cosine(x), abs=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_mistakes_are_named(bad):
    x = frames_of(7, 6, 4)
    x[4, 1] = bad
    for function in (mean_cosine, isoscore, lambda x: mean_cosine_within_between(x, np.zeros(6))):
        with pytest.raises(KwsbenchError, match="frame 4 holds NaN or inf"):
            function(x)
        with pytest.raises(KwsbenchError, match=r"expected \(frames, dims\)"):
            function(x[0])
    with pytest.raises(KwsbenchError, match="5 groups for 6 frames"):
        mean_cosine_within_between(x, np.zeros(5))


def test_a_memory_map_is_read_in_blocks_and_not_changed(tmp_path, monkeypatch):
    """A float64 copy of the 8 MiB of frames would take 16 MiB; blocks of 16,384 values take 128 KiB each."""
    monkeypatch.setattr(isotropy, "BLOCK_VALUES", 2**14)
    x = frames_of(8, 2**15, 64)
    x.tofile(tmp_path / "frames.f32")
    mapped = np.memmap(tmp_path / "frames.f32", dtype=np.float32, mode="r", shape=x.shape)
    groups = np.arange(len(x)) // 1000
    tracemalloc.start()
    results = mean_cosine(mapped), isoscore(mapped), *mean_cosine_within_between(mapped, groups)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20  # of which the groups' own indices are 1.5 MiB
    again = x.astype(np.float64)
    assert results == (mean_cosine(again), isoscore(again), *mean_cosine_within_between(again, groups))
    assert np.array_equal(again, x)
