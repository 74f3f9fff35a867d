"""From embeddings to scores in one process: kwsbench against other programs that compute the same scores.

A peer is given the frames that kwsbench is given, and has to end with the same scores: each is
compared with the distance and the matcher of kwsbench that mean the same, and stops the benchmark
where a score differs. A peer that takes costs gets them as its users would make them, from scipy's
cdist, pair by pair.
"""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from benchmarks._measure import rounds, table
from benchmarks.kernel import scalar_score
from kwsbench import plugins
from kwsbench.engine import score_pairs
from kwsbench.spec import parse
from kwsbench.threads import one_torch_thread
from kwsbench.types import Frames

QUERIES, QUERY_FRAMES = 32, (40, 60)
UTTERANCE_FRAMES = (200, 300)
# Dimensions → utterances: as many as a minute allows.
UTTERANCES = {39: 20, 768: 8}
# San et al.'s way takes forty times as long as any other.
FEW_UTTERANCES = 1
ROUNDS = 3
# Calls of kwsbench in its turn: a peer's calls, one a pair, find the caches warm too.
AGAIN = 3


class Peer(NamedTuple):
    """Another program: score(queries, utterances) → costs, and the cell of kwsbench that it equals."""

    name: str
    package: str
    distance: str
    matcher: str
    score: Callable
    most_utterances: int | None = None


def pair_by_pair(cost_of_pair):
    """A score of lists that calls cost_of_pair(query, utterance) for each pair: (queries, utterances)."""
    return lambda queries, utterances: np.array([[cost_of_pair(q, u) for u in utterances] for q in queries])


def cdist_scalar(query, utterance):
    return scalar_score(cdist(query, utterance, "cosine").astype(np.float32)) / len(query)


def product_scalar(queries, utterances):
    """One product of all frames, then a scalar recursion for each pair."""
    import torch

    left, right = (torch.nn.functional.normalize(torch.from_numpy(np.concatenate(x))) for x in (queries, utterances))
    cost = (1 - left @ right.T).numpy()
    rows = np.split(cost, np.cumsum([len(query) for query in queries])[:-1])
    ends = np.cumsum([len(utterance) for utterance in utterances])[:-1]
    return np.array(
        [[scalar_score(np.ascontiguousarray(part)) / len(row) for part in np.split(row, ends, axis=1)] for row in rows]
    )


def librosa_cost(query, utterance):
    from librosa.sequence import dtw

    total = dtw(C=cdist(query, utterance, "cosine"), subseq=True, backtrack=False)
    return total[-1].min() / len(query)


def dtwalign_cost(query, utterance):
    from dtwalign import dtw_from_distance_matrix

    cost, opened = cdist(query, utterance, "cosine"), {"open_begin": True, "open_end": True}
    return dtw_from_distance_matrix(cost, step_pattern="asymmetric", dist_only=True, **opened).normalized_distance


def dtw_python_cost(query, utterance):
    from dtw import dtw

    cost, opened = cdist(query, utterance, "cosine"), {"open_begin": True, "open_end": True}
    return dtw(cost, step_pattern="asymmetric", distance_only=True, **opened).normalizedDistance


def tslearn_cost(query, utterance):
    from tslearn.metrics import dtw_subsequence_path

    return dtw_subsequence_path(query, utterance)[1] ** 2 / len(query)


def dtaidistance_cost(query, utterance):
    from dtaidistance.subsequence.dtw import subsequence_alignment

    query, utterance = query.astype(np.float64), utterance.astype(np.float64)
    # Of all ends: best_match() passes over hits of a single frame. The root of the sum, over n.
    value = subsequence_alignment(query, utterance, penalty=0.0, use_c=True).matching.min()
    return (value * len(query)) ** 2 / len(query)


def torchdtw_costs(queries, utterances):
    """One product of all frames, padded, and one call."""
    import torch
    from torchdtw import dtw_batch

    def padded(items):
        frames = [torch.nn.functional.normalize(torch.from_numpy(item)) for item in items]
        return torch.nn.utils.rnn.pad_sequence(frames, batch_first=True), torch.tensor([len(item) for item in items])

    (left, n), (right, m) = padded(queries), padded(utterances)
    cost = 1 - (left.flatten(0, 1) @ right.flatten(0, 1).T).reshape(*left.shape[:2], *right.shape[:2])
    return dtw_batch(cost.transpose(1, 2).contiguous(), n, m, symmetric=False).numpy()


def superb_cost(query, utterance):
    """The recipe of SUPERB's query by example, as s3prl computes it: one pair, its path too."""
    from dtw import dtw

    cost = np.expm1(cdist(query, utterance, "cosine"))
    low, high = cost.min(axis=1, keepdims=True), cost.max(axis=1, keepdims=True)
    scaled = (cost - low) / (high - low)
    return dtw(scaled, step_pattern="asymmetric", open_begin=True, open_end=True).normalizedDistance


