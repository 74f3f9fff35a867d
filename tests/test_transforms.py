"""The corrections: what each does to means and covariances, and that rogue dimensions and tiny fits are safe."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwsbench import plugins
from kwsbench.errors import KwsbenchError
from kwsbench.spec import parse
from kwsbench.testing import check_plugin
from kwsbench_plugins.abtt import AllButTheTop
from kwsbench_plugins.center import Center
from kwsbench_plugins.standardize import Standardize
from kwsbench_plugins.whiten import Whiten, moments

BUILT_IN = ("none", "center", "standardize", "whiten", "abtt")
EPS32 = float(np.finfo(np.float32).eps)


@st.composite
def speech_like(draw, min_frames=200, max_frames=600):
    """Correlated float32 frames with an offset and, like real layers, one rogue dimension (mean 50, deviation 0.1)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dims = draw(st.integers(4, 24))
    frames = draw(st.integers(min_frames, max_frames))
    mixing = np.eye(dims) + 0.3 * rng.standard_normal((dims, dims)) / np.sqrt(dims)
    values = rng.standard_normal((frames, dims)) @ mixing + rng.standard_normal(dims)
    rogue = draw(st.integers(0, dims - 1))
    values[:, rogue] = 50 + 0.1 * rng.standard_normal(frames)
    return values.astype(np.float32)


def cosines(x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit @ unit.T


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_passes_the_kit(name):
    plugin = plugins.load().find("transforms", name)
    assert plugin.summary
    assert check_plugin(plugin).problems == []


@pytest.mark.parametrize(
    "text", ["whiten:kind=pca,eps=0", "whiten:k=4", "whiten:kind=pca,k=4", "abtt:d=3,centered=false"]
)
def test_every_variant_passes_the_kit(text):
    spec = parse(text)
    assert check_plugin(plugins.load().find("transforms", spec.name), spec.params).problems == []


@given(speech_like())
def test_center_leaves_no_mean(frames):
    """Rounding to float32 happens after the subtraction, so the mean is below one unit of the residuals."""
    result = Center().fit(frames)(frames)
    assert np.abs(result.mean(axis=0, dtype=np.float64)).max() <= EPS32 * np.abs(result).max()


@given(speech_like())
def test_standardize_leaves_mean_0_and_deviation_1(frames):
    """The scale is rounded to float32 once and the product once: 2 ulp on a deviation of 1."""
    result = Standardize().fit(frames)(frames).astype(np.float64)
    assert np.abs(result.mean(axis=0)).max() <= 4 * EPS32
    np.testing.assert_allclose(result.std(axis=0), 1, rtol=4 * EPS32)


def test_a_constant_dimension_is_centred_only():
    frames = np.random.default_rng(0).standard_normal((1000, 3)).astype(np.float32)
    frames[:, 1] = np.float32(0.1)  # not representable: the float64 mean of equal values is off by rounding
    apply = Standardize().fit(frames)
    moved = frames[:1] + np.float32([0, 1, 0])
    assert apply(moved)[0, 1] == pytest.approx(1, abs=1e-6)


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


@pytest.mark.parametrize("transform", [Whiten(), Whiten(eps=0), AllButTheTop(), Standardize(), Center()])
def test_one_frame_is_only_subtracted(transform):
    frame = np.random.default_rng(0).standard_normal((1, 12)).astype(np.float32)
    apply = transform.fit(frame)
    np.testing.assert_allclose(apply(2 * frame), frame, rtol=1e-6)
    np.testing.assert_array_equal(apply(frame), np.zeros_like(frame))


def test_a_rogue_dimension_has_its_true_variance():
    """In float32, E[x²] − E[x]² gives 0.0027 for this variance of 0.0100."""
    rng = np.random.default_rng(0)
    frames = np.stack([50 + 0.1 * rng.standard_normal(200_000), rng.standard_normal(200_000)], axis=1).astype(
        np.float32
    )
    _, covariance = moments(frames)
    assert covariance[0, 0] == pytest.approx(frames[:, 0].astype(np.float64).var(), rel=1e-9)
    assert covariance[0, 0] == pytest.approx(0.01, rel=0.02)


@given(speech_like(), st.integers(1, 3))
@settings(deadline=None)
def test_abtt_leaves_nothing_along_the_top_directions(frames, d):
    result = AllButTheTop(d=d).fit(frames)(frames).astype(np.float64)
    centred = frames - frames.mean(axis=0, dtype=np.float64)
    vectors = np.linalg.svd(centred, full_matrices=False)[2]
    # The projection is rounded to float32: a few ulp of the largest centred value, per dimension.
    assert np.abs(result @ vectors[:d].T).max() <= 16 * EPS32 * np.abs(centred).max() * frames.shape[1]
    np.testing.assert_allclose(result @ vectors[d:].T, centred @ vectors[d:].T, atol=1e-4)


def test_abtt_removes_a_hundredth_of_the_dimensions_by_default():
    rng = np.random.default_rng(0)
    for dims, removed in ((39, 1), (256, 2), (768, 7)):
        frames = rng.standard_normal((dims + 50, dims)).astype(np.float32)
        result = AllButTheTop().fit(frames)(frames)
        assert np.linalg.matrix_rank(result.astype(np.float64), tol=1e-2) == dims - removed


def test_uncentred_abtt_removes_the_mean_direction_of_anisotropic_frames():
    """Frames around a long mean: its direction is the first of the second moments, and 90% of the cosine with it."""
    rng = np.random.default_rng(0)
    frames = (rng.standard_normal((2000, 20)) + 10 * np.eye(20)[3]).astype(np.float32)
    result = AllButTheTop(d=1, centered=False).fit(frames)(frames)
    assert cosines(frames[:100]).mean() > 0.8
    assert abs(cosines(result[:100]).mean()) < 0.05
    # Nothing was subtracted: what lies off that direction is as it was.
    np.testing.assert_allclose(result[:, :3], frames[:, :3], atol=0.3)


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (lambda: Whiten(eps=-1), "must not be negative"),
        (lambda: Whiten(k=9).fit(np.ones((3, 4), np.float32)), "whiten:k=9 asks for more directions .* dimensions .4."),
        (lambda: AllButTheTop(d=-1), "must not be negative"),
        (lambda: AllButTheTop(d=4).fit(np.ones((3, 4), np.float32)), "abtt:d=4 leaves nothing of 4 dimensions"),
    ],
)
def test_impossible_parameters(transform, words):
    with pytest.raises(KwsbenchError, match=words):
        transform()


@pytest.mark.parametrize("transform", [Center(), Standardize(), Whiten(), AllButTheTop()])
def test_fitting_needs_no_float64_copy_of_the_frames(transform):
    """200,000 × 128 frames are 102 MB as float32 and 205 MB as float64; a fit may take a fraction of that."""
    import tracemalloc

    frames = np.random.default_rng(0).standard_normal((200_000, 128), dtype=np.float32)
    tracemalloc.start()
    transform.fit(frames)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < frames.nbytes / 2
