"""An archive and the examples of a word as corrected frames of one encoder, from a cache that follows the files.

    <cache>/archives/<archive>/cuts.json         where each recording was cut
    <cache>/archives/<archive>/<encoder>/        the index (kwsbench.index) of its pieces
    <cache>/archives/<archive>/<encoder>/frames  … and, beside the index's own, the examples that were searched for

A transform that is fitted on a speaker takes a whole recording for one: who speaks when is seldom known, and voice,
room and microphone are what such a correction is for. An example out of the archive is encoded with the piece that
holds it and corrected with its recording; a span of another file with what lies around it there; a file of its own by
itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from kwsbench import audio, encoding, fitting
from kwsbench.archive.annotations import Problem
from kwsbench.archive.folder import Archive
from kwsbench.archive.pieces import pieces
from kwsbench.dataset import audio_key
from kwsbench.errors import KwsbenchError, one_line
from kwsbench.fitting import CorrectedUtterances, FittedChain
from kwsbench.index import Index, IndexedFrames, update
from kwsbench.plugins import Registry
from kwsbench.search.choice import Chosen
from kwsbench.search.nouns import Token
from kwsbench.search.ranking import Places, Searched
from kwsbench.spec import Spec, parse, parse_chain
from kwsbench.store import FrameStore, StoredFrames, atomic_write, fingerprint
from kwsbench.types import Clip, Encoder, Frames, Progress, no_progress

BLOCK_BYTES = 64 * 10**6
"""Of an archive's frames at once. Few queries are soon done with a block, and new memory costs more than they do."""

AROUND_S = 30.0
"""So much on either side of a span of a file that is not in the archive tells how its speaker sounds there."""


class Cut(msgspec.Struct, frozen=True):
    """Where a file was cut when it had this size and time; or why it could not be."""

    size: int
    mtime_ns: int
    spans: list[tuple[float, float]]
    problem: str = ""


class Cuts(NamedTuple):
    """The pieces of all recordings that can be read, and the problems of the others."""

    clips: list[Clip]
    problems: list[Problem]


@dataclass(frozen=True)
class Work:
    """With what, where and how the work is done."""

    registry: Registry
    folder: Path
    """of caches: what can be made again"""
    device: str = "cpu"
    workers: int = 1
    memory_bytes: int = BLOCK_BYTES
    progress: Progress = no_progress


@dataclass(frozen=True)
class Corpus:
    """Pieces and examples, ready to be scored."""

    archive: Archive
    encoder: Encoder
    fitted: FittedChain
    places: Places
    tokens: tuple[Token, ...]
    spoken: Sequence[npt.NDArray[np.float32]]
    """the frames of each token, not corrected"""
    heard_in: Sequence[int]
    """of each token the clip of the chain as which it is corrected"""

    @property
    def pieces(self) -> CorrectedUtterances:
        """The corrected frames of all pieces: a kwsbench.types.FrameSource."""
        return self.fitted.utterances()

    @property
    def examples(self) -> Frames:
        """The corrected frames of the tokens, one item each."""
        return Frames.join([self.fitted.correct(v, at) for v, at in zip(self.spoken, self.heard_in, strict=True)])

    def searched(self, chosen: Chosen, pool: str, work: Work) -> Searched:
        """The pieces, and how they are searched."""
        return Searched(
            self.pieces,
            self.places,
            work.registry.create("distances", parse(chosen.distance)),
            work.registry.create("matchers", parse(chosen.matcher)),
            self.encoder.frame_shift_s,
            self.encoder.first_centre_s,
            pool,
            work.workers,
            work.memory_bytes,
        )


