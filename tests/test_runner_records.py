"""What becomes of records: which supersede which, what a failure leaves, and when cells are the same."""

import numpy as np
import pytest

from kwsbench import results
from tests.slow_plugin import SLOW, arguments, scores


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "slow plugin.py"
    path.write_text(SLOW)
    return path


def test_a_changed_archive_supersedes_its_records_and_loses_none(run_cli, archive, plugin, tmp_path):
    board = tmp_path / "board"
    run_cli(*arguments(archive, plugin, board, "--encoder", "slow@0", "--transform", "whiten"))
    run_cli(*arguments(archive, plugin, board, "--encoder", "slow@0", "--transform", "whiten:eps=0.5"))
    before = scores(board)
    assert len(before) == 2
    table = archive / "manifest.tsv"
    table.write_text(table.read_text().replace("So: ma,", "So: ko,"))
    code, _, err = run_cli(*arguments(archive, plugin, board, "--encoder", "slow@0", "--transform", "whiten"))
    assert code == 0
    assert "1 older records of the same cells went to" in err
    (kept,) = (board / "results" / "superseded").glob("*.json")
    assert results.load(kept).fingerprint in before
    code, _, err = run_cli("leaderboard", board)
    assert code == 2
    assert "the board mixes data digests" in err
    run_cli(*arguments(archive, plugin, board, "--encoder", "slow@0", "--transform", "whiten:eps=0.5"))
    assert run_cli("leaderboard", board)[0] == 0
    assert not set(scores(board)) & set(before)


def test_an_edited_plugin_supersedes_its_records(run_cli, archive, plugin, tmp_path):
    board = tmp_path / "board"
    run_cli(*arguments(archive, plugin, board, "--encoder", "slow@0"))
    plugin.write_text(plugin.read_text() + "# edited")
    run_cli(*arguments(archive, plugin, board, "--encoder", "slow@0"))
    assert len(scores(board)) == 1
    assert run_cli("leaderboard", board)[0] == 0


def test_a_failure_never_takes_the_place_of_a_figure(run_cli, archive, plugin, tmp_path, monkeypatch):
    """Two runs at once, one of which runs out of luck after the other is done."""
    board = tmp_path / "board"
    run_cli(*arguments(archive, plugin, board, "--encoder", "slow@0"))
    good = scores(board)
    monkeypatch.setattr("kwsbench.cli_run.recorded_cells", lambda board: {})
    monkeypatch.setattr("kwsbench.engine.score_grid", lambda *_, **__: 1 / 0)
    code, _, err = run_cli(*arguments(archive, plugin, board, "--encoder", "slow@0"))
    assert code == 1, err
    assert scores(board) == good


def test_an_edit_that_fails_leaves_the_figure_and_says_so_until_it_is_mended(run_cli, archive, plugin, tmp_path):
    board, text = tmp_path / "board", plugin.read_text()
    run_cli(*arguments(archive, plugin, board, "--encoder", "slow@0"))
    (good,) = scores(board)
    plugin.write_text(text.replace("time.sleep(self.wait_s)", "raise RuntimeError('typo')"))
    assert run_cli(*arguments(archive, plugin, board, "--encoder", "slow@0"))[0] == 1
    assert good in scores(board)
    assert "1 of 2 cells failed: RuntimeError: typo" in run_cli("leaderboard", board)[1]
    plugin.write_text(text + "# mended")
    assert run_cli(*arguments(archive, plugin, board, "--encoder", "slow@0"))[0] == 0
    assert len(scores(board)) == 1
    assert "failed" not in run_cli("leaderboard", board)[1]


def test_an_encoder_that_could_not_be_had_is_forgotten_once_it_can(run_cli, archive, plugin, tmp_path):
    board, text = tmp_path / "board", plugin.read_text()
    init = "self.wait_s, self.fail_on"
    plugin.write_text(text.replace(init, "raise OSError('no hub'); self.wait_s, self.fail_on"))
    code, _, err = run_cli(*arguments(archive, plugin, board, "--encoder", "slow"))
    assert code == 1
    assert "OSError: no hub" in err
    assert "no hub" in run_cli("leaderboard", board)[1]
    plugin.write_text(text)
    assert run_cli(*arguments(archive, plugin, board, "--encoder", "slow"))[0] == 0
    assert "no hub" not in run_cli("leaderboard", board)[1]


def test_content_behind_a_path_is_part_of_the_fingerprint(run_cli, archive, tmp_path):
    plugin, matrix, board = tmp_path / "p.py", tmp_path / "w.npy", tmp_path / "board"
    plugin.write_text(
        "from pathlib import Path\nimport numpy as np\nimport kwsbench\n"
        "class T:\n    'A matrix from a file.'\n    def __init__(self, path: Path):\n        self.w = np.load(path)\n"
        "    def fit(self, frames):\n        return lambda x: x * self.w\n"
        "@kwsbench.hookimpl\ndef register_transforms(register):\n    register('scaled', T)\n"
    )
    found = []
    for weight in (1.0, 3.0):
        np.save(matrix, weight)
        run_cli(*arguments(archive, plugin, board, "--encoder", "mfcc", "--transform", f"scaled:path={matrix}"))
        found += scores(board)
    assert len(set(found)) == 2


def test_the_same_cell_written_in_two_ways_is_scored_once(run_cli, archive, plugin, tmp_path):
    ways = [
        "--transform",
        "center",
        "--transform",
        "center:scope=corpus",
        "--encoder",
        "mfcc",
        "--encoder",
        "mfcc:n_ceps=13",
    ]
    _, out, _ = run_cli(*arguments(archive, plugin, tmp_path / "b", *ways, "--dry-run"))
    assert len(out.splitlines()) == 1


def test_the_order_of_the_table_changes_nothing(run_cli, archive, plugin, tmp_path):
    board, table = tmp_path / "board", archive / "manifest.tsv"
    chosen = ("--encoder", "slow@0", "--matcher", "random", "--matcher", "sdtw")
    run_cli(*arguments(archive, plugin, board, *chosen))
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([header, *rows[::-1]]))
    run_cli(*arguments(archive, plugin, tmp_path / "other", *chosen))
    assert scores(board) == scores(tmp_path / "other")


def test_defaults_that_are_written_out_are_the_same_cell(run_cli, archive, plugin, tmp_path):
    board = tmp_path / "board"
    run_cli(*arguments(archive, plugin, board, "--encoder", "slow@0"))
    _, out, _ = run_cli(*arguments(archive, plugin, board, "--encoder", "slow@0:wait_s=0.0", "--dry-run"))
    assert out.startswith("recorded")
