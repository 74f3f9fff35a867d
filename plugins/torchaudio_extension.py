"""A torchaudio whose compiled extension was built for another torch, made importable without it.

transformers imports torchaudio wherever it is installed, and so do s3prl's upstreams; a torchaudio built
for CUDA raises OSError beside a torch that is not, and takes both down. What they use of it is Python.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

_EXTENSION = "torchaudio._extension"


def make_torchaudio_importable() -> None:
    """Call before importing transformers or s3prl. Does nothing where torchaudio is absent or sound."""
    if "torchaudio" in sys.modules or importlib.util.find_spec("torchaudio") is None:
        return
    try:
        importlib.import_module("torchaudio")
    except OSError:
        # What the failed import left behind; beside the stub, everything is imported anew.
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules[_EXTENSION] = _without_extension()
        importlib.import_module("torchaudio")


def _without_extension() -> ModuleType:
    """What torchaudio itself makes of a missing extension: slower filters, and no forced alignment."""
    stub: Any = ModuleType(_EXTENSION)
    stub._IS_TORCHAUDIO_EXT_AVAILABLE = False  # noqa: SLF001 - torchaudio's own name
    stub._IS_ALIGN_AVAILABLE = False  # noqa: SLF001
    stub._load_lib = lambda _name: False  # noqa: SLF001
    stub.fail_if_no_align = lambda function: function  # the operator it calls is missing, and says so
    return stub  # type: ignore[no-any-return]