def cut(archive: Archive, work: Work) -> Cuts:
    """Cut every recording, or remember how it was cut; one that cannot be read is a problem and left out."""
    path = work.folder / "cuts.json"
    known = _known_cuts(path)
    now: dict[str, Cut] = {}
    for done, recording in enumerate(archive.recordings):
        work.progress("cutting recordings at silences", done, len(archive.recordings))
        stat = recording.path.stat()
        old = known.get(recording.name)
        if old is None or (old.size, old.mtime_ns) != (stat.st_size, stat.st_mtime_ns):
            try:
                spans = [(clip.start_s or 0.0, clip.end_s or recording.duration_s) for clip in pieces(recording)]
                old = Cut(stat.st_size, stat.st_mtime_ns, spans)
            except KwsbenchError as error:
                old = Cut(stat.st_size, stat.st_mtime_ns, [], one_line(error).removeprefix(f"{recording.path}: "))
        now[recording.name] = old
    work.progress("cutting recordings at silences", len(archive.recordings), len(archive.recordings))
    if now != known:
        with atomic_write(path) as file:
            file.write(msgspec.json.encode(now))
    clips = [
        Clip(f"{recording.name}#{start_s:.3f}-{end_s:.3f}", recording.path, recording.name, recording.name,
             start_s=start_s, end_s=end_s)
        for recording in archive.recordings for start_s, end_s in now[recording.name].spans
    ]  # fmt: skip
    return Cuts(clips, [Problem(r.path, now[r.name].problem) for r in archive.recordings if now[r.name].problem])


def _known_cuts(path: Path) -> dict[str, Cut]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Cut]) if path.exists() else {}
    except msgspec.MsgspecError:
        # A laptop that ran out of power leaves files of zeros. Recordings are cut again, and the file written over.
        return {}


def gather(
    archive: Archive,
    clips: Sequence[Clip],
    tokens: Sequence[Token],
    chosen: Chosen,
    work: Work,
) -> Corpus:
    """Encode what is not encoded yet, and fit the chain. Raises KwsbenchError where nothing is left to search."""
    if not clips:
        raise KwsbenchError(f"{archive.folder}: no recording can be read; kwsbench datasets DIR --verify says why")
    encoder = chosen.encoder
    plain = encoder.without_layers()
    model, window = chosen.made
    encoding.move(model, work.device, str(encoder))
    layer = _layer(encoder, model)
    described = encoding.describe(model, plain, work.registry)
    place = work.folder / fingerprint({"encoder": described, "layer": layer})[:24]
    update(place, clips, plain, layer, work.registry, made=chosen.made, workers=work.workers, progress=work.progress)
    index = Index.open(place)
    by_id = {clip.id: clip for clip in clips}
    ordered = [by_id[item.id] for item in index.items]
    pieces_of: dict[Path, list[int]] = {}
    for at, clip in enumerate(ordered):
        pieces_of.setdefault(clip.path.resolve(), []).append(at)
    inside = [_piece(token, ordered, pieces_of.get(token.path.resolve(), [])) for token in tokens]
    alone = dict.fromkeys(token for token, piece in zip(tokens, inside, strict=True) if piece is None)
    asked = [_around(token) for token in alone]
    keys = _keys(asked, {path: seen.sha256 for path, seen in index.table.files.items()})
    store = FrameStore.open(place / "examples", {"encoder": described, "layer": layer, "audio": keys}, len(asked))
    encoding.encode_missing(model, f"{encoder} (examples)", asked, [layer], store, window=window, workers=work.workers)
    frames = _Joined(index.frames, store.layer(layer))
    number_alone = {token: len(ordered) + at for at, token in enumerate(alone)}
    found_in = [number_alone[token] if piece is None else piece for token, piece in zip(tokens, inside, strict=True)]
    heard = (*ordered, *asked)
    spoken = [_said(token, heard[at], frames.item(at), model) for token, at in zip(tokens, found_in, strict=True)]
    short = next((token for token, values in zip(tokens, spoken, strict=True) if not len(values)), None)
    if short:
        raise KwsbenchError(f"{short}: too short for {encoder}; give a longer span")
    roles = _Roles(heard, np.arange(len(ordered)), np.zeros(0, np.int64))
    number = {recording.name: at for at, recording in enumerate(archive.recordings)}
    places = Places(
        np.array([number[clip.recording] for clip in ordered]),
        np.array([clip.start_s for clip in ordered], np.float64),
        np.array([clip.end_s for clip in ordered], np.float64),
    )
    # A speaker's statistics are those of a whole recording, where the archive has it.
    heard_in = [pieces_of.get(token.path.resolve(), [at])[0] for token, at in zip(tokens, found_in, strict=True)]
    chain = fitting.fit(frames, roles, parse_chain(chosen.transform), work.registry)
    return Corpus(archive, model, chain, places, tuple(tokens), spoken, heard_in)


