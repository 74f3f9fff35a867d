"""The corrections: what each does to means and covariances, and that rogue dimensions and tiny fits are safe."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.decomposition import PCA

from kwsbench import plugins
from kwsbench.errors import KwsbenchError
from kwsbench.spec import parse
from kwsbench.testing import check_plugin
from kwsbench_plugins.abtt import AllButTheTop
from kwsbench_plugins.center import Center
from kwsbench_plugins.rank import Rank
from kwsbench_plugins.rogue import DropRogue
from kwsbench_plugins.speakers import SpeakerSubspace
from kwsbench_plugins.standardize import Standardize
from kwsbench_plugins.whiten import Whiten, moments
from tests import reference_corrections as reference
from tests.speech_like import EPS32, cosines, speech_like

BUILT_IN = ("none", "center", "standardize", "whiten", "abtt", "rogue", "rank", "speaker-subspace")


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_passes_the_kit(name):
    plugin = plugins.load().find("transforms", name)
    assert plugin.summary
    assert check_plugin(plugin).problems == []


@pytest.mark.parametrize(
    "text",
    [
        "whiten:kind=pca,eps=0",
        "whiten:k=4",
        "whiten:kind=pca,k=4",
        "whiten:shrinkage=ledoit-wolf,eps=0",
        "abtt:d=3,centered=false",
        "rogue:k=0",
        "speaker-subspace:variance=1",
    ],
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


@pytest.mark.parametrize(
    "transform",
    [Whiten(), Whiten(eps=0), Whiten(shrinkage="ledoit-wolf"), AllButTheTop(), Standardize(), Center()],
)
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


@given(speech_like(), st.integers(1, 3))
@settings(deadline=None)
def test_uncentred_abtt_is_the_projection_of_an_svd_of_the_frames(frames, d):
    """The singular vectors of the frames as they are; nothing is subtracted."""
    vectors = np.linalg.svd(frames.astype(np.float64), full_matrices=False)[2][:d]
    expected = frames - (frames @ vectors.T) @ vectors
    found = AllButTheTop(d=d, centered=False).fit(frames)(frames)
    np.testing.assert_allclose(found, expected, rtol=0, atol=16 * EPS32 * 60 * frames.shape[1])


def test_rogue_drops_the_dimensions_that_hold_the_mean_cosine():
    """Three dimensions with a mean of their own, among twelve without; their share is counted pair by pair."""
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((60, 12)).astype(np.float32)
    frames[:, [2, 7, 11]] += np.float32([4, -6, 5])
    shares = reference.shares_of_mean_cosine(frames)
    top = sorted(range(12), key=lambda i: -shares[i])[:3]
    assert sum(shares[i] for i in top) > 0.9 * sum(shares)
    other = rng.standard_normal((5, 12)).astype(np.float32)
    np.testing.assert_array_equal(DropRogue(k=3).fit(frames)(other), np.delete(other, top, axis=1))
    np.testing.assert_array_equal(DropRogue(k=1).fit(frames)(other), np.delete(other, 7, axis=1))


def test_rogue_with_equal_means_drops_the_first_and_with_k_0_nothing():
    frames = np.float32([[1, -1, 2, 1]])
    np.testing.assert_array_equal(DropRogue(k=2).fit(frames)(frames), [[-1, 1]])
    np.testing.assert_array_equal(DropRogue(k=0).fit(frames)(frames), frames)


@given(st.integers(0, 2**32 - 1), st.integers(2, 15))
def test_the_cosine_of_ranks_is_spearmans_rho(seed, dims):
    """Rounded values tie; scipy's rho of two constant vectors is undefined, here their cosine is 0."""
    x = np.round(np.random.default_rng(seed).standard_normal((2, dims)), 1).astype(np.float32)
    found = Rank().fit(x)(x)
    assert found.dtype == np.float32
    expected = [np.array(reference.average_ranks(row)) - (dims + 1) / 2 for row in x.tolist()]
    np.testing.assert_array_equal(found, expected)
    if all(len(set(row)) > 1 for row in x.tolist()):
        assert cosines(found)[0, 1] == pytest.approx(spearmanr(x[0], x[1]).statistic, abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
def test_ranks_see_only_the_order_within_a_frame(seed, scale):
    """Any rising function of the values gives the same ranks, whatever they were fitted on."""
    x = np.random.default_rng(seed).standard_normal((4, 9))
    risen = np.sinh(scale * 0.01 * x) + 7
    np.testing.assert_array_equal(Rank().fit(x[:1])(x), Rank().fit(risen[1:])(risen))


def test_ranks_of_equal_values_and_of_one_dimension_are_0():
    x = np.float32([[0, 0, 0], [5, 5, 5]])
    np.testing.assert_array_equal(Rank().fit(x)(x), np.zeros((2, 3)))
    np.testing.assert_array_equal(Rank().fit(x[:, :1])(x[:, :1]), np.zeros((2, 1)))


def talkers(seed, count, dims=16, spread=5.0):
    """Speakers who say between 20 and 60 frames each, around a mean of their own, with a common offset."""
    rng = np.random.default_rng(seed)
    means = spread * rng.standard_normal((count, dims)) * np.geomspace(1, 0.05, dims)
    return [(rng.standard_normal((rng.integers(20, 60), dims)) + mean + 3).astype(np.float32) for mean in means]


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.sampled_from([0.5, 0.8, 0.95, 0.99]))
@settings(deadline=None)
def test_the_speaker_subspace_is_the_pca_of_speaker_means(seed, count, variance):
    """scikit-learn keeps as many directions as exceed the share; they are projected out."""
    speakers = talkers(seed, count)
    pca = PCA(n_components=variance, svd_solver="full").fit([x.mean(axis=0, dtype=np.float64) for x in speakers])
    x = np.concatenate(speakers)
    expected = x - (x @ pca.components_.T) @ pca.components_
    found = SpeakerSubspace(variance=variance).fit_speakers(speakers)(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.floats(0.1, 1))
