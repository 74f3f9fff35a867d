"""What disturbs a crop: equalisers, a telephone's band, noise, a room and another voice, each as it is called."""

import math

import pytest
import torch

from kwsbench_plugins.nano.recipe import perturb
from tests.nano_recipe_parts import digit_voices, generator

pytestmark = pytest.mark.usefixtures("single_thread")


@pytest.fixture(scope="module")
def voices(shared, tmp_path_factory):
    return digit_voices(shared / "data" / "fsdd", tmp_path_factory.mktemp("digits"))


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
