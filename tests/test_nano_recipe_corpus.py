"""The nano encoders' corpus: who may be heard, what preparing leaves out, and where each clip lies."""

import hashlib
import math
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from kwsbench.errors import KwsbenchError
from kwsbench_datasets.prompts import build
from kwsbench_datasets.prompts.fetch import Package
from kwsbench_plugins.nano.recipe import __main__, corpus, sources
from tests.nano_recipe_parts import noise, tone_corpus, write_digits, write_recipe


@pytest.fixture(scope="module")
def digits(shared, tmp_path_factory):
    return write_digits(shared / "data" / "fsdd", tmp_path_factory.mktemp("digits"))


@pytest.mark.parametrize(
    ("package", "file", "content", "speaker"),
    [
        ("tuxpaint-stamps-default", "a/b/frog_desc_pt_BR.wav", b"RIFF", ("tuxpaint-pt_BR-unknown", "pt")),
        (
            "tuxpaint-stamps-default",
            "a/frog_desc_ca.ogg",
            b"Xiph.Org libVorbis I 20050304",
            ("tuxpaint-ca-20050304", "ca"),
        ),
        ("tuxpaint-stamps-default", "a/symbols/math/7_sl.ogg", b"", ("tuxpaint-sl-unknown", "sl")),
        ("tuxpaint-stamps-default", "a/frog_desc.ogg", b"", ("tuxpaint-en-unknown", "en")),
        ("tuxpaint-stamps-default", "a/frog.ogg", b"", None),
        ("tuxpaint-stamps-default", "a/frog_desc_ca.txt", b"", None),
        ("fillets-ng-data-cs", "x/sound/alibaba/cs/kni-m-mise.ogg", b"", ("fillets-cs-m", "cs")),
        ("fillets-ng-data-cs", "x/sound/gods/cs/b1-1-lodni.ogg", b"", ("fillets-cs-gods", "cs")),
        ("fillets-ng-data-nl", "x/sound/alibaba/cs/kni-m-mise.ogg", b"", None),
        ("klettres-data", "usr/share/klettres/en_GB/alpha/A.ogg", b"", ("klettres-en_GB", "en")),
        ("ktuberling-data", "usr/share/ktuberling/sounds/sr@latin/nos.wav", b"", ("ktuberling-sr", "sr")),
        (
            "asterisk-core-sounds-ru-g722",
            "usr/share/asterisk/sounds/ru_RU_f_IvrvoiceRU/a.g722",
            b"",
            ("ivrvoice-ru", "ru"),
        ),
        ("asterisk-core-sounds-ru-g722", "usr/share/asterisk/sounds/ru_RU_f_IvrvoiceRU/silence/1.g722", b"", None),
    ],
)
def test_who_speaks_in_a_file(package, file, content, speaker):
    assert sources.read_sources().speaker(package, file, content) == speaker


