"""s3prl by name and from a file: what is found and pinned, and what is refused in one line."""

import hashlib
import importlib
import warnings
from pathlib import Path

import pytest
import torch

from kwsbench import plugins
from kwsbench.spec import parse
from kwsbench.testing import check_encoder
from kwsbench_plugins.s3prl import s3prl
from kwsbench_plugins.s3prl_frames import FAMILIES
from tests import s3prl_checkpoints as tiny
from tests.fresh import python
from tests.s3prl_upstreams import error_of, raw
from tests.tiny_models import noise

pytest.importorskip("s3prl", reason="the extra s3prl is not installed")
pytestmark = pytest.mark.usefixtures("single_thread")


def create(text):
    return plugins.load().create("encoders", parse(text))


def test_every_family_has_its_names():
    """Found by reading the files: none is imported for it."""
    code = """
import sys
from kwsbench_plugins import s3prl_loading
names = ("mfcc", "apc", "apc_local", "modified_cpc", "tera_local", "wav2vec2_local", "hf_hubert_custom", "wavlm_large")
print(*map(s3prl_loading.find, names))
print([name for name in sys.modules if name in ("torch", "transformers") or name.startswith("s3prl")])
"""
    assert python(code).stdout == "baseline apc apc cpc tera wav2vec2 hf_hubert wavlm\n[]\n"
    upstreams = Path(importlib.import_module("s3prl.upstream.interfaces").__file__).parent
    assert all((upstreams / folder / "hubconf.py").is_file() for folder in FAMILIES)


