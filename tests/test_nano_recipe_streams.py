"""Streams at several speeds: what was said when, crops of one speaker, and who is drawn how often."""

import math

import numpy as np
import pytest
import torch

from kwsbench.errors import KwsbenchError
from kwsbench_plugins.nano.recipe import streams, targets
from tests.nano_recipe_parts import SPEEDS, eval_ratio, generator, noise, tone_corpus

pytestmark = pytest.mark.usefixtures("single_thread")


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
