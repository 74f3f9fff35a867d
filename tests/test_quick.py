"""--quick: the sample is small, the same every time, keeps cross-speaker pairs, and never passes for the whole."""

from collections import Counter

import soundfile

from kwsbench import plugins
from kwsbench.quick import BUDGET_S, sample
from kwsbench.spec import parse
from kwsbench.types import Clip, Dataset


def made(tmp_path, words, speakers, takes, seconds=1.0):
    path = tmp_path / "x.wav"
    soundfile.write(path, [0.0] * round(16_000 * seconds), 16_000)
    clips = [
        Clip(f"{word}{speaker}{take}", path, speaker, f"{word}{speaker}{take}", keyword=word, transcript=word)
        for word in words
        for speaker in speakers
        for take in range(takes)
    ]
    return clips, path


def test_a_minute_of_keywords_every_speaker_before_any_says_one_twice(tmp_path):
    clips, _ = made(tmp_path, [f"word{i}" for i in range(10)], ["a", "b", "c"], 5)
    kept = sample(Dataset("set", tuple(clips), "en")).clips
    assert len(kept) == BUDGET_S
    counts = Counter((clip.keyword, clip.speaker) for clip in kept)
    assert set(counts.values()) == {2}
    assert len(counts) == 30
    assert sample(Dataset("set", tuple(reversed(clips)), "en")).clips == kept


def test_a_word_that_one_speaker_alone_says_is_left_out(tmp_path):
    clips, _ = made(tmp_path, ["shared"], ["a", "b"], 2)
    lonely, _ = made(tmp_path, ["lonely"], ["a"], 2)
    assert {clip.keyword for clip in sample(Dataset("set", (*clips, *lonely))).clips} == {"shared"}


def test_utterances_that_hold_a_keyword_come_first(tmp_path):
    clips, path = made(tmp_path, ["ma"], ["a", "b"], 1)
    with_word = [Clip(f"w{i}", path, "c", f"w{i}", transcript="so ma said") for i in range(50)]
    without = [Clip(f"o{i}", path, "c", f"o{i}", transcript="nothing") for i in range(50)]
    kept = sample(Dataset("set", (*clips, *without, *with_word))).clips
    texts = Counter(clip.transcript for clip in kept if clip.keyword is None)
    assert texts == {"so ma said": 50, "nothing": 10}


def test_digits(fsdd):
    whole = plugins.load().create("datasets", parse(f"fsdd:path={fsdd}")).load()
    first, again = sample(whole), sample(whole)
    assert first == again
    assert first.name == "fsdd-quick"
    assert {
        len({c.speaker for c in first.clips if c.keyword == word}) for word in {c.keyword for c in first.clips}
    } == {6}
    seconds = sum(soundfile.info(clip.path).duration for clip in first.clips)
    assert BUDGET_S - 2 < seconds <= BUDGET_S


def test_its_records_are_of_another_data_set(run_cli, fsdd, tmp_path):
    code, _, err = run_cli("run", "--dataset", f"fsdd:path={fsdd}", "--encoder", "mfcc", "--quick", "--board", tmp_path)
    assert code == 0, err
    code, out, _ = run_cli("leaderboard", tmp_path)
    assert code == 0
    assert "\nfsdd-quick\n" in out
