"""s3prl prints and warns of nothing in a process of its own, and others' warnings are heard after it."""

import pytest

from tests import s3prl_checkpoints as tiny
from tests.fresh import python
from tests.s3prl_upstreams import DIMS

pytest.importorskip("s3prl", reason="the extra s3prl is not installed")


@pytest.mark.parametrize("name", ["mel", "tera_local", "wavlm_local", "hf_hubert_custom"])
def test_nothing_is_printed_and_no_warning_comes_through(s3prl_ckpts, tmp_path, name):
    """In a process of its own, where every warning would raise. transformers reports on a head that it leaves out."""
    ckpt = s3prl_ckpts[name]
    if name == "hf_hubert_custom":
        with tiny.quiet():
            ckpt = tiny.save_transformers(tmp_path, "hubert", auto="AutoModelForCTC")
    code = f"""
import numpy as np
from pathlib import Path
from kwsbench_plugins.s3prl import s3prl
encoder = s3prl(upstream={name!r}, ckpt={f"Path({str(ckpt)!r})" if ckpt else None})
print(encoder.encode(np.ones(16000, np.float32), ["0"])["0"].shape[1])
"""
    done = python(code, "-W", "error")
    assert done.stdout == f"{DIMS[name]}\n"
    assert done.stderr == ""


def test_transformers_imports_with_the_extra_installed_and_still_warns(s3prl_ckpts):
    """Its logger keeps the stream that it finds on import: had s3prl been silenced then, it would be mute for ever."""
    code = f"""
from pathlib import Path
from kwsbench_plugins.s3prl import s3prl
s3prl(upstream="hf_wav2vec2_custom", ckpt=Path({str(s3prl_ckpts["hf_wav2vec2_custom"])!r}))
from transformers import Wav2Vec2Model
from transformers.utils import logging
logging.get_logger("transformers.test").warning("still heard")
import warnings
warnings.warn("heard too")
"""
    done = python(code)
    assert done.stdout == ""
    assert "still heard" in done.stderr
    assert "heard too" in done.stderr
