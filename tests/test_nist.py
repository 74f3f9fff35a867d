"""NIST's files: what is said, what is found and what counts; figures derived by hand, alignment against an oracle."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwsbench.errors import KwsbenchError
from kwsbench.nist import align, find_occurrences, read_trials
from kwsbench.nist_files import Lexeme, Span, Transcript, read_excerpts, read_transcript
from tests import reference_trialscore as reference

TERMS = """<?xml version="1.0" encoding="UTF-8"?>
<kwlist ecf_filename="x.ecf.xml" language="any" version="1">
  <kw kwid="K1"><kwtext>Ma</kwtext></kw>
  <kw kwid="K2"><kwtext>ŋko  təla</kwtext></kw>
  <kw kwid="K3"><kwtext>never said</kwtext></kw>
  <kw kwid="K4"><kwtext>silence</kwtext></kw>
</kwlist>
"""
RTTM = """;; what was said
SPEAKER talk 1 0.000 20.000 <NA> <NA> ana <NA>
LEXEME talk 1 1.000 0.500 ma lex ana <NA>
LEXEME talk 1 5.000 0.500 MA lex ana 0.9 ;; loud
LEXEME talk 1 9.000 0.300 ŋko lex ana <NA>
LEXEME talk 1 9.400 0.200 tə- frag ana <NA>
LEXEME talk 1 9.700 0.300 təla lex ana <NA>
LEXEME talk 1 12.000 0.300 ŋko lex ana <NA>
LEXEME talk 1 12.800 0.300 təla lex ana <NA>
LEXEME talk 1 30.000 0.500 ma lex ana <NA>
LEXEME talk 2 5.000 0.500 ma lex bob <NA>
"""
ECF = """<ecf source_signal_duration="100" version="1" language="any">
  <excerpt audio_filename="audio/talk.sph" channel="1" tbeg="0.0" dur="20.0" source_type="cts"/>
  <excerpt audio_filename="audio/talk.sph" channel="2" tbeg="0.0" dur="20.0" source_type="cts"/>
</ecf>
"""
FOUND = """<kwslist kwlist_filename="x.kwlist.xml" language="any" system_id="s">
  <detected_kwlist kwid="K1" search_time="1" oov_count="0">
    <kw file="talk" channel="1" tbeg="1.1" dur="0.4" score="0.9" decision="YES"/>
    <kw file="talk" channel="1" tbeg="1.2" dur="0.4" score="0.8" decision="YES"/>
    <kw file="talk" channel="2" tbeg="1.1" dur="0.4" score="0.7" decision="NO"/>
    <kw file="talk" channel="1" tbeg="29.9" dur="0.6" score="0.6" decision="YES"/>
  </detected_kwlist>
  <detected_kwlist kwid="K2" search_time="1" oov_count="0">
    <kw file="talk" channel="1" tbeg="9.0" dur="1.0" score="0.5" decision="NO"/>
  </detected_kwlist>
  <detected_kwlist kwid="K3" search_time="1" oov_count="0">
    <kw file="talk" channel="1" tbeg="3.0" dur="1.0" score="0.4" decision="YES"/>
  </detected_kwlist>
  <detected_kwlist kwid="K9" search_time="1" oov_count="0">
    <kw file="talk" channel="1" tbeg="3.0" dur="1.0" score="0.4" decision="YES"/>
  </detected_kwlist>
