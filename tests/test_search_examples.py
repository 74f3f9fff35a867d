"""What an example of a word is made of: frames that heard what lies around it, as what it is compared with did."""

import numpy as np
import pytest

from kwsbench import audio, plugins
from kwsbench.archive.folder import open_archive
from kwsbench.errors import KwsbenchError
from kwsbench.search import choice, settings
from kwsbench.search.corpus import Work, cut, gather
from kwsbench.search.examples import AROUND_S, around, piece_of
from kwsbench.search.nouns import Token
from kwsbench.spec import parse
from kwsbench.types import Clip
from tests.annotated import DIGITS, write_spoken


@pytest.fixture(scope="module")
def archive(tmp_path_factory, shared):
    """A story of over a minute, cut into pieces; a word alone; and another story that is not in the archive."""
    fsdd = shared / "data" / "fsdd"
    folder = tmp_path_factory.mktemp("archive")
    spans = write_spoken(folder / "in" / "theo.wav", fsdd, "theo", [DIGITS[(3 * at) % 10] for at in range(100)])
    write_spoken(folder / "in" / "word.wav", fsdd, "theo", ["seven"])
    write_spoken(folder / "out.wav", fsdd, "lucas", [DIGITS[(7 * at) % 10] for at in range(100)])
    return open_archive(folder / "in"), folder / "out.wav", spans


@pytest.fixture(scope="module")
def gathered(archive, tmp_path_factory):
    """The examples of some tokens; the pieces; and the encoder."""
    registry = plugins.load()
    work = Work(registry, tmp_path_factory.mktemp("cache"))
    chosen = choice.complete(choice.Asked("nano-hubert@5", "none"), settings.published(), registry)
    clips = cut(archive[0], work).clips
    return (
        lambda *tokens: gather(archive[0], clips, tokens, chosen, work),
        clips,
        registry.create("encoders", parse("nano-hubert")),
    )


def centred(encoder, path, begin_s, end_s, span):
    """The frames of a stretch of a file that are centred in a span, one after the other."""
    encoded = encoder.encode(audio.read(path, begin_s, end_s).samples, ["5"])["5"]
    centres = [begin_s + encoder.first_centre_s + at * encoder.frame_shift_s for at in range(len(encoded))]
    return np.array([frame for frame, at in zip(encoded, centres, strict=True) if span[0] <= at < span[1]])


def test_a_span_of_the_archive_is_frames_of_the_piece_that_holds_it(archive, gathered):
    of, clips, encoder = gathered
    path = archive[0].recordings[0].path
    start_s, end_s, _ = archive[2][60]
    (piece,) = (c for c in clips if c.path == path and c.start_s <= start_s and end_s <= c.end_s)

    corpus = of(Token(path, start_s, end_s))

    want = centred(encoder, path, piece.start_s, piece.end_s, (start_s, end_s))
    assert len(want) == pytest.approx((end_s - start_s) / encoder.frame_shift_s, abs=1)
    # Pieces are encoded in batches, whose products round differently in the last digits.
    np.testing.assert_allclose(corpus.examples[0], want, atol=1e-4)


def test_a_span_that_no_piece_holds_hears_half_a_minute_on_either_side(archive, gathered):
    of, clips, encoder = gathered
    path = archive[0].recordings[0].path
    span = clips[1].start_s - 0.2, clips[0].end_s + 0.2  # pieces may overlap

    corpus = of(Token(path, *span))

    want = centred(encoder, path, max(0.0, span[0] - AROUND_S), span[1] + AROUND_S, span)
    np.testing.assert_allclose(corpus.examples[0], want, atol=1e-4)
    first = next(at for at, place in enumerate(corpus.places.recordings) if place == 0)
    assert corpus.heard[0].speaker_of == first, "its speaker is that of its recording"


def test_a_span_of_another_file_hears_half_a_minute_on_either_side(archive, gathered):
    of, _, encoder = gathered
    corpus = of(Token(archive[1], 33.0, 33.5))

    want = centred(encoder, archive[1], 33.0 - AROUND_S, 33.5 + AROUND_S, (33.0, 33.5))
    np.testing.assert_allclose(corpus.examples[0], want, atol=1e-4)


def test_a_file_of_its_own_is_all_of_its_frames_in_the_archive_or_not(archive, gathered):
    of, _, encoder = gathered
    inside = archive[0].recordings[1].path
    corpus = of(Token(inside), Token(archive[1], 1.0, 1.5), Token(archive[1]))

    np.testing.assert_allclose(corpus.examples[0], encoder.encode(audio.read(inside).samples, ["5"])["5"], atol=1e-4)
    assert len(corpus.examples[2]) == len(encoder.encode(audio.read(archive[1]).samples, ["5"])["5"])


def test_examples_share_what_is_encoded_of_the_archive(archive, gathered):
    of, _, _ = gathered
    path = archive[0].recordings[0].path
    corpus = of(*(Token(path, start_s, end_s) for start_s, end_s, _ in archive[2][:3]))

    assert len(corpus.fitted.frames.lengths) == len(corpus.places.recordings), "nothing is encoded beside the pieces"


def test_a_span_without_a_frame_is_refused(archive, gathered):
    of, _, _ = gathered
    with pytest.raises(KwsbenchError, match=r"out\.wav:.*too short for nano-hubert@5; give a longer span"):
        of(Token(archive[1], 40.0, 40.001))


def test_the_piece_with_most_around_a_span_holds_it(archive):
    path = archive[1]
    ends = [(0.0, 10.0), (9.0, 20.0), (9.4, 12.0)]
    clips = [Clip(str(at), path, "a", "a", start_s=begin, end_s=end) for at, (begin, end) in enumerate(ends)]

    assert piece_of(Token(path, 9.5, 9.9), clips, range(3)) == 1
    assert piece_of(Token(path, 2.0, 2.5), clips, range(3)) == 0
    assert piece_of(Token(path, 8.9, 10.1), clips, range(3)) is None
    assert piece_of(Token(path, 9.5, 9.9), clips, ()) is None


@pytest.mark.parametrize(("longest_s", "margin_s"), [(None, AROUND_S), (100.0, AROUND_S), (30.0, 14.745), (0.4, 0.0)])
def test_what_lies_around_a_span_is_no_longer_than_is_encoded_at_once(archive, longest_s, margin_s):
    clip = around(Token(archive[1], 31.0, 31.5), longest_s)

    assert (clip.start_s, clip.end_s) == pytest.approx((31.0 - margin_s, 31.5 + margin_s))


def test_statistics_of_an_utterance_are_those_of_all_that_was_heard(archive, tmp_path):
    registry = plugins.load()
    chosen = choice.complete(choice.Asked("mfcc", "standardize:scope=utterance"), settings.published(), registry)
    work = Work(registry, tmp_path)
    clips = cut(archive[0], work).clips
    start_s, end_s, _ = archive[2][0]

    corpus = gather(archive[0], clips, [Token(archive[0].recordings[0].path, start_s, end_s)], chosen, work)

    piece = corpus.pieces.read(corpus.heard[0].item, corpus.heard[0].item + 1).values
    np.testing.assert_array_equal(corpus.examples[0], piece[corpus.heard[0].frames])
