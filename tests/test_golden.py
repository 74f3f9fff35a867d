"""A whole cell on real recordings, computed a second time with other people's code."""

import shutil

import librosa
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import average_precision_score, roc_auc_score

from kwsbench import audio, plugins, results
from kwsbench.spec import parse
from tests.conftest import ROOT, call


def take(shared, folder, digits, takes):
    """Some digits of the Free Spoken Digit Dataset, in its own layout."""
    (folder / "recordings").mkdir(parents=True)
    for path in (shared / "data" / "fsdd" / "recordings").glob("*.wav"):
        digit, _, number = path.stem.split("_")
        if digit in digits and int(number) in takes:
            shutil.copy(path, folder / "recordings" / path.name)
    return sorted((folder / "recordings").glob("*.wav"))


@pytest.mark.parametrize(
    ("chain", "distance", "metric"),
    [("none", "cosine", "cosine"), ("standardize:scope=speaker", "euclidean", "euclidean")],
)
def test_mfcc_on_digits_equals_librosa_scipy_and_sklearn(shared, run_cli, tmp_path, chain, distance, metric):
    paths = take(shared, tmp_path / "fsdd", "0137", range(2))
    board = tmp_path / "board"
    digits = f"fsdd:path={tmp_path / 'fsdd'}"
    chosen = ("--encoder", "mfcc", "--transform", chain, "--distance", distance)
    code, _, err = run_cli("run", "--dataset", digits, *chosen, "--board", board)
    assert code == 0, err
    (record,) = results.load_all(board)

    encoder = plugins.load().create("encoders", parse("mfcc"))
    frames = [encoder.encode(audio.read(path).samples, ["0"])["0"].astype(np.float64) for path in paths]
    digit, speaker, _ = zip(*(path.stem.split("_") for path in paths), strict=True)
    if chain != "none":
        for name in set(speaker):
            mine = [i for i, s in enumerate(speaker) if s == name]
            pooled = np.concatenate([frames[i] for i in mine])
            for i in mine:
                frames[i] = (frames[i] - pooled.mean(axis=0)) / pooled.std(axis=0)
    aps, aucs, hits = [], [], []
    for q in range(len(paths)):
        others = [u for u in range(len(paths)) if speaker[u] != speaker[q]]
        costs = []
        for u in others:
            accumulated = librosa.sequence.dtw(C=cdist(frames[q], frames[u], metric), subseq=True, backtrack=False)
            costs.append(accumulated[-1].min() / len(frames[q]))
        truth, scores = [digit[u] == digit[q] for u in others], -np.array(costs)
        aps.append(average_precision_score(truth, scores))
        aucs.append(roc_auc_score(truth, scores))
        hits.append(truth[int(np.argmax(scores))])
    # float32 products against float64: a pair of scores within 1e-6 of each other may change places,
    # which moves one query's AP by less than 0.1 and the mean over 48 queries by less than 0.003.
    assert record.metric("map").value == pytest.approx(np.mean(aps), abs=0.003)
    assert record.metric("auc").value == pytest.approx(np.mean(aucs), abs=0.003)
    assert record.metric("p@1").value == pytest.approx(np.mean(hits), abs=1 / 48 + 1e-9)


def test_shuffled_labels_give_chance(shared, run_cli, tmp_path):
    """The same audio under labels drawn by lot: whatever finds more than chance then leaks."""
    rng = np.random.default_rng(7)
    paths = take(shared, tmp_path / "fsdd", "0123456789", range(2))
    names = np.array([path.name.split("_")[0] for path in paths])
    lines = ["path\tspeaker\tkeyword"]
    speakers = np.array([path.name.split("_")[1] for path in paths])
    for speaker in np.unique(speakers):
        mine = np.flatnonzero(speakers == speaker)
        names[mine] = rng.permutation(names[mine])
    lines += [f"recordings/{p.name}\t{s}\tword{n}" for p, s, n in zip(paths, speakers, names, strict=True)]
    (tmp_path / "fsdd" / "manifest.tsv").write_text("\n".join(lines))
    board = tmp_path / "board"
    chains = [option for chain in ("none", "whiten", "standardize:scope=speaker") for option in ("--transform", chain)]
    digits = f"manifest:path={tmp_path / 'fsdd'}"
    code, _, err = run_cli("run", "--dataset", digits, "--encoder", "mfcc", *chains, "--board", board)
    assert code == 0, err
    for record in results.load_all(board):
        found = record.metric("map")
        # 120 queries with 10 positives among 100: the mean AP under random order has a deviation of about
        # 0.06 / sqrt(120), widened by keywords that share utterances; 5 of the plain ones is 0.03.
        assert abs(found.value - found.chance) < 0.03


def test_the_committed_board_is_reproduced(tmp_path):
    """Anybody's run gives the figures that are committed: here the baseline, on people's voices."""
    source = plugins.load().create("datasets", parse("prompts/it"))
    if not source.prepared and not shutil.which("apt-get"):
        pytest.skip("no apt-get here: the recordings come from Debian's packages")
    cell = ("prompts/it", "mfcc", "standardize:scope=speaker", "cosine", "sdtw")
    options = zip(("--dataset", "--encoder", "--transform", "--distance", "--matcher"), cell, strict=True)
    code, _, err = call("run", *(part for option in options for part in option), "--board", tmp_path)
    assert code == 0, err
    (mine,) = results.load_all(tmp_path)
    (committed,) = (r for r in results.load_all(ROOT / "leaderboards" / "prompts") if r.combination == mine.combination)
    if mine.data.notes != committed.data.notes:
        pytest.skip(f"this Debian has other versions of the packages: {mine.data.notes}")
    assert mine.data.digest == committed.data.digest
    for condition, found in committed.conditions.items():
        for name, figure in found.metrics.items():
            # Another processor rounds products otherwise; a pair of equal scores then moves one query's figure.
            assert mine.conditions[condition].metrics[name].value == pytest.approx(figure.value, abs=2e-3)
