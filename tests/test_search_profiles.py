"""Profiles, peaks, pooling and ranking against plain loops over everything."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwsbench import dtw, plugins
from kwsbench.errors import KwsbenchError, PluginError
from kwsbench.neighbours import nearness
from kwsbench.search import costs as archive_costs
from kwsbench.search import ranking
from kwsbench.search.costs import Costs
from kwsbench.search.peaks import peaks
from kwsbench.search.pooling import barycentre, levels, medoid
from kwsbench.search.profiles import path, profile
from kwsbench.search.ranking import Places, Searched, rank
from kwsbench.spec import parse
from kwsbench.types import Alignment, Frames, Match
from kwsbench_plugins.mfcc import Mfcc
from tests import reference_search as reference

STEPS = [
    ((1, 0), (1, 1), (0, 1)),
    ((1, 0), (1, 1), (1, 2)),
    ((1, 1), (1, 2), (2, 1)),
    ((0, 1), (1, 1)),
    ((0, 1), (1, 2), (2, 1), (1, 0)),
]
SHIFT, CENTRE = 0.02, 0.0125
REGISTRY = plugins.load()
SDTW = Alignment()

alignments = st.builds(Alignment, steps=st.sampled_from(STEPS), normalize=st.sampled_from(["query", "path", "none"]))
seeds = st.integers(0, 2**32 - 1)


def distance(text):
    return REGISTRY.create("distances", parse(text))


class Steps:
    """|x - y| of whole numbers: sums are exact in float32, and ties are everywhere."""

    def cost(self, x, y):
        return np.abs(x[:, None, 0] - y[None, :, 0])


class Diagonal:
    """A stranger's matcher: the query without any warping, one hit a piece."""

    def match(self, cost):
        n, m = cost.shape
        if n > m:
            return Match(np.inf, -1, -1)
        sums = [np.trace(cost[:, start:]) for start in range(m - n + 1)]
        start = int(np.argmin(sums))
        return Match(sums[start], start, start + n - 1)


class Counted:
    """Frames that count how often one piece alone is read."""

    def __init__(self, frames):
        self.frames, self.lengths, self.alone = frames, frames.lengths, 0

    def read(self, first, last):
        self.alone += last - first == 1
        return self.frames.read(first, last)


def costs(seed, n, m, *, whole_numbers):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4, (n, m)).astype(np.float32) if whole_numbers else rng.random((n, m), np.float32)


def laid_out(lengths, recordings, overlap=0):
    """Pieces of some lengths, one behind another in their recordings; each begins ``overlap`` frames early."""
    starts, at = [], {}
    for length, recording in zip(lengths, recordings, strict=True):
        begin = max(0, at.get(recording, 0) - overlap)
        starts.append(begin * SHIFT)
        at[recording] = begin + length
    return Places(np.array(recordings), np.array(starts), np.array(starts) + np.array(lengths) * SHIFT)


def answer(tokens, pieces, places, one, matcher, *, shift=SHIFT, centre=CENTRE, top=50, leave_out=None, **how):
    """The ranking of a search, all of whose options are given in one line."""
    return rank(tokens, Searched(pieces, places, one, matcher, shift, centre, **how), top=top, leave_out=leave_out)


def found(*arguments, **options):
    return [tuple(hit) for hit in answer(*arguments, **options).hits]


# Profiles


@settings(deadline=None)
@given(seeds, st.integers(1, 7), st.integers(1, 12), alignments)
def test_every_end_has_its_best_path(seed, n, m, alignment):
    """Costs are whole numbers: sums are exact, and a quotient is the oracle's, rounded to float32."""
    cost = costs(seed, n, m, whole_numbers=True)
    expected = reference.ends(cost.astype(int).tolist(), alignment.steps, alignment.normalize)
    scores, starts = profile(cost, alignment)
    assert (scores.dtype, starts.dtype) == (np.float32, np.int32)
    assert scores.tolist() == [-np.inf if end is None else np.float32(-end[0]) for end in expected]
    assert starts.tolist() == [-1 if end is None else end[1][0][1] for end in expected]
    for at, end in enumerate(expected):
        if end is not None:
            assert path(cost, alignment, at).tolist() == [list(cell) for cell in end[1]]


