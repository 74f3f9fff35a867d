"""Confidences: the fit, what it is fitted on, and whether they are true of words that had no part in it."""

import math
import re

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from kwsbench import plugins
from kwsbench.errors import KwsbenchError
from kwsbench.search.confidence import (
    PseudoQuery,
    Said,
    calibrate_on_archive,
    choose,
    expected,
    fit,
    label,
)
from kwsbench.search.ranking import Places, RankedHit, Searched
from kwsbench.spec import parse
from kwsbench.types import Alignment, Frames
from kwsbench_plugins.mfcc import Mfcc

seeds = st.integers(0, 2**32 - 1)


def drawn(seed, count=200, scale=1.5, shift=-1.0):
    """Scores, and labels that are 1 with the probability of a logistic function of them."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(1, 2, count)
    return scores, (rng.random(count) < 1 / (1 + np.exp(-scale * scores - shift))).astype(np.int8)


def platts_loss(at, scores, labels):
    """The sum over hits of the cross entropy with targets (n + 1) / (n + 2) and 1 / (m + 2), one by one."""
    true = sum(labels == 1)
    false = len(labels) - true
    total = 0.0
    for score, is_true in zip(scores, labels, strict=True):
        target = (true + 1) / (true + 2) if is_true else 1 / (false + 2)
        odds = at[0] * score + at[1]
        total += target * np.logaddexp(0, -odds) + (1 - target) * np.logaddexp(0, odds)
    return total


@pytest.mark.parametrize("offset", [0.0, -300.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_fit_is_the_least_of_platts_loss(seed, offset):
    """A direct search finds no less, and the same probabilities to its own precision; offsets of scores cancel."""
    scores, labels = drawn(seed)
    made = fit(scores + offset, labels)
    best = optimize.minimize(
        platts_loss, [1.0, 0.0], (scores, labels), "Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10}
    )
    mine = [made.scale, made.shift + made.scale * offset]
    assert platts_loss(mine, scores, labels) <= best.fun + 1e-7
    np.testing.assert_allclose(mine, best.x, rtol=0, atol=1e-4)
    assert (made.true, made.false) == (labels.sum(), 200 - labels.sum())


def test_it_finds_the_odds_that_labels_were_drawn_from():
    """20,000 hits: the inverse of Fisher's information, at the truth, gives standard errors of 0.03 and 0.03."""
    scores, labels = drawn(3, count=20_000)
    made = fit(scores, labels)
    assert made.scale == pytest.approx(1.5, abs=0.1)
    assert made.shift == pytest.approx(-1.0, abs=0.1)


@given(seeds, st.floats(-5, 5), st.integers(10, 40))
def test_confidences_rise_with_scores_and_are_never_certain(seed, apart, count):
    """Also where no score of one kind reaches the other kind's, and far outside of what was seen."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).astype(np.int8)
    made = fit(rng.random(count) + apart * labels, labels)
    confidences = made(np.linspace(-1e6, 1e6, 201))
    assert made.scale >= 0
    assert np.all(np.diff(confidences) >= 0)
    assert confidences.min() >= 1 / (made.false + 2) > 0
    assert confidences.max() <= (made.true + 1) / (made.true + 2) < 1


def test_scores_that_all_true_hits_lead_are_told_apart_with_a_finite_scale():
    scores, labels = np.arange(20.0), np.repeat([0, 1], 10)
    made = fit(scores, labels)
    assert 0 < made.scale < 10
    assert made(scores)[:10].max() < 0.5 < made(scores)[10:].min()


@pytest.mark.parametrize("scores", [np.ones(20), -np.arange(20.0)])
def test_scores_that_tell_nothing_or_the_opposite_leave_the_base_rate(scores):
    """Of Platt's targets: with 5 true hits of 20, the mean of 6/7 (5 times) and 1/17 (15 times)."""
    labels = np.repeat([0, 1], [15, 5])
    made = fit(scores, labels)
    assert made.scale == 0
    np.testing.assert_allclose(made(scores), (5 * 6 / 7 + 15 / 17) / 20)


