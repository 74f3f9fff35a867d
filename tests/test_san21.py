"""The distance and the matcher of San et al. (2021) against scipy, dtwalign and slow loops."""

import numpy as np
import pytest
from dtwalign import dtw_from_distance_matrix
from hypothesis import given, settings
from scipy.spatial.distance import cdist

from kwsbench.errors import KwsbenchError
from kwsbench.testing import check_distance, check_matcher
from kwsbench.types import Match
from kwsbench_plugins.seuclidean import StandardizedEuclidean
from kwsbench_plugins.windows import Windows
from tests import reference_recipes as reference
from tests.recipe_inputs import integer_costs, items


def test_seuclidean_passes_the_kit():
    assert check_distance(StandardizedEuclidean()) == []


def test_seuclidean_by_hand():
    """Frames 0 and 3 against 6: mean 3, squares 9 + 0 + 9 over 2 is variance 9, so 6 and 3 apart are 2 and 1."""
    x, y = np.array([[0.0], [3.0]]), np.array([[6.0]])
    assert StandardizedEuclidean().cost(x, y).tolist() == [[2.0], [1.0]]


@given(items())
def test_seuclidean_is_scipys_and_the_loops(ragged):
    (x, *_), (y, *_) = ragged
    x64, y64 = x.astype(float), y.astype(float)
    cost = StandardizedEuclidean().cost(x64, y64)
    # |x|² + |y|² − 2xy loses the square root of float64's rounding where frames are equal, otherwise far less.
    np.testing.assert_allclose(cost, cdist(x64, y64, "seuclidean"), rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(
        cost, reference.standardized_euclidean_costs(x64.tolist(), y64.tolist()), rtol=1e-9, atol=1e-6
    )


@given(items())
def test_seuclidean_does_not_see_units_and_offsets(ragged):
    (x, *_), (y, *_) = ragged
    x64, y64 = x.astype(float), y.astype(float)
    factors = np.geomspace(0.01, 1000, x.shape[1])
    other = StandardizedEuclidean().cost(x64 * factors + 7, y64 * factors + 7)
    np.testing.assert_allclose(StandardizedEuclidean().cost(x64, y64), other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9])
def test_seuclidean_of_a_constant_dimension_costs_nothing_for_it(constant):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 3)), rng.standard_normal((8, 3))
    wider = [np.c_[frames, np.full(len(frames), constant)] for frames in (x, y)]
    np.testing.assert_allclose(StandardizedEuclidean().cost(*wider), cdist(x, y, "seuclidean"), rtol=1e-9)
    assert not StandardizedEuclidean().cost(np.full((2, 3), constant), np.full((4, 3), constant)).any()


@pytest.mark.parametrize("params", [{}, {"shortest": 0.0, "longest": 1.0}, {"shortest": 1.0, "longest": np.inf}])
def test_windows_passes_the_kit(params):
    assert check_matcher(Windows(**params)) == []


def test_windows_by_hand():
    """Costs 4 1 2 / 3 5 7 are 1 0 0 / 0 1 1 by column; two frames of query make windows of three, from frames 0 and 1.

    From 0: 1 + 2·1 over 2 + 2 is 3/4 at the second frame, 1 + 2·1 + 1 over 2 + 3 is 4/5 at the third.
    From 1: 0 + 2·1 over 4 is 1/2 at its second frame, and that frame, 1, is half of 2: just long enough.
    """
    cost = np.array([[4.0, 1.0, 2.0], [3.0, 5.0, 7.0]])
    assert Windows().match(cost) == Match(0.5, 1, 2)
    assert reference.san_windows(reference.columns_to_unit_range(cost.tolist())) == (0.5, 1, 2)


def test_windows_passes_over_a_window_whose_best_end_is_too_early():
    """Three query frames lie on two frames at no cost, but 1 is less than half of 3, so the one window is out.

    Its next end would cost 2 over 3 + 3; with a lower limit the first end counts.
    """
    cost = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [1.0, 0.0, 1.0]])
    assert Windows().match(cost) == Match(1.0, 0, 2)
    assert Windows(shortest=0.3).match(cost) == Match(0.0, 0, 1)
    assert reference.san_windows(cost.tolist()) == (1.0, None, None)


def test_windows_costs_the_most_where_the_utterance_is_too_short_or_the_query_one_frame():
    rng = np.random.default_rng(1)
    assert Windows().match(rng.random((6, 3))) == Match(1.0, 0, 2)
    assert Windows().match(rng.random((1, 9))) == Match(1.0, 0, 8)


@pytest.mark.parametrize("params", [{}, {"shortest": 0.0, "longest": 1.0}, {"shortest": 0.7, "longest": 2.0}])
@settings(max_examples=60, deadline=None)
@given(cost=integer_costs())
def test_windows_is_its_reference(params, cost):
    expected, start, end = reference.san_windows(reference.columns_to_unit_range(cost.tolist()), **params)
    if start is None:
        start, end = 0, cost.shape[1] - 1
    # The same float64 operations in the same order: exact, ties and spans included.
    assert Windows(**params).match(cost) == Match(expected, start, end)


@settings(max_examples=60, deadline=None)
@given(integer_costs())
def test_the_reference_of_the_recursion_is_dtwaligns_symmetric_p1(cost):
    n = len(cost)
    totals = reference.slope_one_totals(cost.tolist())[n - 1]
    if np.isinf(totals).all():
        with pytest.raises(ValueError, match="no alignment path"):
            dtw_from_distance_matrix(cost.astype(float), step_pattern="symmetricP1", open_end=True)
        return
    peer = dtw_from_distance_matrix(cost.astype(float), step_pattern="symmetricP1", open_end=True)
    assert min(total / (n + j + 1) for j, total in enumerate(totals)) == peer.normalized_distance


@settings(deadline=None)
@given(integer_costs())
def test_windows_does_not_see_what_each_utterance_frame_adds_or_multiplies(cost):
    """Powers of two and small integers, so that nothing is rounded."""
    columns = np.arange(cost.shape[1])
    assert Windows().match(cost * 2.0 ** (columns % 4) + columns) == Windows().match(cost)


@pytest.mark.parametrize("params", [(-0.1, 1.5), (1.1, 1.5), (0.2, 0.9), (np.nan, 1.5), (0.5, np.nan)])
def test_windows_says_which_limits_are_legal(params):
    shortest, longest = params
    with pytest.raises(KwsbenchError) as error:
        Windows(shortest=shortest, longest=longest)
    assert str(error.value) == (
        f"windows: shortest={shortest}, longest={longest}; shortest is from 0 to 1, longest at least 1"
    )