@settings(deadline=None)
@given(seeds, st.integers(1, 9), st.integers(1, 40), alignments, st.sampled_from(["none", "minmax"]), st.booleans())
def test_the_best_end_is_the_engines_hit(seed, n, m, alignment, rows, whole_numbers):
    """Same sums in the same order: the same bits. The kernel compares sums before it divides them by the query's
    frames, and two that differ by one ulp may divide to the same number: then the earlier of these ends is ours."""
    alignment = Alignment(alignment.steps, normalize=alignment.normalize, rows=rows)
    cost = costs(seed, n, m, whole_numbers=whole_numbers)
    match = dtw.align(cost, alignment)
    scores, starts = profile(cost, alignment)
    assert scores.max() == np.float32(-match.cost)
    if match.end >= 0:
        assert (scores[match.end], starts[match.end]) == (scores.max(), match.start)
        assert np.argmax(scores) == match.end or (alignment.normalize == "query" and np.argmax(scores) < match.end)


def test_what_has_no_profile_is_refused_in_one_line():
    cost = np.ones((3, 4), np.float32)
    with pytest.raises(KwsbenchError, match=r"lays a query on the whole piece; search with one that finds it inside"):
        profile(cost, Alignment(whole=True))
    with pytest.raises(KwsbenchError, match=re.escape("no path ends in frame 0 of 4; take an end with a finite score")):
        path(cost, Alignment(steps=((1, 1),)), 0)
    with pytest.raises(KwsbenchError, match=re.escape("an alignment has step (3, 3)")):
        profile(cost, Alignment(steps=((3, 3),)))


# Peaks


@given(seeds, st.integers(1, 30), st.integers(1, 8))
def test_peaks_are_the_greedy_choice(seed, m, top):
    rng = np.random.default_rng(seed)
    scores = rng.integers(-4, 0, m).astype(np.float32)
    starts = np.maximum(np.arange(m) - rng.integers(0, 6, m), 0)
    none = rng.random(m) < 0.2
    scores[none], starts[none] = -np.inf, -1
    expected = []
    for end in sorted(range(m), key=lambda end: -scores[end]):
        free = all(starts[end] > other or end < starts[other] for other in expected)
        if free and not none[end] and len(expected) < top:
            expected.append(end)
    hits = peaks(scores, starts, top=top)
    assert hits.ends.tolist() == expected
    assert hits.starts.tolist() == starts[expected].tolist()
    assert hits.scores.tolist() == scores[expected].tolist()


def test_at_least_one_hit_must_be_asked_for():
    with pytest.raises(KwsbenchError, match="top=0: expected at least one hit"):
        peaks(np.zeros(3, np.float32), np.zeros(3, np.int32), top=0)


# Ranking


@st.composite
def searches(draw):
    """Pieces and tokens of whole numbers, and what is asked of them."""
    rng = np.random.default_rng(draw(seeds))
    lengths = rng.integers(0, 12, draw(st.integers(1, 14)))
    recordings = np.sort(rng.integers(0, 3, len(lengths)))
    tokens = rng.integers(1, 5, draw(st.integers(1, 3)))
    values = [rng.integers(0, 3, (length, 1)).astype(np.float32) for length in (*lengths, *tokens)]
    pieces, examples = Frames.join(values[: len(lengths)]), Frames.join(values[len(lengths) :])
    places = laid_out(lengths, recordings, overlap=int(rng.integers(0, 4)))
    begins = rng.integers(0, 20, 3) * SHIFT
    leave_out = {0: [(begins[0], begins[0] + 0.1)], 2: [(begins[1], begins[1] + 0.06), (begins[2], math.inf)]}
    asked = {
        "pool": draw(st.sampled_from(["best", "mean"])),
        "top": draw(st.integers(1, 9)),
        "leave_out": draw(st.sampled_from([{}, leave_out])),
    }
    return examples, pieces, places, asked


