"""What an encoder must say of itself, and what it may: the attributes of ``kwsbench.types.Encoder``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from reprlib import repr as short
from typing import Any

from kwsbench.rules import article
from kwsbench.types import SAMPLE_RATE_HZ


def required_rules(encoder: Any) -> Iterator[str]:
    """What is wrong with the attributes without which no audio can be given to it, a line each."""
    missing = [
        name
        for name in ("layers", "frame_shift_s", "first_centre_s", "min_samples", "encode")
        if not hasattr(encoder, name)
    ]
    if missing:
        yield f"attributes: {', '.join(missing)} missing; see kwsbench.types.Encoder"
        return
    rate_hz = getattr(encoder, "sample_rate_hz", SAMPLE_RATE_HZ)
    longest_s: Any = getattr(encoder, "longest_s", None)
    problems = [
        *_layer_names(encoder.layers),
        *_seconds("frame_shift_s", encoder.frame_shift_s, zero=False),
        *_seconds("first_centre_s", encoder.first_centre_s, zero=True),
        *_whole("min_samples", encoder.min_samples, "samples that one frame needs, like 400"),
        *_whole("sample_rate_hz", rate_hz, f"Hz, like {SAMPLE_RATE_HZ}"),
    ]
    if longest_s is not None:
        problems += _seconds("longest_s", longest_s, zero=False, otherwise=", or None where any length will do")
    yield from problems
    if longest_s is not None and not problems and longest_s * rate_hz < encoder.min_samples:
        yield (
            f"longest_s: {longest_s:g} s, but min_samples={encoder.min_samples} at {rate_hz} Hz are already "
            f"{encoder.min_samples / rate_hz:g} s; longest_s counts seconds, min_samples samples"
        )


def optional_rules(encoder: Any) -> Iterator[str]:
    """What is wrong with the attributes that an encoder may have, a line each."""
    provenance = getattr(encoder, "provenance", {})
    if not isinstance(provenance, Mapping):
        yield f"provenance: {_is(provenance)}; expected a mapping of strings, like {{'weights': 'sha256:…'}}"
    else:
        for key, value in provenance.items():
            if not isinstance(key, str) or not isinstance(value, str):
                yield f"provenance: {short(key)}: {short(value)} are not both strings; write them as text with str()"
                break
    yield from _languages(getattr(encoder, "languages", ()))
    licence = getattr(encoder, "licence", "")
    if not isinstance(licence, str):
        yield f"licence: {_is(licence)}; expected a string, like 'CC-BY-NC 4.0' ('' where it is not known)"
    for name in ("concurrent", "needs_gpu"):
        value = getattr(encoder, name, False)
        if not isinstance(value, bool):
            yield f"{name}: {_is(value)}; expected True or False"
    to = getattr(encoder, "to", None)
    if to is not None and not callable(to):
        yield f"to: {_is(to)}; expected a method to(device), or no such attribute"
    elif to is None and getattr(encoder, "needs_gpu", False):
        yield "needs_gpu: set, but there is no method to(device) to move the model to a GPU; add it"
    if hasattr(encoder, "encode_batch"):
        batch_s: Any = getattr(encoder, "batch_s", None)
        if not _is_number(batch_s) or not 0 < batch_s < math.inf:
            told = "missing" if batch_s is None else _is(batch_s)
            yield (
                f"batch_s: {told}, but encode_batch is there; set it to the seconds of audio (above 0) to be given "
                "together, like 8.0"
            )


def _layer_names(layers: Any) -> Iterator[str]:
    if isinstance(layers, str):
        yield f"layers: {layers!r} is one string; write ({layers!r},) for one layer, a tuple of strings for several"
        return
    try:
        names = list(layers)
    except TypeError:
        yield f"layers: {_is(layers)}; expected a tuple of strings, like ('0', '1')"
        return
    other = [name for name in names if not isinstance(name, str)]
    if other:
        yield f"layers: {other[0]!r} is {article(other[0])}; names are strings: write {str(other[0])!r}"
        return
    if not names:
        yield "layers: [] is not a list of different names; a single layer is called ('0',)"
    elif len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        yield f"layers: {short(names)} is not a list of different names; {twice!r} is there more than once"
    # The frame cache calls its files by them.
    unusable = [name for name in names if not re.fullmatch(r"[A-Za-z0-9._-]+", name)]
    if unusable:
        yield f"layers: {unusable[0]!r} cannot be part of a file name; use letters, digits, '.', '_' and '-'"


def _languages(languages: Any) -> Iterator[str]:
    if isinstance(languages, str):
        yield f"languages: {languages!r} is one string; write {tuple(languages.split())!r}, a code for each"
        return
    try:
        codes = list(languages)
    except TypeError:
        yield f"languages: {_is(languages)}; expected ISO 639 codes, like ('de', 'haw')"
        return
    for code in codes:
        if not isinstance(code, str) or not re.fullmatch(r"[a-z]{2,3}", code):
            yield f"languages: {code!r} is no ISO 639 code; write two or three lower-case letters, like 'de' or 'haw'"
            return


def _seconds(name: str, value: Any, *, zero: bool, otherwise: str = "") -> Iterator[str]:
    least = "0 or more" if zero else "above 0"
    expected = f"a number of seconds, {least}{otherwise}"
    if not _is_number(value):
        yield f"{name}: {_is(value)}; expected {expected}"
    elif not (value > 0 or (zero and value == 0)) or value == math.inf:
        yield f"{name}: {value}; expected {expected}"


def _whole(name: str, value: Any, what: str) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, Integral):
        yield f"{name}: {_is(value)}; expected a whole number of {what}"
    elif value < 1:
        yield f"{name}: {value}; expected at least 1, the number of {what}"


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is(value: object) -> str:
    return "None" if value is None else f"{short(value)} is {article(value)}"
