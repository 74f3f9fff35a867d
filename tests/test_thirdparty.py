"""A stranger's package, really built, installed beside kwsbench, run, tested by its own suite and removed."""

import json
import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.archives import write_manifest, write_tone

PACKAGE = Path(__file__).parent / "thirdparty"
NAMES = {"encoders": "autocorrelation", "transforms": "mean-length", "distances": "chord"}


class Environment:
    """A virtual environment of its own that also sees what the one of these tests has, kwsbench among it.

    Nothing is fetched: builds use the setuptools that is there.
    """

    def __init__(self, folder):
        self.folder = folder
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        self.bin = folder / "venv" / "bin"
        paths = sysconfig.get_paths(vars={"base": folder / "venv", "platbase": folder / "venv"})
        # addsitedir, unlike a bare path, also reads the .pth file of an editable install.
        host = f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n"
        (Path(paths["purelib"]) / "zz_host.pth").write_text(host)
        for command in ("kwsbench", "pip", "pytest"):
            script = self.bin / command
            script.write_text(f'#!/bin/sh\nexec "{self.bin}/python" -P -m {command} "$@"\n')
            script.chmod(0o755)

    def run(self, *command, cwd=None):
        """The command in this environment: a CompletedProcess, its output as text."""
        variables = {
            **os.environ,
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "KWSBENCH_CACHE": str(self.folder / "cache"),
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads 0 as: no isolation
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }
        return subprocess.run(
            command, env=variables, cwd=cwd or self.folder, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    """What each command printed in the life of the package, in order."""
    folder = tmp_path_factory.mktemp("thirdparty")
    environment = Environment(folder)
    source = shutil.copytree(PACKAGE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    for speaker, shift in (("ana", 1.0), ("ben", 1.15)):
        for word, hz in (("low", 200), ("middle", 330), ("high", 520)):
            write_tone(folder / "tones" / f"{word}-{speaker}.wav", hz=hz * shift)
    rows = [
        {"path": path.name, "keyword": path.stem.partition("-")[0], "speaker": path.stem.partition("-")[2]}
        for path in sorted((folder / "tones").iterdir())
    ]
    write_manifest(folder / "tones", rows)
    run = ("kwsbench", "run", "--dataset", f"manifest:path={folder / 'tones'}", "--encoder", NAMES["encoders"],
           "--transform", f"{NAMES['transforms']}:scope=speaker", "--distance", NAMES["distances"],
           "--board", folder / "board")  # fmt: skip
    return {
        "install": environment.run("pip", "install", source),
        "plugins": environment.run("kwsbench", "plugins", "--json"),
        "table": environment.run("kwsbench", "plugins", "encoders"),
        "run": environment.run(*run),
        "record": [json.loads(path.read_text()) for path in (folder / "board" / "results").glob("*.json")],
        "pytest": environment.run("pytest", "-v", "-p", "no:cacheprovider", source / "tests"),
        "uninstall": environment.run("pip", "uninstall", "--yes", "kwsbench-thirdparty"),
        "plugins after": environment.run("kwsbench", "plugins", "--json"),
        "run after": environment.run(*run),
        "leaderboard after": environment.run("kwsbench", "leaderboard", folder / "board"),
    }


def test_it_is_listed_with_its_owner_and_version(life):
    assert life["install"].returncode == 0, life["install"].stderr
    listed = {(p["kind"], p["name"]): p for p in json.loads(life["plugins"].stdout)}
    for kind, name in NAMES.items():
        assert listed[kind, name]["owner"] == "kwsbench-thirdparty"
        assert listed[kind, name]["version"] == "2.3.1"
    (row,) = [line for line in life["table"].stdout.splitlines() if line.lstrip().startswith("autocorrelation")]
    for words in ("Autocorrelation of 40 ms frames", "lags=40", "kwsbench-thirdparty"):
        assert words in row


def test_a_run_scores_with_it_and_its_record_names_it(life):
    assert life["run"].returncode == 0, life["run"].stderr
    (record,) = life["record"]
    assert record["error"] is None
    assert record["conditions"]["across/isolated"]["queries"] == 6
    identity = record["identity"]
    for part, name in zip((identity["encoder"], *identity["transform"], identity["distance"]), NAMES.values(),
                          strict=True):  # fmt: skip
        assert (part["name"], part["owner"], part["version"]) == (name, "kwsbench-thirdparty", "2.3.1")
    assert identity["encoder"]["params"] == {"lags": "40"}


def test_its_own_tests_pass_through_the_pytest_plugin(life):
    assert life["pytest"].returncode == 0, life["pytest"].stdout + life["pytest"].stderr
    for kind, name in NAMES.items():
        assert f"test_contract[{kind.removesuffix('s')}-{name}] PASSED" in life["pytest"].stdout
    assert "4 passed" in life["pytest"].stdout


def test_once_removed_it_leaves_kwsbench_and_its_records_whole(life):
    assert life["uninstall"].returncode == 0, life["uninstall"].stderr
    assert life["plugins after"].returncode == 0
    before, after = (json.loads(life[key].stdout) for key in ("plugins", "plugins after"))
    assert after == [plugin for plugin in before if plugin["owner"] != "kwsbench-thirdparty"]
    assert len(after) == len(before) - 3
    assert life["run after"].returncode == 2
    # The first axis that is looked at: every message is one line.
    assert life["run after"].stderr.startswith("error: unknown encoder 'autocorrelation'. ")
    assert life["run after"].stderr.count("\n") == 1
    assert life["leaderboard after"].returncode == 0
    assert "autocorrelation" in life["leaderboard after"].stdout
