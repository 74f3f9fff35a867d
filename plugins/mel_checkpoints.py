"""Checkpoints that hear mel spectrograms: the published ones by name, and the extractor that belongs to the weights."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from kwsbench.errors import KwsbenchError, one_line
from kwsbench.types import SAMPLE_RATE_HZ
from kwsbench_plugins import weights as checkpoint_weights

if TYPE_CHECKING:
    from pathlib import Path

# The tokenizer's language tokens; its "jw" is Javanese (jv). Large-v3 adds yue.
_WHISPER = (
    "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id "
    "is it ja jv ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si "
    "sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo zh"
)

# What the model card lists. It says that there were more than 143 languages, and names these.
_W2V_BERT = (
    "af am ar ary arz as az be bg bn bs ca cs cy da de el en es et fa fi fr ga gl gu he hi hr hu hy id ig is it ja jv "
    "ka kea kk km kn ko ky lb lg ln lo lt lv mi mk ml mn mr ms mt my nb ne nl ny oc om or pa pl ps pt ro ru sd sk sl "
    "sn so sr sv sw ta te tg th tl tr uk ur uz vi wo xh yo yue zh zu"
)


class MelCheckpoint(NamedTuple):
    """A published checkpoint: where it is, what it heard, and the licence of its weights."""

    name: str
    checkpoint: str
    revision: str
    languages: str
    licence: str


_APACHE = "Apache-2.0"

WHISPER = (
    MelCheckpoint("whisper-tiny", "openai/whisper-tiny", "169d4a4341b33bc18d8881c4b69c2e104e1cc0af", _WHISPER, _APACHE),
    MelCheckpoint("whisper-base", "openai/whisper-base", "e37978b90ca9030d5170a5c07aadb050351a65bb", _WHISPER, _APACHE),
    MelCheckpoint(
        "whisper-small", "openai/whisper-small", "973afd24965f72e36ca33b3055d56a652f456b4d", _WHISPER, _APACHE
    ),
    MelCheckpoint(
        "whisper-medium", "openai/whisper-medium", "abdf7c39ab9d0397620ccaea8974cc764cd0953e", _WHISPER, _APACHE
    ),
    MelCheckpoint(
        "whisper-large-v2", "openai/whisper-large-v2", "ae4642769ce2ad8fc292556ccea8e901f1530655", _WHISPER, _APACHE
    ),
    MelCheckpoint(
        "whisper-large-v3",
        "openai/whisper-large-v3",
        "06f233fe06e710322aca913c1bc4249a0d71fce1",
        _WHISPER + " yue",
        _APACHE,
    ),
)

W2V_BERT = (
    MelCheckpoint(
        "w2v-bert-2.0", "facebook/w2v-bert-2.0", "da985ba0987f70aaeb84a80f2851cfac8c697a7b", _W2V_BERT, "MIT"
    ),
)


class Mels(NamedTuple):
    """A feature extractor of transformers, and what pins it."""

    extractor: Any
    provenance: dict[str, str]


def read_extractor(directory: Path, kind: str) -> Mels:
    """The extractor that preprocessor_config.json describes. kind: its class in transformers.

    Raises KwsbenchError where there is none, or another: a spectrogram that a model was not trained on
    gives features that look like any others.
    """
    file = directory / "preprocessor_config.json"
    if not file.is_file():
        raise KwsbenchError(
            f"{directory}: no preprocessor_config.json, which says how the spectrogram is made; fetch it from where "
            f"the weights come from, or write {kind}(…).save_pretrained(DIR)"
        )
    expected = {"feature_extractor_type": kind, "sampling_rate": SAMPLE_RATE_HZ}
    try:
        found = expected | json.loads(file.read_text("utf-8"))
    except (TypeError, ValueError) as error:
        raise KwsbenchError(f"{file}: cannot be read ({one_line(error)}); fetch the file again") from error
    for what, value in expected.items():
        if found[what] != value:
            raise KwsbenchError(f"{file}: {what} is {found[what]}, expected {value}; it belongs to another model")
    try:
        with checkpoint_weights.quiet():
            factory = getattr(checkpoint_weights.import_transformers(), kind)
            extractor = factory.from_pretrained(directory, local_files_only=True)
    except Exception as error:
        # What a setting of the wrong type raises is numpy's or transformers' own affair.
        raise KwsbenchError(f"{file}: a setting is wrong ({one_line(error)}); fetch the file again") from error
    return Mels(extractor, {"preprocessor sha256": hashlib.sha256(file.read_bytes()).hexdigest()})
