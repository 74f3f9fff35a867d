import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict

import numpy as np
import pytest
import soundfile

from kwsbench.errors import KwsbenchError
from kwsbench.labels import occurrences
from kwsbench_datasets import prompts
from kwsbench_datasets.prompts import build, decode, fetch, wording

needs_apt = pytest.mark.skipif(
    not shutil.which("apt-get"), reason="no apt-get here: the recordings come from Debian's packages"
)
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

# A source of one small package, so that a whole preparation takes a second.
SMALL = build.Sources(
    packages={"asterisk-prompt-es-co": build.read_sources().packages["asterisk-prompt-es-co"]},
    voices={
        "es": (
            build.Voice("one", "asterisk-prompt-es-co", "usr/share/asterisk/sounds/es/", ".gsm", "file-names"),
            build.Voice("two", "asterisk-prompt-es-co", "usr/share/asterisk/sounds/es/digits/", ".gsm", "file-names"),
        )
    },
)


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


# ── wording ──────────────────────────────────────────────────────────────────────────────────────


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


# ── fetching and decoding ────────────────────────────────────────────────────────────────────────


def test_trimming_keeps_a_tenth_of_a_second_around_speech_and_leaves_hum_out():
    rng = np.random.default_rng(0)
    t = np.arange(32_000) / 16_000
    samples = (0.2 * np.sin(2 * np.pi * 20 * t)).astype(np.float32)
    samples[8_000:16_000] += rng.normal(0, 0.2, 8_000).astype(np.float32)
    samples[100] += 0.9  # a click
    assert len(decode.trim(samples)) == pytest.approx(8_000 + 2 * 1_600, abs=320)
    assert len(decode.trim(np.zeros(5_000, np.float32))) == 5_000


def test_what_is_no_audio_is_named():
    for suffix in (".ogg", ".wav", ".g722", ".gsm"):
        with pytest.raises(KwsbenchError, match=rf"pkg: a{suffix} .*fetch its package again"):
            decode.decode(b"", f"pkg: a{suffix}")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The small source, prepared into a folder with an awkward name."""
    monkeypatch.setenv("KWSBENCH_CACHE", str(tmp_path / "a cache, ŋ 'quoted'"))
    return prompts.Prompts("es", 4, sources=SMALL)


def everything(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def build_small(source):
    """All of a preparation but the check that there is something to score: one voice has no second one."""
    source._prepare(lambda *_: None)  # noqa: SLF001
    return everything(source.folder)


@needs_apt
def test_a_killed_preparation_leaves_nothing_half_done_and_goes_on(small, monkeypatch):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.test_prompts import SMALL, prompts\n"
        "source = prompts.Prompts('es', 4, sources=SMALL)\n"
        "source._prepare(lambda what, done, total: print(what, done, flush=True))\n"
    )
    root = prompts.HERE.parents[1]
    command = [sys.executable, "-c", script, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("decoding one") and int(line.split()[-1]) >= 20:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert not small.prepared
    partial = small.folder.with_name(f".{small.folder.name}.partial")
    assert len(everything(partial)) >= 20
    with monkeypatch.context() as context:  # the package was kept: no second download
        context.setenv("PATH", os.pathsep.join(folder_with(small.folder.parent, "dpkg-deb")))
        resumed = build_small(small)
    assert small.prepared
    assert not partial.exists()
    shutil.rmtree(small.folder.parent / "debs")
    small.folder.rename(small.folder.with_name("first"))
    assert build_small(small) == resumed


def folder_with(parent, *commands):
    """A folder for PATH that holds these commands only, and the shell's usual ones that they call."""
    folder = parent / "bin"
    folder.mkdir(exist_ok=True)
    for command in (*commands, "tar", "rm", "xz", "gzip", "zstd"):
        if shutil.which(command) and not (folder / command).exists():
            (folder / command).symlink_to(shutil.which(command))
    return [str(folder)]


@needs_apt
def test_two_processes_prepare_once(small):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.test_prompts import SMALL, prompts\n"
        "prompts.Prompts('es', 4, sources=SMALL)._prepare(lambda *a: None)\n"
    )
    command = [sys.executable, "-c", script, str(prompts.HERE.parents[1])]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert small.prepared


@needs_apt
def test_a_system_without_lists_gets_its_own_and_touches_nothing(tmp_path, monkeypatch):
    """As on a machine that never ran apt-get update: the system's lists are hidden from apt-get."""
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    (tmp_path / "no lists").mkdir()
    (tmp_path / "apt.conf").write_text(f'Dir::State::lists "{tmp_path / "no lists"}";\n')
    package = SMALL.packages["asterisk-prompt-es-co"]
    debs = fetch.fetch([package], tmp_path / "prompts" / "debs", lambda *_: None)
    assert debs[package.name].version == package.version
    assert {path.name for path in (tmp_path / "no lists").iterdir()} <= {"lock", "partial"}


@needs_apt
def test_a_package_of_another_version_is_used_and_said_aloud(small):
    package = SMALL.packages["asterisk-prompt-es-co"]
    other = build.Sources({package.name: package._replace(version="0.1", sha256="0" * 64)}, SMALL.voices)
    source = prompts.Prompts("es", 4, sources=other)
    build_small(source)
    notes = (source.folder / "prepared.json").read_text(encoding="utf-8")
    assert f"{package.version} (not the pinned 0.1: scores may differ)" in notes


@needs_apt
def test_a_wrong_checksum_at_the_pinned_version_is_an_error(tmp_path):
    package = SMALL.packages["asterisk-prompt-es-co"]._replace(sha256="0" * 64)
    with pytest.raises(KwsbenchError, match=r"asterisk-prompt-es-co 0\.20070403-2\.1: sha256 \w{12}…, expected 0{12}…"):
        fetch.fetch([package], tmp_path / "debs", lambda *_: None)
    assert not list((tmp_path / "debs").glob("*.deb"))


@needs_apt
def test_a_damaged_package_in_the_cache_is_fetched_again(tmp_path):
    package = SMALL.packages["asterisk-prompt-es-co"]
    path = fetch.fetch([package], tmp_path, lambda *_: None)[package.name].path
    path.write_bytes(path.read_bytes()[:1000])
    assert fetch.sha256(fetch.fetch([package], tmp_path, lambda *_: None)[package.name].path) == package.sha256


@needs_apt
def test_without_a_network_the_error_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    (tmp_path / "apt.conf").write_text(
        f'Dir::State::lists "{tmp_path}"; Dir::Etc::sourcelist "{tmp_path / "sources.list"}";'
        f'Dir::Etc::sourceparts "-";\n'
    )
    (tmp_path / "sources.list").write_text("deb http://127.0.0.1:9/debian bookworm main\n")
    with pytest.raises(KwsbenchError) as caught:
        fetch.fetch(list(SMALL.packages.values()), tmp_path / "prompts" / "debs", lambda *_: None)
    message = str(caught.value)
    assert message.startswith("asterisk-prompt-es-co could not be fetched by apt-get (")
    assert "fsdd:path=DIR" in message
    assert "\n" not in message


def test_without_apt_get_the_error_names_what_to_use_instead(small, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(KwsbenchError) as caught:
        small.load()
    assert str(caught.value) == (
        "prompts needs apt-get, which this system has not; "
        "use fsdd:path=DIR, or your own recordings with manifest:path=DIR"
    )


def test_nothing_is_prepared_before_it_is_asked_for(small):
    start = time.perf_counter()
    assert not small.prepared
    assert not small.folder.parent.exists()
    assert time.perf_counter() - start < 1
