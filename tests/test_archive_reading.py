"""What an archive's annotations say where, and what is wrong with them."""

import unicodedata

import numpy as np
import soundfile

from kwsbench.archive.annotations import Annotation, Problem, Tier, Transcription
from kwsbench.archive.folder import Archive, Recording, open_archive
from kwsbench.archive.reading import check, even_stretches
from tests.annotated import write_eaf, write_textgrid
from tests.archives import write_tone
from tests.folders import one_word, told


def test_what_is_wrong_is_left_out_and_named_by_file_tier_and_line_and_the_rest_goes_on(tmp_path):
    write_tone(tmp_path / "good.wav")
    write_eaf(
        tmp_path / "good.eaf",
        {
            "words": ("Ana", [(0.1, 0.2, "ma"), (0.3, 0.52, "ko"), (0.3, 0.521, "te"), (2, 3, "late")]),
            "over": ("Ana", [(0.1, 0.3, "ma"), (0.2, 0.4, "ko")]),
            "both": ("Ana; Ben", [(0.1, 0.2, "ma")]),
            "one": ("Smith, Anderson", [(0.1, 0.2, "ma")]),
        },
    )
    (tmp_path / "good.csv").write_text("start_s,end_s,text,speaker\n0.1,0.3,ma,Ana\n0.2,0.4,ko,Ana\n0.2,0.4,te,Ben\n")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.mkv").write_text("no sound")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16_000)
    one_word(tmp_path / "text.eaf")
    (tmp_path / "empty.eaf").touch()
    (tmp_path / "broken.TextGrid").write_text("nothing of Praat's")
    write_textgrid(tmp_path / "lost.TextGrid", 1.0, {"w": [(0, 0.5, "ma")]})
    archive = open_archive(tmp_path)
    assert [recording.name for recording in archive.recordings] == ["good.wav"]
    found = told(archive.problems)
    by_file = {name: [(tier, message) for n, tier, message in found if n == name] for name, _, _ in found}
    assert by_file.pop("empty.wav") == [("", "0 bytes; the file is empty")]
    assert by_file.pop("none.wav") == [("", "no samples; remove the file from the archive or record it again")]
    assert by_file.pop("text.mkv")[0][1].startswith("cannot be read as sound")
    assert by_file.pop("text.eaf") == [("", f"is about {tmp_path / 'text.mkv'}, which cannot be read; left out")]
    assert by_file.pop("lost.TextGrid") == [
        ("", "names no sound file, and no recording here is called lost.*; put it beside this file")
    ]
    assert by_file.pop("good.csv") == [
        ("text", "0.2–0.4 s 'ko' begins before the one before it ends, at 0.3 s; both are kept")
    ]
    both = "2 speakers, 'Ana; Ben'; each annotation has one: make a tier for each"
    assert by_file.pop("good.eaf") == [
        ("words", "annotation a3: begins before a2 ends; both are kept"),
        ("over", "annotation a6: begins before a5 ends; both are kept"),
        ("words", "0.3–0.521 s 'te' is not inside the recording, which is 0.500 s long; left out"),
        ("words", "2–3 s 'late' is not inside the recording, which is 0.500 s long; left out"),
        ("both", both),
    ]
    assert set(by_file) == {"empty.eaf", "broken.TextGrid"}
    lines = [p.line for p in archive.problems if p.path.name == "good.eaf"]
    text = (tmp_path / "good.eaf").read_text().splitlines()
    assert "late" in text[lines[3] - 1]
    assert 'TIER_ID="both"' in text[lines[4] - 1]
    table, eaf = archive.recordings[0].transcriptions
    assert [(t.speaker, len(t.annotations)) for t in table.tiers] == [("Ana", 2), ("Ben", 1)]
    kept = {tier.name: (tier.speaker, [a.text for a in tier.annotations]) for tier in eaf.tiers}
    assert kept == {
        "words": ("Ana", ["ma", "ko"]),
        "over": ("Ana", ["ma", "ko"]),
        "both": ("", ["ma"]),
        "one": ("Smith, Anderson", ["ma"]),
    }


def transcription(*tiers):
    return Transcription("x.eaf", tuple(Tier(name, tuple(Annotation(*a) for a in said)) for name, said in tiers))


