"""score_grid on a GPU, in numba's simulator: what it does there, what it leaves to the CPU, and what it says."""

import numpy as np
import pytest
import torch

from kwsbench import cuda_engine, gpu, results
from kwsbench.engine import score_grid
from kwsbench.errors import KwsbenchError
from kwsbench.types import Alignment, Frames, Match
from tests.archives import write_manifest, write_tone
from tests.simulated_gpu import (
    ASYMMETRIC,
    QUERIES,
    UTTERANCES,
    assert_equal,
    broken,
    create,
    frames,
    simulator,  # noqa: F401 - a fixture that all tests here use
)


@pytest.fixture(autouse=True)
def notices():
    """A line that another test has read is said again."""
    gpu._say_once.cache_clear()  # noqa: SLF001


@pytest.fixture
def device(monkeypatch):
    """A GPU of 64 MiB, which is the simulator."""
    monkeypatch.setattr(cuda_engine, "available", lambda: None)
    monkeypatch.setattr(cuda_engine, "DEVICE", "cpu")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**26, 2**26))


@pytest.fixture
def no_device(monkeypatch):
    monkeypatch.setattr(cuda_engine, "available", lambda: "torch sees no CUDA device on this machine")


class Cityblock:
    """A distance without a fast path."""

    def cost(self, x, y):
        return np.abs(x[:, None, :] - y[None, :, :]).sum(axis=2)


class Corner:
    """A matcher that is no alignment."""

    def match(self, cost):
        return Match(float(cost[0, 0]), 0, 0)


def mixed():
    """(cells, where each is scored): all paths that the engine has, and finishes that share a tile."""
    cosine, exp, csls = (create("distances", name) for name in ("cosine", "exp-cosine", "csls:k=2"))
    steps, scaled = Alignment(ASYMMETRIC, normalize="path"), Alignment(ASYMMETRIC, rows="minmax")
    table = [
        (cosine, steps, "cuda"),
        (cosine, Corner(), "cpu"),
        (cosine, scaled, "cuda"),
        (Cityblock(), Alignment(), "cpu"),
        (exp, scaled, "cuda"),
        (cosine, create("matchers", "meanpool"), "cpu"),
        (csls, steps, "cuda"),
        (csls, Corner(), "cpu"),
        (cosine, Alignment(whole=True), "cuda"),
    ]
    return [(distance, matcher) for distance, matcher, _ in table], [where for *_, where in table]


def scored(queries, utterances, cells, **options):
    """(scores, where each cell was scored)."""
    told = []
    options = {"workers": 2, "memory_bytes": 2**20, "scored_on": told.extend, **options}
    return score_grid(queries, utterances, cells, **options), told


ONE = [(create("distances", "cosine"), Alignment())]


@pytest.mark.parametrize("name", ["cuda", "auto"])
def test_a_mixed_grid_is_that_of_the_cpu(device, name):
    cells, where = mixed()
    found, told = scored(QUERIES, UTTERANCES, cells, device=name)
    wanted, alone = scored(QUERIES, UTTERANCES, cells)
    assert told == where
    assert alone == ["cpu"] * len(cells)
    for got, want, place in zip(found, wanted, where, strict=True):
        if place == "cpu":
            assert_equal(got, want)
        # Two products, each right to ~10 * 6e-8 as cosines of 6 dimensions; distances' slopes in them are below 7,
        # those of scaled rows below 20 more where costs range over 0.05: 1.7e-4 at worst, for a mean much less.
        np.testing.assert_allclose(got.scores, want.scores, atol=1e-4)
        np.testing.assert_array_equal(got.starts, want.starts)
        np.testing.assert_array_equal(got.ends, want.ends)


def test_scores_come_from_the_device(device, monkeypatch):
    """What the device's driver returns is what is returned: it is not scored a second time on the CPU."""
    real = cuda_engine.score

    def moved(*arguments, **options):
        return {at: found._replace(scores=found.scores - 5) for at, found in real(*arguments, **options).items()}

    (plain,), _ = scored(QUERIES, UTTERANCES, ONE, device="cuda")
    monkeypatch.setattr(cuda_engine, "score", moved)
    (found,), told = scored(QUERIES, UTTERANCES, ONE, device="cuda")
    np.testing.assert_array_equal(found.scores, plain.scores - 5)
    assert told == ["cuda"]


class Counted:
    """Utterances that count how often each is read."""

    def __init__(self, inner):
        self.inner, self.lengths, self.reads = inner, inner.lengths, np.zeros(len(inner.lengths), int)

    def read(self, first, last):
        self.reads[first:last] += 1
        return self.inner.read(first, last)


@pytest.mark.parametrize(("at", "passes"), [([0, 2], 1), ([1, 3], 1), ([0, 1], 2)])
def test_nobody_goes_through_the_corpus_for_nothing(device, at, passes):
    cells, where = mixed()
    source, progress = Counted(UTTERANCES), []
    _, told = scored(
        QUERIES, source, [cells[i] for i in at], device="cuda", progress=lambda *what: progress.append(what)
    )
    assert told == [where[i] for i in at]
    assert set(source.reads) == {passes}
    labels = {"cuda": "score on the GPU", "cpu": "score"}
    for place in set(told):
        done = [what for what in progress if what[0] == labels[place]]
        assert done == sorted(done)
        assert done[-1] == (labels[place], len(UTTERANCES), len(UTTERANCES))
    assert {what for what, *_ in progress} == {labels[place] for place in told}


