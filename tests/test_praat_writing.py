"""TextGrids that are written: what a copy changes, and that praatio reads them."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kwsbench.archive.annotations import Annotation
from kwsbench.archive.praat import add_tier, new_file, read
from kwsbench.errors import KwsbenchError
from tests.textgrids import (
    ENCODINGS,
    LONG,
    SAID,
    SHORT,
    by_praatio,
    intervals,
    problems,
    said,
    texts,
    tiers,
    write,
)


@pytest.fixture
def grid(tmp_path):
    """Writes a TextGrid."""
    return lambda text, **how: write(tmp_path / "a ŋ.TextGrid", text, **how)


HITS = [Annotation(0.5, 0.75, 'ŋ "1"'), Annotation(0.75, 1.0, "hit 2"), Annotation(2.25, 2.75, "past the end")]


# Copies with one more tier


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", [LONG, SHORT], ids=["long", "short"])
def test_a_copy_differs_in_its_count_and_its_last_tier_alone(grid, tmp_path, text, encoding, newline):
    source, out = grid(text, encoding=encoding, newline=newline), tmp_path / "out" / "copy.TextGrid"
    before = source.read_bytes()
    add_tier(source, out, "hits", HITS)
    assert source.read_bytes() == before
    after = out.read_bytes()
    at = next(at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new)
    assert (before[at : at + 1], after[at : at + 1]) == (b"2", b"3")
    assert after[at + 1 :].startswith(before[at + 1 :])
    codec = encoding.removesuffix("-sig")
    added = after[len(before) :].decode(codec)
    assert added.endswith(newline)
    assert (added.count("\n") == added.count("\r\n")) == (newline == "\r\n")
    assert ("xmin" in added) == (text == LONG)
    theirs = by_praatio(out)
    assert theirs.pop("hits") == [
        (0, 0.5, ""),
        (0.5, 0.75, 'ŋ "1"'),
        (0.75, 1, "hit 2"),
        (1, 2.25, ""),
        (2.25, 2.5, "past the end"),
    ]
    assert theirs == by_praatio(source)
    assert said(out) == SAID | {"hits": [(0.5, 0.75, 'ŋ "1"'), (0.75, 1, "hit 2"), (2.25, 2.5, "past the end")]}
    assert read(out).problems == ()


def test_the_new_tier_is_written_as_praat_writes_one(grid, tmp_path):
    out = tmp_path / "copy.TextGrid"
    add_tier(grid(LONG.rstrip("\n")), out, "hits", [Annotation(0, 1, "a\r\nb")])
    assert out.read_bytes().decode() == LONG.replace("size = 2\nitem", "size = 3\nitem") + (
        '    item [3]:\n        class = "IntervalTier" \n        name = "hits" \n        xmin = 0 \n'
        "        xmax = 2.5 \n        intervals: size = 2 \n"
        '        intervals [1]:\n            xmin = 0 \n            xmax = 1 \n            text = "a\nb" \n'
        '        intervals [2]:\n            xmin = 1 \n            xmax = 2.5 \n            text = "" \n'
    )
    add_tier(grid(SHORT), out, "hits", [])
    added = '"IntervalTier"\n"hits"\n0\n2.5\n1\n0\n2.5\n""\n'
    assert out.read_text(encoding="utf-8") == SHORT.replace("<exists>\n2", "<exists>\n3") + added


def test_old_line_ends_and_alphabets_are_kept(grid, tmp_path):
    source, out = grid(intervals('0 1 "é"'), encoding="mac_roman", newline="\r"), tmp_path / "copy.TextGrid"
    add_tier(source, out, "hits", [Annotation(1, 2, "ç")])
    assert out.read_bytes() == source.read_bytes().replace(b"<exists>\r1", b"<exists>\r2") + (
        '"IntervalTier"\r"hits"\r0\r10\r3\r0\r1\r""\r1\r2\r"ç"\r2\r10\r""\r'.encode("mac_roman")
    )
    with pytest.raises(KwsbenchError, match=r"MacRoman cannot hold '\\u014b'; save the file as UTF-8 first"):
        add_tier(source, out, "hits", [Annotation(1, 2, "ŋ")])


def test_names_that_are_taken_and_a_tenth_tier(tmp_path, grid):
    source = grid(intervals('0 1 "a"'))
    for number in range(2, 12):
        out = tmp_path / f"{number}.TextGrid"
        add_tier(source, out, "words", [Annotation(number, number + 1, str(number))] if number < 10 else [])
        source = out
    assert list(said(source)) == ["words", *(f"words {number}" for number in range(2, 12))]
    assert problems(source) == []
    assert said(source)["words 9"] == [(9, 10, "9")]


def test_hits_that_meet_but_for_a_rounding_error(grid, tmp_path):
    out = tmp_path / "copy.TextGrid"
    hits = [Annotation(0.3, 1, "b"), Annotation(1.0000009, 2.4999999, "c"), Annotation(-5e-7, 0.1 + 0.2, "a")]
    add_tier(grid(SHORT), out, "hits", hits)
    assert by_praatio(out)["hits"] == [(0, 0.1 + 0.2, "a"), (0.1 + 0.2, 1, "b"), (1, 2.5, "c")]


@pytest.mark.parametrize(
    ("hits", "message"),
    [
        ([(0, 1, "a"), (0.5, 2, "b")], "0.5–2 s 'b' overlaps one that lasts until 1 s; put them into tiers of their"),
        ([(2.5, 3, "a")], "2.5–3 s 'a' lies outside the TextGrid (0–2.5 s); is it of this recording?"),
        ([(-1, 1, "a")], "-1–1 s 'a' lies outside the TextGrid (0–2.5 s)"),
        ([(float("nan"), 1, "a")], "nan–1 s 'a' lies outside"),
        ([(1, float("nan"), "a")], "1–nan s 'a' does not end after its start, which an interval must"),
        ([(1, 1, "a")], "1 s 'a' does not end after its start"),
        ([(1, 2, " ")], "1–2 s without text, which Praat takes for a gap; give it one"),
        ([(1, 2, "a\0")], r"1–2 s 'a\x00' holds a zero character, which no text file may; take it out"),
    ],
)
def test_hits_that_a_tier_cannot_hold(grid, tmp_path, hits, message):
    with pytest.raises(KwsbenchError) as error:
        add_tier(grid(LONG), tmp_path / "copy.TextGrid", "hits", [Annotation(*hit) for hit in hits])
    assert message in str(error.value)
    assert not (tmp_path / "copy.TextGrid").exists()


def test_the_original_is_never_written(grid, tmp_path):
    source = grid(LONG)
    (tmp_path / "soft").symlink_to(source)
    (tmp_path / "hard").hardlink_to(source)
    for out in (source, tmp_path / "soft", tmp_path / "hard", tmp_path / "." / source.name):
        with pytest.raises(KwsbenchError, match="is the original, which stays as it is; give the copy another name"):
            add_tier(source, out, "hits", HITS)
    assert source.read_text(encoding="utf-8") == LONG


def test_a_broken_file_gets_no_tier(grid, tmp_path):
    with pytest.raises(KwsbenchError, match=r"TextGrid:26: tier words ŋ: 2 intervals.*; mend the file in Praat before"):
        add_tier(grid(LONG[: LONG.index("t͡ʃ")]), tmp_path / "copy.TextGrid", "hits", HITS)
    cut = grid("")
    cut.write_bytes(b"\xff\xfe" + LONG.encode("utf-16-le") + b"!")
    with pytest.raises(KwsbenchError, match=r"breaks off inside a character.*; mend the file in Praat"):
        add_tier(cut, tmp_path / "copy.TextGrid", "hits", HITS)


def test_a_new_file(tmp_path):
    out = tmp_path / "new.TextGrid"
    new_file(2.0000000000000004, out, 'my "hits"', [Annotation(1e-5, 0.5, "ŋ")])
    assert by_praatio(out) == {'my "hits"': [(0, 1e-5, ""), (1e-5, 0.5, "ŋ"), (0.5, 2.0000000000000004, "")]}
    assert out.read_text(encoding="utf-8").startswith(
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0 \nxmax = 2.0000000000000004 \n'
        "tiers? <exists> \nsize = 1 \nitem []: \n    item [1]:\n"
    )
    with pytest.raises(KwsbenchError, match="a TextGrid of 0 s; expected the length of a recording, above 0"):
        new_file(0, out, "hits", [])
    with pytest.raises(KwsbenchError, match="3–4 s 'a' lies outside"):
        new_file(2, out, "hits", [Annotation(3, 4, "a")])


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=tiers(), second=tiers(), name=texts.filter(str.strip), text=st.sampled_from([LONG, SHORT]),
       encoding=st.sampled_from(ENCODINGS))  # fmt: skip
def test_whatever_is_written_praatio_reads(tmp_path, first, second, name, text, encoding):
    name = " ".join(name.split())
    xmax = "20000"
    grid = write(tmp_path / "a.TextGrid", text.replace("2.5\n", f"{xmax}\n"), encoding)
    once, twice = tmp_path / "once.TextGrid", tmp_path / "twice.TextGrid"
    add_tier(grid, once, name, first)
    add_tier(once, twice, name, second)
    theirs, source = by_praatio(twice), by_praatio(grid)
    for number, annotations in enumerate((first, second)):
        tier = name if not number else f"{name} 2"
        expected = [(a.start_s, a.end_s, a.text) for a in annotations]
        assert said(twice)[tier] == expected
        entries = theirs.pop(tier)
        assert [entry for entry in entries if entry[2]] == [(s, e, said.strip()) for s, e, said in expected]
        assert entries[0][0] == 0
        assert entries[-1][1] == float(xmax)
        assert all(before[1] == after[0] for before, after in pairwise(entries))
    assert theirs == source
