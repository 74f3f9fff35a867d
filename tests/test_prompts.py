"""The data set prompts: its counts, its voices and its wording."""

import hashlib
import shutil
from collections import defaultdict

import numpy as np
import pytest
import soundfile

from kwsbench.errors import KwsbenchError
from kwsbench.labels import occurrences
from kwsbench_datasets import prompts
from kwsbench_datasets.prompts import build, wording

FACTORIES = {"fr": prompts.french, "it": prompts.italian, "es": prompts.spanish}

# language → clips, of which searched; keywords; (keyword, query speaker) pairs with the word said by
# another speaker alone, and inside a longer utterance. The tables of datasets/prompts/README.md.
COUNTS = {
    "fr": (1811, 1461, 74, 135, 58),
    "it": (1142, 669, 95, 194, 14),
    "es": (1553, 1233, 85, 146, 53),
}
SPEAKERS = {
    "fr": {"june-wallack", "armelle-desjardins", "paulk", "tuxpaint-fr-2007", "ktuberling-fr"},
    "it": {"carlo-flora", "paola-dal-zot", "schoolsplay-it", "ktuberling-it"},
    "es": {"allison-smith", "july-jimenez", "estefania-ortiz", "ktuberling-es"},
}


@pytest.fixture(scope="module", params=sorted(FACTORIES))
def dataset(request):
    """A language as a user gets it: fetched and decoded at the first run, from the cache after that."""
    if not shutil.which("apt-get") and not FACTORIES[request.param]().prepared:
        pytest.skip("no apt-get here: the recordings come from Debian's packages")
    return FACTORIES[request.param]().load()


def searched(dataset):
    return [clip for clip in dataset.clips if clip.split == "search"]


def pairs(clips):
    """(keyword, query speaker) pairs with the word said by another speaker: alone, and inside."""
    keywords = sorted({clip.keyword for clip in clips if clip.keyword})
    said = occurrences(clips, keywords)
    queries = {(clip.keyword, clip.speaker) for clip in clips if clip.keyword}
    others = {q: [clips[i] for i in said[q[0]] if clips[i].speaker != q[1]] for q in queries}
    alone = sum(any(clip.keyword == word for clip in others[word, speaker]) for word, speaker in queries)
    inside = sum(any(clip.keyword != word for clip in others[word, speaker]) for word, speaker in queries)
    return alone, inside


def test_counts_are_those_of_the_card(dataset):
    search = searched(dataset)
    keywords = {clip.keyword for clip in search if clip.keyword}
    found = (len(dataset.clips), len(search), len(keywords), *pairs(search))
    assert found == COUNTS[dataset.language]
    card = (prompts.HERE / "README.md").read_text(encoding="utf-8")
    assert f"| {dataset.language} | " + " | ".join(f"{n:,}" for n in found) + " |" in card


def test_every_voice_is_there_and_all_have_queries_or_utterances(dataset):
    assert {clip.speaker for clip in searched(dataset)} == SPEAKERS[dataset.language]


def test_the_notes_pin_every_package(dataset):
    for package in build.read_sources().packages_of(dataset.language):
        assert dataset.notes[package.name].startswith(package.version)


def test_every_clip_decodes_to_mono_16_khz_of_a_plausible_length(dataset):
    for clip in dataset.clips:
        info = soundfile.info(clip.path)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16"), clip.id
        assert 0.1 < info.duration < 90, clip.id
        if clip.keyword:
            assert info.duration < 2.0, clip.id


def test_no_recording_stands_twice_so_none_under_two_speakers(dataset):
    seen = defaultdict(list)
    for clip in dataset.clips:
        samples, _ = soundfile.read(clip.path, dtype="int16")
        seen[hashlib.sha256(samples.tobytes()).digest()].append(clip.id)
    assert [ids for ids in seen.values() if len(ids) > 1] == []


def test_no_recording_of_two_speakers_is_nearly_the_same(dataset):
    """Copies through another codec would show in the loudness curves of equal words.

    Measured here: those of different people correlate up to 0.913 at the best shift; a clip and its
    copy through 8 kHz GSM by 0.997 in the median, 0.948 at the least.
    """
    clips = [clip for clip in searched(dataset) if clip.keyword]
    curves = {clip.id: envelope(clip) for clip in clips}
    for i, a in enumerate(clips):
        for b in clips[:i]:
            if a.keyword == b.keyword and a.speaker != b.speaker:
                assert best_correlation(curves[a.id], curves[b.id]) < 0.93, (a.id, b.id)


def envelope(clip):
    """Loudness in dB of each 10 ms, of the 300–3400 Hz that every codec keeps."""
    samples, _ = soundfile.read(clip.path, dtype="float32")
    frames = np.lib.stride_tricks.sliding_window_view(samples, 400)[::160] * np.hanning(400)
    return 10 * np.log10((np.abs(np.fft.rfft(frames)) ** 2)[:, 8:85].sum(axis=1) + 1e-6)