def test_provenance_pins_versions_and_file(s3prl_encoders, s3prl_ckpts):
    found = s3prl_encoders["cpc_local"].provenance
    assert {"espnet-s3prl", "torch", "torchaudio", "transformers"} <= set(found)
    assert found["upstream"] == "cpc_local"
    assert found["checkpoint"] == "cpc.pt"
    assert found["checkpoint sha256"] == hashlib.sha256(s3prl_ckpts["cpc_local"].read_bytes()).hexdigest()
    weights = s3prl_ckpts["hf_hubert_custom"] / "model.safetensors"
    found = s3prl_encoders["hf_hubert_custom"].provenance
    assert found["checkpoint"] == "model.safetensors"
    assert found["checkpoint sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert "checkpoint" not in s3prl_encoders["mfcc"].provenance


def test_the_registered_name(s3prl_ckpts):
    """From text, as a user writes it; its own file is loaded."""
    encoder = create(f"s3prl:upstream=cpc_local,ckpt={s3prl_ckpts['cpc_local']}")
    assert encoder.layers == ("0", "1")


def test_a_baseline_of_ones_own(tmp_path):
    """baseline_local takes its file by another name than ckpt."""
    file = tmp_path / "mine.yaml"
    file.write_text(
        "kaldi: {feat_type: fbank, fbank: {num_mel_bins: 30, frame_length: 20.0, frame_shift: 5.0}}\n"
        "delta: {order: 0, win_length: 5}\ncmvn: {use_cmvn: False}\n",
        encoding="utf-8",
    )
    encoder = s3prl(upstream="baseline_local", ckpt=file)
    assert (encoder.min_samples, encoder.frame_shift_s, encoder.first_centre_s) == (320, 0.005, 0.01)
    assert encoder.encode(noise(16_000), ["0"])["0"].shape == (197, 30)
    assert encoder.provenance["checkpoint"] == "mine.yaml"
    assert check_encoder(encoder) == []


def test_unknown_names():
    assert error_of(upstream="mfc") == "unknown s3prl upstream 'mfc'. Did you mean 'mfcc'?"
    assert error_of(upstream="apc_locl") == "unknown s3prl upstream 'apc_locl'. Did you mean 'apc_local'?"
    message = error_of(upstream="vggish")
    assert message.startswith("s3prl:upstream=vggish: where the frames of vggish lie is not known to kwsbench; known:")


def test_arguments_that_s3prl_would_overlook_or_assert(tmp_path, s3prl_ckpts):
    assert error_of(upstream="apc_local") == "s3prl:upstream=apc_local needs a checkpoint; add ckpt=FILE"
    assert error_of(upstream="hf_hubert_custom").endswith("add ckpt=DIR")
    gone = tmp_path / "gone.ckpt"
    assert error_of(upstream="apc_local", ckpt=gone) == f"s3prl:upstream=apc_local: {gone}: no such file"
    message = error_of(upstream="hf_hubert_custom", ckpt=gone)
    assert message.endswith(f"{gone}: no such directory; a model of the hub is hf:checkpoint=ID")
    message = error_of(upstream="apc", ckpt=s3prl_ckpts["apc_local"])
    assert message.endswith("apc has a checkpoint of its own and takes no ckpt; write upstream=apc_local")


def test_a_file_of_another_model(s3prl_ckpts, tmp_path):
    message = error_of(upstream="apc_local", ckpt=s3prl_ckpts["cpc_local"])
    assert "cpc.pt could not be loaded (KeyError: 'data'); give a whole checkpoint of apc" in message
    damaged = tmp_path / "half.pt"
    damaged.write_bytes(s3prl_ckpts["wavlm_local"].read_bytes()[:5000])
    assert "half.pt could not be loaded (" in error_of(upstream="wavlm_local", ckpt=damaged)


@pytest.mark.parametrize("name", ["cpc_local", "tera_local"])
def test_weights_that_a_file_lacks_are_never_left_random(s3prl_ckpts, tmp_path, name):
    """Of these two, s3prl says it on stdout or not at all, and goes on."""
    content = torch.load(s3prl_ckpts[name])
    part = content["weights" if name == "cpc_local" else "Transformer"]
    lacking = max(part)
    del part[lacking]
    torch.save(content, tmp_path / "lacking.pt")
    raw(name, tmp_path / "lacking.pt", noise(8000))
    message = error_of(upstream=name, ckpt=tmp_path / "lacking.pt")
    assert f"lacking.pt: weights lack {lacking} (1 such)" in message


def test_front_ends_that_cannot_be_timed(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ckpt = tiny.save_cpc(tmp_path, encoder_type="lfb")
    message = error_of(upstream="cpc_local", ckpt=ckpt)
    assert message.startswith("s3prl:upstream=cpc_local: a CPC model over LFBEnconder is not supported; give")
    message = error_of(upstream="apc_local", ckpt=tiny.save_apc(tmp_path, snip_edges=False))
    assert message.endswith(
        "apc_local: snip_edges=false invents frames at the ends and is not supported; set it to true"
    )


def test_directories_that_s3prl_would_mend_by_itself(tmp_path):
    """No preprocessor_config.json: it asks the hub for another model's. No weights: they stay random."""
    import transformers

    with tiny.quiet():
        directory = tiny.save_transformers(tmp_path, "hubert")
    file = directory / "preprocessor_config.json"
    text = file.read_text("utf-8")
    file.unlink()
    message = error_of(upstream="hf_hubert_custom", ckpt=directory)
    assert message == f"{directory}: no preprocessor_config.json, and s3prl would take another model's; add it"
    file.write_text("{", encoding="utf-8")
    assert f"{file}: cannot be read (" in error_of(upstream="hf_hubert_custom", ckpt=directory)
    file.write_text(text, encoding="utf-8")
    message = error_of(upstream="hf_wav2vec2_custom", ckpt=directory)
    assert message == f"{directory}: a 'hubert' model, but hf_wav2vec2_custom makes a 'wav2vec2'"
    with tiny.quiet():
        state = transformers.AutoModel.from_pretrained(directory).state_dict()
    del state["encoder.layers.1.attention.k_proj.weight"]
    (directory / "model.safetensors").unlink()
    torch.save(state, directory / "pytorch_model.bin")
    message = error_of(upstream="hf_hubert_custom", ckpt=directory)
    assert "weights lack encoder.layers.1.attention.k_proj.weight (1 such)" in message


def test_a_files_content_is_not_kept(s3prl_encoders):
    """TERA's loader holds on to all of it: the weights a second time, and the state of the optimiser."""
    for name in ("tera_local", "mockingjay_local", "audio_albert_local"):
        assert not hasattr(s3prl_encoders[name]._upstream.transformer, "all_states")  # noqa: SLF001 - what would be kept


def test_without_the_extra():
    code = """
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "s3prl" else find_spec(name, *more)
from kwsbench.errors import KwsbenchError
from kwsbench_plugins.s3prl import s3prl
try:
    s3prl(upstream="mfcc")
except KwsbenchError as error:
    print(error)
"""
    assert python(code).stdout == "s3prl is not installed; pip install 'kwsbench[s3prl]'\n"
