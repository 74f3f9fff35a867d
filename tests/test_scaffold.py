"""What `kwsbench plugins new` writes must run and keep its contract before its author has changed a letter."""

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from kwsbench import plugins, scaffold, testing
from kwsbench.errors import KwsbenchError

VERSION = version("kwsbench")
NO_NAME = "cannot be typed as a name; use a-z, 0-9, '.', '_', '/' and '-', beginning with a letter or digit"
KINDS = ("encoder", "transform", "distance", "matcher", "score-norm", "dataset")


def dataset(archive):
    """The small archive where a template's command names recordings that would have to be fetched."""
    return f"manifest:path={archive}".replace(" ", "%20")


def test_there_is_a_template_for_each_kind_of_plugin():
    assert [scaffold.kind_of(kind) for kind in KINDS] == list(plugins.KINDS)
    assert scaffold.kind_of("score_norm") == "score_norms"


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_file_passes_its_check_and_the_commands_it_shows_run(run_cli, archive, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    made = scaffold.new(kind, "first-try", Path())
    assert made.files == [Path("first_try.py")]
    check, run = map(shlex.split, made.commands)
    code, out, err = run_cli(*check[1:])
    assert code == 0, out + err
    assert out == f"ok   {scaffold.kind_of(kind)} first-try\n"
    # The archive is smaller than any sample of it.
    arguments = [dataset(archive) if word == "prompts/it" else word for word in run[1:] if word != "--quick"]
    code, _, err = run_cli(*arguments, "--board", "board")
    assert code == 0, err
    assert "first-try" in run_cli("leaderboard", "board", "--view", "all")[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["clip", "3d", "class", "a.b/c_d-e", "x/my_plugin", "kind", "true"])
def test_any_legal_name_will_do(own_cache, tmp_path, kind, name):
    """Names that Python keeps for itself, that begin with a digit, or that stand in the template for something else."""
    (path,) = scaffold.new(kind, name, tmp_path).files
    assert testing.check_file(path) == [testing.Finding(scaffold.kind_of(kind), name, [])]
    assert "my-plugin" not in path.read_text()
    assert not re.search(r"\bMyPlugin\b", path.read_text())


def test_what_is_called_after_the_name():
    assert scaffold._joined("a.b/c_d-e", "_") == "a_b_c_d_e"  # noqa: SLF001
    assert scaffold._class_name("class MyPlugin: ...", "encoders", "log-bands") == "LogBands"  # noqa: SLF001
    assert scaffold._class_name("from x import Clip", "score_norms", "clip") == "ScoreNormClip"  # noqa: SLF001


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("encoders", "mine", "unknown kind of plugin 'encoders'. Did you mean 'encoder'?"),
        ("model", "mine", f"unknown kind of plugin 'model'. Known: {', '.join(sorted(KINDS))}"),
        ("encoder", "Mine", f"'Mine' {NO_NAME}"),
        ("encoder", "../mine", f"'../mine' {NO_NAME}"),
        ("encoder", "mfcc", f"encoder 'mfcc' is registered already, by kwsbench {VERSION}; choose another name"),
        (
            "score-norm",
            "tnorm",
            f"score norm 'tnorm' is registered already, by kwsbench {VERSION}; choose another name",
        ),
    ],
)
@pytest.mark.parametrize("package", [False, True])
def test_a_mistake_writes_nothing(tmp_path, kind, name, message, package):
    with pytest.raises(KwsbenchError) as caught:
        scaffold.new(kind, name, tmp_path / "new", package=package)
    assert str(caught.value) == message
    assert not (tmp_path / "new").exists()


def test_a_name_is_taken_only_among_its_own_kind(tmp_path):
    (path,) = scaffold.new("encoder", "center", tmp_path / "to" / "be made").files
    assert path == tmp_path / "to" / "be made" / "center.py"


@pytest.mark.parametrize("package", [False, True])
def test_nothing_is_overwritten(tmp_path, package):
    files = scaffold.new("matcher", "a-b", tmp_path, package=package).files
    kept = files[-1]
    for path in files[:-1]:
        path.unlink()
    kept.write_text("an afternoon's work")
    with pytest.raises(KwsbenchError) as caught:
        scaffold.new("matcher", "a.b", tmp_path, package=package)  # another name, the same file
    assert str(caught.value) == f"{kept} is there already; remove it, choose another name or another folder"
    assert kept.read_text() == "an afternoon's work"
    assert not any(path.exists() for path in files[:-1])


def test_a_folder_with_a_space_is_quoted_in_the_commands(tmp_path):
    made = scaffold.new("encoder", "bands", tmp_path / "my plugins")
    assert shlex.split(made.commands[0]) == ["kwsbench", "check", str(tmp_path / "my plugins" / "bands.py")]
    assert shlex.split(made.commands[1])[3] == str(tmp_path / "my plugins" / "bands.py")
    made = scaffold.new("encoder", "bands", tmp_path / "my plugins", package=True)
    assert shlex.split(made.commands[1]) == ["pytest", str(tmp_path / "my plugins" / "kwsbench-bands")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_holds_what_the_file_would(own_cache, tmp_path, kind):
    made = scaffold.new(kind, "lab/a.b", tmp_path, package=True)
    root = tmp_path / "kwsbench-lab-a-b"
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert project["project"]["name"] == root.name
    (module,) = project["project"]["entry-points"]["kwsbench"].values()
    path = root / "src" / module / "__init__.py"
    assert set(made.files) == {file for file in root.rglob("*") if file.is_file()}
    assert testing.check_file(path) == [testing.Finding(scaffold.kind_of(kind), "lab/a.b", [])]
    # The code is the file's to the letter; only the commands to try are other ones.
    (alone,) = scaffold.new(kind, "lab/a.b", tmp_path).files
    bodies = [ast.dump(ast.Module(ast.parse(file.read_text()).body[1:], [])) for file in (path, alone)]
    assert bodies[0] == bodies[1]
    for text in (path.read_text(), (root / "README.md").read_text()):
        assert "--plugin" not in text
        assert "…" not in text.partition('"""\n\nimport')[0].partition("kwsbench run")[2].partition("\n")[0]
        assert "lab/a.b" in text.partition("kwsbench run")[2].partition("\n")[0]


def test_a_package_installs_and_passes_its_own_tests(tmp_path):
    """As its author would, but into a folder, and without a network."""
    made = scaffold.new("distance", "lab/a.b", tmp_path, package=True)
    root, site = tmp_path / "kwsbench-lab-a-b", tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*install, "--target", site, root], check=True, capture_output=True)
    assert made.commands == [f"pip install -e {root}", f"pytest {root}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", root],
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_contract[distance-lab/a.b] PASSED" in done.stdout
    assert "1 passed" in done.stdout