@settings(deadline=None, max_examples=300)
@given(searches(), alignments)
def test_hits_are_those_of_an_exhaustive_search_to_the_byte(search, alignment):
    """Sums of whole numbers are exact, so even ties must fall as in the oracle: nothing is rounded but quotients."""
    examples, pieces, places, asked = search

    def ends(token, piece):
        if not len(pieces[piece]):
            return []
        cost = Steps().cost(examples[token], pieces[piece]).astype(int).tolist()
        laid = reference.ends(cost, alignment.steps, alignment.normalize)
        return [None if end is None else (float(np.float32(-end[0])), end[1][0][1]) for end in laid]

    profiles = [[ends(token, piece) for piece in range(len(pieces))] for token in range(len(examples))]
    expected = reference.rank(profiles, list(zip(*places, strict=True)), shift=SHIFT, centre=CENTRE, **asked)
    assert found(examples, pieces, places, Steps(), alignment, **asked) == expected


@pytest.mark.parametrize("pool", ["best", "mean"])
@pytest.mark.parametrize("name", ["cosine", "euclidean", "csls:k=3"])
def test_pieces_that_are_not_opened_hold_no_hit(name, pool):
    """The fast distances, real numbers: every piece's profile is made and ranked by the oracle.

    Levels are of the engine's scores there and of the profiles' here, which differ by rounding (1e-6 of scores near 1,
    over spreads of some 0.02): levelled scores agree to 1e-3 and the hits' order is the same.
    """
    rng = np.random.default_rng(5)
    lengths = rng.integers(30, 60, 120)
    pieces = Frames.join([rng.standard_normal((length, 6)).astype(np.float32) for length in lengths])
    examples = Frames.join([rng.standard_normal((length, 6)).astype(np.float32) for length in (9, 12)])
    places = laid_out(lengths, np.arange(120) // 30, overlap=10)
    one, alignment = distance(name), Alignment()
    asked = {"pool": pool, "top": 15, "leave_out": {1: [(0.0, 3.0)]}}
    of = Costs(examples, pieces, one)
    profiles = [[], []]
    for piece in range(120):
        for token, cost in enumerate(of(piece)):
            scores, starts = profile(cost, alignment)
            profiles[token].append(list(zip(scores.tolist(), starts.tolist(), strict=True)))
    expected = reference.rank(profiles, list(zip(*places, strict=True)), shift=SHIFT, centre=CENTRE, **asked)
    source = Counted(pieces)
    hits = found(examples, source, places, one, alignment, **asked)
    assert [hit[:3] + hit[4:] for hit in hits] == [hit[:3] + hit[4:] for hit in expected]
    np.testing.assert_allclose([hit[3] for hit in hits], [hit[3] for hit in expected], rtol=0, atol=1e-3)
    # 15 hits, half a recording left out: with opened pieces in order of their best, few more are needed.
    if pool == "best":
        assert source.alone < 40
    assert source.alone < 120


def test_rounding_of_the_engine_hides_no_hit(monkeypatch):
    """The best pieces' scores come from the engine lower than they are, past each other: the hits stay."""
    rng = np.random.default_rng(1)
    pieces = Frames.join([rng.standard_normal((40, 6)).astype(np.float32) for _ in range(9)])
    examples = Frames.join([rng.standard_normal((8, 6)).astype(np.float32)])
    places = laid_out([40] * 9, [0] * 9)
    asked = (examples, pieces, places, distance("cosine"), Alignment())
    expected = found(*asked, top=1)
    score = ranking.utterance_lanes.score

    def low(*arguments, **options):
        scores = score(*arguments, **options)
        lifted = np.delete(scores.scores[0], expected[0][5]).max()
        # Two thirds of what is granted below the second best piece.
        scores.scores[0, expected[0][5]] = lifted - 0.66e-3 * np.abs(scores.scores).max()
        return scores

    monkeypatch.setattr(ranking.utterance_lanes, "score", low)
    assert found(*asked, top=1) == expected


def test_neighbours_are_sought_once_in_a_search(monkeypatch):
    calls = []
    for module in (archive_costs, ranking.utterance_lanes):
        monkeypatch.setattr(module, "nearness", lambda *given, **how: calls.append(how) or nearness(*given, **how))
    pieces = Frames.join([np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)] * 3)
    found(pieces.read(0, 1), pieces, laid_out([30] * 3, [0] * 3), distance("csls:k=2"), Alignment())
    assert len(calls) == 1