def test_no_voice_that_kwsbench_tests_with_is_heard():
    """Each voice of prompts, in the packages that both use, by a file name that it takes."""
    heard = sources.read_sources()
    shared_packages = 0
    for language, rows in build.read_sources().voices.items():
        assert not sources.Speaker("somebody", language).may_be_heard
        for voice in rows:
            file = f"{voice.root}5{voice.suffix}"
            assert voice.is_named(file)
            found = heard.speaker(voice.package, file)
            assert found is None or not found.may_be_heard, voice
            shared_packages += voice.package in heard.packages
            assert found is not None or voice.package not in heard.packages, voice
    assert shared_packages >= 5
    assert not sources.Speaker("somebody", "wa").may_be_heard
    assert sources.Speaker("somebody", "ca").may_be_heard


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg-deb here: packages are read with it")
def test_prepare_reads_packages_and_says_what_it_left_out(tmp_path, monkeypatch, capsys):
    """A package built here, lying where a fetched one would: no network is asked."""
    sounds = tmp_path / "tree" / "usr" / "share" / "sounds"
    (tmp_path / "tree" / "DEBIAN").mkdir(parents=True)
    (tmp_path / "tree" / "DEBIAN" / "control").write_text(
        "Package: voices\nVersion: 1.0\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"
    )
    for name, seconds in {"ca/a": 8, "ca/b": 4, "nl/a": 3, "es/a": 12}.items():
        (sounds / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(sounds / f"{name}.wav", noise(seconds, seed=len(name) + ord(name[-1])), 16000)
    shutil.copy(sounds / "ca" / "a.wav", sounds / "ca" / "copy.wav")
    shutil.copy(sounds / "es" / "a.wav", sounds / "ca" / "spanish.wav")
    (sounds / "ca" / "empty.wav").write_bytes(b"")
    deb = tmp_path / "work" / "debs" / "voices_1.0.deb"
    deb.parent.mkdir(parents=True)
    subprocess.run(["dpkg-deb", "--build", "-Znone", tmp_path / "tree", deb], check=True, capture_output=True)
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    listed = sources.read_sources(
        write_recipe(
            tmp_path,
            f'[packages.voices]\nversion = "1.0"\nsha256 = "{digest}"\nlicence = "MIT"\n'
            "[[voices]]\npackage = 'voices'\nspeaker = 'v-{language}'\n"
            r"files = '.*/(?P<language>\w+)/[^/]+\.wav'",
            "sources.toml",
        )
    )
    assert listed.packages == {"voices": Package("voices", "1.0", digest)}
    monkeypatch.setattr(__main__, "read_sources", lambda: listed)
    __main__.main(["prepare", "--work", str(tmp_path / "work")])
    out, err = capsys.readouterr()
    # In the package's order "es" comes after "ca", so that what is Spanish must be known before anything is heard.
    assert {clip.file.rpartition("/")[2] for clip in corpus.read_table(tmp_path / "work" / "corpus")} == {
        "a.wav",
        "b.wav",
    }
    for line in (
        "left out: 1 (language es)",
        "left out: 2 (copy of another file)",
        "left out: 1 (holds no audio)",
        "left out: 1 (of a speaker with under 10 s)",
    ):
        assert line in err
    assert "2 clips, 1 speakers, 0.00 h" in out
    with pytest.raises(KwsbenchError, match=r"^package voice is not in sources.toml; it has voices$"):
        corpus.prepare(listed, tmp_path / "work", ["voice"], lambda *_: None)


def test_the_table_says_where_a_clip_lies(digits):
    clips = corpus.read_table(digits / "corpus")
    assert len({clip.speaker for clip in clips}) == 6
    assert len(clips) == len({(clip.speaker, clip.file) for clip in clips})
    for clip in clips[::23]:
        stream, rate = soundfile.read(digits / "corpus" / f"{clip.speaker}.flac", dtype="float32")
        assert rate == 16000
        place = stream[clip.first : clip.first + clip.samples]
        after = stream[clip.first + clip.samples :][:1280]
        assert clip.samples == len(place)
        assert not after.any()
        # RMS of the frames within 30 dB of the loudest, by a loop; 16 bits move it by less than 0.01 dB.
        powers = [np.mean(np.square(place[at : at + 160], dtype=float)) for at in range(0, len(place) - 159, 160)]
        active = np.mean([power for power in powers if power > max(powers) / 1000])
        level = 10 * math.log10(active)
        assert level < -22.98
        assert level > -23.02 or np.abs(place).max() > 0.96, "softer only where the peak forbids more"


def test_who_says_too_little_is_left_out_and_counted(tmp_path):
    made = tone_corpus(tmp_path / "c", long=noise(12), short=noise(3), silent=np.zeros(320000, np.float32))
    assert {clip.speaker for clip in made.clips} == {"long"}
    assert made.left_out == {"of a speaker with under 10 s": 1, "silent or under 0.1 s": 1}
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["corpus.tsv", "long.flac"]
    with pytest.raises(KwsbenchError, match=r"nobody speaks for 10 s in these recordings; give more$"):
        tone_corpus(tmp_path / "c", short=noise(3))
    assert (tmp_path / "c" / "long.flac").exists(), "a failed second attempt leaves the first as it was"
    with pytest.raises(KwsbenchError, match=r"corpus.tsv is missing; run prepare first$"):
        corpus.read_table(tmp_path / "nowhere")
