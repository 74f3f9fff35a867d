"""The nano encoders' recipe: a corpus of real digits, targets against loops, a killed training, what is exported."""

import hashlib
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2ForPreTraining

from kwsbench import audio
from kwsbench.errors import KwsbenchError
from kwsbench.testing import check_encoder
from kwsbench_datasets.prompts import build
from kwsbench_datasets.prompts.fetch import Package
from kwsbench_plugins import nano
from kwsbench_plugins.hf import from_directory
from kwsbench_plugins.nano.recipe import (
    __main__,
    cepstra,
    contrast,
    corpus,
    hubert,
    kmeans,
    model,
    perturb,
    plan,
    sources,
    streams,
    targets,
    train,
)
from kwsbench_plugins.nano.recipe.evaluate import evaluate
from kwsbench_plugins.nano.recipe.export import export

RECIPES = Path(sources.__file__).parent
SPEEDS = plan.Recipe("", "hubert", ()).speeds
CLIP = corpus.Clip("ana", "en", "package", "1", "MIT", "file.wav")

TINY = """
name = "tiny"
objective = "OBJECTIVE"
audio_s = 5
crop_frames = [40, 25]
warmup_steps = 4
checkpoint_steps = 7
speeds = ["4/5", "1/1", "5/4"]
label_speeds = ["4/5", "1/1"]
ROUNDS
[model]
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
intermediate_size = 48
conv_dim = [12, 12, 12, 12, 12, 12, 12]
conv_bias = true
feat_extract_norm = "layer"
do_stable_layer_norm = true
num_conv_pos_embeddings = 8
num_conv_pos_embedding_groups = 2
hidden_dropout = 0.1
layerdrop = 0.0
"""
HUBERT = TINY.replace("OBJECTIVE", "hubert").replace(
    "ROUNDS",
    "[[rounds]]\nclusters = 8\nsteps = 60\npeak_rate = 5e-3\n"
    "[[rounds]]\nlayer = 1\nclusters = 10\nsteps = 20\npeak_rate = 5e-3",
)
WAV2VEC2 = TINY.replace("OBJECTIVE", "wav2vec2").replace("ROUNDS", "[[rounds]]\nsteps = 60\npeak_rate = 5e-3") + (
    "num_codevectors_per_group = 8\nnum_codevector_groups = 2\ncodevector_dim = 16\nproj_codevector_dim = 16\n"
    "num_negatives = 20\n"
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tone_corpus(folder, **voices):
    """A corpus of given waveforms, one clip a speaker."""
    rows = [corpus.Recording(replace(CLIP, speaker=name), waveform) for name, waveform in voices.items()]
    return corpus.write(rows, folder)


def noise(seconds, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(round(16000 * seconds))).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """The same sums in the same order in this process and in one that is killed."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits(shared, tmp_path_factory):
    """A work folder whose corpus is part of FSDD: six people, four takes of each digit."""
    work = tmp_path_factory.mktemp("digits")
    files = [path for path in sorted((shared / "data" / "fsdd").rglob("*.wav")) if int(path.stem.split("_")[2]) < 5]
    rows = [
        corpus.Recording(replace(CLIP, speaker=path.stem.split("_")[1], file=path.name), audio.read(path).samples)
        for path in files
    ]
    corpus.write(rows, work / "corpus")
    return work


@pytest.fixture(scope="module")
def voices(digits):
    return streams.load(digits / "corpus", ("1/1", "9/8"), 40, "cpu")


@pytest.fixture
def write_recipe(tmp_path):
    def write(text, name="tiny.toml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


# Who may be heard.


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
def test_prepare_reads_packages_and_says_what_it_left_out(tmp_path, write_recipe, monkeypatch, capsys):
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


# The corpus.


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


# Streams at several speeds.


def test_a_click_is_at_its_time_at_every_speed(tmp_path):
    """A click of one sample at 1/3 of each stream, in a faint hum.

    Frame j of a crop is centred on sample 200 + 320 j of the crop. What is at sample s of the crop was at
    centres[0] + (s - 200) · speed in the original. Resampling rounds a click to the nearest sample: one
    sample of the crop is speed (at most 1.25) of the original, so 2 samples are enough. The label of the
    nearest frame is centred at most half a frame of the crop and half a label's shift away from the click.
    """
    clicks, waveforms = {}, {}
    for at, (name, seconds) in enumerate({"ana": 11, "ben": 14.3}.items()):
        waveform = 1e-3 * np.sin(np.arange(round(seconds * 16000)) / 40).astype(np.float32)
        clicks[at] = len(waveform) // 3
        waveform[clicks[at]] = 0.5
        waveforms[name] = waveform
    tone_corpus(tmp_path / "corpus", **waveforms)
    voices = streams.load(tmp_path / "corpus", SPEEDS, 200, "cpu")
    # Label i of a speaker is i, and a large number for the second, so that each says where it is centred and of whom.
    numbers = [
        torch.arange((len(waveform) - 400) // 160 + 1) + 100_000 * at for at, waveform in enumerate(waveforms.values())
    ]
    first = torch.tensor([0, len(numbers[0])])
    marks = targets.Targets(torch.cat(numbers), first, 160, 200_000, 1.0)
    seen = set()
    for seed in range(6):
        crops = voices.crops(32, 200, generator(seed))
        assert crops.samples.shape == (32, 200 * 320 + 80)
        found = marks.at(crops)
        for row, speaker in enumerate(crops.speaker.tolist()):
            speed = float(crops.centres[row, 1] - crops.centres[row, 0]) / 320
            name = min(SPEEDS, key=lambda text, speed=speed: abs(eval_ratio(text) - speed))
            assert speed == pytest.approx(eval_ratio(name), rel=1e-9)
            loudest = int(crops.samples[row].abs().argmax())
            if crops.samples[row].abs()[loudest] > 0.2:
                seen.add((speaker, name))
                time_of_it = float(crops.centres[row, 0]) + (loudest - 200) * speed
                assert abs(time_of_it - clicks[speaker]) <= 2
                nearest = min(max(round((loudest - 200) / 320), 0), 199)
                label = int(found[row, nearest]) - 100_000 * speaker
                assert abs(160 * label + 200 - clicks[speaker]) <= 160 * speed + 80 + 2
            else:
                assert not ((crops.centres[row, 0] < clicks[speaker]) & (clicks[speaker] < crops.centres[row, -1]))
    assert len(seen) >= 12, "of 18 pairs of speaker and speed most must have been looked at"


def eval_ratio(text):
    p, q = text.split("/")
    return int(p) / int(q)


def test_crops_stay_within_their_speaker(tmp_path):
    """One speaker is positive throughout, the other negative: a crop that crossed over would have both signs."""
    up, down = np.full(170000, 0.3, np.float32), np.full(300000, -0.3, np.float32)
    tone_corpus(tmp_path / "corpus", down=down, up=up)
    voices = streams.load(tmp_path / "corpus", SPEEDS, 200, "cpu")
    assert voices.speakers == ["down", "up"]
    # The pause at a stream's end is silence, and the filter rings a little before it.
    speakers = set()
    for seed in range(5):
        crops = voices.crops(64, 200, generator(seed))
        for row, speaker in enumerate(crops.speaker.tolist()):
            speakers.add(speaker)
            sign = 1 if speaker == 1 else -1
            assert float((crops.samples[row] * sign).min()) > -0.1
            assert float((crops.samples[row] * sign).max()) > 0.05
    assert speakers == {0, 1}
    assert torch.equal(voices.crops(4, 50, generator(3)).samples, voices.crops(4, 50, generator(3)).samples)


def test_who_speaks_much_is_drawn_more_often_but_not_in_proportion(tmp_path):
    """Nine times the speech: 9^0.6 = 3.74 times as often. The speed as recorded: 0.15 + 0.85/9 = 24%.

    Four standard errors of 4000 draws.
    """
    tone_corpus(tmp_path / "corpus", ana=noise(11), ben=noise(99, seed=1))
    crops = streams.load(tmp_path / "corpus", SPEEDS, 40, "cpu").crops(4000, 2, generator())
    share = float(crops.speaker.double().mean())
    expected = 9**0.6 / (1 + 9**0.6)
    assert share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 4000))
    as_recorded = (crops.centres[:, 1] - crops.centres[:, 0] == 320).double().mean()
    assert float(as_recorded) == pytest.approx(0.2444, abs=4 * math.sqrt(0.2444 * 0.7556 / 4000))


def test_a_stream_too_short_for_a_crop_is_named(tmp_path):
    tone_corpus(tmp_path / "corpus", ana=noise(11))
    message = r"ana.flac: 141824 samples at the fastest speed, but a crop has 160080; shorten crop_frames or leave"
    with pytest.raises(KwsbenchError, match=message):
        streams.load(tmp_path / "corpus", ("1/1", "5/4"), 500, "cpu")


# Disturbances.


def test_perturbed_crops_differ_keep_their_length_and_repeat_with_their_seed(voices):
    clean = voices.crops(24, 40, generator()).samples
    before = clean.clone()
    disturbed = perturb.perturb(clean, generator(1))
    assert torch.equal(clean, before)
    assert disturbed.shape == clean.shape
    assert torch.equal(disturbed, perturb.perturb(clean, generator(1)))
    assert not torch.equal(disturbed, perturb.perturb(clean, generator(2)))
    torch.testing.assert_close(disturbed.mean(1), torch.zeros(24), atol=1e-4, rtol=0)
    torch.testing.assert_close(disturbed.var(1, correction=0), torch.ones(24), atol=1e-2, rtol=0)
    changed = (disturbed - perturb.standardised(clean)).abs().amax(1) > 0.01
    # Of all crops 0.8 · 0.3 · 0.75 · 0.5 · 0.85 = 8% meet nothing, and each that meets anything is changed.
    assert 16 <= int(changed.sum()) <= 24


def test_each_disturbance_does_what_it_is_called(voices):
    batch = 400
    draw = lambda: perturb.Draw(generator(5), batch)  # noqa: E731 - each part from the same beginning
    frequency = torch.linspace(0, 1, 2049)
    gains = 20 * perturb.equaliser(frequency, draw()).log10()
    assert 7 < float(gains.abs().max()) <= 8.001
    flat = (gains == 0).all(1).double().mean()
    assert float(flat) == pytest.approx(0.3, abs=4 * math.sqrt(0.3 * 0.7 / batch))
    band = perturb.telephone_band(frequency, draw())
    narrow = band[:, -1] < 0.5
    assert float(narrow.double().mean()) == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / batch))
    assert float(band[narrow][:, frequency > 4600 / 8000].max()) < 1e-5
    assert float(band[narrow][:, (frequency > 700 / 8000) & (frequency < 2900 / 8000)].min()) > 0.99
    assert torch.equal(band[~narrow], torch.ones_like(band[~narrow]))

    spectrum = torch.fft.rfft(torch.randn(batch, 4096, generator=generator(6)))
    added = perturb.noise(spectrum, frequency, draw())
    power = lambda values: values.abs().square().mean(1)  # noqa: E731
    softer = 10 * (power(spectrum) / power(added)).log10()
    silent = power(added) == 0
    assert float(silent.double().mean()) == pytest.approx(0.5, abs=0.1)
    assert 7.9 < float(softer[~silent].min()) < 12
    assert 39 < float(softer[~silent].max()) < 43.1

    # An impulse: nothing before it, itself unchanged, the tail after 2 ms and within 0.3 s.
    impulse = torch.zeros(batch, 8192)
    impulse[:, 1000] = 1
    heard = torch.fft.irfft(torch.fft.rfft(impulse, n=16384) * perturb.reverberation(16384, draw()), n=16384)
    torch.testing.assert_close(heard[:, :1032], impulse[:, :1032], atol=1e-5, rtol=0)
    tail = heard[:, 1032:].abs().amax(1) > 1e-3
    assert float(tail.double().mean()) == pytest.approx(0.15, abs=0.08)
    assert float(heard[:, 1000 + 4800 :].abs().max()) < 1e-5
    assert all(perturb.transform_size(n) >= n + 4800 for n in (1, 8000, 24000, 64080, 10**6))

    clean = voices.crops(batch, 30, generator(7)).samples
    mixed = perturb.with_another_voice(clean, draw())
    touched = (mixed != clean).double().mean(1)
    assert float(touched.max()) <= 0.51
    assert float((touched > 0).double().mean()) == pytest.approx(0.2, abs=0.08)


# Targets.


def test_kmeans_assigns_and_settles_as_loops_do():
    """Four far blobs. Every assignment by a loop; the centres are the means of what is assigned to them."""
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(at, 0.3, (50, 3)) for at in (-9, -3, 3, 9)]).astype(np.float32)
    centres = kmeans.kmeans(torch.from_numpy(points), 4, 20, generator(1))
    labels = kmeans.assign(torch.from_numpy(points), centres).numpy()
    for point, label in zip(points, labels, strict=True):
        distances = [sum((a - b) ** 2 for a, b in zip(point, centre, strict=True)) for centre in centres.tolist()]
        assert label == distances.index(min(distances))
    for cluster in range(4):
        np.testing.assert_allclose(centres[cluster], points[labels == cluster].mean(0), rtol=1e-5, atol=1e-5)
    shares = [np.mean(labels == cluster) for cluster in range(4)]
    expected = math.exp(-sum(share * math.log(share) for share in shares if share))
    assert kmeans.perplexity(torch.from_numpy(labels), 4) == pytest.approx(expected)
    picked = kmeans.sample(torch.arange(10), 4, generator()).tolist()
    assert len(set(picked)) == 4


def slow_cepstra(samples, warp):
    """The same by loops over frames, bins, filters and coefficients, in float64."""
    emphasised = [samples[0], *(b - 0.97 * a for a, b in itertools.pairwise(samples))]
    mel = lambda hz: 1127 * math.log(1 + hz / 700)  # noqa: E731
    edges = []
    for i in range(28):
        hz = 700 * (math.exp((mel(80) + (mel(7600) - mel(80)) * i / 27) / 1127) - 1)
        bend = 5500 * warp
        edges.append(hz * warp if hz < 5500 else bend + (hz - 5500) * (7900 - bend) / (7900 - 5500))
    rows = []
    for start in range(0, len(samples) - 399, 160):
        frame = [emphasised[start + i] * (0.5 - 0.5 * math.cos(2 * math.pi * i / 400)) for i in range(400)]
        power = np.abs(np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512) @ np.array(frame)) ** 2
        logs = []
        for left, middle, right in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
            total = 0.0
            for b in range(257):
                hz = b * 8000 / 256
                total += power[b] * max(0.0, min((hz - left) / (middle - left), (right - hz) / (right - middle)))
            logs.append(math.log(total + 1e-7))
        rows.append(
            [
                math.sqrt(2 / 26) * sum(logs[m] * math.cos(math.pi / 26 * (m + 0.5) * c) for m in range(26))
                for c in range(13)
            ]
        )
    return np.array(rows)


@pytest.mark.parametrize("warp", [1.0, 0.84, 1.16])
def test_cepstra_equal_a_slow_reckoning(warp, voices):
    """float32 logs of powers against float64: 1e-3 of values up to some tens."""
    stream = voices.stream(0)[3000:4500]
    found = cepstra.cepstra(stream, [1.0, warp])[warp]
    expected = slow_cepstra(stream.double().tolist(), warp)
    assert found.shape == expected.shape == ((1500 - 400) // 160 + 1, 13)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3)


def test_normalisation_and_slopes_equal_numpy():
    frames = torch.from_numpy(np.random.default_rng(0).normal(3, 2, (30, 13)).astype(np.float32))
    still = cepstra.normalised(frames).numpy()
    columns = [(column - column.mean()) / column.std(ddof=1) for column in frames.numpy().T]
    np.testing.assert_allclose(still.T, columns, atol=1e-4)
    rising = cepstra.slope(frames).numpy()
    padded = np.concatenate([frames[:1], frames[:1], frames, frames[-1:], frames[-1:]])
    for i in range(30):
        line = np.polyfit(np.arange(5), padded[i : i + 5], 1)[0]
        np.testing.assert_allclose(rising[i], line, atol=1e-5)
    assert cepstra.with_slopes(frames).shape == (30, 39)
    weights = cepstra.with_slopes(frames).std(0)
    np.testing.assert_allclose(weights[:26], np.ones(26), atol=1e-3)
    np.testing.assert_allclose(weights[26:], np.full(13, 0.7), atol=1e-3)


@pytest.mark.parametrize("turns", [1, 4])
def test_a_shorter_vocal_tract_is_recognised(voices, turns):
    """Each of six people beside themselves at 9/8 of the speed, whose formants are 9/8 as high: a larger warp."""
    speakers = range(len(voices.speakers))
    slow = [cepstra.cepstra(voices.stream(at)[: 16000 * 8], targets.WARPS) for at in speakers]
    fast = [cepstra.cepstra(voices.stream(at, "9/8")[: 16000 * 7], targets.WARPS) for at in speakers]
    warps = cepstra.choose_warps(slow + fast, generator(), turns)
    # The common codebook lies between the two, so that each is half of the way from it.
    assert all(0.92 <= warp <= 1.0 for warp in warps[:6]), warps
    assert all(1.04 <= warp <= 1.12 for warp in warps[6:]), warps


def test_targets_are_laid_out_by_speaker(voices):
    made = targets.from_cepstra(voices, 8, generator())
    lengths = [(len(voices.stream(at)) - 400) // 160 + 1 for at in range(len(voices.speakers))]
    assert made.first.tolist() == [sum(lengths[:at]) for at in range(len(lengths))]
    assert len(made.labels) == sum(lengths)
    assert set(made.labels.tolist()) == set(range(8))
    assert 3 < made.perplexity <= 8
    with pytest.raises(KwsbenchError, match=r"^99999999 clusters of \d+ frames; give fewer clusters or more rec"):
        targets.clustered([torch.randn(5, 2)], 99999999, 160, generator())


def test_frames_at_another_speed_hear_the_same_time():
    """By a loop over the centres; a tie is no matter, so distances are compared and not positions."""
    for speed in ("4/5", "1/1", "9/8"):
        for frame, other in enumerate(targets.same_time(300, speed).tolist()):
            centre = (320 * frame + 200) / eval_ratio(speed)
            best = min(abs(320 * k + 200 - centre) for k in range(600))
            assert abs(320 * other + 200 - centre) == pytest.approx(best)


def test_whitening_gives_uncorrelated_dimensions():
    """The soft variance of axis i becomes v / (v + 0.05 · largest), which is what remains on the diagonal."""
    points = torch.randn(4000, 6, generator=generator()) @ torch.randn(6, 6, generator=generator(1))
    points = points - points.mean(0)
    turned = points @ targets.whitening(points, 4)
    covariance = (turned.T @ turned / len(turned)).numpy()
    variances = np.linalg.eigvalsh((points.T @ points / len(points)).numpy())
    expected = variances[-4:] / (variances[-4:] + 0.05 * variances[-1])
    np.testing.assert_allclose(covariance, np.diag(expected), atol=1e-4)


# The encoder.


def tiny(text=HUBERT):
    """The recipe of a text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.toml"
        path.write_text(text, encoding="utf-8")
        return plan.read_recipe(path)


def test_masks_have_their_share_in_whole_spans():
    """1 - 0.925¹⁰ = 54.1% far from the beginning; ± 4 standard errors, of spans, not of frames."""
    masked = model.mask(400, 200, generator())
    assert masked.dtype == torch.bool
    assert float(masked[:, 20:].double().mean()) == pytest.approx(1 - 0.925**10, abs=0.02)
    for row in masked[:50].tolist():
        runs = "".join("x" if value else " " for value in row).split()
        assert runs
        assert all(len(run) >= 10 for run in runs[:-1])
        assert len(runs[-1]) >= 10 or row[-1], "only the crop's end cuts a span short"
    # In a third of such short rows no span would begin by itself.
    assert int(model.mask(400, 15, generator()).sum(1).min()) >= 10
    assert torch.equal(masked, model.mask(400, 200, generator()))


@pytest.mark.parametrize("frames", [1, 40, 749, 750, 751, 799, 800, 1450, 1451, 5003])
def test_windows_keep_every_frame_once(frames):
    kept = [at for window in model.windows(frames) for at in range(window.keep_from, window.keep_to)]
    assert kept == list(range(frames))
    for window in model.windows(frames):
        assert 0 <= window.first <= window.keep_from < window.keep_to <= min(window.first + 750, frames)
        assert window.first + min(750, frames) <= frames
        assert window.keep_from == 0 or window.keep_from - window.first >= 25
        assert window.keep_to == frames or window.first + 750 - window.keep_to == 25


def test_a_layer_read_in_windows_is_in_time_with_the_whole():
    """Layer 0 sees some frames around and the level of its window alone: layer norm takes out all but 2% of that."""
    recipe = tiny()
    torch.manual_seed(0)
    core = hubert.MaskedPrediction(model.config(recipe), 8).core.eval()
    stream = torch.from_numpy(noise(37.003))
    with torch.no_grad():
        whole = core(perturb.standardised(stream[None]), output_hidden_states=True).hidden_states
    for layer in (0, 2):
        found = model.hidden(core, stream, layer)
        assert found.shape == whole[layer][0].shape == ((len(stream) - 400) // 320 + 1, 32)
        if layer == 0:
            assert float((found - whole[0][0]).norm() / whole[0][0].norm()) < 0.02
    short = stream[:16000]
    with torch.no_grad():
        alone = core(perturb.standardised(short[None]), output_hidden_states=True).hidden_states[1][0]
    torch.testing.assert_close(model.hidden(core, short, 1), alone)


def test_the_recipes_shape_is_that_of_the_weights_that_ship():
    for name in ("nano-hubert", "nano-wav2vec2"):
        recipe = plan.read_recipe(RECIPES / f"{name}.toml")
        assert recipe.name == name
        shipped = json.loads((Path(nano.__file__).parent / name / "config.json").read_text("utf-8"))
        made = json.loads(model.config(recipe).to_json_string(use_diff=False))
        own = {*recipe.model, *model.CONVOLUTIONS} - {
            "num_codevectors_per_group",
            "num_codevector_groups",
            "codevector_dim",
            "proj_codevector_dim",
            "diversity_loss_weight",
            "num_negatives",
            "contrastive_logits_temperature",
        }
        assert {key: made[key] for key in own} == {key: shipped[key] for key in own}
    assert [row.clusters for row in plan.read_recipe(RECIPES / "nano-hubert.toml").rounds] == [100, 250, 400, 500]
    assert plan.read_recipe(RECIPES / "smoke.toml").objective == "hubert"


def test_masked_prediction_equals_a_slow_reckoning(voices):
    torch.manual_seed(0)
    objective = hubert.MaskedPrediction(model.config(tiny()), 8).eval()
    samples = perturb.standardised(voices.crops(3, 30, generator()).samples)
    masked, labels = model.mask(3, 30, generator()), torch.randint(8, (3, 30), generator=generator())
    with torch.no_grad():
        loss, parts = objective(samples, masked, labels)
        states = objective.projection(objective.core(samples, mask_time_indices=masked).last_hidden_state).numpy()
    embeddings = objective.embeddings.detach().numpy()
    sums = {True: [], False: []}
    for row in range(3):
        for frame in range(30):
            x = states[row, frame]
            cosines = [x @ e / math.sqrt(x @ x) / math.sqrt(e @ e) / 0.1 for e in embeddings]
            total = math.log(sum(math.exp(value) for value in cosines))
            sums[bool(masked[row, frame])].append(total - cosines[labels[row, frame]])
    assert float(parts["masked"]) == pytest.approx(np.mean(sums[True]), rel=1e-4)
    assert float(parts["unmasked"]) == pytest.approx(np.mean(sums[False]), rel=1e-4)
    assert float(loss) == pytest.approx(np.mean(sums[True]) + 0.3 * np.mean(sums[False]), rel=1e-4)


def test_negatives_are_other_masked_frames_of_the_same_row():
    masked = model.mask(5, 60, generator(2))
    chosen = contrast.negatives(masked, 400, generator(3))
    for row in range(5):
        others = {at for at in range(60) if masked[row, at]}
        for frame in others:
            drawn = chosen[row, frame].tolist()
            assert set(drawn) <= {row * 60 + at for at in others - {frame}}
            # 400 draws of fewer than 60: each of them misses with a probability of (58/59)^400 = 0.1%.
            assert len(set(drawn)) >= 0.9 * (len(others) - 1)


def test_contrast_equals_a_slow_reckoning(voices):
    """Without dropout and chance. A negative whose code is the frame's own does not count as one."""
    torch.manual_seed(0)
    objective = contrast.Contrast(model.config(tiny(WAV2VEC2))).eval()
    samples = perturb.standardised(voices.crops(3, 30, generator()).samples)
    masked = model.mask(3, 30, generator())
    chosen = contrast.negatives(masked, 20, generator(4))
    with torch.no_grad():
        _, parts = objective(samples, masked, done=0.0, generator=generator(4))
        output = objective.whole(samples, mask_time_indices=masked)
    states = output.projected_states.reshape(90, -1).double().numpy()
    codes = output.projected_quantized_states.reshape(90, -1).double().numpy()
    entropies = []
    for at in range(90):
        if masked.reshape(90)[at]:
            others = [codes[other] for other in chosen.reshape(90, 20)[at] if np.any(codes[other] != codes[at])]
            cosines = [
                states[at] @ code / np.linalg.norm(states[at]) / np.linalg.norm(code) for code in (codes[at], *others)
            ]
            exponentials = [math.exp(value / 0.1) for value in cosines]
            entropies.append(-math.log(exponentials[0] / sum(exponentials)))
    assert float(parts["contrast"]) == pytest.approx(np.mean(entropies), rel=1e-4)


def test_the_convolutions_learn_at_a_tenth(voices):
    """Gradients against those of transformers' own model with the same weights; the mask is the mean's divisor."""
    torch.manual_seed(0)
    objective = contrast.Contrast(model.config(tiny(WAV2VEC2))).eval()
    plain = Wav2Vec2ForPreTraining(objective.whole.config).eval()
    plain.load_state_dict(objective.whole.state_dict())
    samples = perturb.standardised(voices.crops(2, 30, generator()).samples)
    masked = model.mask(2, 30, generator())
    loss, _ = objective(samples, masked, done=0.5, generator=generator(1))
    loss.backward()
    chosen = contrast.negatives(masked, 20, generator(1))
    expected = plain(samples, mask_time_indices=masked, sampled_negative_indices=chosen).loss / masked.sum()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    theirs = dict(plain.named_parameters())
    slow, same = 0, 0
    for name, value in objective.whole.named_parameters():
        if value.grad is None or not float(value.grad.abs().max()):
            continue
        front = "feature_extractor" in name
        slow, same = slow + front, same + (not front)
        torch.testing.assert_close(value.grad * (10 if front else 1), theirs[name].grad, rtol=1e-3, atol=1e-5)
    assert slow >= 14
    assert same >= 20


# Training.


def test_the_rate_rises_holds_and_falls():
    recipe = plan.Recipe("", "hubert", (), warmup_steps=10)
    row = plan.Round(steps=1000, peak_rate=2.0)
    rates = [train.rate(recipe, row, step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9:301] == pytest.approx([2.0] * 292)
    assert rates[650] == pytest.approx(2 * (0.02 + 0.98 / 2))
    assert rates[999] == pytest.approx(2 * 0.02, rel=1e-3)
    assert all(a >= b for a, b in itertools.pairwise(rates[300:]))


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """Both objectives trained without interruption; the recipes' files by objective."""
    files = {}
    for objective, text in (("hubert", HUBERT), ("wav2vec2", WAV2VEC2)):
        work = tmp_path_factory.mktemp(objective)
        shutil.copytree(digits / "corpus", work / "corpus")
        files[objective] = work / "tiny.toml"
        files[objective].write_text(text, encoding="utf-8")
        said = []
        assert train.train(plan.read_recipe(files[objective]), work, train.Until(), "cpu", said.append)
        assert any("6 speakers" in line for line in said)
    return files


def losses(work, number):
    head, *rows = [line.split("\t") for line in (work / "tiny" / f"round-{number}.tsv").read_text().splitlines()]
    return [float(row[head.index("loss")]) for row in rows]


@pytest.mark.parametrize(("objective", "falls_by"), [("hubert", [0.1, 0.1]), ("wav2vec2", [0.03])])
def test_the_loss_falls(trained, objective, falls_by):
    """Means of ten steps: the first ten against the last ten of each round.

    Of eight clusters drawn by lot no more could be learnt than log 8 · 1.3 = 2.70, 0.04 below the beginning.
    Sixty steps of so small a model teach wav2vec2 to use its codes, hardly yet to tell them apart.
    """
    for number, least in enumerate(falls_by, 1):
        fall = losses(trained[objective].parent, number)
        assert fall[-1] < fall[0] - least, fall


def test_a_round_begins_from_the_weights_of_the_one_before(trained):
    """Twenty steps move the encoder less than it is away from a new one."""
    work = trained["hubert"].parent / "tiny"
    before, after = (torch.load(work / f"round-{n}.pt", weights_only=True)["core"] for n in (1, 2))
    new = train.untrained(plan.read_recipe(trained["hubert"]), 10).core.state_dict()
    away = lambda state: math.sqrt(sum(float((state[name] - after[name]).square().sum()) for name in after))  # noqa: E731
    assert 0 < away(before) < 0.5 * away(new)


def run_training(recipe, work):
    command = [sys.executable, "-m", "kwsbench_plugins.nano.recipe", "train", recipe, "--work", work, "--device", "cpu"]
    return subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def test_killed_and_called_again_it_ends_with_the_same_bits(trained, digits, tmp_path):
    """SIGKILL once a checkpoint of round 1 is there, a stop of a few steps in round 2, then to the end."""
    shutil.copytree(digits / "corpus", tmp_path / "corpus")
    recipe = shutil.copy(trained["hubert"], tmp_path)
    process = run_training(recipe, tmp_path)
    folder, limit = tmp_path / "tiny", time.monotonic() + 300
    while not (folder / "round-1.checkpoint.pt").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < limit
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "round-1.pt").exists()
    assert not (folder / "round-2.targets.pt").exists()
    said = []
    left = 60 - torch.load(folder / "round-1.checkpoint.pt", weights_only=True)["step"]
    assert 0 < left <= 53
    plan_ = plan.read_recipe(Path(recipe))
    assert not train.train(plan_, tmp_path, train.Until(steps=left + 3), "cpu", said.append)
    assert f"round 1: goes on from step {60 - left}" in said
    assert torch.load(folder / "round-2.checkpoint.pt", weights_only=True)["step"] == 3
    assert train.train(plan_, tmp_path, train.Until(), "cpu", said.append)
    assert "round 2: goes on from step 3" in said
    for number in (1, 2):
        ours = torch.load(folder / f"round-{number}.pt", weights_only=True)["core"]
        theirs = torch.load(trained["hubert"].parent / "tiny" / f"round-{number}.pt", weights_only=True)["core"]
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert torch.equal(value, theirs[name]), name
    assert not (folder / "round-2.checkpoint.pt").exists()
    assert train.train(plan_, tmp_path, train.Until(), "cpu", said.append), "called once more, there is nothing to do"


def test_another_recipe_does_not_go_on_with_these_weights(trained, tmp_path):
    shutil.copytree(trained["hubert"].parent, tmp_path / "work")
    (tmp_path / "work" / "tiny" / "round-2.pt").unlink()
    changed = tmp_path / "tiny.toml"
    changed.write_text(HUBERT.replace("steps = 20", "steps = 30"), encoding="utf-8")
    with pytest.raises(KwsbenchError, match=r"made by another version of the recipe tiny; put that one back, give"):
        train.train(plan.read_recipe(changed), tmp_path / "work", train.Until(), "cpu", print)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("objective", "objektive"), "unknown entry 'objektive'. Did you mean 'objective'?"),
        (("clusters = 8", "cluster = 8"), "unknown entry 'cluster'. Did you mean 'clusters'?"),
        (('"hubert"', '"bert"'), "objective is 'bert', expected hubert or wav2vec2"),
        (('"hubert"', '"wav2vec2"'), "2 rounds, but wav2vec2 makes its own targets; give one round"),
        (("layer = 1", ""), "round 2: expected the layer whose clusters are learnt"),
        (("clusters = 8", "clusters = 8\nlayer = 2"), "round 1: expected no layer, since nothing is trained yet"),
        (("clusters = 8", "clusters = 1"), "round 1: clusters is 1, expected at least 2"),
        (("steps = 60", "steps = 0"), "round 1: steps and peak_rate must be above 0"),
        (('["4/5", "1/1", "5/4"]', '["1/1"]'), "speeds must hold 1/1 and every one of label_speeds"),
        (('name = "tiny"', ""), "name is missing"),
        (("audio_s = 5", "audio_s ="), "not TOML (Invalid value (at line 4, column 10))"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(write_recipe, change, message):
    path = write_recipe(HUBERT.replace(*change))
    with pytest.raises(KwsbenchError) as caught:
        plan.read_recipe(path)
    assert str(caught.value) == f"{path}: {message}"


# What comes out.


@pytest.mark.parametrize("objective", ["hubert", "wav2vec2"])
def test_what_is_exported_is_an_encoder_of_kwsbench(trained, objective, tmp_path, capsys):
    recipe, directory = trained[objective], tmp_path / "exported"
    __main__.main(["export", str(recipe), "--work", str(recipe.parent), "--to", str(directory)])
    assert capsys.readouterr().out == f"{directory}\n"
    names = {path.name for path in directory.iterdir()}
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json"}
    encoder = from_directory(directory)
    assert check_encoder(encoder) == []
    assert encoder.layers == ("cnn", "0", "1", "2")
    assert encoder.frame_shift_s == streams.SHIFT / 16000
    assert encoder.min_samples == streams.FIELD
    assert encoder.provenance["normalize"] == "true"
    # float16 keeps 11 bits of each weight; the features move by less than a hundredth of their size.
    last = len(plan.read_recipe(recipe).rounds)
    core = train.untrained(plan.read_recipe(recipe), 2).core.eval()
    core.load_state_dict(torch.load(recipe.parent / "tiny" / f"round-{last}.pt", weights_only=True)["core"])
    samples = noise(1)
    with torch.no_grad():
        expected = core(perturb.standardised(torch.from_numpy(samples)[None])).last_hidden_state[0].numpy()
    found = encoder.encode(samples, ["2"])["2"]
    assert found.shape == expected.shape == (49, 32)
    assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)


def test_what_cannot_be_exported_is_one_line(trained, tmp_path, capsys):
    recipe = plan.read_recipe(trained["hubert"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    for arguments, message in (
        ((tmp_path, tmp_path / "new", 2), "round 2 is not trained yet; run train first"),
        (
            (trained["hubert"].parent, tmp_path / "full", 2),
            "is there already; give another directory, or delete this one",
        ),
        ((trained["hubert"].parent, tmp_path / "new", 3), "round 3: the recipe tiny has rounds 1 to 2"),
    ):
        with pytest.raises(KwsbenchError, match=message):
            export(recipe, *arguments)
    assert not (tmp_path / "new").exists()
    with pytest.raises(SystemExit) as end:
        __main__.main(["train", str(tmp_path / "no.toml"), "--work", str(tmp_path)])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error == (
        f"error: {tmp_path / 'no.toml'}: no such recipe; "
        "those beside the code are nano-hubert.toml, nano-wav2vec2.toml\n"
    )


def test_evaluate_is_a_run_of_kwsbench(trained, archive, tmp_path, own_cache, capsys):
    directory = export(plan.read_recipe(trained["hubert"]), trained["hubert"].parent, tmp_path / "exported", 2)
    evaluate([directory], tmp_path / "board", f"manifest:path={archive}")
    table = capsys.readouterr().out
    assert "mfcc" in table
    assert str(directory) in table
    assert "weights=random:seed=0" in table
    # Two transforms of MFCC, of four layers, and of the untrained model's four.
    assert len(list((tmp_path / "board" / "results").rglob("*.json"))) == 2 * (1 + 4 + 4)


def test_choices_are_never_made_on_what_is_tested():
    options = {option.name: option for option in __main__.evaluate.params}
    assert options["dataset"].default == f"prompts/{sources.HELD_OUT}"
    assert sources.HELD_OUT not in sources.NEVER_HEARD
    assert sources.HELD_OUT in build.read_sources().voices