def test_memory_and_workers_change_nothing_but_rounding():
    rng = np.random.default_rng(2)
    pieces = Frames.join([rng.standard_normal((50, 6)).astype(np.float32) for _ in range(30)])
    examples = Frames.join([rng.standard_normal((8, 6)).astype(np.float32)])
    asked = (examples, pieces, laid_out([50] * 30, [0] * 30), distance("cosine"), Alignment())
    expected, other = found(*asked), found(*asked, workers=2, memory_bytes=20_000)
    assert [hit[:3] for hit in other] == [hit[:3] for hit in expected]
    np.testing.assert_allclose([hit[3] for hit in other], [hit[3] for hit in expected], atol=1e-4)


def test_a_planted_word_is_found_at_its_time():
    """A chirp in noise, in the second half of a piece that begins at 7.3 s, asked for by its own frames.

    Frames are 25 ms, every 10 ms: the first of the query is centred 12.5 ms into the word, so a hit that is laid
    frame on frame begins 7.5 ms late, and ends as early but for less than one shift in which no whole frame fits. The
    piece's frames lie up to half a shift beside the query's, and two frames of the query may be laid on one at either
    end: at most 7.5 + 10 + 5 + 10 ms.
    """
    rng = np.random.default_rng(3)
    t = np.arange(6400) / 16000
    word = 0.3 * np.sin(2 * np.pi * (300 * t + 1500 * t**2)).astype(np.float32)
    samples = 1e-3 * rng.standard_normal(10 * 16000).astype(np.float32)
    begin_s = 6.0333
    begin = round(begin_s * 16000)
    samples[begin : begin + len(word)] += word
    encode = Mfcc().encode
    pieces = Frames.join([encode(part, ["0"])["0"] for part in (samples[: 4 * 16000], samples)])
    places = Places(np.array([0, 1]), np.array([0.0, 7.3]), np.array([4.0, 17.3]))
    query = Frames.join([encode(word, ["0"])["0"]])
    hits = answer(query, pieces, places, distance("cosine"), Alignment(), shift=0.01, centre=0.0125).hits
    assert hits[0].recording == 1
    assert hits[0].start_s == pytest.approx(7.3 + begin_s, abs=0.0325)
    assert hits[0].end_s == pytest.approx(7.3 + begin_s + 0.4, abs=0.0325)
    assert (hits[0].piece, hits[0].start_s) == (1, pytest.approx(7.3 + 0.0125 + (hits[0].first - 0.5) * 0.01))


def test_one_word_in_two_overlapping_pieces_is_one_hit():
    word = np.array([[9], [8], [7]], np.float32)
    noise = np.zeros((6, 1), np.float32)
    pieces = Frames.join([np.concatenate([noise, word]), np.concatenate([word, noise])])
    places = Places(np.array([4, 4]), np.array([1.0, 1.0 + 6 * SHIFT]), np.array([1.0 + 9 * SHIFT, 1.0 + 15 * SHIFT]))
    hits = answer(Frames.join([word]), pieces, places, Steps(), Alignment(), centre=SHIFT / 2)
    assert [hit.score for hit in hits.hits if hit.score == 0] == [0]
    assert hits.hits[0][:3] == (4, pytest.approx(1.0 + 6 * SHIFT), pytest.approx(1.0 + 9 * SHIFT))
    apart = places._replace(recordings=np.array([4, 5]))
    hits = answer(Frames.join([word]), pieces, apart, Steps(), Alignment(), centre=SHIFT / 2)
    assert [hit.recording for hit in hits.hits if hit.score == 0] == [4, 5]


def test_a_hit_never_leaves_its_piece():
    """An encoder whose first frame is centred at 0: half of it would lie before the piece, half of its last behind."""
    word = np.array([[5], [6]], np.float32)
    places = Places(np.array([0]), np.array([2.0]), np.array([2.0 + 1.2 * SHIFT]))
    hits = answer(Frames.join([word]), Frames.join([word]), places, Steps(), Alignment(), centre=0)
    assert hits.hits[0][1:4] == (2.0, 2.0 + 1.2 * SHIFT, 0.0)


