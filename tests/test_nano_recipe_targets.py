"""What is predicted: clusters, cepstra and the speaker's warp against loops, laid out in time with the streams."""

import itertools
import math

import numpy as np
import pytest
import torch

from kwsbench.errors import KwsbenchError
from kwsbench_plugins.nano.recipe import cepstra, kmeans, targets
from tests.nano_recipe_parts import digit_voices, eval_ratio, generator

pytestmark = pytest.mark.usefixtures("single_thread")


@pytest.fixture(scope="module")
def voices(shared, tmp_path_factory):
    return digit_voices(shared / "data" / "fsdd", tmp_path_factory.mktemp("digits"))


def test_kmeans_assigns_and_settles_as_loops_do():
    """Four far blobs. Every assignment by a loop; the centres are the means of what is assigned to them."""
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(at, 0.3, (50, 3)) for at in (-9, -3, 3, 9)]).astype(np.float32)
    centres = kmeans.kmeans(torch.from_numpy(points), 4, 20, generator(1))
    labels = kmeans.assign(torch.from_numpy(points), centres).numpy()
    for point, label in zip(points, labels, strict=True):
        distances = [sum((a - b) ** 2 for a, b in zip(point, centre, strict=True)) for centre in centres.tolist()]
        assert label == distances.index(min(distances))
    for cluster in range(4):
        np.testing.assert_allclose(centres[cluster], points[labels == cluster].mean(0), rtol=1e-5, atol=1e-5)
    shares = [np.mean(labels == cluster) for cluster in range(4)]
    expected = math.exp(-sum(share * math.log(share) for share in shares if share))
    assert kmeans.perplexity(torch.from_numpy(labels), 4) == pytest.approx(expected)
    picked = kmeans.sample(torch.arange(10), 4, generator()).tolist()
    assert len(set(picked)) == 4


def slow_cepstra(samples, warp):
    """The same by loops over frames, bins, filters and coefficients, in float64."""
    emphasised = [samples[0], *(b - 0.97 * a for a, b in itertools.pairwise(samples))]
    mel = lambda hz: 1127 * math.log(1 + hz / 700)  # noqa: E731
    edges = []
    for i in range(28):
        hz = 700 * (math.exp((mel(80) + (mel(7600) - mel(80)) * i / 27) / 1127) - 1)
        bend = 5500 * warp
        edges.append(hz * warp if hz < 5500 else bend + (hz - 5500) * (7900 - bend) / (7900 - 5500))
    rows = []
    for start in range(0, len(samples) - 399, 160):
        frame = [emphasised[start + i] * (0.5 - 0.5 * math.cos(2 * math.pi * i / 400)) for i in range(400)]
        power = np.abs(np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512) @ np.array(frame)) ** 2
        logs = []
        for left, middle, right in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
            total = 0.0
            for b in range(257):
                hz = b * 8000 / 256
                total += power[b] * max(0.0, min((hz - left) / (middle - left), (right - hz) / (right - middle)))
            logs.append(math.log(total + 1e-7))
        rows.append(
            [
                math.sqrt(2 / 26) * sum(logs[m] * math.cos(math.pi / 26 * (m + 0.5) * c) for m in range(26))
                for c in range(13)
            ]
        )
    return np.array(rows)


@pytest.mark.parametrize("warp", [1.0, 0.84, 1.16])
def test_cepstra_equal_a_slow_reckoning(warp, voices):
    """float32 logs of powers against float64: 1e-3 of values up to some tens."""
    stream = voices.stream(0)[3000:4500]
    found = cepstra.cepstra(stream, [1.0, warp])[warp]
    expected = slow_cepstra(stream.double().tolist(), warp)
    assert found.shape == expected.shape == ((1500 - 400) // 160 + 1, 13)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3)


def test_normalisation_and_slopes_equal_numpy():
    frames = torch.from_numpy(np.random.default_rng(0).normal(3, 2, (30, 13)).astype(np.float32))
    still = cepstra.normalised(frames).numpy()
    columns = [(column - column.mean()) / column.std(ddof=1) for column in frames.numpy().T]
    np.testing.assert_allclose(still.T, columns, atol=1e-4)
    rising = cepstra.slope(frames).numpy()
    padded = np.concatenate([frames[:1], frames[:1], frames, frames[-1:], frames[-1:]])
    for i in range(30):
        line = np.polyfit(np.arange(5), padded[i : i + 5], 1)[0]
        np.testing.assert_allclose(rising[i], line, atol=1e-5)
    assert cepstra.with_slopes(frames).shape == (30, 39)
    weights = cepstra.with_slopes(frames).std(0)
    np.testing.assert_allclose(weights[:26], np.ones(26), atol=1e-3)
    np.testing.assert_allclose(weights[26:], np.full(13, 0.7), atol=1e-3)


@pytest.mark.parametrize("turns", [1, 4])
def test_a_shorter_vocal_tract_is_recognised(voices, turns):
    """Each of six people beside themselves at 9/8 of the speed, whose formants are 9/8 as high: a larger warp."""
    speakers = range(len(voices.speakers))
    slow = [cepstra.cepstra(voices.stream(at)[: 16000 * 8], targets.WARPS) for at in speakers]
    fast = [cepstra.cepstra(voices.stream(at, "9/8")[: 16000 * 7], targets.WARPS) for at in speakers]
    warps = cepstra.choose_warps(slow + fast, generator(), turns)
    # The common codebook lies between the two, so that each is half of the way from it.
    assert all(0.92 <= warp <= 1.0 for warp in warps[:6]), warps
    assert all(1.04 <= warp <= 1.12 for warp in warps[6:]), warps


def test_targets_are_laid_out_by_speaker(voices):
    made = targets.from_cepstra(voices, 8, generator())
    lengths = [(len(voices.stream(at)) - 400) // 160 + 1 for at in range(len(voices.speakers))]
    assert made.first.tolist() == [sum(lengths[:at]) for at in range(len(lengths))]
    assert len(made.labels) == sum(lengths)
    assert set(made.labels.tolist()) == set(range(8))
    assert 3 < made.perplexity <= 8
    with pytest.raises(KwsbenchError, match=r"^99999999 clusters of \d+ frames; give fewer clusters or more rec"):
        targets.clustered([torch.randn(5, 2)], 99999999, 160, generator())


def test_frames_at_another_speed_hear_the_same_time():
    """By a loop over the centres; a tie is no matter, so distances are compared and not positions."""
    for speed in ("4/5", "1/1", "9/8"):
        for frame, other in enumerate(targets.same_time(300, speed).tolist()):
            centre = (320 * frame + 200) / eval_ratio(speed)
            best = min(abs(320 * k + 200 - centre) for k in range(600))
            assert abs(320 * other + 200 - centre) == pytest.approx(best)


def test_whitening_gives_uncorrelated_dimensions():
    """The soft variance of axis i becomes v / (v + 0.05 · largest), which is what remains on the diagonal."""
    points = torch.randn(4000, 6, generator=generator()) @ torch.randn(6, 6, generator=generator(1))
    points = points - points.mean(0)
    turned = points @ targets.whitening(points, 4)
    covariance = (turned.T @ turned / len(turned)).numpy()
    variances = np.linalg.eigvalsh((points.T @ points / len(points)).numpy())
    expected = variances[-4:] / (variances[-4:] + 0.05 * variances[-1])
    np.testing.assert_allclose(covariance, np.diag(expected), atol=1e-4)
