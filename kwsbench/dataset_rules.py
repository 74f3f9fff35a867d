"""What a data set must keep to: ids, files, speakers, spans, and a keyword that two speakers say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from kwsbench.rules import Broken, article, call, check_signature
from kwsbench.types import Clip, Dataset, DatasetSource, no_progress

SEE = "kwsbench.types.DatasetSource"

WHY = {
    "id": "results name a clip by it",
    "speaker": "trials are between different speakers",
    "recording": "a query never looks for itself in its own recording; the file's name will often do",
}


def dataset_rules(source: DatasetSource | Dataset) -> Iterator[str]:
    """Every rule that the data set breaks, in a line each. Prepares it when needed."""
    if isinstance(source, Dataset):
        yield from _clip_rules(source)
        return
    missing = [name for name in ("prepared", "load") if not hasattr(source, name)]
    if missing:
        yield f"attributes: {', '.join(missing)} missing; see {SEE}"
        return
    check_signature(source.load, "load", "progress", see=SEE)
    data = call(source.load, no_progress, where="load", mend="load() must fetch what is not there, and read it")
    if not isinstance(data, Dataset):
        raise Broken(f"type: load() returned {article(data)}, expected a kwsbench.types.Dataset(name, clips)")
    if not source.prepared:
        yield "prepared: still false after load(); it tells whether load() can answer without fetching"
    yield from _clip_rules(data)


def _clip_rules(data: Dataset) -> Iterator[str]:
    if not data.clips:
        yield "clips: the data set is empty; it is a tuple of kwsbench.types.Clip, one for each stretch of speech"
        return
    other = [clip for clip in data.clips if not isinstance(clip, Clip)]
    if other:
        raise Broken(f"clips: one of them is {article(other[0])}; each is a kwsbench.types.Clip")
    twice = [clip_id for clip_id, times in Counter(clip.id for clip in data.clips).items() if times > 1]
    if twice:
        yield f"ids: {twice[0]!r} names two clips ({len(twice)} such); an id names one"
    for field, why in WHY.items():
        empty = [clip.id for clip in data.clips if not getattr(clip, field)]
        if empty:
            yield f"{field}: not set for clip {empty[0]!r} ({len(empty)} such); {why}"
    absent = [clip.path for clip in data.clips if not clip.path.is_file()]
    if absent:
        yield f"files: {absent[0]} does not exist ({len(absent)} such); fetch it in load(), or leave its clips out"
    spans = [clip for clip in data.clips if clip.end_s is not None and clip.end_s <= (clip.start_s or 0.0)]
    if spans:
        begin, end = spans[0].start_s or 0.0, spans[0].end_s
        yield (
            f"spans: clip {spans[0].id!r} ends before it begins, {begin:g} s to {end:g} s ({len(spans)} such); start_s "
            "and end_s are seconds from the beginning of the file"
        )
    splits = [clip for clip in data.clips if clip.split not in ("search", "heldout")]
    if splits:
        yield f"split: {splits[0].split!r} of clip {splits[0].id!r} ({len(splits)} such); expected search or heldout"
    speakers: dict[str, set[str]] = {}
    for clip in data.clips:
        if clip.keyword:
            speakers.setdefault(clip.keyword, set()).add(clip.speaker)
    if not any(len(said_by) > 1 for said_by in speakers.values()):
        yield "keywords: none is said by two speakers, so no cross-speaker trial exists; set Clip.keyword and speaker"
