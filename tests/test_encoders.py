"""What the built-in encoders have in common: discovery, the kit by name, the shortest clip, a device."""

import pytest

from kwsbench import plugins
from kwsbench.errors import TooShort
from kwsbench.testing import check_plugin
from kwsbench_plugins.fbank import Fbank
from kwsbench_plugins.hf import HfEncoder
from kwsbench_plugins.mfcc import Mfcc
from kwsbench_plugins.nano import nano_hubert
from tests.fresh import python
from tests.tiny_models import noise

pytestmark = pytest.mark.usefixtures("single_thread")


def test_discovery_imports_nothing_heavy():
    code = """
import sys
from kwsbench import plugins
import kwsbench_plugins.hf, kwsbench_plugins.nano, kwsbench_plugins.mfcc, kwsbench_plugins.fbank
registry = plugins.load()
[plugin.summary for plugin in registry.all()]
assert {"mfcc", "fbank", "hf", "nano-hubert", "xlsr-53"} <= set(registry.plugins["encoders"])
print([name for name in ("torch", "transformers", "numba", "kaldi_native_fbank", "scipy") if name in sys.modules])
"""
    assert python(code, "-W", "error").stdout == "[]\n"


@pytest.mark.parametrize("name", ["mfcc", "fbank"])
def test_registered_encoders_pass_the_kit(name):
    assert check_plugin(plugins.load().find("encoders", name)).problems == []


@pytest.mark.parametrize("make", [Mfcc, Fbank, nano_hubert])
def test_one_sample_short_of_a_frame(make):
    encoder = make()
    with pytest.raises(TooShort, match="399 samples, but one frame needs 400; use a longer clip"):
        encoder.encode(noise(399), ["0"])
    assert len(encoder.encode(noise(400), ["0"])["0"]) == 1


def test_an_encoder_moves_to_a_device():
    encoder = nano_hubert()
    assert isinstance(encoder, HfEncoder)
    encoder.to("cpu")
    assert encoder.concurrent
    assert encoder.encode(noise(800), ["0"])["0"].shape == (2, 256)
