"""Published checkpoints that have a name of their own: where they are, what they heard, what they look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}

_ENGLISH = "en"

_APACHE = "Apache-2.0"
_WAVLM = "CC-BY-SA-3.0"

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


# The model card of facebook/mms-300m, its macrolanguages and codes of two letters; the paper counts 1,406 languages.
_MMS = (
    "ab af ak am ar as av ay az ba be bg bi bm bn bo br bs ca ce cs cv cy da de dv dz ee el en eo es et eu fa ff fi fj "
    "fo fr fy ga gl gn gu ha he hi hr ht hu hy ia id is it ja jv ka kk km kn ko kr ku kv ky la lb lg ln lo lt lv mg mh "
    "mk ml mn mr ms mt my ne nl no ny oc om or pa pl ps pt qu rn ro ru rw sa sd sg sh sk sl sm sn so sq sr su sv sw ta "
    "te tg th ti tl tn to tr ts tt uk ur uz vi wo xh yo za zh zu"
)


class Known(NamedTuple):
    """A published checkpoint: where it is, what it heard, its terms, and its architecture, for an untrained control.

    revision: the commit of its repository; ``main`` where none was known to us, and then only the digest of the
    weights, in every fingerprint, tells one version from another. languages: "" where nobody has listed them here.
    """

    name: str
    checkpoint: str
    revision: str
    languages: str
    model_type: str
    config: Mapping[str, Any]
    normalize: bool = True
    licence: str = _APACHE


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
        licence=_WAVLM,
    ),
    Known(
        "wavlm-large",
        "microsoft/wavlm-large",
        "c1423ed94bb01d80a3f5ce5bc39f6026a0f4828c",
        _ENGLISH,
        "wavlm",
        _LARGE | _LAYER_NORM,
        licence=_WAVLM,
    ),
    Known(
        "data2vec-base",
        "facebook/data2vec-audio-base-960h",
        "32331f3123e703528918aa688a9a38232d58c872",
        _ENGLISH,
        "data2vec-audio",
        {},
    ),
    Known(
        "data2vec-large",
        "facebook/data2vec-audio-large-960h",
        "27aba26eed532b86dcd0f17284a0307de4b51f39",
        _ENGLISH,
        "data2vec-audio",
        _LARGE,
    ),
    Known(
        "unispeech-sat-base",
        "microsoft/unispeech-sat-base-100h-libri-ft",
        "b294556d8d77cc539f9d08bef0ddbb0f60985328",
        _ENGLISH,
        "unispeech-sat",
        {},
    ),
    Known(
        "mms-300m",
        "facebook/mms-300m",
        "main",
        _MMS,
        "wav2vec2",
        _LARGE | _LAYER_NORM | {"conv_bias": True},
        licence="CC-BY-NC-4.0",
    ),
    Known(
        "mhubert-147",
        "utter-project/mHuBERT-147",
        "main",
        "",
        "hubert",
        {},
        licence="CC-BY-NC-SA-4.0",
    ),
)
