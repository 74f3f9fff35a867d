"""Where weights come from: files, whole and damaged, the hub's cache, a seed; and what provenance says of them."""

import json

import numpy as np
import pytest
import torch
import transformers

from kwsbench import plugins
from kwsbench.errors import KwsbenchError
from kwsbench.spec import parse
from kwsbench_plugins.checkpoints import KNOWN
from kwsbench_plugins.hf import hf
from kwsbench_plugins.nano import nano_hubert
from tests.fresh import python
from tests.tiny_models import noise, save_tiny

pytestmark = pytest.mark.usefixtures("single_thread", "no_progress_bars")


def load_error(directory, **params):
    with pytest.raises(KwsbenchError) as error:
        hf(path=directory, **params)
    assert "\n" not in str(error.value)
    return str(error.value)


def save_state(directory, state):
    (directory / "model.safetensors").unlink(missing_ok=True)
    torch.save(state, directory / "pytorch_model.bin")


def test_a_truncated_file(tmp_path):
    save_tiny(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "model.safetensors: weights cannot be read (SafetensorError" in load_error(tmp_path)
    assert load_error(tmp_path).endswith("fetch the file again")


def test_no_weights_at_all(tmp_path):
    save_tiny(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert "no model.safetensors and no pytorch_model.bin; weights=random:seed=0 needs none" in load_error(tmp_path)
    assert hf(path=tmp_path, weights="random:seed=0").provenance["weights"] == "random:seed=0"


def test_no_directory(tmp_path):
    assert "no config.json" in load_error(tmp_path / "gone")


def test_a_missing_weight_is_never_left_random(tmp_path):
    """transformers initialises it and warns; three layers of a model would then be trained and one not."""
    state = save_tiny(tmp_path).state_dict()
    del state["encoder.layers.1.attention.k_proj.weight"]
    save_state(tmp_path, state)
    message = load_error(tmp_path)
    assert "pytorch_model.bin: weights lack encoder.layers.1.attention.k_proj.weight (1 such)" in message


def test_weights_of_another_model_are_refused(tmp_path):
    save_state(tmp_path, {f"strange.{key}": value for key, value in save_tiny(tmp_path).state_dict().items()})
    assert "weights lack" in load_error(tmp_path)


def test_weights_with_more_layers_than_the_config_are_refused(tmp_path):
    state = save_tiny(tmp_path, num_hidden_layers=4).state_dict()
    save_tiny(tmp_path)
    save_state(tmp_path, state)
    assert "encoder.layers.3." in load_error(tmp_path)


def test_a_weight_of_another_shape_is_refused(tmp_path):
    state = save_tiny(tmp_path).state_dict()
    state["encoder.layer_norm.weight"] = torch.ones(7)
    save_state(tmp_path, state)
    assert "pytorch_model.bin" in load_error(tmp_path)


def test_heads_and_the_old_names_of_weight_norm_load(tmp_path):
    """Published checkpoints hold the quantizer too, and weight_g and weight_v in the older .bin files."""
    model = save_tiny(tmp_path)
    state = {f"wav2vec2.{key}": value for key, value in model.state_dict().items()}
    for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
        key = f"wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.{new}"
        state[f"wav2vec2.encoder.pos_conv_embed.conv.{old}"] = state.pop(key)
    state["quantizer.codevectors"] = torch.zeros(1, 640, 8)
    expected = hf(path=tmp_path).encode(noise(5000), ["3"])["3"]
    save_state(tmp_path, state)
    np.testing.assert_array_equal(hf(path=tmp_path).encode(noise(5000), ["3"])["3"], expected)


@pytest.mark.parametrize(
    ("config", "words"),
    [({"model_type": "whisper"}, "a 'whisper' model is not supported"), ({}, "a None model is not supported")],
)
def test_models_of_another_family_are_refused(tmp_path, config, words):
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert words in load_error(tmp_path)
    assert "the family is data2vec-audio, hubert" in load_error(tmp_path)


def test_provenance_pins_the_weights(tmp_path):
    save_tiny(tmp_path)
    first = hf(path=tmp_path).provenance
    assert first["transformers"] == transformers.__version__
    assert str(tmp_path) not in str(first)
    assert len(first["weights sha256"]) == 64
    save_tiny(tmp_path, seed=1)
    assert hf(path=tmp_path).provenance["weights sha256"] != first["weights sha256"]


def test_random_weights_follow_their_seed_and_touch_no_other_randomness(tmp_path):
    save_tiny(tmp_path)
    wave = noise(5000)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, same, other = (
        hf(path=tmp_path, weights=weights) for weights in ("random", "random:seed=0", "random:seed=1")
    )
    assert torch.equal(torch.rand(3), expected)
    assert first.provenance == same.provenance
    np.testing.assert_array_equal(first.encode(wave, ["2"])["2"], same.encode(wave, ["2"])["2"])
    assert not np.allclose(first.encode(wave, ["2"])["2"], other.encode(wave, ["2"])["2"])
    assert other.languages == ()


@pytest.mark.parametrize("weights", ["rand", "random:0", "random:seed=x", "random:seed=-1", ""])
def test_weights_that_cannot_be_read(weights):
    with pytest.raises(KwsbenchError, match=r"expected pretrained or random:seed=N"):
        nano_hubert(weights=weights)


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_named_models_are_pinned(known):
    plugin = plugins.load().find("encoders", known.name)
    assert plugin.parameters["checkpoint"] == known.checkpoint
    assert plugin.parameters["revision"] == known.revision
    assert len(known.revision) == 40 or known.name in ("mms-300m", "mhubert-147")
    assert known.licence
    assert all(2 <= len(code) <= 3 for code in known.languages.split())
    assert len(set(known.languages.split())) == len(known.languages.split())


def test_untrained_control_of_a_named_model_needs_no_hub():
    encoder = plugins.load().create("encoders", parse("wav2vec2-base:weights=random:seed=2"))
    assert encoder.provenance["weights"] == "random:seed=2"
    assert encoder.provenance["architecture"] == "wav2vec2-base"
    assert encoder.languages == ()
    assert encoder.encode(noise(16_000), ["12"])["12"].shape == (49, 768)


def test_a_named_model_from_a_directory_keeps_its_normalising_when_the_directory_does_not_say(tmp_path):
    save_tiny(tmp_path, "wavlm")
    (tmp_path / "preprocessor_config.json").unlink()
    encoder = plugins.load().create("encoders", parse(f"wavlm-base-plus:path={tmp_path}"))
    assert encoder.provenance["normalize"] == "false"
    assert encoder.languages == ("en",)


def test_hf_without_a_model():
    with pytest.raises(KwsbenchError, match="write hf:checkpoint=HUB_ID or hf:path=DIR"):
        hf()


def test_a_model_that_is_nowhere_says_what_to_do(tmp_path):
    code = """
from kwsbench.errors import KwsbenchError
from kwsbench_plugins.hf import hf
try:
    hf(checkpoint="facebook/hubert-base-ls960", revision="0" * 40)
except KwsbenchError as error:
    print(error)
"""
    done = python(code, "-W", "error", HF_HOME=str(tmp_path))
    assert done.stdout.startswith("facebook/hubert-base-ls960: not in the local cache, and the hub did not give it (")
    assert done.stdout.endswith("go online once, or download it elsewhere and give path=DIR\n")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_model_in_the_hubs_cache_loads_offline(tmp_path, file):
    snapshot = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    state = save_tiny(snapshot).state_dict()
    if file == "pytorch_model.bin":
        save_state(snapshot, state)
    code = f"""
from kwsbench_plugins.hf import hf
encoder = hf(checkpoint="someone/tiny", revision="{"a" * 40}")
print(encoder.provenance["weights"], len(encoder.provenance["weights sha256"]))
"""
    done = python(code, "-W", "error", HF_HOME=str(tmp_path))
    assert done.stdout == "pretrained 64\n"
    assert done.stderr == ""
