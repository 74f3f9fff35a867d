"""The two-stage search of ``benchmarks.coarse``: coarse frames by loops, and recall on real recordings."""

import numpy as np
import pytest

from benchmarks._coarse import Coarse, best, exact, search
from kwsbench import audio, plugins
from kwsbench.engine import score_pairs
from kwsbench.spec import parse
from kwsbench.types import Frames
from tests.test_utterance_lanes import COSINE, QUERIES, SDTW, UTTERANCES


@pytest.mark.parametrize("pool", [1, 2, 3, 100])
def test_coarse_frames_are_means_of_neighbours_within_an_item(pool):
    found = Coarse(pool)(UTTERANCES)
    for item in range(len(UTTERANCES)):
        frames = UTTERANCES[item].astype(np.float64)
        expected = [frames[at : at + pool].mean(axis=0) for at in range(0, len(frames), pool)]
        assert len(found[item]) == len(expected)
        if expected:
            np.testing.assert_allclose(found[item], expected, rtol=1e-5, atol=1e-4)  # sums of up to 100 float32


def test_directions_are_those_of_most_energy():
    """Against numpy's singular vectors of the frames as they are, not centred; a sign is nobody's choice."""
    coarse = Coarse.fit(UTTERANCES.values, pool=1, dims=2)
    _, _, rows = np.linalg.svd(UTTERANCES.values.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(np.abs(coarse.directions.T @ rows[:2].T), np.eye(2), atol=1e-5)
    np.testing.assert_allclose(coarse(UTTERANCES).values, UTTERANCES.values @ coarse.directions, rtol=1e-6)


def test_what_is_kept_has_the_scores_of_an_exhaustive_search():
    """float32 products of 7 terms of size 1 round by 1e-6."""
    coarse = Coarse(2)
    apart = np.zeros((len(QUERIES), len(UTTERANCES)), bool)
    apart[0, :60] = True  # leaves fewer than are kept
    rough = coarse(QUERIES), coarse(UTTERANCES)
    found = search(QUERIES, UTTERANCES, *rough, COSINE, SDTW, keep=0.3, top=5, apart=apart)
    whole = score_pairs(QUERIES, UTTERANCES).scores
    kept = np.isfinite(found)
    np.testing.assert_allclose(found[kept], whole[kept], rtol=0, atol=3e-6)
    assert not kept[0, :60].any()
    assert not kept[2].any()  # the query without frames
    assert kept.sum(axis=1)[[1, 3, 4, 5]].tolist() == [24] * 4


@pytest.mark.parametrize("encoder", ["mfcc", "fbank"])
def test_recall_on_spoken_digits(fsdd, encoder):
    """450 recordings, a third of them queries: of the exact best ten, 12% by twofold coarse frames keep 99%."""
    made_by = plugins.load().create("encoders", parse(encoder))
    layer = made_by.layers[-1]
    paths = sorted((fsdd / "recordings").glob("*.wav"))[::2]
    frames = Frames.join([made_by.encode(audio.read(path).samples, [layer])[layer] for path in paths])
    values = ((frames.values - frames.values.mean(axis=0)) / frames.values.std(axis=0)).astype(np.float32)
    frames = Frames(values, frames.offsets)
    mine = np.arange(0, len(paths), 3)
    queries = Frames.join([frames[i] for i in mine])
    apart = mine[:, None] == np.arange(len(paths))
    wanted = best(np.where(apart, -np.inf, exact(queries, frames, COSINE, SDTW)), 10)
    coarse = Coarse(2)
    found = search(queries, frames, coarse(queries), coarse(frames), COSINE, SDTW, keep=0.12, top=10, apart=apart)
    recall = np.mean([np.isin(one, other).mean() for one, other in zip(wanted, best(found, 10), strict=True)])
    assert recall >= 0.99