def san_cost(query, utterance):
    """San et al. (2021): dtw-python on a window of the utterance from frame after frame."""
    from dtw import dtw

    n, cost = len(query), cdist(query, utterance, "seuclidean")
    low, high = cost.min(axis=0), cost.max(axis=0)
    scaled, best = (cost - low) / (high - low), 1.0
    for first in range(int(len(utterance) - 0.5 * n)):
        window = scaled[:, first : first + int(1.5 * n)]
        try:
            found = dtw(window, step_pattern="symmetricP1", open_end=True)
        except ValueError:  # no path: the window is too short at the utterance's end
            continue
        if 0.5 <= found.jmin / n <= 1.5:
            best = min(best, found.normalizedDistance)
    return best


ASYMMETRIC = "sdtw:steps=asymmetric"
PEERS = [
    Peer("one matrix product, scalar numba recursion", "numba", "cosine", "sdtw", product_scalar),
    Peer("scipy cdist, scalar numba recursion", "numba", "cosine", "sdtw", pair_by_pair(cdist_scalar)),
    Peer("scipy cdist, librosa", "librosa", "cosine", "sdtw", pair_by_pair(librosa_cost)),
    Peer("scipy cdist, dtwalign", "dtwalign", "cosine", ASYMMETRIC, pair_by_pair(dtwalign_cost)),
    Peer("scipy cdist, dtw-python", "dtw-python", "cosine", ASYMMETRIC, pair_by_pair(dtw_python_cost)),
    Peer("tslearn", "tslearn", "sqeuclidean", "sdtw", pair_by_pair(tslearn_cost)),
    Peer("dtaidistance, in C", "dtaidistance", "sqeuclidean", "sdtw", pair_by_pair(dtaidistance_cost)),
    Peer("one matrix product, torchdtw", "torchdtw", "cosine", "dtw:normalize=path", torchdtw_costs),
    Peer("s3prl's way", "dtw-python", "exp-cosine", "sdtw:rows=minmax,steps=asymmetric", pair_by_pair(superb_cost)),
    Peer("San et al.'s way", "dtw-python", "seuclidean", "windows", pair_by_pair(san_cost), FEW_UTTERANCES),
]


MISSING = ("not installed", "", "", "")


def installed(package):
    """Its version, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def items(rng, count, frames, dims):
    """Arrays (frames, dims) float32 of ragged lengths, whose neighbouring frames are alike as in speech."""
    lengths = rng.integers(*frames, size=count, endpoint=True)
    sounds = [np.repeat(rng.standard_normal((n // 5 + 1, dims)), 5, axis=0)[:n] for n in lengths]
    return [(sound + rng.standard_normal(sound.shape)).astype(np.float32) for sound in sounds]


def compare(peer, queries, utterances):
    """One row of the table: what the peer computes, its Mcells/s, and how many times slower it is."""
    utterances = utterances[: peer.most_utterances]
    ours = Frames.join(queries), Frames.join(utterances)
    registry = plugins.load()
    distance = registry.create("distances", parse(peer.distance))
    matcher = registry.create("matchers", parse(peer.matcher))
    found = {}

    def theirs():
        found["theirs"] = peer.score(queries, utterances)

    def kwsbench():
        for _ in range(AGAIN):
            found["ours"] = -score_pairs(*ours, distance, matcher).scores

    their_s, our_s = rounds(theirs, kwsbench, repeats=ROUNDS) / [[1], [AGAIN]]
    # Sums of float32 products against float64: a few units in the seventh digit, before rows are scaled.
    np.testing.assert_allclose(found["theirs"], found["ours"], rtol=1e-4, err_msg=f"{peer.name}: not kwsbench's scores")
    cells = sum(map(len, queries)) * sum(map(len, utterances)) / 1e6
    slower = np.sort(their_s / our_s)
    return (
        f"{peer.distance}, {peer.matcher}",
        f"{cells / their_s.min():,.1f}",
        f"{cells / our_s.min():,.1f}",
        f"{np.median(slower):,.1f} ({slower[0]:,.1f}–{slower[-1]:,.1f})",
    )


def report():
    rows = []
    for dims, count in UTTERANCES.items():
        rng = np.random.default_rng(0)
        queries = items(rng, QUERIES, QUERY_FRAMES, dims)
        utterances = items(rng, count, UTTERANCE_FRAMES, dims)
        with one_torch_thread():
            rows += [
                (dims, peer.name, *(compare(peer, queries, utterances) if installed(peer.package) else MISSING))
                for peer in PEERS
            ]
    packages = ["numba", "scipy", *sorted({peer.package for peer in PEERS} - {"numba"})]
    found = ", ".join(f"{package} {installed(package)}" for package in packages if installed(package))
    counts = ", ".join(f"{count} at {dims} dims" for dims, count in UTTERANCES.items())
    return (
        "## From embeddings to scores: kwsbench and its peers\n\n"
        f"{QUERIES} queries of {QUERY_FRAMES[0]}–{QUERY_FRAMES[1]} frames, utterances of "
        f"{UTTERANCE_FRAMES[0]}–{UTTERANCE_FRAMES[1]} ({counts}; San et al.'s way: {FEW_UTTERANCES}). In each row the "
        "peer and kwsbench compute the same scores of the same frames, which is checked. They take turns: the last "
        f"column is the median of {ROUNDS} rounds, with the range. torchdtw aligns the whole utterance, all others any "
        f"part of it. {found}.\n\n"
        + table(rows, ["dims", "", "scores", "Mcells/s", "kwsbench, Mcells/s", "times slower"])
    )


if __name__ == "__main__":
    print(report())