@settings(deadline=None)
def test_less_than_the_rest_of_the_variance_between_speakers_stays(seed, count, variance):
    def between(speakers):
        means = np.stack([x.mean(axis=0, dtype=np.float64) for x in speakers])
        return float(np.sum((means - means.mean(axis=0)) ** 2))

    speakers = talkers(seed, count)
    apply = SpeakerSubspace(variance=variance).fit_speakers(speakers)
    left = between([apply(x) for x in speakers])
    assert left <= (1 - variance) * between(speakers) * (1 + 1e-6) + 1e-6


def test_what_is_alike_in_all_speakers_stays():
    """Two speakers who differ in dimension 1 alone: it goes, the common mean and the rest stay to the digit."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 4)).astype(np.float32) + np.float32(3)
    found = SpeakerSubspace().fit_speakers([x, x + np.float32([0, 8, 0, 0])])(x)
    np.testing.assert_allclose(found, x * np.float32([1, 0, 1, 1]), atol=1e-5)


def test_a_speaker_counts_once_however_long_they_speak():
    speakers = talkers(0, 4)
    longer = [*speakers[:3], np.repeat(speakers[3], 7, axis=0)]
    x = speakers[0]
    one, two = (SpeakerSubspace().fit_speakers(given)(x) for given in (speakers, longer))
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_speakers_whose_means_were_taken_away_differ_by_rounding_and_lose_nothing():
    """As after center:scope=speaker; else the directions of rounding errors would go, which are any."""
    centred = [Center().fit(x)(x) for x in talkers(0, 5)]
    for speakers in (centred, [centred[0], centred[0]]):
        np.testing.assert_array_equal(SpeakerSubspace().fit_speakers(speakers)(centred[1]), centred[1])


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (lambda: DropRogue(k=-1), "rogue:k=-1 must not be negative; it is the number of dimensions to drop"),
        (
            lambda: DropRogue(k=4).fit(np.ones((3, 4), np.float32)),
            "rogue:k=4 leaves nothing of 4 dimensions; take a sm",
        ),
        (lambda: SpeakerSubspace(variance=0), "variance=0 is a share; give more than 0 and at most 1"),
        (lambda: SpeakerSubspace(variance=95), "variance=95 is a share; give more than 0 and at most 1"),
        (
            lambda: SpeakerSubspace().fit_speakers(talkers(0, 1)),
            "needs frames of two speakers or more to see how they differ, and was given 1; choose another scope or l",
        ),
        (
            lambda: SpeakerSubspace(variance=1).fit_speakers(talkers(0, 4, dims=3)),
            "speaker-subspace:variance=1 leaves nothing of 3 dimensions; take a smaller share",
        ),
        (lambda: Whiten(eps=-1), "must not be negative"),
        (lambda: Whiten(k=9).fit(np.ones((3, 4), np.float32)), "whiten:k=9 asks for more directions .* dimensions .4."),
        (lambda: AllButTheTop(d=-1), "must not be negative"),
        (lambda: AllButTheTop(d=4).fit(np.ones((3, 4), np.float32)), "abtt:d=4 leaves nothing of 4 dimensions"),
    ],
)
def test_impossible_parameters(transform, words):
    with pytest.raises(KwsbenchError, match=words):
        transform()


@pytest.mark.parametrize(
    "transform", [Center(), Standardize(), Whiten(), Whiten(shrinkage="ledoit-wolf"), AllButTheTop(), DropRogue()]
)
def test_fitting_needs_no_float64_copy_of_the_frames(transform):
    """200,000 × 128 frames are 102 MB as float32 and 205 MB as float64; a fit may take a fraction of that."""
    import tracemalloc

    frames = np.random.default_rng(0).standard_normal((200_000, 128), dtype=np.float32)
    tracemalloc.start()
    transform.fit(frames)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < frames.nbytes / 2
