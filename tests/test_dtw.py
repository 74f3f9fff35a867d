import dtaidistance.subsequence.dtw as dtaidistance_dtw
import dtwalign
import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tslearn.metrics import dtw_subsequence_path

from kwsbench import dtw
from kwsbench.errors import KwsbenchError
from kwsbench.types import Alignment
from tests import reference

SYMMETRIC1 = ((1, 0), (1, 1), (0, 1))
ASYMMETRIC = ((1, 0), (1, 1), (1, 2))
SKIP = ((1, 1), (1, 2), (2, 1))
# Every preset both ways and under every normalisation, and two sets of steps that nobody preset: one
# where a path may run down the padding and then jump over the first query frame, and the poorest one.
ALIGNMENTS = [
    Alignment(steps, whole, normalize)
    for steps in (SYMMETRIC1, ASYMMETRIC, SKIP)
    for whole in (False, True)
    for normalize in ("query", "path", "none")
] + [Alignment(((1, 0), (2, 1)), normalize="path"), Alignment(((1, 1),), normalize="none")]

# Multiples of 1/4 add up without rounding in float32, so that ties are ties and answers must be equal.
QUARTERS = st.integers(0, 4).map(lambda n: n / 4)


@st.composite
def costs(draw, max_frames=9):
    n, m = draw(st.integers(1, max_frames)), draw(st.integers(1, max_frames))
    return np.array(draw(st.lists(QUARTERS, min_size=n * m, max_size=n * m))).reshape(n, m)


def expected(cost, alignment):
    return reference.align(cost, alignment.steps, whole=alignment.whole, normalize=alignment.normalize)[:3]


def assert_match(found, want):
    # One division in float32: half an ulp, 6e-8 of the value.
    assert found[0] == pytest.approx(want[0], rel=1e-7)
    assert tuple(found[1:]) == want[1:]


@pytest.mark.parametrize("alignment", ALIGNMENTS, ids=str)
@given(cost=costs())
@settings(max_examples=60, deadline=None)
def test_one_pair_is_the_naive_recursion(alignment, cost):
    assert_match(dtw.align(cost, alignment), expected(cost, alignment))


@pytest.mark.parametrize("alignment", ALIGNMENTS, ids=str)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 7), (7, 1), (4, 4), (5, 9), (9, 5), (8, 3), (3, 8)])
def test_constant_costs_are_one_large_tie(alignment, n, m):
    cost = np.full((n, m), 0.25)
    assert_match(dtw.align(cost, alignment), expected(cost, alignment))


def test_ties_take_the_earliest_end_and_the_vertical_step():
    match = dtw.align(np.full((3, 5), 0.5), Alignment())
    assert match == (0.5, 0, 0)


def test_steps_that_consume_too_much_find_nothing():
    # Three query frames need at least two utterance frames under (2, 1) and (1, 1), from the first to the last.
    assert dtw.align(np.zeros((3, 1)), Alignment(SKIP)) == (np.inf, -1, -1)
    # Under (1, 2) two query frames reach three utterance frames, and the whole has four.
    assert dtw.align(np.zeros((2, 4)), Alignment(ASYMMETRIC, whole=True)) == (np.inf, -1, -1)