@dataclass(frozen=True)
class _Roles:
    """What a chain is fitted on (kwsbench.fitting.Roles)."""

    clips: Sequence[Clip]
    utterances: npt.NDArray[np.int64]
    queries: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Joined:
    """The frames of all pieces, then those of a store (kwsbench.fitting.ItemFrames)."""

    pieces: IndexedFrames
    more: StoredFrames

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.concatenate([self.pieces.lengths, self.more.lengths])

    def item(self, index: int) -> npt.NDArray[np.float32]:
        count = len(self.pieces.lengths)
        return self.pieces.read(index, index + 1).values if index < count else self.more.item(index - count)


def _piece(token: Token, ordered: Sequence[Clip], pieces: Sequence[int]) -> int | None:
    """The piece that holds all of an example, of those cut from its file; None where none does."""
    if not pieces:
        return None
    end_s = audio.duration_s(token.path) if token.end_s is None else token.end_s
    spans = [(ordered[at].start_s or 0.0, ordered[at].end_s or 0.0) for at in pieces]
    holding = [
        at for at, span in zip(pieces, spans, strict=True) if span[0] <= (token.start_s or 0) and end_s <= span[1]
    ]
    return holding[0] if holding else None


def _said(token: Token, heard: Clip, frames: npt.NDArray[np.float32], encoder: Encoder) -> npt.NDArray[np.float32]:
    """The frames (frames, dims) of an example among those of the clip that holds it: those centred in its span.

    So it is heard with what lies around it, as every place is that it is compared with. A word cut out and encoded by
    itself ends in silence that nobody said.
    """
    if token.start_s is None or token.end_s is None:
        return frames
    centres_s = (heard.start_s or 0.0) + encoder.first_centre_s + np.arange(len(frames)) * encoder.frame_shift_s
    return frames[(token.start_s <= centres_s) & (centres_s < token.end_s)]


def _layer(encoder: Spec, model: Encoder) -> str:
    """The one layer that is searched."""
    if encoder.layers:
        if encoder.layers not in model.layers:
            raise KwsbenchError(f"{encoder}: search takes one layer of {', '.join(model.layers)}")
        return encoder.layers
    if len(model.layers) > 1:
        raise KwsbenchError(
            f"{encoder} has layers {', '.join(model.layers)}; name one, as in {encoder.name}@{model.layers[-1]}"
        )
    return model.layers[0]


def _around(token: Token) -> Clip:
    """An example with what tells how its speaker sounds: all of its file, or what is near it."""
    if token.start_s is None or token.end_s is None:
        return _clip(token, None, None)
    length_s = audio.duration_s(token.path)
    return _clip(token, max(0.0, token.start_s - AROUND_S), min(length_s, token.end_s + AROUND_S))


def _clip(token: Token, start_s: float | None, end_s: float | None) -> Clip:
    span = "" if start_s is None else f"#{start_s:.3f}-{end_s:.3f}"
    return Clip(f"{token.path}{span}", token.path, f"outside {token}", str(token.path), start_s=start_s, end_s=end_s)


def _keys(clips: Sequence[Clip], known: Mapping[str, str]) -> list[str]:
    digests: dict[Path, str] = {}
    for clip in clips:
        if clip.path not in digests:
            digests[clip.path] = known.get(str(clip.path)) or audio.sha256(clip.path)
    return [audio_key(clip, digests[clip.path]) for clip in clips]
