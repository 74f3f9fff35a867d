"""What a user installs: a wheel that holds every plugin, with the nano encoders' weights and their licences."""

import os
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT

CODE = """
import pathlib, kwsbench, kwsbench_plugins.nano
from kwsbench import page, plugins
from kwsbench.spec import parse
assert pathlib.Path(kwsbench.__file__).parents[1] == pathlib.Path(TARGET), kwsbench.__file__
assert pathlib.Path(kwsbench_plugins.nano.__file__).is_relative_to(TARGET)
registry = plugins.load()
assert registry.broken == {}, registry.broken
print(len(registry.create("encoders", parse("nano-hubert")).layers), len(registry.all()))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_a_wheel_works_like_the_checkout(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = CODE.replace("TARGET", repr(str(tmp_path)))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    layers, count = map(int, done.stdout.split())
    assert layers == 8
    assert count > 25


def test_licences_travel_with_the_weights(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for model in ("nano-hubert", "nano-wav2vec2"):
        assert f"kwsbench_plugins/nano/{model}/model.safetensors" in names
    assert "kwsbench_plugins/nano/README.md" in names
    assert any(name.endswith("licenses/plugins/nano/LICENSES.md") for name in names)
    assert not any(name.startswith(("datasets/", "tests/", "leaderboards/")) for name in names)
