"""Whitening: what it does to covariances, whole, truncated, soft and shrunk."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import inv, sqrtm
from sklearn import covariance as peer
from sklearn.decomposition import PCA

from kwsbench_plugins.whiten import Whiten, ledoit_wolf, moments
from tests import reference_corrections as reference
from tests.speech_like import EPS32, cosines, speech_like


@pytest.mark.parametrize("kind", ["pca", "zca"])
@given(frames=speech_like())
@settings(deadline=None)
def test_exact_whitening_makes_the_covariance_the_identity(kind, frames):
    """Rounding the map and the centred frames to float32, then a product of d terms.

    Each result is off by about sqrt(d)·eps32 of the terms it sums, whose size is the condition of
    the map (the square root of the covariance's, here at most a few hundred, from 10 to 0.1).
    """
    result = Whiten(kind=kind, eps=0).fit(frames)(frames)
    _, covariance = moments(result)
    condition = np.sqrt(np.linalg.cond(moments(frames)[1]))
    np.testing.assert_allclose(covariance, np.eye(len(covariance)), rtol=0, atol=64 * EPS32 * max(condition, 10))


@given(speech_like())
@settings(deadline=None)
def test_pca_and_zca_give_the_same_cosines_at_full_rank(frames):
    """They differ by a rotation, also with eps > 0; 1e-5 is the float32 rounding of d products."""
    few = frames[:40]
    pca, zca = (Whiten(kind=kind).fit(frames)(few) for kind in ("pca", "zca"))
    np.testing.assert_allclose(cosines(pca), cosines(zca), rtol=0, atol=1e-4)


@given(speech_like(), st.integers(1, 4))
@settings(deadline=None)
def test_truncated_pca_has_k_dims_and_zca_has_rank_k(frames, k):
    pca = Whiten(kind="pca", k=k).fit(frames)(frames)
    zca = Whiten(kind="zca", k=k).fit(frames)(frames)
    assert pca.shape == (len(frames), k)
    assert zca.shape == frames.shape
    values = np.linalg.svd(zca.astype(np.float64), compute_uv=False)
    assert (values > 1e-4 * values[0]).sum() == k
    np.testing.assert_allclose(cosines(pca[:30]), cosines(zca[:30]), rtol=0, atol=2e-3)


@pytest.mark.parametrize("eps", [0, 1e-3, 0.5])
@given(frames=speech_like())
@settings(deadline=None, max_examples=30)
def test_zca_is_the_inverse_square_root_of_the_covariance(eps, frames):
    """scipy's matrix square root of C + eps·mean λ·I, by a Schur form and not by eigenvectors."""
    centred = frames[:30] - frames.mean(axis=0, dtype=np.float64)
    covariance = np.cov(frames.astype(np.float64), rowvar=False, bias=True)
    softened = covariance + eps * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    expected = centred @ inv(sqrtm(softened))
    np.testing.assert_allclose(Whiten(eps=eps).fit(frames)(frames[:30]), expected, atol=1e-4 * np.abs(expected).max())


@given(speech_like(), st.integers(1, 4))
@settings(deadline=None, max_examples=30)
def test_pca_is_that_of_scikit_learn(frames, k):
    """Up to the signs, and its n - 1 where ours is n. Neighbouring eigenvalues leave a direction free: cosines tell."""
    expected = PCA(n_components=k, whiten=True, svd_solver="full").fit(frames.astype(np.float64)).transform(frames[:30])
    expected *= np.sqrt(len(frames) / (len(frames) - 1))
    found = Whiten(kind="pca", eps=0, k=k).fit(frames)(frames[:30])
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-3 * np.abs(expected).max() ** 2)


@pytest.mark.parametrize("count", [3, 10, 60, 20_000])
def test_ledoit_wolf_is_that_of_scikit_learn(count):
    """20,000 frames are three chunks; a rogue dimension must not cost digits."""
    rng = np.random.default_rng(count)
    frames = (rng.standard_normal((count, 8)) @ rng.standard_normal((8, 8)) + 50).astype(np.float32)
    mean, covariance = moments(frames)
    expected, shrinkage = peer.ledoit_wolf(frames.astype(np.float64))
    a = ledoit_wolf(frames, mean, covariance)
    assert a == pytest.approx(shrinkage, rel=1e-9)
    np.testing.assert_allclose((1 - a) * covariance + a * np.trace(covariance) / 8 * np.eye(8), expected, rtol=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(1, 6))
@settings(deadline=None)
def test_ledoit_wolf_is_what_its_sums_say(seed, count, dims):
    frames = np.random.default_rng(seed).standard_normal((count, dims)).astype(np.float32)
    assert ledoit_wolf(frames, *moments(frames)) == pytest.approx(reference.ledoit_wolf(frames), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    "frames",
    [
        np.ones((1, 3)),
        np.full((9, 3), 0.1),
        np.array([[1.0], [2.0], [4.0]]),
        np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]),
    ],
    ids=["one frame", "equal frames", "one dimension", "already round"],
)
def test_what_is_round_already_is_not_shrunk(frames):
    frames = frames.astype(np.float32)
    assert ledoit_wolf(frames, *moments(frames)) == 0


def test_shrinkage_whitens_with_the_shrunk_covariance_and_is_eps_up_to_scale():
    rng = np.random.default_rng(0)
    frames = (rng.standard_normal((40, 10)) * np.arange(1, 11) + 3).astype(np.float32)
    other = rng.standard_normal((25, 10)).astype(np.float32)
    shrunk, a = peer.ledoit_wolf(frames.astype(np.float64))
    assert 0.01 < a < 0.9
    found = Whiten(eps=0, shrinkage="ledoit-wolf").fit(frames)(other)
    np.testing.assert_allclose(found, (other - frames.mean(0)) @ inv(sqrtm(shrunk)), atol=1e-5)
    by_eps = Whiten(eps=a / (1 - a)).fit(frames)(other)
    np.testing.assert_allclose(found * np.sqrt(1 - a), by_eps, atol=1e-5)


def test_soft_whitening_shrinks_variance_as_its_formula_says():
    """λ becomes λ / (λ + eps · mean λ)."""
    rng = np.random.default_rng(0)
    frames = (rng.standard_normal((5000, 6)) * [3, 2, 1, 0.5, 0.1, 0.01]).astype(np.float32)
    values = np.linalg.eigvalsh(moments(frames)[1])[::-1]
    softened = np.linalg.eigvalsh(moments(Whiten(kind="pca", eps=0.1).fit(frames)(frames))[1])[::-1]
    np.testing.assert_allclose(softened, values / (values + 0.1 * values.mean()), rtol=1e-4)


def test_whitening_with_fewer_frames_than_dims_is_bounded():
    """With eps the empty directions are amplified at most 1/sqrt(eps) over the mean; without it they are 0."""
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((10, 50)).astype(np.float32)
    other = rng.standard_normal((20, 50)).astype(np.float32)
    soft = Whiten().fit(frames)(other)
    assert np.linalg.norm(soft, axis=1).max() < np.linalg.norm(other - frames.mean(0), axis=1).max() / np.sqrt(
        1e-3 * 0.1
    )
    exact = Whiten(eps=0).fit(frames)(other)
    assert (np.linalg.svd(exact, compute_uv=False) > 1e-3).sum() == 9  # ten frames span nine directions