def test_the_evidence_of_a_hit_is_its_tokens_path():
    rng = np.random.default_rng(4)
    pieces = Frames.join([rng.standard_normal((40, 6)).astype(np.float32) for _ in range(12)])
    examples = Frames.join([rng.standard_normal((n, 6)).astype(np.float32) for n in (7, 9)])
    one, alignment = distance("csls:k=3"), Alignment(normalize="path")
    given = answer(examples, pieces, laid_out([40] * 12, [0] * 12), one, alignment)
    of = Costs(given.queries, pieces, one)
    assert {hit.token for hit in given.hits} == {0, 1}
    for hit in given.hits:
        (cost,) = of(hit.piece, range(hit.token, hit.token + 1))
        cells = path(cost, alignment, hit.last)
        assert (cells[0].tolist(), cells[-1].tolist()) == ([0, hit.first], [len(cost) - 1, hit.last])


@pytest.mark.parametrize("name", ["cosine", "neglog-cosine", "sqeuclidean", "csls:k=3"])
def test_costs_are_the_distances_own(name):
    """float32 cosines of 6 dimensions are right to ~6e-7; the slopes of these costs in them are below 20 here."""
    rng = np.random.default_rng(6)
    tokens = Frames.join([rng.standard_normal((n, 6)).astype(np.float32) for n in (3, 5, 4)])
    pieces = Frames.join([rng.standard_normal((n, 6)).astype(np.float32) for n in (7, 11)])
    one = distance(name)
    known = [(), ()]
    if name.startswith("csls"):
        near = nearness(tokens, pieces, 3)
        known = [(near.queries[3:8], near.utterances[7:18]), (near.queries[8:12], near.utterances[7:18])]
    made = Costs(tokens, pieces, one)(1, range(1, 3))
    for token, cost, its in zip((1, 2), made, known, strict=True):
        np.testing.assert_allclose(cost, one.cost(tokens[token], pieces[1], *its), rtol=0, atol=2e-5)


def test_a_matcher_of_one_hit_a_piece_gives_that_one():
    rng = np.random.default_rng(7)
    pieces = Frames.join([rng.integers(0, 9, (n, 1)).astype(np.float32) for n in (9, 2, 0, 14, 11)])
    query = Frames.join([rng.integers(0, 9, (3, 1)).astype(np.float32)])
    places = laid_out([9, 2, 0, 14, 11], [0, 0, 0, 1, 1])
    expected = []
    for piece in (0, 3, 4):
        match = Diagonal().match(Steps().cost(query[0], pieces[piece]))
        expected.append((-match.cost, piece, match.start, match.end))
    expected.sort(key=lambda hit: (-hit[0], hit[1]))
    hits = found(query, pieces, places, Steps(), Diagonal())
    assert [(score, piece, first, last) for *_, score, _, piece, first, last in hits] == expected
    pooled = REGISTRY.create("matchers", parse("meanpool"))
    assert {hit[5] for hit in found(query, pieces, places, distance("euclidean"), pooled)} == {0, 1, 3, 4}


def test_mistakes_are_named_in_one_line():
    word = Frames.join([np.ones((2, 1), np.float32)])
    two = Frames.join([np.ones((2, 1), np.float32), np.zeros((0, 1), np.float32)])
    pieces = Frames.join([np.ones((5, 1), np.float32)])
    places = laid_out([5], [0])

    def fails(message, tokens=word, frames=pieces, at=places, matcher=SDTW, **options):
        with pytest.raises(KwsbenchError, match=re.escape(message)) as error:
            found(tokens, frames, at, options.pop("distance", Steps()), matcher, **options)
        assert "\n" not in str(error.value)

    fails("example 1 has no frames; give a longer recording of it", tokens=two)
    fails("no example of the word; give a longer recording of it", tokens=two.read(0, 0))
    fails("unknown pooling 'men'. Did you mean 'mean'?", pool="men")
    fails("top=0: expected at least one hit", top=0)
    fails("lays a query on the whole piece", matcher=Alignment(whole=True))
    fails("1 pieces, but places of 2, 2, 2; give each piece one", at=laid_out([5, 5], [0, 0]))
    fails(
        "piece 0 lasts 0.06 s, too short for its 5 frames of 0.02 s; check its place and the encoder's frame shift",
        at=laid_out([3], [0]),
    )
    both = Frames.join([word[0], word[0]])
    fails("pool=mean, but Diagonal gives one hit a piece", tokens=both, matcher=Diagonal(), pool="mean")


