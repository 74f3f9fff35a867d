"""Z-, T- and S-norm against plain loops, and the laws that they are made for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwsbench import plugins
from kwsbench.testing import check_plugin
from kwsbench_plugins.snorm import SNorm
from kwsbench_plugins.tnorm import TNorm
from kwsbench_plugins.znorm import ZNorm
from tests import reference_corrections as reference

NORMS = {"znorm": ZNorm, "tnorm": TNorm, "snorm": SNorm}
EPS32 = float(np.finfo(np.float32).eps)


@st.composite
def scored(draw, min_side=1):
    """Scores as a matcher gives them, some without alignment, and which pairs are used."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(min_side, 7)), draw(st.integers(min_side, 9))
    scores = -rng.random(shape).astype(np.float32)
    # Rounded scores tie, down to whole rows of the same one.
    scores = np.round(scores, draw(st.sampled_from([0, 1, 6])))
    scores[rng.random(shape) < draw(st.sampled_from([0.0, 0.2]))] = -np.inf
    used = np.isfinite(scores) & (rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 0.9, 1.0])))
    return scores, used


@pytest.mark.parametrize("name", NORMS)
def test_every_norm_is_registered_and_passes_the_kit(name):
    plugin = plugins.load().find("score_norms", name)
    assert plugin.factory is NORMS[name]
    assert check_plugin(plugin).problems == []


@pytest.mark.parametrize("name", NORMS)
@given(case=scored())
def test_a_norm_is_what_its_definition_says(name, case):
    """float64 all the way and one rounding to float32, of each part and of the sum: 4 ulp of the largest."""
    scores, used = case
    found = NORMS[name]().normalize(scores, used)
    expected = np.array(getattr(reference, name)(scores, used))
    assert found.dtype == np.float32
    finite = np.isfinite(scores)
    np.testing.assert_array_equal(np.isneginf(found), ~finite)
    size = np.abs(expected[finite]).max(initial=1.0)
    np.testing.assert_allclose(found[finite], expected[finite], rtol=0, atol=4 * EPS32 * size)


@pytest.mark.parametrize(("norm", "axis"), [(ZNorm(), 1), (TNorm(), 0)])
@given(case=scored(min_side=3))
def test_used_scores_have_mean_0_and_deviation_1(norm, axis, case):
    scores, used = case
    found = np.where(used, norm.normalize(scores, used), np.nan).astype(np.float64)
    lines, raw = (found, np.where(used, scores, np.nan)) if axis else (found.T, np.where(used, scores, np.nan).T)
    for line, before in zip(lines, raw, strict=True):
        known = line[~np.isnan(line)]
        if len(known):
            assert abs(known.mean()) <= 4 * EPS32 * max(1, np.abs(known).max())
            assert known.std() == pytest.approx(1 if len(set(before[~np.isnan(before)])) > 1 else 0, abs=1e-5)


@given(case=scored(min_side=2), scale=st.floats(0.1, 10), shift=st.floats(-3, 3))
def test_znorm_undoes_a_scale_of_each_query_and_tnorm_one_of_each_utterance(case, scale, shift):
    """The moved scores are float32 as well: their rounding, over the smallest spread of tenths, is below 1e-3."""
    scores, used = case
    scores = np.where(np.isfinite(scores), np.round(scores, 1), scores).astype(np.float32)
    moved = scores.copy()
    moved[0] = scores[0] * np.float32(scale) + np.float32(shift)
    rows = ZNorm().normalize(scores, used), ZNorm().normalize(moved, used)
    columns = TNorm().normalize(scores.T.copy(), used.T.copy()), TNorm().normalize(moved.T.copy(), used.T.copy())
    for before, after in (rows, (columns[0].T, columns[1].T)):
        np.testing.assert_array_equal(before[1:], after[1:])
        if len(set(scores[0][used[0]])) > 1:
            np.testing.assert_allclose(after[0], before[0], atol=1e-3)


@given(case=scored())
def test_znorm_changes_the_ranking_of_no_query(case):
    scores, used = case
    for before, after in zip(scores, ZNorm().normalize(scores, used), strict=True):
        order = np.argsort(before, kind="stable")
        assert (np.diff(np.where(np.isneginf(after), -1e9, after)[order]) >= 0).all()


@pytest.mark.parametrize("name", NORMS)
@given(case=scored(min_side=2))
def test_a_pair_that_is_not_used_changes_no_other(name, case):
    scores, used = case
    outlier = np.where(used | ~np.isfinite(scores), scores, np.float32(50))
    before, after = (NORMS[name]().normalize(s, used) for s in (scores, outlier))
    np.testing.assert_array_equal(before[used], after[used])


def test_the_norms_of_two_by_three_by_hand():
    """Rows 1 2 3 and 2 6 (own recording) 4: means 2 and 3, deviations sqrt(2/3) and 1."""
    scores = np.float32([[1, 2, 3], [2, 6, 4]])
    used = np.array([[True, True, True], [True, False, True]])
    z = [[-np.sqrt(1.5), 0, np.sqrt(1.5)], [-1, 3, 1]]
    # Columns: 1 2 → -1 1; 2 alone → centred on 2; 3 4 → -1 1.
    t = [[-1, 0, -1], [1, 4, 1]]
    np.testing.assert_allclose(ZNorm().normalize(scores, used), z, atol=1e-6)
    np.testing.assert_allclose(TNorm().normalize(scores, used), t, atol=1e-6)
    np.testing.assert_allclose(SNorm().normalize(scores, used), (np.array(z) + t) / 2, atol=1e-6)


@pytest.mark.parametrize("norm", [ZNorm(), TNorm(), SNorm()])
def test_where_nothing_is_used_nothing_changes_and_equal_scores_are_only_centred(norm):
    scores = np.float32([[-0.1, -0.3], [-0.2, -np.inf]])
    np.testing.assert_array_equal(norm.normalize(scores, np.zeros((2, 2), bool)), scores)
    equal = np.full((3, 5), np.float32(-0.1))
    np.testing.assert_array_equal(norm.normalize(equal, np.ones((3, 5), bool)), np.zeros((3, 5)))
    np.testing.assert_array_equal(
        norm.normalize(np.zeros((0, 4), np.float32), np.zeros((0, 4), bool)), np.zeros((0, 4))
    )


def test_tnorm_takes_off_what_makes_an_utterance_score_high_for_everything():
    """Utterance 2 is a hub: the best of all for two of three queries, until each is judged among its own scores."""
    scores = np.float32([[-0.30, -0.60, -0.25], [-0.60, -0.30, -0.25], [-0.60, -0.60, -0.10]])
    used = np.ones((3, 3), bool)
    assert scores.argmax(axis=1).tolist() == [2, 2, 2]
    assert ZNorm().normalize(scores, used).argmax(axis=1).tolist() == [2, 2, 2]
    assert TNorm().normalize(scores, used).argmax(axis=1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", NORMS)
def test_a_small_spread_on_a_large_mean_keeps_its_digits(name):
    """Deviation 0.01 around -1000: float32 statistics would lose most of it."""
    rng = np.random.default_rng(0)
    scores = (-1000 + 0.01 * rng.standard_normal((40, 50))).astype(np.float32)
    used = np.ones(scores.shape, bool)
    found = NORMS[name]().normalize(scores, used)
    np.testing.assert_allclose(found, getattr(reference, name)(scores, used), atol=1e-5)