</kwslist>
"""


@pytest.fixture
def files(tmp_path):
    """The four files, any of them replaced: found.xml, terms.xml, said.rttm, speech.xml."""

    def write(found=FOUND, terms=TERMS, rttm=RTTM, ecf=ECF):
        paths = []
        for name, text in (("found.xml", found), ("terms.xml", terms), ("said.rttm", rttm), ("speech.xml", ecf)):
            path = tmp_path / name
            path.write_text(text, encoding="utf-8")
            paths.append(path)
        return paths

    return write


def test_what_is_found_meets_what_is_said(files):
    """K1 is said at 1 and 5 s on channel 1 and at 5 s on channel 2; at 30 s no speech counts.

    Its first detection is right, the second comes too late for the same occurrence, the third is
    on the wrong time of channel 2, the fourth outside the excerpt. K2 is said at 9 s, over a fragment; the
    words at 12 s are exactly half a second apart, which is too far.
    """
    rows, notes, seconds = read_trials(*files())
    assert list(rows[["query", "reference", "label", "prediction", "decision"]].itertuples(index=False, name=None)) == [
        ("K1", "talk/1 1.10", 1, 0.9, True),
        ("K1", "talk/1 1.20", 0, 0.8, True),
        ("K1", "talk/2 1.10", 0, 0.7, False),
        ("K1", "talk/1 5.00", 1, -math.inf, False),
        ("K1", "talk/2 5.00", 1, -math.inf, False),
        ("K2", "talk/1 9.00", 1, 0.5, False),
        ("K3", "talk/1 3.00", 0, 0.4, True),
    ]
    assert rows["keyword"].unique().tolist() == ["ma", "ŋko  təla", "never said"]
    assert seconds == 20.0  # two channels of one file are one stretch of time
    assert set(notes) == {
        "detections of terms that are not in the term list, left out: 1",
        "occurrences outside the excerpts, left out: 1",
        "detections outside the excerpts, left out: 1",
        "terms with neither an occurrence nor a detection, left out: 1",
    }


def test_documents_as_in_mediaeval_are_the_same_path(files):
    """Query by example: the lexeme is the query's id and as long as the document, and so is each detection, or 0 s."""
    terms = '<termlist><term termid="q1"><termtext>q1</termtext></term></termlist>'
    rttm = "LEXEME doc1 1 0.000 7.500 q1 lex SELF <NA>\nLEXEME doc1 1 0.000 7.500 q2 lex SELF <NA>\n"
    ecf = "".join(
        f'<excerpt audio_filename="doc{i}.wav" channel="1" tbeg="0.000" dur="7.5" source_type="x"/>' for i in (1, 2, 3)
    )
    for duration in ("7.5", "0.00"):
        found = "".join(
            f'<term file="doc{i}" channel="1" tbeg="0.000" dur="{duration}" score="{i}" decision="NO"/>'
            for i in (1, 2, 3)
        )
        rows, notes, seconds = read_trials(
            *files(
                f'<stdlist><detected_termlist termid="q1">{found}</detected_termlist></stdlist>',
                terms,
                rttm,
                f"<ecf>{ecf}</ecf>",
            )
        )
        assert rows["label"].tolist() == [1, 0, 0]
        assert rows["prediction"].tolist() == [1.0, 2.0, 3.0]
        assert notes == ()
        assert seconds == 22.5


def test_systems_that_do_not_decide_have_no_decisions(files):
    rows, _, _ = read_trials(*files(found=FOUND.replace(' decision="YES"', "").replace(' decision="NO"', "")))
    assert "decision" not in rows


@pytest.mark.parametrize(
    ("excerpts", "seconds"),
    [
        ([("a", 1, 0, 10, "bnews"), ("a", 1, 5, 10, "bnews")], 15),  # overlapping: once
        ([("a", 1, 0, 10, "bnews"), ("a", 1, 2, 3, "bnews")], 10),  # one inside the other
        ([("a", 1, 0, 10, "bnews"), ("a", 1, 20, 5, "bnews"), ("b", 1, 0, 1, "bnews")], 16),
        ([("a", 1, 0, 10, "cts"), ("a", 2, 0, 10, "cts")], 10),
        ([("a_in", 1, 0, 10, "splitcts"), ("a_out", 1, 0, 10, "splitcts"), ("b", 1, 0, 4, "cts")], 14),
    ],
)
def test_seconds_of_speech(tmp_path, excerpts, seconds):
    path = tmp_path / "ecf.xml"
    path.write_text(
        "<ecf>"
        + "".join(
            f'<excerpt audio_filename="{file}.wav" channel="{channel}" tbeg="{begin}" dur="{length}" '
            f'source_type="{kind}"/>'
            for file, channel, begin, length, kind in excerpts
        )
        + "</ecf>"
    )
    assert read_excerpts(path).seconds == seconds


times = st.integers(0, 24).map(lambda quarter: quarter / 4)  # exact in binary, and often just at the tolerance
spans = st.tuples(st.sampled_from(["1", "2"]), times, st.sampled_from([0.0, 0.25, 1.0]))


@settings(deadline=None)
@given(st.lists(spans, max_size=5), st.lists(st.tuples(spans, st.sampled_from([0.0, 0.5, 1.0])), max_size=6))
def test_alignment_is_that_of_the_oracle(said, found):
    occurrences = [Span(("f", channel), begin, begin + length) for channel, begin, length in said]
    detections = [Span(("f", channel), begin, begin + length) for (channel, begin, length), _ in found]
    scores = [score for _, score in found]
    matched = align(occurrences, detections, scores)
    assert matched == reference.align(
        occurrences, [(*span, score) for span, score in zip(detections, scores, strict=True)]
    )
    taken = [at for at in matched if at is not None]
    assert len(taken) == len(set(taken))


def test_the_midpoint_may_be_exactly_half_a_second_off_in_decimals():
    said = [Span(("f", "1"), 0.8, 1.1)]
    for begin, right in ((0.25, True), (1.55, True), (0.24, False), (1.56, False)):
        found = Span(("f", "1"), begin, begin + 0.1)  # midpoints 0.30 and 1.60, a hundredth further out
        assert (align(said, [found], [1.0]) == [0]) is right, begin