@pytest.mark.parametrize(("true", "fitted"), [(4, False), (5, True), (15, True), (16, False)])
def test_few_hits_of_a_kind_fit_nothing(true, fitted):
    labels = np.repeat([1, 0], [true, 20 - true])
    assert (fit(np.arange(20.0), labels) is not None) == fitted


@pytest.mark.parametrize(
    ("scores", "labels"), [([1.0, np.nan], [0, 1]), ([1.0, 2.0], [0, -1]), ([1.0, 2.0], [0]), ([1.0, -np.inf], [1, 0])]
)
def test_what_cannot_be_fitted_is_refused_in_one_line(scores, labels):
    with pytest.raises(KwsbenchError, match=re.escape("labels: expected finite ones, and 1 or 0 for each")):
        fit(np.array(scores), np.array(labels))


def test_the_hits_to_expect_are_the_sum_of_confidences():
    assert expected(np.array([0.5, 0.25, 0.125])) == 0.875
    assert expected(np.array([])) == 0.0


# Labels


WORD = [Said("ma", 0, 2.0, 2.6), Said("ma", 1, 5.0, 5.4)]


@pytest.mark.parametrize(
    ("recording", "start_s", "end_s", "expected"),
    [
        (0, 2.0, 2.6, 1),
        (0, 1.0, 2.31, 1),  # 0.31 s of the word's 0.6
        (0, 1.0, 2.29, 0),
        (0, 2.4, 2.7, 1),  # two thirds of the hit
        (1, 5.1, 5.2, 1),
        (1, 2.0, 2.6, -1),  # where the other recording has it; nothing is annotated here
        (0, 9.4, 9.9, 0),
        (0, 9.8, 10.1, 0),  # two thirds are annotated
        (0, 9.9, 10.2, -1),
        (0, 11.0, 11.4, 0),  # half in either of two stretches
        (0, 10.3, 11.2, -1),  # 0.4 s of 0.9, of which two stretches share 0.2
        (2, 0.0, 1.0, -1),
    ],
)
def test_a_hit_is_the_word_or_not_or_nobody_knows(recording, start_s, end_s, expected):
    annotated = {0: [(0.0, 10.0), (11.2, 12.0), (10.8, 11.2), (10.9, 11.1)], 1: [(4.9, 6.0)]}
    hit = RankedHit(recording, start_s, end_s, 0.0, 0, 0, 0, 0)
    assert label([hit], WORD, annotated).tolist() == [expected]


# Pseudo-queries


def test_words_and_examples_are_chosen_evenly_and_always_the_same():
    said = [Said(f"w{word:02}", at % 3, 10.0 * at, 10.0 * at + 1) for word in range(40) for at in range(word % 8 + 1)]
    chosen = choose(said, most_words=10, most_queries=3)
    words = [{said[index].word for index in indices} for indices in chosen]
    assert all(len(word) == 1 for word in words)
    counts = {word: sum(one.word == word for one in said) for one in words for word in one}
    assert len(counts) == 10
    assert min(counts.values()) == 2  # of a word that is said once nothing is left to find
    assert max(counts.values()) == 8
    assert all(words.count({word}) == min(3, count) for word, count in counts.items())
    assert sorted({len(set(indices)) for indices in chosen}) == [1]
    assert len({index for indices in chosen for index in indices}) == len(chosen)
    back = list(reversed(range(len(said))))
    again = choose([said[index] for index in back], most_words=10, most_queries=3)
    assert [[said[back[index]] for index in one] for one in again] == [[said[index] for index in one] for one in chosen]


def test_pseudo_queries_have_as_many_examples_as_are_asked_for():
    said = [Said("ma", recording, 0.0, 1.0) for recording in range(7)] + [Said("ba", 0, 2.0, 3.0), Said("ba", 1, 2, 3)]
    chosen = choose(said, examples=2)
    assert [len(indices) for indices in chosen] == [2, 2, 2]
    assert {said[index].word for indices in chosen for index in indices} == {"ma"}  # two of "ba" leave none to find
    assert len({index for indices in chosen for index in indices}) == 6