def test_the_first_query_frame_is_never_jumped_over():
    cost = np.array([[9.0, 9.0, 9.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert dtw.align(cost, Alignment(SKIP, normalize="none")).cost == 9


def test_negative_costs_are_allowed():
    cost = np.array([[-1.0, -1.0, 2.0], [1.0, -1.0, 1.0]])
    assert_match(dtw.align(cost, Alignment()), expected(cost, Alignment()))


LENGTHS = [[1], [4], [5, 3, 0, 4, 8], [*range(9)], [7] * 31, [7] * 32, [3, 5] * 16 + [8], [2] * 65]


@pytest.mark.parametrize("alignment", ALIGNMENTS[:6:2] + ALIGNMENTS[12:16:2] + ALIGNMENTS[-2:], ids=str)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_groups_and_streams_are_the_naive_recursion(alignment, lengths):
    """Queries of any length in one tile, utterances cut anywhere, some of them empty."""
    rng = np.random.default_rng(len(lengths))
    utterances = np.array([0, 0, 1, 7, 7, 20, 33, 33])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    cost = rng.integers(0, 5, (offsets[-1], utterances[-1])) / 4
    seen = []
    for layout in dtw.pack(offsets):
        aligner = dtw.Aligner(alignment, layout, utterances)
        for begin, stop in [(0, 5), (5, 6), (6, 20), (20, 33)]:
            compact = np.ascontiguousarray(-cost[layout.frames, begin:stop].T, dtype=np.float32)
            tile = dtw.aligned(stop - begin, layout.rows * dtw.LANES)
            dtw.spread(compact, layout, tile)
            aligner.feed(tile)
        found = aligner.scores()
        for lane, query in enumerate(layout.queries):
            seen.append(int(query))
            for utterance in range(len(utterances) - 1):
                part = cost[offsets[query] : offsets[query + 1], utterances[utterance] : utterances[utterance + 1]]
                got = [array[lane, utterance] for array in found]
                assert_match((-got[0], *got[1:]), expected(part, alignment))
    assert sorted(seen) == [query for query, length in enumerate(lengths) if length]


@given(lengths=st.lists(st.integers(0, 40), max_size=100))
@settings(max_examples=50, deadline=None)
def test_pack_lays_every_query_frame_once_and_all_ends_in_the_last_row(lengths):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    layouts = dtw.pack(offsets)
    frames = np.concatenate([layout.frames for layout in layouts]) if layouts else np.array([])
    assert sorted(frames) == list(range(offsets[-1]))
    for layout in layouts:
        assert len(layout.queries) <= dtw.LANES
        assert layout.rows % dtw.ROWS == 0
        assert 0 <= layout.rows - layout.lengths.max() < dtw.ROWS
        tile = np.full((1, layout.rows * dtw.LANES), -1, dtype=np.float32)
        dtw.spread(layout.frames[None, :].astype(np.float32), layout, tile)
        for lane, (query, length) in enumerate(zip(layout.queries, layout.lengths, strict=True)):
            column = tile.reshape(layout.rows, dtw.LANES)[:, lane]
            assert list(column[-length:]) == list(range(offsets[query], offsets[query + 1]))
            assert (column[:-length] == -1).all()


def test_a_long_pair_crosses_tiles(monkeypatch):
    monkeypatch.setattr(dtw, "TILE_CELLS", 0)
    cost = np.random.default_rng(0).integers(0, 9, (6, 100)) / 4
    for alignment in ALIGNMENTS:
        assert_match(dtw.align(cost, alignment), expected(cost, alignment))


def test_tiles_of_long_queries_stay_small():
    (layout,) = dtw.pack(np.array([0, 5000]))
    assert dtw.tile_frames(layout, 10**6) == 16
    (layout,) = dtw.pack(np.array([0, 50]))
    assert 256 <= dtw.tile_frames(layout, 10**6) <= 1024
    assert dtw.tile_frames(layout, 3) == 3


# ── other people's programs. Sums of at most 60 costs below 1 in float32 against float64: 60 * 60 * 6e-8 = 2e-4 ──


@pytest.fixture(params=range(3))
def random_cost(request):
    return np.random.default_rng(request.param).random((12, 60))


def test_librosa_agrees(random_cost):
    whole, path = librosa.sequence.dtw(C=random_cost, subseq=True)
    match = dtw.align(random_cost, Alignment(normalize="none"))
    assert match.cost == pytest.approx(whole[-1].min(), abs=2e-4)
    assert match.end == whole[-1].argmin() == path[0, 1]
    assert match.start == path[-1, 1]


def test_librosa_agrees_with_steps_that_skip(random_cost):
    sizes = np.array([[1, 1], [1, 2], [2, 1]])
    whole, path = librosa.sequence.dtw(C=random_cost, subseq=True, step_sizes_sigma=sizes)
    match = dtw.align(random_cost, Alignment(SKIP, normalize="none"))
    assert match.cost == pytest.approx(whole[-1].min(), abs=2e-4)
    assert (match.start, match.end) == (path[-1, 1], path[0, 1])


def test_librosa_agrees_on_the_whole(random_cost):
    whole = librosa.sequence.dtw(C=random_cost, backtrack=False)
    match = dtw.align(random_cost, Alignment(whole=True, normalize="none"))
    assert match.cost == pytest.approx(whole[-1, -1], abs=2e-4)
    assert (match.start, match.end) == (0, 59)


def test_dtwalign_agrees_on_asymmetric(random_cost):
    theirs = dtwalign.dtw_from_distance_matrix(random_cost, step_pattern="asymmetric", open_begin=True, open_end=True)
    match = dtw.align(random_cost, Alignment(ASYMMETRIC))
    assert match.cost == pytest.approx(theirs.normalized_distance, abs=2e-4)
    assert (match.start, match.end) == (theirs.path[0, 1], theirs.path[-1, 1])


def test_tslearn_and_dtaidistance_agree():
    rng = np.random.default_rng(5)
    query, utterance = rng.standard_normal((9, 1)), rng.standard_normal((40, 1))
    cost = (query - utterance.T) ** 2
    match = dtw.align(cost, Alignment(normalize="none"))
    path, theirs = dtw_subsequence_path(query, utterance)
    assert match.cost == pytest.approx(theirs**2, rel=1e-5)
    assert match.end == path[-1][1]
    other = dtaidistance_dtw.subsequence_alignment(query[:, 0], utterance[:, 0], penalty=0.0).best_match()
    assert match.cost == pytest.approx((other.value * len(query)) ** 2, rel=1e-5)


# ── mistakes ──


@pytest.mark.parametrize(
    ("alignment", "message"),
    [
        (Alignment(steps=()), "an alignment has no step; use some of (1, 0), (1, 1), (0, 1), (1, 2), (2, 1)"),
        (Alignment(steps=((1, 1), (2, 2))), "an alignment has step (2, 2); use some of (1, 0)"),
        (Alignment(normalize="length"), "an alignment has normalize='length'; use query, path or none"),
    ],
)
def test_a_recipe_the_kernels_do_not_know(alignment, message):
    with pytest.raises(KwsbenchError) as error:
        dtw.align(np.zeros((1, 1)), alignment)
    assert str(error.value).startswith(message)
