"""The encoder that is trained: masks, windows and shape, and both objectives against slow reckonings."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2ForPreTraining

from kwsbench_plugins import nano
from kwsbench_plugins.nano.recipe import contrast, hubert, model, perturb, plan
from tests.nano_recipe_parts import WAV2VEC2, digit_voices, generator, noise, tiny

pytestmark = pytest.mark.usefixtures("single_thread")

RECIPES = Path(plan.__file__).parent


@pytest.fixture(scope="module")
def voices(shared, tmp_path_factory):
    return digit_voices(shared / "data" / "fsdd", tmp_path_factory.mktemp("digits"))


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
