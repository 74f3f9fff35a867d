"""Words planted in an hour of recordings, asked for by another speaker: how often search finds them, where, how fast.

``python -m benchmarks.planted`` prints it; wants prompts/fr, prompts/it and prompts/es (prepared on the first run).

The hour: what one voice a language says, sentence after sentence with pauses between, in stories of some minutes. In
between it says each planted word once; nothing else in the hour holds that word, by transcript and in any of the
languages. The word is asked for by a voice that the hour does not hold, over the telephone (8 kHz). Where a word
begins and ends is told by level: from the first to the last 10 ms of its recording that are within 40 dB of the
loudest and 10 dB above the background, which is the level that 5% of them keep below.
"""

import time
import unicodedata
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import soundfile

from benchmarks._measure import table
from kwsbench import audio, plugins, stats
from kwsbench.archive.folder import open_archive
from kwsbench.paths import cache_dir
from kwsbench.search import choice, find, settings
from kwsbench.search.corpus import Work, cut, gather
from kwsbench.search.nouns import Token
from kwsbench.search.ranking import Search
from kwsbench.spec import parse
from kwsbench.types import SAMPLE_RATE_HZ as HZ

VOICES = {
    "fr": ("june-wallack", "armelle-desjardins"),
    "it": ("carlo-flora", "paola-dal-zot"),
    "es": ("allison-smith", "july-jimenez"),
}
"""Who tells the stories, and who asks."""
ENCODERS = ("mfcc", "nano-hubert")
HEARD = "es"
"""nano-hubert heard these two voices in training."""

FRAME_S, WITHIN_DB, ABOVE_DB, BACKGROUND = 0.010, 40.0, 10.0, 0.05
STORY_S = 420.0
PAUSE_S = (0.2, 0.6)
NOISE = 1e-4
"""Root mean square of the noise under all of a story: three steps of 16 bits, so that no pause is digital silence."""

TOP = 50
NEAR_S = 0.050
STEP = 40
"""Every so many-th word is searched for once more, with all that a search does, to time it."""
FORMS = ("file", "trimmed", "span")


class Planted(NamedTuple):
    """A word, where it lies in the archive, and the forms in which it is asked for.

    file: the recording as it is, with up to 0.1 s of silence at its ends. trimmed: cut down to the word. span: the
    word's span in a long recording of the same voice.
    """

    language: str
    word: str
    recording: str
    start_s: float
    end_s: float
    file: Token
    trimmed: Token
    span: Token


class Found(NamedTuple):
    """Of one word: the rank of its place (inf: not among the hits), how much later the hit begins and ends."""

    rank: float
    start_error_s: float
    end_error_s: float

    @classmethod
    def of(cls, word, hits):
        """hits: (recording, start_s, end_s), best first; right is one that shares more than half of the union."""
        for rank, (recording, start_s, end_s) in enumerate(hits, start=1):
            shared = min(end_s, word.end_s) - max(start_s, word.start_s)
            union = max(end_s, word.end_s) - min(start_s, word.start_s)
            if recording == word.recording and shared > union / 2:
                return cls(rank, start_s - word.start_s, end_s - word.end_s)
        return cls(np.inf, np.nan, np.nan)

    @property
    def on_time(self):
        """Whether it begins and ends within NEAR_S of where the word does; what was not found does not."""
        return abs(self.start_error_s) <= NEAR_S and abs(self.end_error_s) <= NEAR_S


