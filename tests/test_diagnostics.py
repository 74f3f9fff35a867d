"""Every figure of measure is the one that its own function gives, and the names say which way is isotropic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kwsbench import isotropy, rogue_dimensions, subspaces
from kwsbench.diagnostics import NAMES, few_frames, measure
from kwsbench.errors import KwsbenchError


def speech(seed=0, frames=240, dims=8):
    """Frames with a rogue dimension, and the labels that measure takes."""
    rng = np.random.default_rng(seed)
    items = np.arange(frames) // 6
    speakers, words = items % 3, (items // 3) % 4
    offsets = rng.normal(size=(3, dims))[speakers] + rng.normal(size=(4, dims))[words]
    x = (rng.normal(size=(frames, dims)) + offsets + 4 * (np.arange(dims) == 2)).astype(np.float32)
    labels = {"recordings": items // 2, "speakers": speakers, "words": words, "items": items}
    return x, labels


def one_by_one(x, recordings, speakers, words, items):
    """The figures from the functions that define them."""
    shares = np.sort(rogue_dimensions.dimension_shares(x))[::-1]
    geometry = subspaces.speaker_word_geometry(x, speakers, words)
    near, far = isotropy.mean_cosine_within_between(x, recordings)

    def r2(k):
        return rogue_dimensions.cosine_r2_without(x, rogue_dimensions.rogue_dimensions(x, k), np.random.default_rng(0))

    return {
        "mean_cosine": isotropy.mean_cosine(x),
        "mean_cosine_within": near,
        "mean_cosine_between": far,
        "share_top1": shares[:1].sum(),
        "share_top3": shares[:3].sum(),
        "share_top5": shares[:5].sum(),
        "r2_without_top1": r2(1),
        "r2_without_top3": r2(3),
        "r2_without_top5": r2(5),
        "isoscore": isotropy.isoscore(x),
        "isoscore_star": isotropy.isoscore_star(x),
        "partition": isotropy.partition_isotropy(x),
        "participation_ratio": isotropy.participation_ratio(x),
        "participation_ratio_half": isotropy.participation_ratio_half(x, items),
        "effective_rank": isotropy.effective_rank(x),
        "norm_spread": isotropy.norm_spread(x),
        "self_similarity": subspaces.self_similarity(x, words, items),
        "speaker_word_crv": geometry.words_along_speakers,
        "word_speaker_crv": geometry.speakers_along_words,
        "words_without_speakers": geometry.words_left,
        "speaker_self_crv": geometry.speakers_self,
        "word_self_crv": geometry.words_self,
    }


def test_every_figure_is_what_its_own_function_gives():
    x, labels = speech()
    figures = measure(x, **labels)
    assert figures == pytest.approx(one_by_one(x, **labels), abs=1e-12)
    assert list(figures) == list(NAMES)
    assert all(type(value) is float and math.isfinite(value) for value in figures.values())


def test_the_same_again():
    x, labels = speech(1)
    kept = x.copy()
    assert measure(x, **labels) == measure(x, **labels)
    assert np.array_equal(x, kept)


def test_unknown_words_touch_only_the_figures_of_words():
    x, labels = speech(2)
    without = measure(x, **(labels | {"words": np.full(len(x), -1)}))
    with_words = measure(x, **labels)
    changed = {name for name in NAMES if without[name] != with_words[name]}
    assert changed == {name for name in NAMES if "word" in name or name == "self_similarity"}
    assert all(math.isnan(without[name]) for name in changed)


def test_a_rogue_dimension_shows_and_going_without_it_changes_the_cosines():
    x, labels = speech(3)
    rogue = x.copy()
    rogue[:, 2] *= 20
    before, after = measure(x, **labels), measure(rogue, **labels)
    assert after["share_top1"] > 0.98 > before["share_top1"]
    assert after["r2_without_top1"] < before["r2_without_top1"]
    assert after["isoscore"] < before["isoscore"]
    assert after["mean_cosine"] > before["mean_cosine"]


def test_two_speakers_and_two_words():
    x, labels = speech(4)
    few = measure(x, **(labels | {"speakers": labels["speakers"] % 2, "words": labels["words"] % 2}))
    # One direction each: what is left of one along the other is the squared sine between them.
    assert few["speaker_word_crv"] == pytest.approx(few["word_speaker_crv"])
    assert few["speaker_word_crv"] == few["words_without_speakers"]
    assert 0 < few["speaker_word_crv"] < 1
    assert few["speaker_self_crv"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("dims", [1, 2, 4])
def test_fewer_dimensions_than_the_greatest_five(dims):
    x, labels = speech(5, dims=dims)
    figures = measure(x, **labels)
    assert figures["share_top5"] == pytest.approx(1.0)
    assert math.isnan(figures["r2_without_top5"])
    assert math.isnan(figures["isoscore"]) == (dims == 1)


@pytest.mark.parametrize("frames", [0, 1])
def test_no_frame_and_one_frame(frames):
    x, labels = speech(6)
    figures = measure(x[:frames], **{name: codes[:frames] for name, codes in labels.items()})
    defined = {name for name, value in figures.items() if not math.isnan(value)}
    assert defined == ({"partition", "norm_spread"} if frames else set())


def test_mistakes_are_named():
    x, labels = speech(7)
    x[5, 3] = np.nan
    with pytest.raises(KwsbenchError, match="frame 5 holds NaN or inf"):
        measure(x, **labels)
    x, labels = speech(7)
    for name in labels:
        with pytest.raises(KwsbenchError, match=r"3 \w+ for 240 frames, expected one a frame"):
            measure(x, **(labels | {name: [0, 1, 2]}))


def test_every_name_has_one_line():
    for name, line in NAMES.items():
        assert name == name.lower()
        assert "\n" not in line
        assert len(line) < 110
    with pytest.raises(TypeError):
        NAMES["more"] = ""


def test_few_frames():
    assert few_frames(256, 256) is None
    assert few_frames(5000, 256) is None
    assert few_frames(255, 256) == (
        "255 frames for 256 dimensions: IsoScore, participation ratio and effective rank are low "
        "for want of frames; measure on more audio before comparing them"
    )