def test_what_does_not_fit_is_scored_on_the_cpu_and_a_line_says_so(device, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (20_000, 2**26))
    cells, _ = mixed()
    found, told = scored(QUERIES, UTTERANCES, cells, device="auto")
    scored(QUERIES, UTTERANCES, cells, device="auto")
    assert told == ["cpu"] * len(cells)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("scored on the CPU: 0.00 GiB of the GPU's memory hold 0 utterance frames at a time, and ")
    for got, want in zip(found, scored(QUERIES, UTTERANCES, cells)[0], strict=True):
        assert_equal(got, want)
    with pytest.raises(KwsbenchError) as error:
        scored(QUERIES, UTTERANCES, cells, device="cuda", precision="float16")
    # Half as many bytes a frame: one fits.
    assert str(error.value) == (
        "0.00 GiB of the GPU's memory hold 1 utterance frames at a time, and utterance 4 has 8; "
        "cut it, or use float32, in which the CPU scores what does not fit"
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("cuda", "scored on the CPU: torch sees no CUDA device on this machine\n"),
        ("cuda:1", "scored on the CPU: --device cuda:1 is no device that scores, cuda is\n"),
        ("auto", ""),
        ("mps", ""),
        ("cpu", ""),
    ],
)
def test_without_a_gpu_the_cpu_scores_and_a_line_says_so_where_one_was_asked_for(no_device, name, line, capsys):
    (found,), told = scored(QUERIES, UTTERANCES, ONE, device=name)
    scored(QUERIES, UTTERANCES, ONE, device=name)
    assert capsys.readouterr().err == line
    assert told == ["cpu"]
    assert_equal(found, scored(QUERIES, UTTERANCES, ONE)[0][0])


@pytest.mark.parametrize("precision", ["tf32", "float16"])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("cpu", "--device cpu"),
        ("auto", "torch sees no CUDA device on this machine"),
        ("cuda:1", "--device cuda:1 is no device that scores, cuda is"),
    ],
)
def test_a_precision_that_only_a_gpu_has_is_refused_where_there_is_none(no_device, name, why, precision):
    with pytest.raises(KwsbenchError) as error:
        scored(QUERIES, UTTERANCES, ONE, device=name, precision=precision)
    assert str(error.value) == f"only a GPU computes in {precision} ({why}); use float32, bfloat16, int8"


def test_a_precision_that_no_gpu_has_is_the_cpus(device, capsys):
    found, told = scored(QUERIES, UTTERANCES, ONE, device="cuda", precision="int8")
    assert capsys.readouterr().err == "scored on the CPU: a GPU computes in float32, tf32, float16, not in int8\n"
    assert told == ["cpu"]
    assert_equal(found[0], scored(QUERIES, UTTERANCES, ONE, precision="int8")[0][0])
    with pytest.raises(KwsbenchError, match=r"^unknown precision 'int9'\. Did you mean 'int8'\?$"):
        scored(QUERIES, UTTERANCES, ONE, device="auto", precision="int9")


def test_precisions_of_the_gpu(device):
    """float16 rounds a cosine by 2 * 2^-11 at most, which is in no result of float32; the slow path knows neither."""
    queries, utterances = frames([3, 2], 64, seed=3), frames([5, 4], 64, seed=4)
    cells = [(ONE[0][0], Alignment(ASYMMETRIC)), (ONE[0][0], Corner())]
    full, _ = scored(queries, utterances, cells)
    for precision, least, most in (("float16", 1e-6, 1e-3), ("tf32", 0, 1e-6)):
        (fast, slow), told = scored(queries, utterances, cells, device="cuda", precision=precision)
        assert told == ["cuda", "cpu"]
        assert least <= np.abs(fast.scores - full[0].scores).max() < most
        assert_equal(slow, full[1])


@pytest.mark.parametrize("what", ["query", "utterance", "dims"])
def test_what_the_cpu_refuses_is_refused_in_the_same_words(device, what):
    queries, utterances = broken(what)
    lines = []
    for name in ("cpu", "cuda"):
        with pytest.raises(KwsbenchError) as error:
            scored(queries, utterances, ONE, device=name)
        lines.append(str(error.value))
    assert lines[0] == lines[1]


def test_nothing_but_empty_items(device):
    empty = Frames(np.zeros((0, 4), np.float32), np.zeros(3, np.int64))
    for queries, utterances in ((empty, frames([3], dims=4)), (frames([3], dims=4), empty)):
        (found,), _ = scored(queries, utterances, ONE, device="cuda")
        assert (found.scores == -np.inf).all()


def test_a_run_records_where_each_cell_was_scored(device, run_cli, tmp_path):
    """Of one grid, the alignment on the GPU and the means on the CPU; the figures are those of a run without one."""
    rows = []
    for speaker, word, hz in (("Ana", "ma", 200), ("Ana", "mo", 330), ("Bo", "ma", 210), ("Bo", "mo", 340)):
        path = write_tone(tmp_path / "archive" / f"{speaker} {word}.wav", hz=hz, seconds=0.1)
        rows.append({"path": path.name, "speaker": speaker, "keyword": word, "transcript": word})
    write_manifest(tmp_path / "archive", rows)
    grid = ("--encoder", "mfcc", "--matcher", "sdtw", "--matcher", "meanpool")
    data = f"manifest:path={tmp_path / 'archive'}"
    boards = {}
    for name in ("cuda", "cpu"):
        code, _, err = run_cli("run", "--dataset", data, *grid, "--device", name, "--board", tmp_path / name)
        assert code == 0, err
        boards[name] = {record.combination.matcher: record for record in results.load_all(tmp_path / name)}
    assert {matcher: record.provenance["scored_on"] for matcher, record in boards["cuda"].items()} == {
        "sdtw": "cuda",
        "meanpool": "cpu",
    }
    for matcher, record in boards["cuda"].items():
        other = boards["cpu"][matcher]
        assert other.provenance["scored_on"] == "cpu"
        assert record.fingerprint == other.fingerprint
        assert record.conditions == other.conditions
