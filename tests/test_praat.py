"""TextGrids: what is read from every kind of them, and what is said of broken ones."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from praatio import textgrid as praatio

from kwsbench.archive.praat import read
from kwsbench.archive.textfile import LARGEST_BYTES
from kwsbench.errors import KwsbenchError
from tests.textgrids import ENCODINGS, LONG, SAID, SHORT, by_praatio, intervals, problems, said, tiers, write


@pytest.fixture
def grid(tmp_path):
    """Writes a TextGrid."""
    return lambda text, **how: write(tmp_path / "a ŋ.TextGrid", text, **how)


# Reading


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", [LONG, SHORT], ids=["long", "short"])
def test_every_format_encoding_and_line_end_reads_the_same(grid, text, encoding, newline):
    path = grid(text, encoding=encoding, newline=newline)
    transcription = read(path)
    assert said(path) == SAID
    assert transcription.problems == ()
    assert (transcription.path, transcription.media, transcription.language) == (path, (), "")
    assert {(tier.speaker, tier.aligned, tier.level) for tier in transcription.tiers} == {("", True, "")}
    lines = [[annotation.line for annotation in tier.annotations] for tier in transcription.tiers]
    assert ([tier.line for tier in transcription.tiers], lines) == (
        ([10, 29], [[16, 24], [35]]) if text == LONG else ([8, 23], [[13, 19], [28]])
    )


def test_comments_flags_and_labels_of_any_kind_are_skipped(grid):
    text = """"ooTextFile" "TextGrid" ! 1 2 "no text" <absent>
