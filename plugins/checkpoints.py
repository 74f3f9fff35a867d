"""Published checkpoints that have a name of their own: where they are, what they heard, what they look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}

_ENGLISH = "en"

# MLS, Common Voice (36 languages) and BABEL as of 2020: github.com/facebookresearch/fairseq, examples/wav2vec/xlsr.
_XLSR_53 = (
    "ar as bn br ceb cnh cv cy de dv en eo es et eu fa fr ga ht ia id it ja ka kab kk kmr ky lo lv mn nl pl ps pt ru "
    "rw sah sl sv sw ta tl tpi tr tt vi yue zh zu"
)

# The model card of facebook/wav2vec2-xls-r-300m, its "kb" and "tp" read as kab and tpi, its unknown "lm" left out.
_XLS_R_128 = (
    "ab af am ar as az ba be bg bn bo br bs ca ceb cnh cs cv cy da de dv el en eo es et eu fa fi fo fr fy ga gl gn gu "
    "gv ha haw he hi hr hsb ht hu hy ia id is it ja jv ka kab kk km kn ko ku ky la lg ln lo lt lv mg mi mk ml mn mr ms "
    "mt my ne nl nn no oc or pa pl ps pt rm ro ru rw sa sah sco sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tpi "
    "tr tt uk ur uz vi vot war yi yo yue zh zu"
)


class Known(NamedTuple):
    """A published checkpoint: where it is, what it heard, and its architecture, for an untrained control."""

    name: str
    checkpoint: str
    revision: str
    languages: str
    model_type: str
    config: Mapping[str, Any]
    normalize: bool = True


KNOWN = (
    Known(
        "wav2vec2-base",
        "facebook/wav2vec2-base",
        "0b5b8e868dd84f03fd87d01f9c4ff0f080fecfe8",
        _ENGLISH,
        "wav2vec2",
        {},
    ),
    Known(
        "wav2vec2-large",
        "facebook/wav2vec2-large",
        "312b2410566b698c7a649068d413b2067848bd75",
        _ENGLISH,
        "wav2vec2",
        _LARGE,
    ),
    Known(
        "xlsr-53",
        "facebook/wav2vec2-large-xlsr-53",
        "c3f9d884181a224a6ac87bf8885c84d1cff3384f",
        _XLSR_53,
        "wav2vec2",
        _LARGE | _LAYER_NORM | {"conv_bias": True},
    ),
    Known(
        "xls-r-300m",
        "facebook/wav2vec2-xls-r-300m",
        "1a640f32ac3e39899438a2931f9924c02f080a54",
        _XLS_R_128,
        "wav2vec2",
        _LARGE | _LAYER_NORM | {"conv_bias": True},
    ),
    Known(
        "hubert-base",
        "facebook/hubert-base-ls960",
        "dba3bb02fda4248b6e082697eee756de8fe8aa8a",
        _ENGLISH,
        "hubert",
        {},
    ),
    Known(
        "hubert-large",
        "facebook/hubert-large-ls960-ft",
        "ece5fabbf034c1073acae96d5401b25be96709d8",
        _ENGLISH,
        "hubert",
        _LARGE | _LAYER_NORM | {"conv_bias": True},
    ),
    Known(
        "wavlm-base-plus",
        "microsoft/wavlm-base-plus",
        "4c66d4806a428f2e922ccfa1a962776e232d487b",
        _ENGLISH,
        "wavlm",
        {},
        normalize=False,
    ),
    Known(
        "wavlm-large",
        "microsoft/wavlm-large",
        "c1423ed94bb01d80a3f5ce5bc39f6026a0f4828c",
        _ENGLISH,
        "wavlm",
        _LARGE | _LAYER_NORM,
    ),
)
