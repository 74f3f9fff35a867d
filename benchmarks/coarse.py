"""What a coarse stage loses of the exact top ten, and how much sooner it is done than reading everything.

``python -m benchmarks.coarse`` prints it. Wants the Free Spoken Digit Dataset (KWSBENCH_FSDD) and prompts/it
prepared; encodes them on the first run.
"""

import numpy as np
import torch

from benchmarks._coarse import LEAST, Coarse, best, exact, search
from benchmarks._measure import seconds, table
from kwsbench import encoding, plugins, survey
from kwsbench.engine import score_pairs
from kwsbench.errors import KwsbenchError
from kwsbench.paths import cache_dir
from kwsbench.spec import parse
from kwsbench.store import FrameStore
from kwsbench.types import Frames

DATASETS = ("fsdd", "prompts/it")
LAYERS = (("mfcc, standardised", "mfcc", ""), ("nano-hubert layer 5", "nano-hubert", "5"))
MAPS = ((2, 0), (3, 0), (4, 0), (2, 32), (4, 32))
KEEP = (0.02, 0.03, 0.06, 0.12, 0.25)
QUERIES, ALONE, TOP = 64, 6, 10
RECALL, FASTER = 0.99, 4.0


def frames_of(registry, name, encoder, layer):
    """(frames of all utterances, which of them are queries' clips, pairs of one recording), from the frame cache."""
    data = survey.open_dataset(parse(name), registry, prepare=True)
    at = [i for i, clip in enumerate(data.dataset.clips) if clip.split == "search"]
    clips = [data.dataset.clips[i] for i in at]
    spec = parse(encoder)
    made, window = encoding.create(spec, registry)
    layer = layer or made.layers[-1]
    identity = {"encoder": encoding.describe(made, spec, registry), "audio": [data.audio_keys[i] for i in at]}
    store = FrameStore.open(cache_dir(), identity, len(at))
    encoding.encode_missing(made, encoder, clips, [layer], store, window=window)
    stored = store.layer(layer)
    items = [stored.item(i) for i in range(len(clips))]
    frames = Frames.join(items)
    if encoder == "mfcc":
        values = frames.values.astype(np.float64)
        values = (values - values.mean(axis=0)) / values.std(axis=0)
        frames = Frames(values.astype(np.float32), frames.offsets)
    keywords = np.flatnonzero([clip.keyword is not None for clip in clips])
    recordings = np.array([clip.recording for clip in clips])
    return frames, keywords, recordings


def measure(frames, keywords, recordings, cosine, sdtw):
    """(exhaustive seconds of one query by the engine, by lanes, of all), and rows of what a coarse stage does."""
    mine = np.sort(np.random.default_rng(0).permutation(keywords)[:QUERIES])
    queries = Frames.join([frames[i] for i in mine])
    apart = recordings[mine][:, None] == recordings[None, :]
    alone = [(queries.read(i, i + 1), apart[i : i + 1]) for i in range(ALONE)]
    wanted = best(np.where(apart, -np.inf, exact(queries, frames, cosine, sdtw)), TOP)
    whole = (
        lambda: [score_pairs(query, frames, cosine, sdtw) for query, _ in alone],
        lambda: [exact(query, frames, cosine, sdtw) for query, _ in alone],
        lambda: score_pairs(queries, frames, cosine, sdtw),
    )
    engine_s, lanes_s, batch_s = seconds(*whole, repeats=2)
    rows = []
    for pool, dims in MAPS:
        coarse = Coarse.fit(frames.values[::7], pool=pool, dims=dims)
        there = coarse(frames)
        for keep in KEEP:

            def run(some, near, keep=keep, coarse=coarse, there=there):
                return search(some, frames, coarse(some), there, cosine, sdtw, keep=keep, top=TOP, apart=near)

            found = best(run(queries, apart), TOP)
            recall = np.mean([np.isin(one, other).mean() for one, other in zip(wanted, found, strict=True)])
            one_s, many_s = seconds(
                lambda run=run: [run(query, near) for query, near in alone],
                lambda run=run: run(queries, apart),
                repeats=2,
            )
            rows.append((pool, dims, keep, recall, min(engine_s, lanes_s) / one_s, batch_s / many_s))
    return (engine_s / ALONE, lanes_s / ALONE, batch_s / QUERIES), rows


def finding(what, rows):
    """A sentence: the most that is gained while nearly nothing is lost, and whether that is enough."""
    parts = []
    for index, size in ((4, "one query"), (5, f"{QUERIES} queries at once")):
        good = [row for row in rows if row[3] >= RECALL]
        if not good:
            parts.append(f"{size}: no setting keeps {RECALL:.0%}, so exhaustive search wins")
            continue
        best = max(good, key=lambda row: row[index])
        verdict = "reached" if best[index] >= FASTER else "missed"
        verdict += ", and exhaustive search wins" if best[index] <= 1 else ""
        dims = f", {best[1]} directions" if best[1] else ""
        parts.append(
            f"{size} {best[index]:.1f} times faster (pool {best[0]}{dims}, keep {best[2]:g}; {FASTER:g} {verdict})"
        )
    return f"- {what}: {'; '.join(parts)}."


def missing(registry):
    """Data sets of the user's own that are not where they are looked for."""
    absent = []
    for name in DATASETS:
        source = registry.create("datasets", parse(name))
        if source.prepared:
            try:
                source.load()
            except KwsbenchError:
                absent.append(name)
    return absent


def report():
    torch.set_num_threads(1)
    registry = plugins.load()
    cosine, sdtw = registry.create("distances", parse("cosine")), registry.create("matchers", parse("sdtw"))
    findings, rows, costs = [], [], []
    there = [name for name in DATASETS if name not in missing(registry)]
    for name in there:
        for label, encoder, layer in LAYERS:
            frames, keywords, recordings = frames_of(registry, name, encoder, layer)
            spent, mine = measure(frames, keywords, recordings, cosine, sdtw)
            costs.append((name, label, len(frames), len(frames.values), *(f"{1e3 * one:.1f}" for one in spent)))
            findings.append(finding(f"{name}, {label}", mine))
            rows += [
                (name, label, pool, dims or "all", keep, f"{100 * recall:.1f}", f"{one:.1f}", f"{many:.1f}")
                for pool, dims, keep, recall, one, many in mine
            ]
    text = (
        "## Search that does not read everything\n\n"
        f"Cosine, subsequence DTW; {QUERIES} queries, their own recordings left out; coarse frames there already. "
        f"Exact hits come from whatever share of utterances a coarse stage keeps (at least {LEAST * TOP}). One query "
        "is compared with the faster of the engine and utterances in the lanes, many with the engine. The most that is "
        f"gained where {RECALL:.0%} of the exact best {TOP} are kept:\n\n"
    )
    return "\n\n".join(
        [
            text + "\n".join(findings),
            "Milliseconds of CPU for each query, everything read:",
            table(
                costs,
                ["data", "frames of", "utterances", "frames", "one: engine", "one: in lanes", f"{QUERIES}: engine"],
            ),
            f"Recall of the exact best {TOP}, and times faster than reading everything:",
            table(rows, ["data", "frames of", "pool", "dims", "keep", "recall, %", "one query", f"{QUERIES} queries"]),
        ]
    )


if __name__ == "__main__":
    print(report())