def test_greedy_can_find_fewer_pairs_than_there_are():
    """The better detection takes the nearer occurrence, and the other has none left; a maximal matching has both."""
    said = [Span(("f", "1"), 1.0, 1.0), Span(("f", "1"), 1.6, 1.6)]
    found = [Span(("f", "1"), 1.2, 1.2), Span(("f", "1"), 0.8, 0.8)]
    assert align(said, found, [0.9, 0.1]) == [0, None]


words = st.tuples(
    st.sampled_from(["a", "b"]),
    st.sampled_from([0.0, 0.25, 0.5]),
    st.sampled_from([0.25, 0.5]),
    st.sampled_from(["lex", "lex", "frag", "fp"]),
)


@settings(deadline=None)
@given(st.lists(words, max_size=8), st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=3))
def test_occurrences_are_those_of_the_oracle(spoken, term):
    lexemes, now = [], 0.0
    for word, gap, length, kind in spoken:
        lexemes.append((word, now + gap, now + gap + length, kind))
        now += gap + length
    line = [Lexeme(word, Span(("f", "1"), begin, end), spoken=kind == "lex") for word, begin, end, kind in lexemes]
    found = [(span.begin_s, span.end_s) for span in find_occurrences(" ".join(term).upper(), Transcript.of([line]))]
    assert found == reference.occurrences(term, lexemes)


def test_words_of_two_speakers_are_no_term(files):
    rttm = (
        "LEXEME f 1 0.0 0.3 ma lex ana <NA>\nLEXEME f 1 0.4 0.3 ŋko lex bob <NA>\nLEXEME f 1 0.4 0.3 təla lex bob x\n"
    )
    transcript = read_transcript(files(rttm=rttm)[2])
    assert find_occurrences("ma ŋko", transcript) == []
    assert find_occurrences("ŋko təla", transcript) == [Span(("f", "1"), 0.4, 0.7)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("found", TERMS, "found.xml: a <kwlist>, expected a stdlist or kwslist; are the files exchanged?"),
        ("found", "<kwslist>", "found.xml: not readable as XML (no element found: line 1, column 9)"),
        ("found", "<kwslist><detected_kwlist/></kwslist>", "found.xml: a detected_kwlist without termid or kwid"),
        ("found", FOUND.replace('"K9"', '"K1"'), "found.xml: term 'K1' has two lists; join them"),
        ("found", FOUND.replace('"0.9"', '"high"'), "term 'K1', talk/1 1.10: score 'high', expected a number"),
        ("found", FOUND.replace('"0.9"', '"-inf"'), "term 'K1', talk/1 1.10: score '-inf', expected a number"),
        ("found", FOUND.replace('"NO"', '"PERHAPS"'), "term 'K1', talk/2 1.10: decision 'PERHAPS', expected YES or NO"),
        ("found", FOUND.replace('tbeg="1.1"', ""), "found.xml: term 'K1', talk: tbeg '', expected a number"),
        ("found", FOUND.replace('file="talk"', ""), "found.xml: term 'K1': a kw without file; name its recording"),
        ("terms", "<kwlist/>", "terms.xml: no terms; expected a termlist of <term> or a kwlist of <kw>"),
        ("terms", TERMS.replace("K2", "K1"), "terms.xml: term 'K1' is listed twice; keep one"),
        ("terms", TERMS.replace("Ma", " "), "terms.xml: term 'K1' lacks its id or its text; give both"),
        ("rttm", "SPEAKER f 1 0 1 <NA> <NA> a <NA>\n", "said.rttm: no LEXEME line, so no term is said"),
        ("rttm", "\nLEXEME f 1 0 1 ma\n", "said.rttm:2: 6 fields, expected LEXEME file channel begin duration word"),
        ("rttm", "LEXEME f 1 <NA> 1 ma lex a x\n", "said.rttm:1: begin '<NA>', expected a number"),
        ("ecf", "<ecf/>", "speech.xml: no speech counts; expected an ecf of <excerpt> with a dur above 0"),
        ("ecf", ECF.replace("talk", "walk"), "found.xml: no trial: no term of"),
    ],
)
def test_mistakes_are_named(files, name, text, message):
    with pytest.raises(KwsbenchError) as error:
        read_trials(*files(**{name: text}))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_text(files):
    paths = files()
    paths[2].write_bytes(b"LEXEME f 1 0.0 0.3 m\xff lex ana <NA>\n")
    with pytest.raises(KwsbenchError, match=r"said\.rttm: not text in UTF-8 .*; convert it"):
        read_trials(*paths)
