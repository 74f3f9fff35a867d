"""The whole way, in processes of its own, as a user goes it: kill, resume, fail, go on."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from kwsbench import plugins, results
from kwsbench.paths import cache_dir
from kwsbench.runner import measure
from kwsbench.spec import Spec
from kwsbench.survey import open_dataset
from kwsbench.types import Frames
from tests.archives import write_tone
from tests.slow_plugin import SLOW, arguments, scores


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "slow plugin.py"
    path.write_text(SLOW)
    return path


def test_a_grid_end_to_end(run_cli, archive, plugin, tmp_path):
    board = tmp_path / "board"
    grid = ["--encoder", "slow", "--transform", "none", "--transform", "center:scope=speaker", "--matcher", "sdtw",
            "--matcher", "mine", "--matcher", "random"]  # fmt: skip
    code, out, err = run_cli(*arguments(archive, plugin, board, *grid))
    assert (code, out) == (0, ""), err
    assert "12 cells scored, 0 were recorded already" in err
    record = next(r for r in results.load_all(board) if "center" in r.combination.transform)
    assert record.data.queries == 6
    assert record.data.query_material == {"other_recordings": 6, "source_recording": 0, "itself": 0}
    assert set(record.conditions) == {"across/isolated", "across/inside", "within/inside"}
    assert record.conditions["across/isolated"].queries_without_positives == 0
    code, _, err = run_cli(*arguments(archive, plugin, board, *grid))
    assert code == 0
    assert "0 cells scored, 12 were recorded already" in err


def test_a_dry_run_shows_the_cells_and_writes_nothing(run_cli, archive, plugin, tmp_path):
    board = tmp_path / "board"
    run_cli(*arguments(archive, plugin, board, "--encoder", "slow@0"))
    before = sorted(board.rglob("*"))
    code, out, err = run_cli(*arguments(archive, plugin, board, "--encoder", "slow", "--dry-run"))
    assert code == 0
    states = [line.split()[:2] for line in out.splitlines()]
    assert [s[0] for s in states] == ["recorded", "to"]
    assert "2 cells: 1 recorded, 1 to do" in err
    assert sorted(board.rglob("*")) == before


def test_a_waveform_is_encoded_once_for_all_layers_and_never_again(run_cli, archive, plugin, tmp_path):
    log = tmp_path / "log.txt"
    run_cli(*arguments(archive, plugin, tmp_path / "b1", "--encoder", f"slow:log={log}"))
    assert log.read_text().splitlines() == ["0,1"] * 8
    run_cli(*arguments(archive, plugin, tmp_path / "b2", "--encoder", f"slow:log={log}", "--distance", "euclidean"))
    assert len(log.read_text().splitlines()) == 8


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_goes_on_and_ends_as_if_it_never_was(
    run_cli, archive, plugin, tmp_path, monkeypatch, stop
):
    log = tmp_path / "log.txt"
    # The plugin waits while it encodes, so that the first stop hits the middle of that.
    grid = ["--encoder", f"slow:log={log},wait_s=0.15", "--transform", "none", "--transform", "whiten", "--workers", 1]
    command = [sys.executable, "-m", "kwsbench", *map(str, arguments(archive, plugin, tmp_path / "b", *grid))]
    for waited_for in ("encoding", "records"):
        # A shell that puts the tests into the background has them, and so this process, ignore interrupts.
        process = subprocess.Popen(
            command,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - there is one thread
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            ready = (
                log.exists() if waited_for == "encoding" else len(list((tmp_path / "b").glob("results/*.json"))) >= 1
            )
            if ready:
                break
            time.sleep(0.005)
        if process.poll() is None:
            os.kill(process.pid, stop)
        ended = process.wait()
        if waited_for == "encoding":
            assert ended == (-signal.SIGKILL if stop == signal.SIGKILL else 130), "it was done before it was stopped"
            assert not list((tmp_path / "b").glob("results/*.json"))
    code, _, err = run_cli(*arguments(archive, plugin, tmp_path / "b", *grid))
    assert code == 0, err
    monkeypatch.setenv("KWSBENCH_CACHE", str(tmp_path / "another cache"))
    code, _, err = run_cli(*arguments(archive, plugin, tmp_path / "whole", *grid))
    assert code == 0, err
    assert scores(tmp_path / "b") == scores(tmp_path / "whole")
    assert len(scores(tmp_path / "b")) == 4
    assert not list((tmp_path / "b" / "results").glob(".*"))


@pytest.mark.parametrize(
    ("fail_on", "message"),
    [
        ("nan", "slow:fail_on=nan on manifest/my archive ŋ on Ana ma.wav (Ana ma.wav): layer 0 holds NaN or infinity"),
        ("shape", "layer 0 is float64 (7,), expected floats (frames, dims)"),
        ("raise", "RuntimeError: out of luck"),
    ],
)
def test_an_encoder_that_fails_is_a_record_and_the_others_go_on(run_cli, archive, plugin, tmp_path, fail_on, message):
    board = tmp_path / "board"
    grid = ["--encoder", f"slow@0:fail_on={fail_on}", "--encoder", "slow@0"]
    code, _, err = run_cli(*arguments(archive, plugin, board, *grid))
    assert code == 1
    assert message in err
    failed, good = sorted(results.load_all(board), key=lambda r: r.error is None)
    assert message in failed.error
    assert good.conditions
    assert ("traceback" in failed.provenance) == (fail_on == "raise")


def test_one_bad_distance_does_not_spoil_its_tile(run_cli, archive, plugin, tmp_path):
    board = tmp_path / "board"
    code, _, err = run_cli(
        *arguments(archive, plugin, board, "--encoder", "slow@0", "--distance", "bad", "--distance", "cosine")
    )
    assert code == 1
    assert "failed: 1 cell: ZeroDivisionError: no distance" in err
    by_distance = {r.combination.distance: r.error for r in results.load_all(board)}
    assert by_distance == {"bad": "ZeroDivisionError: no distance", "cosine": None}
    code, out, _ = run_cli("leaderboard", board, "--view", "all")
    assert code == 0
    assert "1 of 1 cells failed: ZeroDivisionError: no distance" in out


def test_a_failed_cell_is_tried_again(run_cli, archive, plugin, tmp_path):
    board = tmp_path / "board"
    run_cli(*arguments(archive, plugin, board, "--encoder", "slow@0", "--distance", "bad"))
    _, out, _ = run_cli(*arguments(archive, plugin, board, "--encoder", "slow@0", "--distance", "bad", "--dry-run"))
    assert out.startswith("failed before")


def test_copies_of_a_recording_are_refused(run_cli, archive, plugin, tmp_path):
    shutil.copy(archive / "Ana ma.wav", archive / "Ɓen ma.wav")
    code, _, err = run_cli(*arguments(archive, plugin, tmp_path / "b", "--encoder", "slow@0"))
    assert code == 2
    assert "Ana ma.wav and Ɓen ma.wav hold the same audio; leave one out, or give both the same speaker" in err


def test_memory_and_workers_change_no_figure(run_cli, archive, plugin, tmp_path):
    write_tone(archive / "Ana ma.wav", seconds=0.01)  # a block of nothing but this one has no frame
    for name, memory, workers in (("a", "1K", 4), ("b", "2GB", 1)):
        options = (
            "--encoder",
            "slow@0",
            "--matcher",
            "sdtw",
            "--matcher",
            "mine",
            "--memory",
            memory,
            "--workers",
            workers,
        )
        code, _, err = run_cli(*arguments(archive, plugin, tmp_path / name, *options))
        assert code == 0, err
    assert scores(tmp_path / "a") == scores(tmp_path / "b")


def test_too_short_silent_stereo_and_8_khz_clips_are_counted_and_stay_in_the_trials(run_cli, archive, plugin, tmp_path):
    write_tone(archive / "Ana ma.wav", seconds=0.01)
    write_tone(archive / "Ana ŋko.wav", rate_hz=8000)
    write_tone(archive / "Ana təla.wav", channels=2)
    soundfile.write(archive / "Ɓen təla.wav", np.zeros(8000, np.float32), 16_000)
    board = tmp_path / "board"
    code, _, err = run_cli(*arguments(archive, plugin, board, "--encoder", "slow@0", "--encoder", "mfcc",
                                      "--transform", "none", "--transform", "standardize:scope=utterance"))  # fmt: skip
    assert code == 0, err
    for record in results.load_all(board):
        assert record.data.too_short == 1
        assert record.data.audio == {"averaged 2 channels": 1, "resampled from 8000 Hz": 1}
        assert record.data.queries == 6
        found = record.conditions["across/isolated"]
        at = found.per_keyword.keyword.index("ma")
        # One of the two "ma" has no frame: as a query it is tied throughout, as an utterance it is last.
        assert found.per_keyword.metrics["map"][at] < 0.5


def test_a_record_holds_what_it_promises(run_cli, archive, plugin, tmp_path):
    board = tmp_path / "board"
    run_cli(*arguments(archive, plugin, board, "--encoder", "slow@0", "--memory", "50MB"))
    path = next((board / "results").glob("*.json"))
    raw = json.loads(path.read_text())
    assert raw["provenance"]["packages"]["numpy"] == np.__version__
    assert "hostname" not in path.read_text()
    assert set(raw["costs"]) == {"encode_s", "encode_real_time_factor", "fit_s", "score_s", "cells", "metrics_s",
                                 "peak_memory_mb"}  # fmt: skip
    assert set(raw["isotropy"]) == {"before", "after"}
    assert raw["identity"]["encoder"]["version"]


def test_score_norms_see_neither_the_own_recording_nor_missing_scores(run_cli, archive, plugin, tmp_path):
    """tnorm again, in plain loops, from the raw scores that the run kept."""
    write_tone(archive / "Ana ma.wav", seconds=0.01)  # no frame: -inf as a query and as an utterance
    board = tmp_path / "board"
    code, _, err = run_cli(*arguments(archive, plugin, board, "--encoder", "mfcc",
                                      "--matcher", "sdtw", "--matcher", "sdtw+tnorm"))  # fmt: skip
    assert code == 0, err
    scores = {}
    for record in results.load_all(board):
        with np.load(cache_dir() / "scores" / f"{record.fingerprint[:24]}.npz") as kept:
            scores[record.combination.matcher] = kept["scores"]
    raw, normed = scores["sdtw"], scores["sdtw+tnorm"]
    assert np.isinf(raw).any()
    assert (np.isinf(raw) == np.isinf(normed)).all()
    data = open_dataset(Spec("manifest", "", {"path": str(archive)}), plugins.load(), prepare=False)
    clips = data.dataset.clips
    own = np.array([[clips[q].recording == clips[u].recording for u in data.trials.utterances]
                    for q in data.trials.queries])  # fmt: skip
    assert (own.sum(axis=1) == 1).all()
    for column in range(raw.shape[1]):
        used = [value for value, mine in zip(raw[:, column], own[:, column], strict=True)
                if np.isfinite(value) and not mine]  # fmt: skip
        if len(used) > 1:
            mean = sum(used) / len(used)
            deviation = (sum((value - mean) ** 2 for value in used) / len(used)) ** 0.5
            finite = np.isfinite(raw[:, column])
            want = (raw[finite, column] - mean) / deviation
            assert normed[finite, column] == pytest.approx(want, rel=1e-3, abs=1e-3)


def test_profile_says_where_the_time_went(run_cli, archive, tmp_path):
    folder = str(archive).replace(" ", "%20")
    asked = ("run", "--dataset", f"manifest:path={folder}", "--encoder", "mfcc", "--board", tmp_path / "b", "--profile")
    code, _, err = run_cli(*asked)
    assert code == 0, err
    table = err[err.index("stage ") : err.index("cells scored")]
    rows = [line.rsplit(maxsplit=2) for line in table.splitlines()[2:-2]]
    names = [name for name, _, share in rows if share.endswith("%")]
    assert {"encoding", "scoring", "metrics", "isotropy", "opening data and encoders"} <= set(names)
    seconds = [float(value) for _, value, share in rows if share.endswith("%")]
    whole = float(re.search(r"in all +([0-9.]+)", table)[1])
    assert abs(sum(seconds) - whole) < 0.1 * len(seconds)


def test_isotropy_is_measured_again_unless_no_frame_changed(archive):
    data = open_dataset(Spec("manifest", "", {"path": str(archive)}), plugins.load(), prepare=False)
    rng = np.random.default_rng(0)
    frames = [rng.normal(size=(int(n), 4)).astype(np.float32) for n in 3 + np.arange(len(data.trials.utterances)) % 5]
    before = measure(Frames.join(frames), data.trials)
    assert measure(Frames.join([item.copy() for item in frames]), data.trials, before=before) is before
    frames[-1] = frames[-1] + np.float32(0.5)
    after = measure(Frames.join(frames), data.trials, before=before)
    assert after.isotropy == measure(Frames.join(frames), data.trials).isotropy
    assert after.isotropy != before.isotropy


def test_reduced_precision_is_another_record_and_another_table(run_cli, archive, tmp_path):
    folder = str(archive).replace(" ", "%20")
    board = tmp_path / "b"
    asked = ("run", "--dataset", f"manifest:path={folder}", "--encoder", "mfcc", "--board", board)
    assert run_cli(*asked)[0] == 0
    code, _, err = run_cli(*asked, "--precision", "int8")
    assert code == 0, err
    assert "1 cells scored, 0 were recorded already" in err
    records = {record.protocol: record for record in results.load_all(board)}
    assert set(records) == {"strict", "strict, int8 products"}
    assert len({record.fingerprint for record in records.values()}) == 2
    assert not (board / "results" / "superseded").exists()
    code, _, err = run_cli("leaderboard", board)
    assert code == 2
    assert "protocols" in err