class Steps:
    """|x - y| of whole numbers."""

    def cost(self, x, y):
        return np.abs(x[:, None, 0] - y[None, :, 0])


def calibrated(queries, said, annotated, pieces, **options):
    count = len(pieces)
    starts = np.array([0.0, *np.cumsum(pieces.lengths)[:-1]])
    places = Places(options.pop("recordings", np.zeros(count, int)), starts, starts + pieces.lengths)
    searched = Searched(pieces, places, Steps(), Alignment(), frame_shift_s=1.0, first_centre_s=0.5)
    return calibrate_on_archive(queries, said, lambda _: annotated, searched, **options)


def test_own_recordings_are_left_out_only_where_the_word_is_said_elsewhere():
    """Twelve pieces of ten frames (of 1 s) with the word in four of them, in two recordings or in one."""
    rng = np.random.default_rng(0)
    word = np.array([[50], [60], [70]], np.float32)
    values = [rng.integers(0, 9, (10, 1)).astype(np.float32) for _ in range(12)]
    for piece in (0, 1, 6, 7):
        values[piece][3:6] = word
    pieces = Frames.join(values)
    recordings = np.repeat([0, 1], 6)
    said = [Said("w", int(recordings[piece]), 10.0 * piece + 3, 10.0 * piece + 6) for piece in (0, 1, 6, 7)]
    query = PseudoQuery(Frames.join([word]), (said[0],))
    everything = {0: [(0.0, 60.0)], 1: [(60.0, 120.0)]}
    found = calibrated([query], said, everything, pieces, recordings=recordings, top=9)
    assert found.labels.tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert np.all(np.diff(found.scores) <= 0)
    assert found.note == "2 hits of annotated words are right and 7 wrong; 5 of each are needed"
    one = [word._replace(recording=0) for word in said]
    query = PseudoQuery(Frames.join([word]), (one[0],))
    found = calibrated([query], one, {0: [(0.0, 120.0)]}, pieces, top=9)
    assert found.labels.tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0]
    found = calibrated([query], one, {0: [(0.0, 20.0)]}, pieces, top=9)
    assert set(found.labels[:3].tolist()) == {1}  # what is said counts wherever it is
    assert len(found.labels) < 9  # what is found where nothing is annotated does not


def test_without_a_basis_there_is_no_calibration_and_it_is_said_why():
    pieces = Frames.join([np.ones((10, 1), np.float32)] * 3)
    said = [Said("w", 0, 3.0, 6.0), Said("w", 0, 13.0, 16.0)]
    query = PseudoQuery(Frames.join([np.ones((2, 1), np.float32)]), (said[0],))
    found = calibrated([query], said, {0: [(0.0, 30.0)]}, pieces)
    assert (found.calibration, found.note) == (None, "scores are not levelled: 3 pieces of 10 needed")
    found = calibrated([], said, {}, pieces)
    assert (found.calibration, found.note) == (None, "no annotated word is said twice")


# Real speech

SHIFT_S = 0.02
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def planted(folder, words, seed):
    """Six long recordings, one a speaker, of words of two digits each, with their frames and places.

    Returns pieces of 10 s (each shares 2 s with the next), Places, what is said, and the frames of each of these.
    """
    rng = np.random.default_rng(seed)
    encode = Mfcc().encode
    digits = {path.stem: _read(path) for path in (folder / "recordings").glob("*.wav")}
    said, examples, pieces, places = [], [], [], []
    for recording, speaker in enumerate(SPEAKERS):
        parts, mine, at = [], [], 0
        for _ in range(75):
            word = words[rng.integers(len(words))]
            takes = [digits[f"{digit}_{speaker}_{rng.integers(15)}"] for digit in word]
            voice = np.concatenate(takes) / max(np.abs(take).max() for take in takes) / 2
            pause = 1e-3 * rng.standard_normal(int(rng.uniform(1600, 9600)))
            mine.append((word, at + len(pause), at + len(pause) + len(voice)))
            parts += [pause, voice]
            at = mine[-1][2]
        samples = np.concatenate(parts).astype(np.float32)
        whole = encode(samples, ["0"])["0"]
        mean, deviation = whole.mean(axis=0), whole.std(axis=0)

        def frames(begin, end, samples=samples, mean=mean, deviation=deviation):
            return ((encode(samples[begin:end], ["0"])["0"] - mean) / deviation)[::2]

        said += [Said(word, recording, begin / 16000, end / 16000) for word, begin, end in mine]
        examples += [frames(begin, end) for _, begin, end in mine]
        for begin in range(0, len(samples) - 32000, 128_000):
            end = min(begin + 160_000, len(samples))
            pieces.append(frames(begin, end))
            places.append((recording, begin / 16000, end / 16000))
    return Frames.join(pieces), Places(*map(np.array, zip(*places, strict=True))), said, examples


