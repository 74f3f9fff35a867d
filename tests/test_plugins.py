import subprocess
import sys

import pytest

from kwsbench import plugins
from kwsbench.errors import KwsbenchError, PluginError
from kwsbench.spec import parse

ENCODER = '''
import numpy as np
import kwsbench

class Loudness:
    """Energy of 20 ms frames, in decibels."""

    layers = ("0",)
    frame_shift_s, first_centre_s, min_samples = 0.02, 0.01, 320

    def __init__(self, floor_db: float = -80.0, odd: bool = False):
        self.floor_db = floor_db

    def encode(self, samples, layers):
        energy = (samples[: len(samples) // 320 * 320].reshape(-1, 320) ** 2).mean(axis=1)
        return {"0": np.maximum(10 * np.log10(energy + 1e-12), self.floor_db)[:, None]}

@kwsbench.hookimpl
def register_encoders(register):
    register("loudness", Loudness)
'''


def write(tmp_path, text, name="mine.py"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_every_built_in_loads_and_says_what_it_is():
    registry = plugins.load()
    assert registry.broken == {}
    for plugin in registry.all():
        assert plugin.summary, plugin.name
        assert plugin.owner == "kwsbench"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("encoders", "mfcc fbank hf nano-hubert nano-wav2vec2 wavlm-base-plus wavlm-large"),
        ("encoders", "wav2vec2-base wav2vec2-large xlsr-53 xls-r-300m hubert-base hubert-large"),
        ("transforms", "none center standardize whiten abtt"),
        ("distances", "cosine angular exp-cosine neglog-cosine euclidean sqeuclidean"),
        ("matchers", "sdtw dtw meanpool random"),
        ("datasets", "prompts/fr prompts/it prompts/es fsdd manifest"),
    ],
)  # fmt: skip
def test_the_promised_names_are_there(kind, names):
    assert set(names.split()) <= set(plugins.load().plugins[kind])


def test_a_single_file_is_a_plugin(tmp_path):
    registry = plugins.load([write(tmp_path, ENCODER)])
    plugin = registry.find("encoders", "loudness")
    assert plugin.summary == "Energy of 20 ms frames, in decibels."
    assert plugin.signature == "floor_db=-80.0, odd=false"
    assert registry.create("encoders", parse("loudness:floor_db=-60")).floor_db == -60.0


def test_the_version_of_a_file_is_its_content(tmp_path):
    one = plugins.load([write(tmp_path, ENCODER)]).find("encoders", "loudness").version
    two = plugins.load([write(tmp_path, ENCODER + "# changed")]).find("encoders", "loudness").version
    assert one != two


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("loudnes", "unknown encoder 'loudnes'. Did you mean 'loudness'?"),
        ("loudness:flor_db=1", "loudness has no parameter 'flor_db'. Did you mean 'floor_db'?"),
        ("loudness:floor_db=loud", "loudness:floor_db=loud: expected float"),
        ("loudness:odd=yes", "loudness:odd=yes: expected true or false"),
    ],
)
def test_a_wrong_name_or_parameter_is_one_line_with_a_suggestion(tmp_path, spec, message):
    registry = plugins.load([write(tmp_path, ENCODER)])
    with pytest.raises(KwsbenchError) as caught:
        registry.create("encoders", parse(spec))
    assert str(caught.value) == message


def test_a_missing_parameter_is_named():
    with pytest.raises(KwsbenchError, match="manifest needs 'path'; write manifest:path=…"):
        plugins.load().create("datasets", parse("manifest"))


def test_the_same_name_twice_names_both_owners(tmp_path):
    first, second = write(tmp_path, ENCODER, "a.py"), write(tmp_path, ENCODER, "b.py")
    with pytest.raises(PluginError) as caught:
        plugins.load([first, second])
    assert str(caught.value) == (
        f"encoder 'loudness' is registered twice, by {first} and by {second}; rename one of them"
    )


def test_a_misspelt_hook_suggests_the_right_one(tmp_path):
    path = write(tmp_path, ENCODER.replace("register_encoders", "register_encoder"))
    with pytest.raises(PluginError, match=r"no hook is called 'register_encoder'\. Did you mean 'register_encoders'\?"):
        plugins.load([path])


def test_a_file_that_fails_on_import_says_why(tmp_path):
    path = write(tmp_path, "import no_such_module_at_all")
    with pytest.raises(PluginError) as caught:
        plugins.load([path])
    assert str(caught.value) == (
        f"{path} could not be imported: ModuleNotFoundError: No module named 'no_such_module_at_all'"
    )


def test_a_file_without_hooks_says_what_is_missing(tmp_path):
    path = write(tmp_path, ENCODER.replace("@kwsbench.hookimpl", ""))
    with pytest.raises(PluginError, match=r"registers nothing; mark its hooks with @kwsbench\.hookimpl"):
        plugins.load([path])


def test_no_such_file():
    with pytest.raises(KwsbenchError, match=r"no plugin file nowhere\.py; --plugin takes the path of a \.py file"):
        plugins.load([plugins.Path("nowhere.py")])


def test_a_broken_installed_plugin_takes_nobody_down(tmp_path):
    """A real distribution whose entry point fails, on the path of a process of its own."""
    (tmp_path / "sad_plugin.py").write_text("raise RuntimeError('no licence file')")
    info = tmp_path / "sad_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sad-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kwsbench]\nsad = sad_plugin\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from kwsbench import plugins; r = plugins.load();"
        "print(r.broken); r.find('encoders', 'mfcc'); r.find('encoders', 'sad')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "{'sad-plugin: sad': 'RuntimeError: no licence file'}"
    assert "unknown encoder 'sad'" in done.stderr
    assert "(1 plugin(s) could not be loaded: see kwsbench plugins)" in done.stderr


def test_half_a_plugin_registers_nothing(tmp_path):
    """A module whose second hook clashes leaves nothing of its first one behind."""
    text = ENCODER + (
        "\nclass T:\n    'x.'\n    def fit(self, frames):\n        return lambda x: x\n"
        "@kwsbench.hookimpl\ndef register_transforms(register):\n    register('center', T)\n"
    )
    registry = plugins.load()
    module = plugins._import_file(write(tmp_path, text), "0")  # noqa: SLF001
    with pytest.raises(PluginError, match="transform 'center' is registered twice"):
        plugins._add(registry, module, "mine", "1")  # noqa: SLF001
    assert "loudness" not in registry.plugins["encoders"]


def test_a_factory_whose_return_type_only_a_type_checker_knows(tmp_path):
    text = "from __future__ import annotations\nimport kwsbench\n" + ENCODER.replace("import kwsbench", "").replace(
        'register("loudness", Loudness)',
        'register("loudness", make)\n\ndef make(*, floor_db: float = -9.0) -> Unknown:\n    return Loudness(floor_db)',
    )
    registry = plugins.load([write(tmp_path, text)])
    assert registry.create("encoders", parse("loudness:floor_db=-60")).floor_db == -60.0
