"""Isotropy against loops over pairs, eigenvalues and the IsoScore package."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from IsoScore.IsoScore import IsoScore
from sklearn.covariance import ledoit_wolf_shrinkage

from kwsbench import isotropy
from kwsbench.errors import KwsbenchError
from kwsbench.isotropy import (
    effective_rank,
    isoscore,
    isoscore_star,
    mean_cosine,
    mean_cosine_within_between,
    norm_spread,
    participation_ratio,
    participation_ratio_half,
    partition_isotropy,
)
from kwsbench.rogue_dimensions import (
    cosine_r2_without,
    dimension_shares,
    rogue_dimensions,
)
from tests import reference_geometry as geometry
from tests import reference_metrics as reference
from tests.isotropy_frames import (
    ROUNDING,
    block_values,  # noqa: F401 - a fixture that all tests here use
    frames_of,
    small_frames,
)


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
    assert math.isnan(isoscore_star(x))
    assert math.isnan(isoscore_star(x, shrinkage=0.5))
    assert math.isnan(isoscore_star(x, shrinkage=0.5, reference_covariance=np.eye(3)))
    assert math.isnan(effective_rank(x))


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
    for function in (
        mean_cosine,
        isoscore,
        isoscore_star,
        effective_rank,
        partition_isotropy,
        norm_spread,
        dimension_shares,
        lambda x: rogue_dimensions(x, 1),
        lambda x: mean_cosine_within_between(x, np.zeros(6)),
        lambda x: cosine_r2_without(x, [0], np.random.default_rng(0), pairs=100),
    ):
        with pytest.raises(KwsbenchError, match="frame 4 holds NaN or inf"):
            function(x)
        with pytest.raises(KwsbenchError, match=r"expected \(frames, dims\)"):
            function(x[0])
    with pytest.raises(KwsbenchError, match="5 groups for 6 frames"):
        mean_cosine_within_between(x, np.zeros(5))
    with pytest.raises(KwsbenchError, match="5 groups for 6 frames, expected one a frame"):
        participation_ratio_half(x, np.zeros(5))


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


@pytest.mark.parametrize(("frames", "dims"), [(50, 8), (9, 20), (300, 2)])
def test_isoscore_star_against_the_definition(frames, dims):
    x = frames_of(20, frames, dims) * np.arange(1, dims + 1, dtype=np.float32) + 3
    covariance = np.cov(x.astype(np.float64).T)
    larger = np.cov(frames_of(21, 500, dims).astype(np.float64).T)
    level = np.trace(covariance) / dims * np.eye(dims)
    for zeta in (0.0, 0.3, 1.0):
        towards = (1 - zeta) * covariance + zeta * larger
        computed = isoscore_star(x, shrinkage=zeta, reference_covariance=larger)
        assert computed == pytest.approx(geometry.isoscore(towards), abs=1e-9)
        computed = isoscore_star(x, shrinkage=zeta)
        assert computed == pytest.approx(geometry.isoscore((1 - zeta) * covariance + zeta * level), abs=1e-9)
    assert isoscore_star(x, shrinkage=0.0) == pytest.approx(isoscore(x), abs=ROUNDING)
    assert isoscore_star(x, shrinkage=1.0) == pytest.approx(1.0)


@pytest.mark.parametrize(("frames", "dims"), [(50, 8), (9, 20), (300, 2), (2, 5)])
def test_shrinkage_against_sklearn(frames, dims):
    x = frames_of(22, frames, dims) * np.arange(1, dims + 1, dtype=np.float32) + 3
    zeta = ledoit_wolf_shrinkage(x.astype(np.float64))
    assert isotropy.ledoit_wolf_shrinkage(isotropy.spread(x)) == pytest.approx(zeta, abs=1e-10)
    assert isoscore_star(x) == pytest.approx(isoscore_star(x, shrinkage=zeta), abs=1e-10)


def test_shrinkage_at_its_ends():
    cross = np.concatenate([np.eye(4), -np.eye(4)])
    assert isotropy.ledoit_wolf_shrinkage(isotropy.spread(cross)) == 1.0
    assert isotropy.ledoit_wolf_shrinkage(isotropy.spread(np.ones((5, 3)))) == 0.0


def test_few_frames_lower_isoscore_less_when_shrunk():
    """The truth is 1: 30 frames of 40 independent dimensions of equal variance."""
    x = frames_of(23, 30, 40)
    assert isoscore(x) < 0.5
    assert isoscore_star(x) > 0.9


def test_isoscore_star_is_told_what_to_do():
    x = frames_of(24, 9, 3)
    with pytest.raises(KwsbenchError, match=r"shrinkage 1.5 is outside \[0, 1\]; 0 is plain IsoScore"):
        isoscore_star(x, shrinkage=1.5)
    with pytest.raises(KwsbenchError, match=r"has shape \(2, 2\), expected \(3, 3\)"):
        isoscore_star(x, shrinkage=0.5, reference_covariance=np.eye(2))
    with pytest.raises(KwsbenchError, match="needs a shrinkage too: give one between 0 and 1"):
        isoscore_star(x, reference_covariance=np.eye(3))


@pytest.mark.parametrize(("frames", "dims"), [(50, 8), (400, 20), (9, 20), (2, 3)])
def test_effective_rank_against_singular_values(frames, dims):
    x = frames_of(25, frames, dims) * np.arange(1, dims + 1, dtype=np.float32) + 3
    assert effective_rank(x) == pytest.approx(geometry.effective_rank(x), rel=1e-6)


def test_effective_rank_of_equal_axes_and_of_one():
    cross = np.concatenate([np.eye(4), -np.eye(4)]) + 100
    assert effective_rank(cross) == pytest.approx(4.0)
    # √ of an eigenvalue that is 1e-16 of rounding would be a singular value of 1e-8, two hundred times.
    assert effective_rank(np.outer(np.arange(300.0), np.linspace(-1, 3, 200))) == pytest.approx(1.0, abs=1e-9)


def test_effective_rank_is_at_least_the_participation_ratio_and_at_most_the_rank():
    for seed in range(5):
        x = frames_of(seed, 12, 6) * np.arange(6, dtype=np.float32)
        assert participation_ratio(x) <= effective_rank(x) <= 5 + 1e-9


def test_half_of_the_items_against_the_frames_of_every_second_item():
    x, items = frames_of(26, 40, 5), np.repeat([30, 10, 20, 40, 50], 8)
    expected = reference.participation_ratio(np.concatenate([x[8:16], x[0:8], x[32:40]]))  # 10, 30, 50
    assert participation_ratio_half(x, items) == pytest.approx(expected, rel=1e-10)
    assert participation_ratio_half(x, [f"clip {item}" for item in items]) == pytest.approx(expected, rel=1e-10)


def test_half_is_undefined_for_one_item():
    x = frames_of(27, 9, 3)
    assert math.isnan(participation_ratio_half(x, np.zeros(9)))
    assert math.isnan(participation_ratio_half(x[:0], []))
    assert math.isnan(participation_ratio_half(x[:2], [0, 1]))  # one frame is left


def test_half_shows_the_bias_of_few_frames():
    """1 / (1/R + 1/N), to a few percent, for N Gaussian frames of R equal dimensions; half as many say so."""
    x = frames_of(28, 200, 100)
    half, whole = participation_ratio_half(x, np.arange(200)), participation_ratio(x)
    assert half == pytest.approx(1 / (1 / 100 + 1 / 100), rel=0.05)
    assert whole == pytest.approx(1 / (1 / 100 + 1 / 200), rel=0.05)


@pytest.mark.parametrize(("frames", "dims"), [(40, 3), (7, 5), (1, 4), (4, 9)])
def test_partition_against_exponentials_of_every_frame(frames, dims):
    x = frames_of(30, frames, dims) * np.arange(1, dims + 1, dtype=np.float32) + np.float32(0.5)
    assert partition_isotropy(x) == pytest.approx(geometry.partition(x), rel=2e-6)


def test_partition_of_a_cross_is_one_and_of_a_cone_small():
    assert partition_isotropy(np.concatenate([np.eye(4), -np.eye(4)])) == pytest.approx(1.0)
    assert partition_isotropy(frames_of(31, 50, 4) * np.float32(0.1) + 3) < 1e-3


def test_partition_sees_no_rotation_and_no_order_and_no_sign():
    x = (frames_of(32, 60, 5) * [1, 2, 3, 4, 5] + 1).astype(np.float64)
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))
    expected = partition_isotropy(x)
    for moved in (x @ rotation, x[::-1], -x):
        assert partition_isotropy(moved) == pytest.approx(expected, rel=1e-5)


def test_partition_of_long_frames_underflows_and_overflows_nothing():
    """Two frames along one axis, of length 1000: log Z is 1000 one way, log 2 across, -1000 + log 2 back."""
    assert partition_isotropy(np.array([[1000.0, 0.0], [1000.0, 0.0]])) == 0.0
    assert partition_isotropy(np.array([[300.0, 0.0], [300.0, 0.0]])) == pytest.approx(math.exp(-600), rel=1e-6)


def test_partition_of_zeros_and_of_nothing():
    assert partition_isotropy(np.zeros((5, 3))) == pytest.approx(1.0)
    assert math.isnan(partition_isotropy(np.zeros((0, 3))))
    assert math.isnan(partition_isotropy(np.zeros((3, 0))))


def test_norm_spread():
    x = frames_of(33, 40, 5)
    norms = [math.sqrt(math.fsum(float(v) ** 2 for v in frame)) for frame in x]
    mean = math.fsum(norms) / 40
    expected = math.sqrt(math.fsum((norm - mean) ** 2 for norm in norms) / 40) / mean
    assert norm_spread(x) == pytest.approx(expected, abs=ROUNDING)
    assert norm_spread(np.array([[3.0, 4.0], [0.0, -5.0]])) == 0.0
    assert norm_spread(np.array([[0.0, 0.0], [0.0, 2.0]])) == pytest.approx(1.0)
    assert math.isnan(norm_spread(np.zeros((3, 2))))
    assert math.isnan(norm_spread(np.zeros((0, 2))))


def test_no_argument_is_changed():
    x = frames_of(50, 30, 4)
    kept = x.copy()
    for function in (isoscore_star, effective_rank, partition_isotropy, norm_spread, dimension_shares):
        function(x)
    cosine_r2_without(x, [0], np.random.default_rng(0), pairs=20)
    participation_ratio_half(x, np.arange(30))
    assert np.array_equal(x, kept)
