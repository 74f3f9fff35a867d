"""Found → one HTML page of hits, which is heard, seen and judged in any browser, from a file, with no network.

The page is hits.html with hits.css, three scripts and the hits as JSON put in. All text comes from the JSON and is set
as text, never as markup; a policy in the page's head lets nothing run or load but these, and the recordings where the
page links to them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np

from kwsbench import html
from kwsbench.errors import KwsbenchError
from kwsbench.search import clips, pictures
from kwsbench.search.clips import Clip
from kwsbench.search.judgements import COLUMNS
from kwsbench.search.nouns import Evidence, Found, Hit, Token
from kwsbench.store import atomic_write

Sound = Literal["embed", "link", "none"]
"""embed: the page holds the sound of each hit. link: it plays the recordings where they lie. none: no sound, and no
picture of one."""

Explain = Callable[[Hit], Evidence | None]

SCRIPTS = ("hits_sound.js", "hits_files.js", "hits.js")

_MEDIA = {"embed": "", "link": "media-src 'self' file:; ", "none": ""}


def make(found: Found, evidence: Explain, *, audio: Sound, folder: Path | None = None) -> str:
    """The page of a search: equal for equal hits and recordings.

    evidence: why a hit is one, None where nothing is to be shown. folder: where the page will lie, which links begin
    from (unless given, the archive's own). Raises KwsbenchError when a recording cannot be read.
    """
    facts = payload(found, evidence, audio=audio, folder=folder or found.archive)
    data = json.dumps(facts, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # A file name that is no Unicode comes as lone surrogates, which JSON can spell and UTF-8 cannot.
    data = data.encode("utf-8", "backslashreplace").decode()
    return html.page(
        _part("hits.html"),
        title=found.query.encode("utf-8", "replace").decode(),
        plain=_plain(found).encode("utf-8", "replace").decode(),
        style=_part("hits.css"),
        script="\n".join(map(_part, SCRIPTS)),
        data=data,
        sources=_MEDIA[audio],
    )


def write(found: Found, evidence: Explain, out: Path, *, audio: Sound) -> Path:
    """Put the page into a file, whole or not at all; links go from there to the recordings."""
    text = make(found, evidence, audio=audio, folder=out.parent)
    with atomic_write(out) as file:
        file.write(text.encode())
    return out


def payload(found: Found, evidence: Explain, *, audio: Sound, folder: Path) -> dict[str, Any]:
    """All that the page shows, ready for JSON. Times are kept to the millisecond, as ELAN keeps them."""
    cut: Sequence[Clip | None] = [None] * len(found.hits) if audio == "none" else clips.around(found.hits)
    return {
        "query": found.query,
        # The name and not the path: where people keep their files is nobody's business.
        "archive": found.archive.resolve().name,
        "audio_s": found.audio_s,
        "settings": list(found.settings.items()),
        "calibrated_on": found.calibrated_on,
        "expected": found.expected,
        "audio": audio,
        "media_type": clips.MEDIA_TYPE,
        "columns": COLUMNS,
        "digest": _digest(found),
        "tokens": [_token(token, audio, folder) for token in found.tokens],
        "hits": [
            _hit(hit, clip, audio, folder) | {"evidence": _evidence(evidence(hit))}
            for hit, clip in zip(found.hits, cut, strict=True)
        ],
    }


def _digest(found: Found) -> str:
    """What tells this page's judgements from another's: what was asked, where, and the places that were found."""
    places = [[hit.recording, round(hit.start_s, 3), round(hit.end_s, 3)] for hit in found.hits]
    asked = [_name(token) for token in found.tokens]
    pinned = json.dumps([found.query, asked, found.archive.resolve().name, places])
    return hashlib.sha256(pinned.encode()).hexdigest()[:16]


def _name(token: Token) -> str:
    """A token without the folders in which it lies."""
    return str(token._replace(path=Path(token.path.name)))


def _token(token: Token, audio: Sound, folder: Path) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": _name(token), "label": token.label}
    if audio == "none":
        return shown
    clip = clips.of_token(token)
    return shown | {"clip": [round(clip.start_s, 3), round(clip.end_s, 3)]} | _sound(clip, token.path, audio, folder)


def _hit(hit: Hit, clip: Clip | None, audio: Sound, folder: Path) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "rank": int(hit.rank),
        "recording": hit.recording,
        "start": round(float(hit.start_s), 3),
        "end": round(float(hit.end_s), 3),
        "score": float(f"{hit.score:.6g}"),
        "confidence": None if hit.confidence is None else round(float(hit.confidence), 4),
        "text": hit.text,
        "speaker": hit.speaker,
        "token": int(hit.token),
    }
    if clip is None:
        return shown
    return (
        shown
        | {
            "clip": [round(clip.start_s, 3), round(clip.end_s, 3)],
            "picture": _base64(pictures.spectrogram(clip.samples)),
        }
        | _sound(clip, hit.path, audio, folder)
    )


def _sound(clip: Clip, path: Path, audio: Sound, folder: Path) -> dict[str, str]:
    if audio == "embed":
        return {"sound": _base64(clips.pack(clip.samples))}
    try:
        relative = os.path.relpath(path.resolve(), folder.resolve())
    except ValueError:
        raise KwsbenchError(
            f"{path}: on another drive than {folder}; write the page to the archive's drive or embed the audio"
        ) from None
    return {"link": quote(os.fsencode(relative.replace(os.sep, "/")))}


def _evidence(why: Evidence | None) -> dict[str, Any] | None:
    if why is None:
        return None
    return {
        "picture": _base64(pictures.cost_map(why.costs)),
        "size": [int(length) for length in why.costs.shape],
        "start": round(float(why.start_s), 4),
        "shift": float(why.frame_shift_s),
        "path": np.asarray(why.path).tolist(),
    }


def _plain(found: Found) -> str:
    """The hits as text, for whoever reads without JavaScript."""
    return "\n".join(
        f"{hit.rank}\t{hit.recording}\t{hit.start_s:.2f}–{hit.end_s:.2f} s\t{hit.score:.4g}\t{hit.text}"
        for hit in found.hits
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


# ── the file ─────────────────────────────────────────────────────────────────────────────────────


@cache
def _part(name: str) -> str:
    return (resources.files("kwsbench.search") / name).read_text(encoding="utf-8").strip()