def trimmed(samples):
    """Samples (n,) from the first to the last frame in which somebody speaks.

    Levels are those of differences between samples: hum and offsets are loud, and no speech.
    """
    width = round(FRAME_S * HZ)
    steps = np.diff(samples, prepend=samples[:1]).astype(np.float64)
    power = np.square(steps[: len(steps) // width * width]).reshape(-1, width).mean(axis=1)
    least = max(power.max() * 10 ** (-WITHIN_DB / 10), np.quantile(power, BACKGROUND) * 10 ** (ABOVE_DB / 10))
    (loud,) = np.nonzero(power >= min(least, power.max()))
    return samples[loud[0] * width : (loud[-1] + 1) * width]


def told(clips, rng):
    """Clips one after the other with pauses: (samples, [(start_s, end_s) of each clip])."""
    parts, spans, at = [], [], 0
    for clip in clips:
        pause = np.zeros(round(rng.uniform(*PAUSE_S) * HZ), np.float32)
        said = trimmed(audio.read(clip.path).samples)
        spans.append(((at + len(pause)) / HZ, (at + len(pause) + len(said)) / HZ))
        parts += [pause, said]
        at += len(pause) + len(said)
    samples = np.concatenate([*parts, np.zeros(round(PAUSE_S[1] * HZ), np.float32)])
    return samples + rng.normal(0, NOISE, len(samples)).astype(np.float32), spans


def folded(text):
    """Words without their accents: what is spelt alike in two languages may sound alike."""
    plain = unicodedata.normalize("NFD", text)
    return {"".join(c for c in word if not unicodedata.combining(c)) for word in plain.split()}


def chosen_words(clips):
    """language → {word: (the clip to plant, the clip to ask with)}; a word of two languages is of the first."""
    words, seen = {}, set()
    for language, (teller, asker) in VOICES.items():
        firsts = [{}, {}]
        for clip in clips[language]:
            for first, voice in zip(firsts, (teller, asker), strict=True):
                if clip.speaker == voice and clip.keyword and clip.split == "search":
                    first.setdefault(clip.keyword, clip)
        both = sorted(word for word in firsts[0] if word in firsts[1] and not folded(word) & seen)
        # What may be heard within another planted word is not planted.
        maybe = {word for one in both for word in firsts[0][one].maybe}
        words[language] = {word: (firsts[0][word], firsts[1][word]) for word in both if word not in maybe}
        seen |= {plain for word in words[language] for plain in folded(word)}
    return words


def build(folder, registry):
    """Write the archive and the queries below the folder; the words that were planted."""
    data = {name: registry.create("datasets", parse(f"prompts/{name}")).load() for name in VOICES}
    words = chosen_words({name: dataset.clips for name, dataset in data.items()})
    taken = {plain for mine in words.values() for word in mine for plain in folded(word)}
    planted = []
    for seed, (language, (teller, asker)) in enumerate(VOICES.items()):
        rng = np.random.default_rng(seed)
        clips = data[language].clips
        others = [
            clip for clip in clips
            if clip.speaker == teller and clip.split == "search" and clip.transcript
            and not (folded(clip.transcript) | {p for word in clip.maybe for p in folded(word)}) & taken
        ]  # fmt: skip
        mine = words[language]
        told_clips = [*others, *(clip for clip, _ in mine.values())]
        order = rng.permutation(len(told_clips))
        seconds = np.array([audio.duration_s(told_clips[at].path) + np.mean(PAUSE_S) for at in order])
        story_of = np.floor(np.cumsum(seconds) / STORY_S).astype(int)
        places = {}
        for story in range(story_of[-1] + 1):
            these = [told_clips[at] for at in order[story_of == story]]
            name = f"{language}-{story}.flac"
            places |= _write(folder / "archive" / name, these, rng)
        asks = [clip for clip in clips if clip.speaker == asker]
        asks = [asks[at] for at in rng.permutation(len(asks))]
        long = folder / "queries" / f"{asker}.flac"
        spans = _write(long, asks, rng)
        for word, (clip, asked) in mine.items():
            alone = folder / "queries" / f"{language}-{asked.id.replace('/', '-')}.flac"
            _save(alone, trimmed(audio.read(asked.path).samples))
            asked_with = (Token(asked.path), Token(alone), Token(long, *spans[asked.id][1:]))
            planted.append(Planted(language, word, *places[clip.id], *asked_with))
    return planted


def _write(path, clips, rng):
    """Clips told one after the other, as a file: clip's id → (name of the file, start_s, end_s)."""
    samples, spans = told(clips, rng)
    _save(path, samples)
    return {clip.id: (path.name, *span) for clip, span in zip(clips, spans, strict=True)}


def _save(path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, HZ, subtype="PCM_16")


def measure(encoder, planted, form, folder, work):
    """What is found of each word (words,) by the encoder's published setting; form: a field of Planted."""
    chosen = choice.complete(choice.Asked(encoder), settings.published(), work.registry)
    archive = open_archive(folder / "archive")
    work = replace(work, folder=find._folder(work.folder, archive))  # noqa: SLF001 - where searches look
    corpus = gather(archive, cut(archive, work).clips, [getattr(one, form) for one in planted], chosen, work)
    asked = Search(corpus.examples, corpus.searched(chosen, "best", work))
    names = [recording.name for recording in archive.recordings]
    found = []
    for at, one in enumerate(planted):
        hits = asked.rank(range(at, at + 1), top=TOP).hits
        found.append(Found.of(one, [(names[hit.recording], hit.start_s, hit.end_s) for hit in hits]))
    return found


def timed(encoder, planted, found, folder, work):
    """Median (CPU seconds of a search from question to answer, wall-clock seconds of it from frames to hits).

    The first search is not counted: kernels are compiled in it. Every search must find what was found of its word.
    """
    chosen = choice.complete(choice.Asked(encoder), settings.published(), work.registry)
    cpu, wall = [], []
    for one, before in zip(planted[::STEP], found[::STEP], strict=True):
        start = time.process_time()
        answer = find.search(find.Question((str(one.trimmed.path),), folder / "archive", chosen, top=TOP), work)
        cpu.append(time.process_time() - start)
        wall.append(answer.search_s)
        hits = [(hit.recording, hit.start_s, hit.end_s) for hit in answer.found.hits]
        if before.rank <= len(hits):
            np.testing.assert_allclose(Found.of(one, hits), before, err_msg=one.word)
    return np.median(cpu[1:]), np.median(wall[1:])


def columns(found):
    """What is told of each word, (words, 4): first; among the first ten; first and on time; 1 / rank."""
    ranks = np.array([one.rank for one in found])
    first = ranks == 1
    return np.column_stack([first, ranks <= 10, first & [one.on_time for one in found], 1 / ranks])


def shares(values, rng):
    """Means in percent with their 95% intervals, words resampled."""
    intervals = stats.cluster_bootstraps(values, np.arange(len(values)), rng=rng)
    return [_between(mean, interval) for mean, interval in zip(values.mean(axis=0), intervals, strict=True)]


def errors(found):
    """Of the words found first: how many, the share on time, and median errors of start and end in ms."""
    good = [one for one in found if one.rank == 1]
    if not good:
        return 0, "", "", ""
    off = np.abs([[one.start_error_s, one.end_error_s] for one in good])
    return (
        len(good),
        f"{100 * np.mean([one.on_time for one in good]):.0f}",
        *(f"{x:.0f}" for x in 1000 * np.median(off, axis=0)),
    )


def _between(mean, interval):
    return f"{100 * mean:.1f} ({100 * interval.low:.1f}–{100 * interval.high:.1f})"


def report():
    folder = cache_dir() / "benchmarks" / "planted"
    registry = plugins.load()
    planted = build(folder, registry)
    hours = open_archive(folder / "archive").audio_s / 3600
    work = Work(registry, cache_dir())
    unheard = np.array([one.language != HEARD for one in planted])
    rng = np.random.default_rng(0)
    rows, apart, spent = [], [], []
    for form in FORMS:
        found = {encoder: measure(encoder, planted, form, folder, work) for encoder in ENCODERS}
        told_of = {encoder: columns(one) for encoder, one in found.items()}
        for encoder in ENCODERS:
            rows.append((form, encoder, "all", *shares(told_of[encoder], rng), *errors(found[encoder])))
            for language in VOICES:
                mine = np.array([one.language == language for one in planted])
                some = [one for one, is_mine in zip(found[encoder], mine, strict=True) if is_mine]
                rows.append((form, encoder, language, *shares(told_of[encoder][mine], rng), *errors(some)))
        for name, which in (("all", unheard | True), ("unheard", unheard)):
            gain = told_of["nano-hubert"][which] - told_of["mfcc"][which]
            apart.append((form, name, *shares(gain, rng)))
        if form == "trimmed":
            spent = [
                (encoder, *(f"{x:.2f}" for x in timed(encoder, planted, found[encoder], folder, work)))
                for encoder in ENCODERS
            ]
    near = f"{1000 * NEAR_S:.0f} ms"
    measures = ["first, %", "in the first ten, %", f"first, within {near}, %", "mean 1 / rank, %"]
    of_firsts = ["found first", f"of these within {near}, %", "start off by, ms", "end off by, ms"]
    return (
        "## Words planted in an hour\n\n"
        f"{len(planted)} words, each said once in {60 * hours:.0f} minutes by one speaker a language and asked for by "
        "another, whom the archive does not hold, over the telephone; each encoder with its published setting. Asked "
        "with the recording of the word as it is (file), cut down to the word (trimmed), or as a span of a long "
        "recording (span). A hit is right that shares more than half of its union with the word; *within* "
        f"{near}: it begins and ends so near. 95% intervals, words resampled; medians of how far off.\n\n"
        + table(rows, ["asked with", "encoder", "words", *measures, *of_firsts])
        + "\n\nnano-hubert less MFCC, in points; *unheard* leaves out "
        f"{HEARD}, whose voices nano-hubert heard in training.\n\n"
        + table(apart, ["asked with", "words", *measures])
        + f"\n\nOne search of the {60 * hours:.0f} minutes, encoded before; one worker, {TOP} hits asked for.\n\n"
        + table(spent, ["encoder", "CPU seconds, question to answer", "seconds, frames to hits"])
    )


if __name__ == "__main__":
    print(report())
