"""The two models that are shipped: loaded with no network, trained, and the files that their card names."""

from pathlib import Path

import numpy as np
import pytest

from kwsbench.testing import check_encoder
from kwsbench_plugins import nano
from kwsbench_plugins.nano import nano_hubert, nano_wav2vec2
from tests.fresh import python
from tests.tiny_models import noise

pytestmark = pytest.mark.usefixtures("single_thread")

NANO = Path(nano.__file__).parent


@pytest.mark.parametrize("name", ["nano-hubert", "nano-wav2vec2"])
def test_nano_loads_with_no_network_and_no_noise(name, tmp_path):
    code = f"""
import numpy as np
from kwsbench import plugins
from kwsbench.spec import parse
encoder = plugins.load().create("encoders", parse("{name}"))
print(encoder.encode(np.ones(16000, np.float32), ["6"])["6"].shape, len(encoder.layers))
"""
    done = python(code, "-W", "error", HF_HOME=str(tmp_path))
    assert done.stdout == "(49, 256) 8\n"
    assert done.stderr == ""


@pytest.mark.parametrize("make", [nano_hubert, nano_wav2vec2])
def test_nano_passes_the_kit_and_is_not_random(make):
    encoder = make()
    assert check_encoder(encoder) == []
    wave = noise(16_000)
    control = make(weights="random:seed=0")
    assert not np.allclose(encoder.encode(wave, ["5"])["5"], control.encode(wave, ["5"])["5"], atol=0.1)
    assert control.languages == ()
    assert not {"fr", "it", "wa", "nn"} & set(encoder.languages)
    assert len(encoder.languages) == 31


def test_nano_card_names_the_files_that_are_shipped():
    import hashlib

    card = (NANO / "README.md").read_text(encoding="utf-8")
    for name in ("nano-hubert", "nano-wav2vec2"):
        assert hashlib.sha256((NANO / name / "model.safetensors").read_bytes()).hexdigest() in card