def _read(path):
    samples, rate_hz = soundfile.read(path, dtype="float32")
    return soxr.resample(samples, rate_hz, 16000)


def deviations(confidences, labels, edges=(0.125, 0.175, 0.25, 0.4)):
    """Of each bin of confidences: how far the number of true hits lies from the number expected, in its deviations.

    If every confidence p is the truth, the number in a bin has variance sum p (1 - p): a sum of Bernoulli trials.
    """
    found = []
    for at in range(len(edges) + 1):
        here = np.searchsorted(edges, confidences) == at
        if here.sum() >= 20:
            p = confidences[here]
            found.append((labels[here].sum() - p.sum()) / math.sqrt((p * (1 - p)).sum()))
    return found


def test_confidences_are_true_of_words_that_had_no_part_in_the_fit(fsdd):
    """40 words of two digits, of which many share one, said by six people; each word is judged by the 39 others.

    In each bin the true hits are as many as expected, within 3.5 binomial deviations: by chance one of six bins is not
    once in 400 times. Hits of one word are not independent, nor is the fit free of error, and both add to that: what
    four seeds had at most was 2.8, 1.2, 0.1 and 1.7. So that the test can fail: log odds that are half a unit too high
    or too low, or twice as far from their median as they should be, lie outside.
    """
    words = [f"{number:02}" for number in np.random.default_rng(0).permutation(100)[:40]]
    pieces, places, said, examples = planted(fsdd, words, seed=0)
    everywhere = {recording: [(0.0, math.inf)] for recording in range(6)}
    cosine = plugins.load().create("distances", parse("cosine"))
    asymmetric = Alignment(steps=((1, 0), (1, 1), (1, 2)))
    searched = Searched(pieces, places, cosine, asymmetric, frame_shift_s=SHIFT_S, first_centre_s=0.0125)
    chosen = choose(said, most_words=40, most_queries=2)
    scores, labels = {}, {}
    for word in words:
        queries = [
            PseudoQuery(Frames.join([examples[index] for index in indices]), tuple(said[index] for index in indices))
            for indices in chosen
            if said[indices[0]].word == word
        ]
        found = calibrate_on_archive(queries, said, lambda _: everywhere, searched, top=20)
        assert len(found.labels) == 40
        scores[word], labels[word] = found.scores, found.labels

    def held_out(word):
        others = [other for other in words if other != word]
        return fit(
            np.concatenate([scores[other] for other in others]), np.concatenate([labels[other] for other in others])
        )

    confidences = np.concatenate([held_out(word)(scores[word]) for word in words])
    truth = np.concatenate([labels[word] for word in words])
    assert len(deviations(confidences, truth)) >= 4
    assert max(map(abs, deviations(confidences, truth))) < 3.5
    log_odds = np.log(confidences / (1 - confidences))
    for wrong in (log_odds - 0.5, log_odds + 0.5, 2 * log_odds - np.median(log_odds)):
        assert max(map(abs, deviations(1 / (1 + np.exp(-wrong)), truth))) > 3.5
    # Better than to give every hit the share of true ones among all of these, which nobody could have known.
    rate = truth.mean()
    assert np.mean((confidences - truth) ** 2) < rate * (1 - rate)
    sampling = math.sqrt((confidences * (1 - confidences)).sum())
    assert expected(confidences) == pytest.approx(truth.sum(), abs=3.5 * sampling)