def test_a_distance_that_breaks_its_contract_is_named():
    class Askew(Steps):
        def cost(self, x, y):
            return super().cost(x, y).T

    frames = Frames.join([np.ones((5, 1), np.float32)])
    with pytest.raises(PluginError, match="Askew: costs of a wrong shape, or not finite"):
        Costs(Frames.join([np.ones((2, 1), np.float32)]), frames, Askew())(0)


# Levels and barycentres


def test_a_levelled_score_counts_from_the_median_piece_in_robust_deviations():
    rng = np.random.default_rng(8)
    scores = rng.normal([[-3.0], [-0.5]], [[0.5], [0.01]], (2, 4000)).astype(np.float32)
    scores[:, :200] += 5  # the pieces that hold the word
    level = levels(scores)
    assert level.note == ""
    # The median of 4,000, 200 of them far above, lies at their 52.6th percentile (0.066 deviations), ± 1.25/√4000.
    np.testing.assert_allclose(level(scores)[:, 200:].mean(axis=1), -0.066, atol=0.08)
    np.testing.assert_allclose(level(scores)[:, 200:].std(axis=1), 1, atol=0.15)


@pytest.mark.parametrize(
    ("scores", "note"),
    [
        (np.r_[np.arange(9.0), -np.inf, -np.inf], "scores are not levelled: 9 pieces of 10 needed"),
        (np.r_[np.ones(8), np.arange(4.0)], "scores are not levelled: most pieces score the same"),
    ],
)
def test_scores_without_a_level_stay_as_they_are_and_it_is_said(scores, note):
    level = levels(np.stack([scores, np.arange(len(scores))]).astype(np.float32))
    assert level.note == note
    assert level(np.array([[2.5], [3.5]])).tolist() == [[2.5], [3.5]]
    frames = Frames.join([np.ones((2, 1), np.float32)] * 3)
    given = answer(frames.read(0, 1), frames, laid_out([2] * 3, [0] * 3), Steps(), Alignment())
    assert given.note == "scores are not levelled: 3 pieces of 10 needed"


@settings(deadline=None)
@given(seeds, st.integers(1, 4))
def test_barycentres_are_those_of_plain_loops(seed, count):
    """float32 frames of few sums, and paths that no rounding decides: numbers are drawn continuous."""
    rng = np.random.default_rng(seed)
    tokens = [rng.standard_normal((rng.integers(1, 7), 2)).astype(np.float32) for _ in range(count)]

    def squared(x, y):
        return sum((a - b) ** 2 for a, b in zip(x, y, strict=True))

    expected = reference.barycentre([token.astype(float).tolist() for token in tokens], squared)
    made = barycentre(Frames.join(tokens), distance("sqeuclidean"))
    np.testing.assert_allclose(made[0], expected, rtol=0, atol=1e-5)


def test_a_barycentre_lies_nearer_to_its_tokens_than_the_medoid():
    """One word, said at five speeds, each time with its own noise: the mean is nearer to the clean word than any."""
    rng = np.random.default_rng(9)
    clean = np.cumsum(rng.standard_normal((20, 4)), axis=0)
    tokens = []
    for _ in range(5):
        at = np.sort(rng.choice(20, rng.integers(14, 21), replace=True))
        tokens.append((clean[at] + 0.5 * rng.standard_normal((len(at), 4))).astype(np.float32))
    joined, one = Frames.join(tokens), distance("sqeuclidean")
    made = barycentre(joined, one)
    assert made.lengths.tolist() == [len(tokens[medoid(joined, one)])]

    def off(token):
        return dtw.align(one.cost(token, clean.astype(np.float32)), Alignment(whole=True)).cost

    assert off(made[0]) < min(off(token) for token in tokens)


def test_a_barycentre_is_one_query():
    rng = np.random.default_rng(10)
    pieces = Frames.join([rng.standard_normal((30, 4)).astype(np.float32) for _ in range(11)])
    examples = Frames.join([rng.standard_normal((n, 4)).astype(np.float32) for n in (5, 8, 7)])
    places = laid_out([30] * 11, [0] * 11)
    made = barycentre(examples, distance("csls:k=2"))
    asked = (pieces, places, distance("csls:k=2"), Alignment())
    expected = found(made, *asked)
    assert found(examples, *asked, pool="barycentre") == expected
    assert {hit[4] for hit in expected} == {0}
