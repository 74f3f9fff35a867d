"""Names with parameters: ``NAME[@LAYERS][:key=value,…]``, chained with ``+`` for transforms.

Nothing needs shell quotes, and ``parse(str(spec)) == spec`` always: the characters that the syntax
itself uses are percent-encoded inside values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from kwsbench.errors import KwsbenchError

SCOPES = ("corpus", "heldout", "transductive", "speaker", "utterance")
"""The values of ``scope``, which every transform takes: what it is fitted on (see ``kwsbench.fitting``)."""

NAME = re.compile(r"[a-z0-9][a-z0-9._/-]*")
_KEY = re.compile(r"[a-z][a-z0-9_]*")
_RESERVED = re.compile(r"[%,+\s]")


@dataclass(frozen=True)
class Spec:
    """A plugin's name, the layers asked for ("" when none were named) and its parameters as text."""

    name: str
    layers: str = ""
    params: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        text = self.name + (f"@{self.layers}" if self.layers else "")
        if self.params:
            text += ":" + ",".join(f"{key}={_escape(value)}" for key, value in self.params.items())
        return text

    def __hash__(self) -> int:
        return hash(str(self))

    def without_layers(self) -> Spec:
        """The same encoder, whatever the layers."""
        return Spec(self.name, "", self.params)


def parse(text: str) -> Spec:
    """Read one spec. Raises KwsbenchError that shows what could not be read."""
    head, colon, tail = text.partition(":")
    name, at, layers = head.partition("@")
    if not NAME.fullmatch(name):
        raise KwsbenchError(f"cannot read {text!r}: {name!r} is no name; write NAME[@LAYERS][:key=value,…]")
    if at and not re.fullmatch(r"[A-Za-z0-9._,-]+", layers):
        raise KwsbenchError(f"cannot read {text!r}: after @ come layers, as in {name}@9, {name}@1-4,6 or {name}@all")
    params: dict[str, str] = {}
    for part in tail.split(",") if colon else []:
        key, equals, value = part.partition("=")
        if not equals or not _KEY.fullmatch(key):
            raise KwsbenchError(
                f"cannot read {text!r}: {part!r} is not key=value (write a comma inside a value as %2C)"
            )
        if key in params:
            raise KwsbenchError(f"cannot read {text!r}: {key!r} is given twice")
        params[key] = unquote(value)
    return Spec(name, layers, params)


def parse_chain(text: str) -> tuple[Spec, ...]:
    """Read a chain of transforms, ``center:scope=speaker+whiten``."""
    return tuple(parse(part) for part in text.split("+"))


def format_chain(chain: tuple[Spec, ...]) -> str:
    """What parse_chain reads."""
    return "+".join(str(spec) for spec in chain)


def _escape(value: str) -> str:
    return _RESERVED.sub(lambda match: "".join(f"%{byte:02X}" for byte in match.group().encode()), value)