def best_correlation(x, y, shifts=range(-15, 16)):
    if len(x) < len(y):
        x, y = y, x
    best = -1.0
    for shift in shifts:
        a, b = x[max(0, shift) :], y[max(0, -shift) :]
        n = min(len(a), len(b))
        if n > 0.8 * len(y):
            best = max(best, float(np.corrcoef(a[:n], b[:n])[0, 1]))
    return best


def test_a_keyword_is_one_word_of_the_least_length_said_by_two_people(dataset):
    search = searched(dataset)
    said_by = defaultdict(set)
    for clip in search:
        for word in clip.transcript.split():
            said_by[word].add(clip.speaker)
    for clip in search:
        if clip.keyword:
            assert clip.transcript == clip.keyword
            assert len(clip.keyword) >= 4
            assert len(said_by[clip.keyword]) >= 2
        assert not set(clip.maybe) & set(clip.transcript.split())


def test_a_shorter_least_length_gives_more_keywords():
    clips = [labelled("a/1", "tre"), labelled("b/1", "tre"), labelled("a/2", "quattro"), labelled("b/2", "quattro")]
    assert {clip.keyword for clip in build.label(clips, "it", 4)} == {"", "quattro"}
    assert {clip.keyword for clip in build.label(clips, "it", 3)} == {"tre", "quattro"}
    with pytest.raises(KwsbenchError, match="min_letters=0 must be at least 1"):
        prompts.italian(min_letters=0)


def labelled(clip, said, samples="", *, alone=True):
    return build.Labelled(clip, clip.split("/")[0], tuple(said.split()), samples or clip, alone)


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("fr", "Une bouteille d'eau, s'il te plaît !", "une bouteille d eau s il te plaît"),
        ("fr", "Dix-sept.", "dix sept"),
        ("fr", "aujourd'hui", "aujourd'hui"),
        ("fr", "Un œil", "un oeil"),
        ("fr", "appuyez sur 1. Sinon, 2", "appuyez sur un sinon deux"),
        ("fr", "composer 500 pour essayer", ""),
        ("fr", "Une pièce de 25 cents (0,25 $)", ""),
        ("fr", "La lettre W.", ""),
        ("fr", "La lettre a.", "la lettre a"),
        ("es", "¡Cómete el ñame!", "comete el name"),
        ("it", "[quello] non è valido", ""),
        ("it", "premere asterisco vm-then-pound: poi premere", "premere asterisco"),
    ],
)
def test_text_becomes_words_or_nothing(language, text, words):
    assert wording.of_text(text, language) == tuple(words.split())


def test_only_numbers_dates_and_letters_are_borrowed_from_another_speakers_script():
    script = wording.read_script("; comment\ndigits/4: quattro\nvm-Family: famiglia\ndigits/4: altro\n")
    assert wording.of_shared_id("digits/4", script, "it") == ("quattro",)
    assert wording.of_shared_id("vm-Family", script, "it") == ()
    assert wording.of_script("vm-Family", script, "it") == ("famiglia",)


@pytest.mark.parametrize(
    ("language", "keyword", "said", "heard"),
    [
        ("fr", "serpent", "deux serpents", True),
        ("fr", "minutes", "une minute", True),
        ("fr", "sept", "cette lettre", True),
        ("fr", "août", "ou bien", True),
        ("fr", "sept", "la tête", False),
        ("fr", "deux", "trois", False),
        ("es", "cinco", "veinticinco", True),
        ("es", "vaca", "la baca", True),
        ("it", "otto", "trentotto", True),
        ("it", "nove", "otto", False),
    ],
)
def test_what_may_be_heard_though_it_is_not_written(language, keyword, said, heard):
    assert wording.may_be_heard(keyword, tuple(said.split()), language) is heard


def test_a_word_after_an_unwritten_article_is_no_query():
    clips = [labelled("a/1", "étoile"), labelled("b/1", "étoile", alone=False)]
    assert [clip.keyword for clip in build.label(clips, "fr", 4)] == ["étoile", ""]


def test_copies_are_left_out_and_doubt_about_them_is_kept():
    same = build._without_copies([labelled("a/1", "uno", "x"), labelled("a/2", "uno", "x")])  # noqa: SLF001
    assert [clip.id for clip in same] == ["a/1"]
    two_wordings = build._without_copies([labelled("a/1", "uno", "x"), labelled("a/2", "due", "x")])  # noqa: SLF001
    assert [clip.said for clip in two_wordings] == [()]
    assert build._without_copies([labelled("a/1", "uno", "x"), labelled("b/1", "uno", "x")]) == []  # noqa: SLF001


def test_every_correction_is_about_a_clip_that_is_there(dataset):
    ours = {clip.id for clip in dataset.clips}
    wanted = {clip for clip in build._read_corrections() if clip.split("/")[0] in SPEAKERS[dataset.language]}  # noqa: SLF001
    assert wanted - ours == set()
