"""kwsbench search on real spoken digits: what is asked for, what is found, and what comes home."""

import csv
import io
import json
import shutil
from itertools import pairwise

import pytest
import soundfile

from kwsbench import plugins
from kwsbench.archive import elan
from kwsbench.archive.folder import open_archive
from kwsbench.errors import KwsbenchError
from kwsbench.search import choice, export, find, judgements, practice, query, settings
from kwsbench.search.confidence import Said
from kwsbench.search.corpus import Work
from kwsbench.search.judgements import Judgement
from kwsbench.search.nouns import Token
from tests.annotated import DIGITS, write_eaf, write_spoken, write_textgrid

# Every digit ten times, in an order in which no two stories agree: over a minute each, a dozen pieces in all.
ORDERS = {
    "george": [DIGITS[(3 * at) % 10] for at in range(100)],
    "jackson": [DIGITS[(7 * at + 2) % 10] for at in range(100)],
    "nicolas": [DIGITS[(9 * at + 5) % 10] for at in range(100)],
}
MFCC = ("--encoder", "mfcc")


@pytest.fixture(scope="module")
def told(tmp_path_factory, shared):
    """An archive of three stories: ELAN beside the first, a TextGrid beside the second, nothing beside the third."""
    fsdd = shared / "data" / "fsdd"
    folder = tmp_path_factory.mktemp("told")
    spans = {who: write_spoken(folder / "story" / f"{who}.wav", fsdd, who, order) for who, order in ORDERS.items()}
    write_eaf(folder / "story" / "george.eaf", {"words": ("George", spans["george"])})
    jackson = folder / "story" / "jackson.wav"
    write_textgrid(jackson.with_suffix(".TextGrid"), soundfile.info(jackson).duration, {"words": spans["jackson"]})
    return folder, spans, fsdd


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """One cache for all: the archive is encoded once."""
    patch = pytest.MonkeyPatch()
    patch.setenv("KWSBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def true_hits(hits, spans, word):
    """How many hits lie on the word: more than half of the shorter of the two is shared."""
    count = 0
    for hit in hits:
        start, end = float(hit["start_s"]), float(hit["end_s"])
        who = hit["recording"].split("/")[-1].removesuffix(".wav")
        count += any(
            text == word and min(end, e) - max(start, s) > min(end - start, e - s) / 2 for s, e, text in spans[who]
        )
    return count


# ── what is found ────────────────────────────────────────────────────────────────────────────────


def test_a_word_of_somebody_else_is_found_where_nothing_is_annotated(run_cli, told):
    """Of 300 digits 30 are sevens; a list of ten at random holds one. The stranger is lucas."""
    folder, spans, fsdd = told
    code, out, err = run_cli("search", fsdd / "recordings" / "7_lucas_0.wav", folder, "--top", 10, "--format", "csv")
    assert code == 0, err
    hits = rows(out)
    assert len(hits) == 10
    assert true_hits(hits, spans, "seven") >= 6  # at random: 1 list in 10,000 (binomial, 10 of .1)
    assert [hit["rank"] for hit in hits] == [str(rank) for rank in range(1, 11)]
    assert "MAP 0.720" in err  # the published best, and the figure that it had
    assert "confidence learnt from 10 annotated words of this archive" in err


def test_a_written_word_is_looked_up_and_its_own_places_are_no_hits(run_cli, told):
    """Twenty sevens are annotated: five are examples, and fifteen are left beside nicolas's ten."""
    folder, spans, _ = told
    code, out, err = run_cli("search", "Seven!", folder, "--top", 7, "--format", "json", *MFCC)
    assert code == 0, err
    answer = json.loads(out)
    assert len(answer["tokens"]) == query.MOST_WRITTEN
    assert answer["query"] == "Seven!"
    assert answer["settings"]["encoder"] == "mfcc@0"
    for token in answer["tokens"]:
        for hit in answer["hits"]:
            if hit["recording"].endswith(token["path"].rpartition("/")[2]):
                shared = min(hit["end_s"], token["end_s"]) - max(hit["start_s"], token["start_s"])
                assert shared <= (token["end_s"] - token["start_s"]) / 2
    assert true_hits(answer["hits"], spans, "seven") >= 4  # at random 0.7


def test_hits_do_not_overlap_and_lie_in_their_recordings(run_cli, told):
    folder, _, fsdd = told
    _, out, _ = run_cli("search", fsdd / "recordings" / "1_theo_0.wav", folder, "--top", 60, "--format", "csv", *MFCC)
    by_recording = {}
    for hit in rows(out):
        by_recording.setdefault(hit["recording"], []).append((float(hit["start_s"]), float(hit["end_s"])))
    for name, mine in by_recording.items():
        mine.sort()
        assert mine[0][0] >= 0
        assert mine[-1][1] <= soundfile.info(folder / name).duration
        assert all(before[1] <= after[0] for before, after in pairwise(mine))


@pytest.mark.parametrize("pool", ["best", "mean", "barycentre"])
def test_several_examples_are_one_word(run_cli, told, pool):
    folder, spans, fsdd = told
    tokens = [fsdd / "recordings" / f"9_{who}_0.wav" for who in ("lucas", "theo", "yweweler")]
    _, out, _ = run_cli("search", *tokens, folder, "--pool", pool, "--top", 10, "--format", "csv", *MFCC)
    assert true_hits(rows(out), spans, "nine") >= 4


def test_a_confidence_can_be_asked_for(run_cli, told):
    folder, _, fsdd = told
    arguments = ("search", fsdd / "recordings" / "7_lucas_0.wav", folder, "--format", "csv")
    sure = [float(hit["confidence"]) for hit in rows(run_cli(*arguments)[1])]
    assert sure == sorted(sure, reverse=True)
    assert 0 < sure[-1] < 0.5 < sure[0] < 1
    kept = rows(run_cli(*arguments, "--least", "0.5")[1])
    assert [float(hit["confidence"]) for hit in kept] == [one for one in sure if one >= 0.5]


def test_no_more_is_ranked_than_asked_for_where_no_confidence_can_be_learnt(told, tmp_path):
    """What is learnt of an archive without annotations, that there is nothing to learn, is remembered as well."""
    folder, _, fsdd = told
    (tmp_path / "bare").mkdir()
    shutil.copy(folder / "story" / "nicolas.wav", tmp_path / "bare")
    work = Work(plugins.load(), tmp_path / "cache")
    chosen = choice.complete(choice.Asked("mfcc"), settings.published(), work.registry)
    for archive, ranked in ((tmp_path / "bare", 3), (folder, 3 * find.BEYOND)):
        question = find.Question((str(fsdd / "recordings" / "7_lucas_0.wav"),), archive, chosen, top=3)
        for answer in (find.search(question, work), find.search(question, work)):
            assert len(answer.found.hits) == 3
            assert len(answer.ranking.hits) == ranked
            assert (answer.found.expected is None) == (ranked == 3)


def test_judgements_become_examples_and_are_not_asked_again(run_cli, told, tmp_path):
    folder, spans, fsdd = told
    arguments = ("search", fsdd / "recordings" / "7_lucas_0.wav", folder, "--top", 10, "--format", "json", *MFCC)
    first = json.loads(run_cli(*arguments)[1])["hits"]
    said = []
    for hit in first:
        answer = "yes" if true_hits([hit], spans, "seven") else "no"
        said.append(Judgement(hit["recording"], hit["start_s"], hit["end_s"], answer))
    judgements.write(said, tmp_path / "judged.csv")
    code, out, err = run_cli(*arguments, "--judgements", tmp_path / "judged.csv")
    assert code == 0, err
    yes = [one for one in said if one.judgement == "yes"]
    answer = json.loads(out)
    assert len(answer["tokens"]) == 1 + len(yes)
    assert f"{len(yes)} accepted hits are examples now, and 10 judged places are left out" in err
    old = {(hit["recording"], hit["start_s"]) for hit in first}
    assert not old & {(hit["recording"], hit["start_s"]) for hit in answer["hits"]}


# ── what comes home ──────────────────────────────────────────────────────────────────────────────


def test_hits_go_back_into_elan_and_praat(run_cli, told, tmp_path):
    folder, _, fsdd = told
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    _, out, err = run_cli(
        "search", fsdd / "recordings" / "7_lucas_0.wav", folder, "--top", 30, "--format", "csv", *MFCC,
        "--elan", tmp_path / "elan", "--praat", tmp_path / "praat",
    )  # fmt: skip
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    hits = rows(out)
    for who in ORDERS:
        mine = sorted(float(hit["start_s"]) for hit in hits if who in hit["recording"])
        tiers = {tier.name: tier for tier in elan.read(tmp_path / "elan" / "story" / f"{who}.eaf").tiers}
        added = tiers["kwsbench: 7_lucas_0.wav"].annotations
        assert [round(one.start_s, 3) for one in added] == pytest.approx(mine, abs=0.0011)  # each rounds in its own way
        assert ("words" in tiers) == (who == "george")
        assert (tmp_path / "praat" / "story" / f"{who}.TextGrid").is_file()
    assert f"wrote {tmp_path / 'elan' / 'story' / 'george.eaf'}" in err


def test_hits_never_go_into_the_archive(run_cli, told):
    folder, _, fsdd = told
    code, _, err = run_cli("search", fsdd / "recordings" / "7_lucas_0.wav", folder, "--elan", folder / "hits", *MFCC)
    assert code == 2
    assert "lies in the archive" in err
    assert not (folder / "hits").exists()


def test_a_page_is_written(run_cli, told, tmp_path):
    folder, _, fsdd = told
    page = tmp_path / "hits.html"
    code, _, err = run_cli("search", fsdd / "recordings" / "7_lucas_0.wav", folder, "--top", 5, "--html", page, *MFCC)
    assert code == 0, err
    text = page.read_text()
    assert "7_lucas_0.wav" in text
    assert str(folder) not in text  # nobody's business


def test_a_table_fits_its_terminal(told):
    folder, _, _ = told
    from kwsbench.search.nouns import Found, Hit

    hits = tuple(
        Hit(at, "a/very/long/name/of/a/recording.wav", folder, at, at + 0.5, 1.0, 0.5, "said " * 30, "somebody")
        for at in range(3)
    )
    found = Found("x", (), hits, folder, 1.0, {})
    assert max(map(len, export.render(found, 90).splitlines())) <= 90
    assert "said said" in export.render(found, 90)
    assert export.clock(75.5) == "1:15.50"
    assert export.clock(3675.5) == "1:01:15.50"
    assert export.clock(59.999) == "1:00.00"


# ── damage ───────────────────────────────────────────────────────────────────────────────────────


def test_what_is_damaged_is_named_and_the_rest_is_searched(run_cli, told, tmp_path):
    folder, _, fsdd = told
    archive = tmp_path / "archive"
    shutil.copytree(folder, archive)
    (archive / "empty.wav").touch()
    (archive / "noise.wav").write_bytes(bytes(range(256)) * 40)
    soundfile.write(archive / "cut.flac", *soundfile.read(archive / "story" / "jackson.wav"))
    whole = (archive / "cut.flac").read_bytes()
    (archive / "cut.flac").write_bytes(whole[: len(whole) // 2])
    (archive / "broken.eaf").write_text("<ANNOTATION_DOCUMENT>")
    code, out, err = run_cli(
        "search", fsdd / "recordings" / "7_lucas_0.wav", archive, "--top", 5, "--format", "csv", *MFCC
    )
    assert code == 0, err
    assert len(rows(out)) == 5
    assert not any("cut.flac" in hit["recording"] for hit in rows(out))
    for name in ("empty.wav", "noise.wav", "cut.flac", "broken.eaf"):
        (line,) = [line for line in err.splitlines() if name in line and line.startswith("problem: ")]
        assert len(line) < 250
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("nothing.wav", "nothing.wav: no such recording, here or in"),
        ("story/george.wav:5-4", "expected START < END <= "),
        ("story/george.wav:1-9999", "the length of the recording in seconds"),
        ("sevn", "'sevn' is no file, and no annotation in"),
        ("sevn", "did you mean 'seven'?"),
        ("story/george.wav:1.00-1.001", "too short for mfcc@0; give a longer span"),
    ],
)
def test_a_question_that_cannot_be_answered(run_cli, told, asked, message):
    folder, _, _ = told
    code, out, err = run_cli("search", asked, folder, *MFCC)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_no_archive(run_cli, tmp_path):
    code, _, err = run_cli("search", "x", tmp_path / "none", *MFCC)
    assert code == 2
    assert "no such folder or sound file" in err


# ── what is asked for ────────────────────────────────────────────────────────────────────────────


def test_spans_files_and_words(told):
    folder, spans, fsdd = told
    archive = open_archive(folder)
    file = fsdd / "recordings" / "7_lucas_0.wav"
    asked = query.read([str(file), "story/george.wav:0:01.5-2.25", "seven"], archive)
    assert asked[0] == Token(file)
    assert asked[1] == Token(folder / "story" / "george.wav", 1.5, 2.25)
    assert str(asked[1]).endswith("story/george.wav:1.5-2.25")
    words = asked[2:]
    assert len(words) == query.MOST_WRITTEN
    assert {token.path.name for token in words} == {"george.wav", "jackson.wav"}  # of both before more of one
    george = [span[:2] for span in spans["george"] if span[2] == "seven"]
    for token in words:
        if token.path.name == "george.wav":
            assert any((token.start_s, token.end_s) == pytest.approx(span, abs=0.001) for span in george)


def test_a_word_inside_longer_annotations_alone(told, tmp_path):
    folder, _, _ = told
    (tmp_path / "a").mkdir()
    shutil.copy(folder / "story" / "nicolas.wav", tmp_path / "a")
    write_eaf(tmp_path / "a" / "nicolas.eaf", {"text": ("N", [(1.0, 3.0, "moon seven sun")])})
    with pytest.raises(
        KwsbenchError, match=r"only inside longer stretches, the first in nicolas\.wav at 1\.00-3\.00 s"
    ):
        query.read(["seven"], open_archive(tmp_path / "a"))


def test_times_with_minutes_and_hours():
    assert query.seconds("75.5") == query.seconds("1:15.5") == query.seconds("0:01:15.5") == 75.5


def test_sentences_teach_where_a_word_is_not(told, tmp_path):
    """A stretch whose words are known holds none of the others; one that holds the word says not where it is."""
    folder, _, _ = told
    (tmp_path / "a").mkdir()
    shutil.copy(folder / "story" / "nicolas.wav", tmp_path / "a")
    tiers = {"text": ("N", [(0.0, 3.0, "Two, seven!"), (3.0, 6.0, "one two")]), "words": ("N", [(1.0, 1.5, "seven")])}
    write_eaf(tmp_path / "a" / "nicolas.eaf", tiers)
    known = practice.lessons(open_archive(tmp_path / "a"))
    assert known.said == [Said("seven", 0, 1.0, 1.5)]
    assert known.without("seven") == {0: [(3.0, 6.0), (1.0, 1.5)]}
    assert known.without("one") == {0: [(0.0, 3.0), (1.0, 1.5)]}