from: 0s to: 1,5s -- <exists> tiers:1 1
"IntervalTier" "Mary" 0s 1.5s 1! one
start ! 0.25s is a comment, so the number is not read
0.5 end[7] 1.25e+0 saying "it ! is 5"
"""
    assert said(grid(text)) == {"Mary": [(0.5, 1.25, "it ! is 5")]}
    # "1,5s" is the number 1 with something hanging on it, as Praat has it.
    assert problems(grid(text)) == [(5, "Mary", "0.5–1.25 s 'it ! is 5' lies outside the TextGrid's own 0–1 s")]


def test_blanks_are_gaps_and_annotations_come_in_order_of_time(grid):
    path = grid(intervals('3 4 "late"', '0 1 " "', '1 2 " early "'))
    assert said(path) == {"words": [(1, 2, " early "), (3, 4, "late")]}


@pytest.mark.parametrize(
    ("codec", "newline", "letters", "name"),
    [
        ("cp1252", "\n", "é “œ”", "Windows Latin-1"),
        ("latin-1", "\r\n", "é\x81", "ISO Latin-1"),
        ("mac_roman", "\r", "é “œ”", "MacRoman"),
    ],
)
def test_an_older_alphabet_is_named(grid, codec, newline, letters, name):
    path = grid(intervals('0 1 "a"', f'1 2 "{letters}"'), encoding=codec, newline=newline)
    assert said(path)["words"][1] == (1, 2, letters)
    line = 1 if newline == "\r" else 18
    message = f"not UTF-8, read as {name}; if letters come out wrong, save it as UTF-8"
    assert problems(path) == [(line, "", message)]


@pytest.mark.parametrize(
    ("row", "kept", "message"),
    [
        ('1 3 "b"', True, "1–3 s 'b' overlaps one that lasts until 2 s"),
        ('3 2.5 "b"', False, "3–2.5 s 'b' does not end after its start; left out"),
        ('3 3 "b"', False, "3 s 'b' does not end after its start; left out"),
        ('-1 3 "b"', False, "-1–3 s 'b' starts before the recording; left out"),
        ('9 10.5 "b"', True, "9–10.5 s 'b' lies outside the TextGrid's own 0–10 s"),
        ('4 4 ""', False, "4 s without text does not end after its start; left out"),
    ],
)
def test_wrong_times_are_problems_by_line(grid, row, kept, message):
    path = grid(intervals('0 2 "a"', row))
    assert problems(path) == [(16, "words", message)]
    assert [text for _, _, text in said(path)["words"]] == (["a", "b"] if kept else ["a"])


def test_overlaps_count_from_the_latest_end_that_is_one(grid):
    within = grid(intervals('0 5 "a"', '1 2 "b"', '3 4 "c"'))
    assert [message for *_, message in problems(within)] == [
        "1–2 s 'b' overlaps one that lasts until 5 s",
        "3–4 s 'c' overlaps one that lasts until 5 s",
    ]
    backward = grid(intervals('0 1 "a"', '9 5 "b"', '2 3 "c"'))
    assert problems(backward) == [(16, "words", "9–5 s 'b' does not end after its start; left out")]


def test_a_rounding_error_is_no_overlap(grid):
    near = grid(intervals('0 2.0000009 "a"', '2 10.0000009 "b"'))
    assert problems(near) == []
    far = grid(intervals('0 2.0000011 "a"', '2 10 "b"'))
    assert len(problems(far)) == 1


def test_points_out_of_order_and_names_given_twice(grid):
    text = SHORT.replace('2\n""', '0.5\n"L"').replace('"words ŋ"', '"bell"')
    assert problems(grid(text)) == [
        (23, "bell", "2 tiers have this name (lines 8, 23); rename all but one"),
        (30, "bell", "0.5 s 'L' follows one that lasts until 1.25 s"),
    ]
    assert [tier.name for tier in read(grid(text)).tiers] == ["bell", "bell"]


# Broken files


@pytest.mark.parametrize("text", [LONG, SHORT], ids=["long", "short"])
def test_a_file_that_breaks_off_keeps_what_comes_before(grid, text):
    """Wherever it is cut: the annotations are the first ones of the whole, and that it is cut is said.

    Between the two quotes that stand for one, a text is cut without a trace: so the last one may be shorter.
    """
    whole = [row for rows in SAID.values() for row in rows]
    head = text.index("2\n", text.index("<exists>"))
    most = 0
    for cut in range(1, len(text.rstrip())):
        path = grid(text[:cut])
        if cut <= head:
            with pytest.raises(KwsbenchError, match="; is it a whole TextGrid") as error:
                read(path)
            assert "\n" not in str(error.value)
            continue
        kept = [row for rows in said(path).values() for row in rows]
        most = max(most, len(kept))
        assert kept[:-1] == whole[: len(kept)][:-1], cut
        assert not kept or whole[len(kept) - 1][:2] == kept[-1][:2], cut
        assert not kept or whole[len(kept) - 1][2].startswith(kept[-1][2]), cut
        assert problems(path), cut
    assert most == len(whole)


def test_a_cut_inside_a_character_is_no_other_alphabet(grid):
    raw = LONG.encode()[: LONG.encode().index("˥".encode()) + 1]
    path = grid("")
    path.write_bytes(raw)
    assert problems(path)[:2] == [
        (18, "", "breaks off inside a character; is there a whole copy?"),
        (18, "words ŋ", "0 intervals, expected 3: a text without its closing quote where a text should be"),
    ]
    path.write_bytes(b"\xff\xfe" + LONG.encode("utf-16-le")[:-1])
    assert problems(path) == [(39, "", "breaks off inside a character; is there a whole copy?")]


def test_counts_that_are_wrong(grid):
    fewer = intervals('0 1 "a"', '1 2 "b"', size=3) + '"TextTier" "bell" 0 10 1 5 "x"\n'
    path = grid(fewer.replace("<exists>\n1", "<exists>\n2"))
    assert said(path) == {"words": [(0, 1, "a"), (1, 2, "b")], "bell": [(5, 5, "x")]}
    assert problems(path) == [(19, "words", "2 intervals, expected 3: text 'TextTier' where a time should be")]
    more = grid(intervals('0 1 "a"', '1 2 "b"', size=1) + '"TextTier" "bell" 0 10 1 5 "x"\n')
    assert said(more) == {"words": [(0, 1, "a")], "bell": [(5, 5, "x")]}
    assert problems(more) == [
        (16, "words", "number '1' where a tier should be"),
        (7, "", "holds 2 tiers, expected 1 as its head says"),
    ]
    other = grid(intervals('0 1 "a"') + '"PitchTier" "f0" 0 10 1 5 200\n')
    assert problems(other)[0] == (16, "words", "text 'PitchTier' where IntervalTier or TextTier should be")
    endless = grid(intervals('0 1e999 "a"'))
    assert problems(endless) == [
        (14, "words", "0 intervals, expected 1: number '1e999' where the end of an interval should be")
    ]
    half = grid(intervals('0 1 "a"').replace("10\n1\n", "10\n1.5\n"))
    assert problems(half) == [(12, "words", "number '1.5' where a whole number should be")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ooBinaryFile\x08TextGrid\0\0", "a binary file of Praat; open it in Praat and use Save as text file…"),
        (
            b'File type = "ooTextFile"\nObject class = "Collection"\n\nsize = 2\n',
            "holds a Collection, expected a TextGrid; open it in Praat, select the TextGrid alone and use Save as text",
        ),
        (b'File type = "ooTextFile"\nObject class = "PitchTier"\n', "holds a PitchTier, expected a TextGrid"),
        (b'"Praat chronological TextGrid text file"\n0 2.3\n', "a chronological TextGrid; open it in Praat and use"),
        (b'"something else"', "begins with 'something else', expected 'ooTextFile'; is it a file of Praat"),
        (b"", "empty (0 bytes); restore it, or delete it"),
        (b"\0" * 40, "holds zero bytes, so it is no text (UTF-16 has a mark); save it as UTF-8"),
        (b"# notes\nof mine", "the file ends where 'ooTextFile' should be; is it a whole TextGrid?"),
        (b'"ooTextFile" "TextGrid" 0 1 <absent>', "a TextGrid without tiers; add one in Praat"),
        (b'"ooTextFile" "TextGrid" 0 one <exists>', "flag 'exists' where xmax should be; is it a whole TextGrid?"),
        (b'"ooTextFile" "TextGrid" 0 1 <exists> -1', "number '-1' where a whole number should be"),
        (b'\xef\xbb\xbf"ooTextFile" \xe9 more', "byte 13 is not UTF-8, which its mark promises; save it as UTF-8"),
    ],
)
def test_what_is_no_textgrid_is_one_line(grid, content, message):
    path = grid("")
    path.write_bytes(content)
    with pytest.raises(KwsbenchError) as error:
        read(path)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(KwsbenchError, match=r"no.TextGrid: cannot be read \(No such file or directory\)"):
        read(tmp_path / "no.TextGrid")
    with pytest.raises(KwsbenchError, match="cannot be read"):
        read(tmp_path)
    huge = tmp_path / "huge.TextGrid"
    with huge.open("wb") as file:
        file.truncate(LARGEST_BYTES + 1)  # a hole: it takes no room
    with pytest.raises(KwsbenchError, match="256 MiB, expected at most 256; is it audio"):
        read(huge)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=tiers(), form=st.sampled_from(["long_textgrid", "short_textgrid"]))
def test_what_praatio_writes_is_read(tmp_path, rows, form):
    path = tmp_path / "theirs.TextGrid"
    grid = praatio.Textgrid()
    # It writes smaller times with an exponent, which it does not read.
    entries = [(row.start_s, row.end_s, row.text) for row in rows if row.start_s >= 1e-3]
    grid.addTier(praatio.IntervalTier("words", entries, 0, 20000))
    grid.save(str(path), form, includeBlankSpaces=True)
    assert problems(path) == []
    assert said(path)["words"] == [entry for entry in by_praatio(path)["words"] if entry[2]]
