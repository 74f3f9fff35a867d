"""CSLS against the equation in plain loops, its fast path, and the hubs that it is for."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kwsbench import plugins
from kwsbench.errors import KwsbenchError
from kwsbench.testing import check_plugin
from kwsbench.types import NeighbourDistance
from kwsbench_plugins.cosine import Cosine
from kwsbench_plugins.csls import CSLS
from tests import reference_corrections as reference


def frames(seed, n, m, dims=6):
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal((count, dims)).astype(np.float32) + np.float32(0.5) for count in (n, m))


def nearness(x, y, k):
    return tuple(np.float32(reference.nearness(a.tolist(), b.tolist(), k)) for a, b in ((x, y), (y, x)))


def finished(distance, x, y, x_nearness, y_nearness):
    """The cost of queries x and utterances y by the fast path, (n, m)."""
    units = [torch.nn.functional.normalize(torch.from_numpy(z), dim=1) for z in (x, y)]
    tile = units[1] @ units[0].T - 1
    distance.finish(tile, torch.from_numpy(y_nearness)[:, None], torch.from_numpy(x_nearness)[None, :])
    return -tile.numpy().T


def test_it_is_registered_with_its_neighbours_and_passes_the_kit():
    plugin = plugins.load().find("distances", "csls")
    assert check_plugin(plugin).problems == []
    assert isinstance(plugin.create({}), NeighbourDistance)
    assert plugin.create({}).neighbours == 10
    assert plugin.create({"k": "3"}).neighbours == 3


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 9), st.integers(1, 10))
def test_the_cost_is_one_minus_half_of_the_papers_csls(seed, n, m, k):
    """Nearness is handed over as float32, and the cost comes out as float32: an ulp each of values up to 3."""
    x, y = frames(seed, n, m)
    expected = np.maximum(0, 1 - np.array(reference.csls(x, y, k)) / 2)
    found = CSLS(k=k).cost(x, y, *nearness(x, y, k))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(finished(CSLS(k=k), x, y, *nearness(x, y, k)), expected, rtol=0, atol=2e-6)


@given(st.integers(0, 2**32 - 1))
def test_without_neighbours_near_it_is_the_cosine_distance(seed):
    x, y = frames(seed, 4, 5)
    cost = CSLS().cost(x, y, np.zeros(4, np.float32), np.zeros(5, np.float32))
    np.testing.assert_array_equal(cost, Cosine().cost(x, y))


def test_a_cost_never_falls_below_0():
    """Equal frames whose neighbours all lie opposite: 1 - CSLS/2 would be -1."""
    x = np.eye(3, dtype=np.float32)
    away = np.full(3, -1, np.float32)
    assert CSLS().cost(x, x, away, away).min() == 0
    assert finished(CSLS(), x, x, away, away).min() == 0
    np.testing.assert_allclose(finished(CSLS(), x, x, away, away), CSLS().cost(x, x, away, away), atol=1e-6)


def test_silence_costs_what_its_neighbours_make_of_it():
    x, y = frames(0, 3, 4)
    x[1] = 0
    found = CSLS(k=2).cost(x, y, *nearness(x, y, 2))
    np.testing.assert_allclose(found[1], 1 + nearness(x, y, 2)[1] / 2, atol=1e-6)


def test_a_hub_is_no_longer_nearest_to_most():
    """Thirty queries with a true partner each, disturbed, and one frame at the mean of all: a hub by construction."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((30, 20)) + 1.5).astype(np.float32)
    y = np.concatenate([x + 1.5 * rng.standard_normal(x.shape), 1.5 * np.ones((1, 20))]).astype(np.float32)
    near = nearness(x, y, 5)
    plain, scaled = Cosine().cost(x, y).argmin(axis=1), CSLS(k=5).cost(x, y, *near).argmin(axis=1)
    hub = len(y) - 1
    assert (plain == hub).sum() > 15
    assert (scaled == hub).sum() < (plain == hub).sum() / 2
    assert (scaled == np.arange(30)).sum() >= (plain == np.arange(30)).sum() + 5


def test_arguments_stay_and_double_precision_is_kept():
    x, y = (z.astype(np.float64) for z in frames(0, 3, 4))
    given = x, y, np.full(3, 0.5), np.full(4, 0.25)
    copies = [z.copy() for z in given]
    found = CSLS().cost(*given)
    assert found.dtype == np.float64
    for before, after in zip(copies, given, strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_allclose(found, Cosine().cost(x, y) + 0.375, rtol=1e-15)


def test_no_neighbours_is_one_line():
    with pytest.raises(KwsbenchError, match=r"^csls:k=0 must be at least 1; it is the number of neighbours$"):
        CSLS(k=0)