def test_words_that_are_spread_evenly_are_no_words_with_times():
    sentences = [(0, 3, "a b c"), (4, 6, "d e f g"), (6.5, 7, "h i")]
    even = [(0, 1, "a"), (1, 2, "b"), (2, 3, "c"), (4, 4.5, "d"), (4.5, 5, "e"), (5, 5.5, "f"), (5.5, 6, "g")]
    by_ear = [(0, 0.8, "a"), (0.8, 2, "b"), (2, 3, "c"), (4, 4.5, "d"), (4.5, 5, "e"), (5, 5.5, "f"), (5.5, 6, "g")]
    apart = [(s + 0.1, e, text) for s, e, text in even]
    tiers = transcription(("s", sentences), ("w", even)).tiers
    assert even_stretches(tiers[1], tiers) == (2, 2)
    for words, aligned in ((even, False), (by_ear, True), (apart, True)):
        found = check(transcription(("s", sentences), ("w", words)), 10)
        assert [tier.aligned for tier in found.transcription.tiers] == [True, aligned]
        assert len(found.problems) == (not aligned)
    (problem,) = check(transcription(("s", sentences), ("w", even)), 10).problems
    assert problem == Problem("x.eaf", "in 2 of 2 longer annotations its own are equally long, so a program spread "
                              "them; set the times of words by ear", 0, "w")  # fmt: skip


def test_parts_of_an_annotation_without_times_are_noted(tmp_path):
    write_tone(tmp_path / "a.wav", seconds=2)
    parts = "".join(
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="r{n}" ANNOTATION_REF="a1"'
        + (f' PREVIOUS_ANNOTATION="r{n - 1}"' if n else "")
        + f"><ANNOTATION_VALUE>w{n}</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
        for n in range(3)
    )
    tier = f'<TIER LINGUISTIC_TYPE_REF="parts" PARENT_REF="s" TIER_ID="w">{parts}</TIER>'
    write_eaf(tmp_path / "a.eaf", {"s": ("Ana", [(0.2, 1.4, "w0 w1 w2")])}, media=["a.wav"], dependent=tier)
    archive = open_archive(tmp_path)
    assert archive.problems == ()
    assert told(archive.notes) == [
        ("a.eaf", "w", "its times are spread evenly inside longer annotations and do not say where a word is")
    ]
    assert archive.occurrences("w1") == []
    assert archive.said(archive.recordings[0], 0.6, 0.9) == ("w0 w1 w2", "Ana")


def test_the_shortest_annotation_that_covers_most_of_a_span_says_what_is_said_there():
    tiers = (
        Tier("sentences", (Annotation(0, 3, "So:  ma\nko"),), "Ana", level="sentence"),
        Tier("words", (Annotation(0, 1, "so"), Annotation(1, 2, "ma"), Annotation(2, 3, "ko")), "Ben"),
        Tier("sounds", (Annotation(1, 1.5, "m"), Annotation(1.5, 2, "a"))),
        Tier("gloss", (Annotation(1, 2, "dog"), Annotation(4, 5, " "))),
    )
    recording = Recording("a.wav", "a.wav", 5.0, (Transcription("a.eaf", tiers),))
    archive = Archive("x", (recording,))
    assert archive.said(recording, 0.9, 2.1) == ("ma", "Ben")
    assert archive.said(recording, 1.25, 1.9) == ("a", "")
    assert archive.said(recording, 0.5, 1.5) == ("So: ma ko", "Ana")  # half of it is not most of it
    assert archive.said(recording, 2.6, 3.4) == archive.said(recording, 4, 5) == ("", "")


def test_occurrences_are_whole_annotations_and_each_place_counts_once(tmp_path):
    write_tone(tmp_path / "a.wav", seconds=3)
    write_tone(tmp_path / "b.wav", seconds=3)
    write_eaf(
        tmp_path / "a.eaf",
        {
            "sentences": ("Ana", [(0, 1.5, "Été, ma"), (2.0, 2.9, "Été!")]),
            "words": ("Ana", [(0.1, 0.6, "«été»"), (0.7, 1.2, "ma"), (2.1, 2.6, "été")]),
        },
    )
    write_textgrid(tmp_path / "a.TextGrid", 3.0, {"words": [(0.101, 0.6, "été"), (1.6, 1.9, "été")]})
    write_textgrid(tmp_path / "b.TextGrid", 3.0, {"words": [(1, 2, unicodedata.normalize("NFD", "Été"))]})
    found = open_archive(tmp_path).occurrences("ÉTÉ")
    assert [(o.recording.name, *o.annotation[:2], o.tier.speaker) for o in found] == [
        ("a.wav", 0.1, 0.6, "Ana"),
        ("a.wav", 1.6, 1.9, ""),
        ("a.wav", 2.1, 2.6, "Ana"),
        ("b.wav", 1.0, 2.0, ""),
    ]
    assert open_archive(tmp_path).occurrences(" ?! ") == []
