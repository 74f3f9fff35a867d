"""An archive and the examples of a word as corrected frames of one encoder, from a cache that follows the files.

    <cache>/archives/<archive>/cuts.json         where each recording was cut
    <cache>/archives/<archive>/<encoder>/        the index (kwsbench.index) of its pieces
    <cache>/archives/<archive>/<encoder>/examples  frames of the examples that no piece holds

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
from kwsbench.search import examples
from kwsbench.search.choice import Chosen
from kwsbench.search.nouns import Token
from kwsbench.search.ranking import Places, Searched
from kwsbench.spec import Spec, parse, parse_chain
from kwsbench.store import FrameStore, StoredFrames, atomic_write, fingerprint
from kwsbench.types import Clip, Encoder, Frames, Progress, no_progress

BLOCK_BYTES = 64 * 10**6
"""Of an archive's frames at once. Few queries are soon done with a block, and new memory costs more than they do."""


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


class Heard(NamedTuple):
    """Where an example is found: an item of the chain, which of its frames, and an item that its speaker said."""

    item: int
    frames: slice
    speaker_of: int


@dataclass(frozen=True)
class Corpus:
    """Pieces and examples, ready to be scored."""

    archive: Archive
    encoder: Encoder
    fitted: FittedChain
    places: Places
    tokens: tuple[Token, ...]
    heard: Sequence[Heard]
    """where each token is found"""

    @property
    def pieces(self) -> CorrectedUtterances:
        """The corrected frames of all pieces: a kwsbench.types.FrameSource."""
        return self.fitted.utterances()

    @property
    def examples(self) -> Frames:
        """The corrected frames of the tokens, one item each."""
        return Frames.join([self._example(one) for one in self.heard])

    def _example(self, one: Heard) -> npt.NDArray[np.float32]:
        corrected = self.fitted.correct(self.fitted.frames.item(one.item), one.speaker_of)
        return corrected[one.frames].copy()  # a view would keep all of a minute

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
        pieces_of.setdefault(clip.path, []).append(at)
    mine = {path.resolve(): pieces for path, pieces in pieces_of.items()}
    inside = [examples.piece_of(token, ordered, mine.get(token.path.resolve(), ())) for token in tokens]
    alone = list(dict.fromkeys(token for token, piece in zip(tokens, inside, strict=True) if piece is None))
    longest_s = None if window else getattr(model, "longest_s", None)
    asked = [examples.around(token, longest_s) for token in alone]
    keys = _keys(asked, {path: seen.sha256 for path, seen in index.table.files.items()})
    store = FrameStore.open(place / "examples", {"encoder": described, "layer": layer, "audio": keys}, len(asked))
    encoding.encode_missing(model, f"{encoder} (examples)", asked, [layer], store, window=window, workers=work.workers)
    frames = _Joined(index.frames, store.layer(layer))
    clips = (*ordered, *asked)
    lengths = frames.lengths
    heard = []
    for token, piece in zip(tokens, inside, strict=True):
        item = len(ordered) + alone.index(token) if piece is None else piece
        said = examples.frames_in(token, clips[item], int(lengths[item]), model)
        if said.start == said.stop:
            raise KwsbenchError(f"{token}: too short for {encoder}; give a longer span")
        # A speaker's statistics are those of a whole recording, where the archive has it.
        heard.append(Heard(item, said, mine.get(token.path.resolve(), (item,))[0]))
    roles = _Roles(clips, np.arange(len(ordered)), np.zeros(0, np.int64))
    number = {recording.name: at for at, recording in enumerate(archive.recordings)}
    places = Places(
        np.array([number[clip.recording] for clip in ordered]),
        np.array([clip.start_s for clip in ordered], np.float64),
        np.array([clip.end_s for clip in ordered], np.float64),
    )
    chain = fitting.fit(frames, roles, parse_chain(chosen.transform), work.registry)
    return Corpus(archive, model, chain, places, tuple(tokens), heard)


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


def _keys(clips: Sequence[Clip], known: Mapping[str, str]) -> list[str]:
    digests: dict[Path, str] = {}
    for clip in clips:
        if clip.path not in digests:
            digests[clip.path] = known.get(str(clip.path)) or audio.sha256(clip.path)
    return [audio_key(clip, digests[clip.path]) for clip in clips]
