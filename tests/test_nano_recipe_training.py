"""Training to the end: rates and losses, a killed run's bits, mistakes in a recipe, and what is exported."""

import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from kwsbench.errors import KwsbenchError
from kwsbench.testing import check_encoder
from kwsbench_datasets.prompts import build
from kwsbench_plugins.hf import from_directory
from kwsbench_plugins.nano.recipe import __main__, perturb, plan, sources, streams, train
from kwsbench_plugins.nano.recipe.evaluate import evaluate
from kwsbench_plugins.nano.recipe.export import export
from tests.nano_recipe_parts import HUBERT, WAV2VEC2, noise, write_digits, write_recipe

# The same sums in the same order in this process and in one that is killed.
pytestmark = pytest.mark.usefixtures("single_thread")


@pytest.fixture(scope="module")
def digits(shared, tmp_path_factory):
    return write_digits(shared / "data" / "fsdd", tmp_path_factory.mktemp("digits"))


def test_the_rate_rises_holds_and_falls():
    recipe = plan.Recipe("", "hubert", (), warmup_steps=10)
    row = plan.Round(steps=1000, peak_rate=2.0)
    rates = [train.rate(recipe, row, step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9:301] == pytest.approx([2.0] * 292)
    assert rates[650] == pytest.approx(2 * (0.02 + 0.98 / 2))
    assert rates[999] == pytest.approx(2 * 0.02, rel=1e-3)
    assert all(a >= b for a, b in itertools.pairwise(rates[300:]))


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """Both objectives trained without interruption; the recipes' files by objective."""
    files = {}
    for objective, text in (("hubert", HUBERT), ("wav2vec2", WAV2VEC2)):
        work = tmp_path_factory.mktemp(objective)
        shutil.copytree(digits / "corpus", work / "corpus")
        files[objective] = work / "tiny.toml"
        files[objective].write_text(text, encoding="utf-8")
        said = []
        assert train.train(plan.read_recipe(files[objective]), work, train.Until(), "cpu", said.append)
        assert any("6 speakers" in line for line in said)
    return files


def losses(work, number):
    head, *rows = [line.split("\t") for line in (work / "tiny" / f"round-{number}.tsv").read_text().splitlines()]
    return [float(row[head.index("loss")]) for row in rows]


@pytest.mark.parametrize(("objective", "falls_by"), [("hubert", [0.1, 0.1]), ("wav2vec2", [0.03])])
def test_the_loss_falls(trained, objective, falls_by):
    """Means of ten steps: the first ten against the last ten of each round.

    Of eight clusters drawn by lot no more could be learnt than log 8 · 1.3 = 2.70, 0.04 below the beginning.
    Sixty steps of so small a model teach wav2vec2 to use its codes, hardly yet to tell them apart.
    """
    for number, least in enumerate(falls_by, 1):
        fall = losses(trained[objective].parent, number)
        assert fall[-1] < fall[0] - least, fall


def test_a_round_begins_from_the_weights_of_the_one_before(trained):
    """Twenty steps move the encoder less than it is away from a new one."""
    work = trained["hubert"].parent / "tiny"
    before, after = (torch.load(work / f"round-{n}.pt", weights_only=True)["core"] for n in (1, 2))
    new = train.untrained(plan.read_recipe(trained["hubert"]), 10).core.state_dict()
    away = lambda state: math.sqrt(sum(float((state[name] - after[name]).square().sum()) for name in after))  # noqa: E731
    assert 0 < away(before) < 0.5 * away(new)


def run_training(recipe, work):
    command = [sys.executable, "-m", "kwsbench_plugins.nano.recipe", "train", recipe, "--work", work, "--device", "cpu"]
    return subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def test_killed_and_called_again_it_ends_with_the_same_bits(trained, digits, tmp_path):
    """SIGKILL once a checkpoint of round 1 is there, a stop of a few steps in round 2, then to the end."""
    shutil.copytree(digits / "corpus", tmp_path / "corpus")
    recipe = shutil.copy(trained["hubert"], tmp_path)
    process = run_training(recipe, tmp_path)
    folder, limit = tmp_path / "tiny", time.monotonic() + 300
    while not (folder / "round-1.checkpoint.pt").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < limit
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "round-1.pt").exists()
    assert not (folder / "round-2.targets.pt").exists()
    said = []
    left = 60 - torch.load(folder / "round-1.checkpoint.pt", weights_only=True)["step"]
    assert 0 < left <= 53
    plan_ = plan.read_recipe(Path(recipe))
    assert not train.train(plan_, tmp_path, train.Until(steps=left + 3), "cpu", said.append)
    assert f"round 1: goes on from step {60 - left}" in said
    assert torch.load(folder / "round-2.checkpoint.pt", weights_only=True)["step"] == 3
    assert train.train(plan_, tmp_path, train.Until(), "cpu", said.append)
    assert "round 2: goes on from step 3" in said
    for number in (1, 2):
        ours = torch.load(folder / f"round-{number}.pt", weights_only=True)["core"]
        theirs = torch.load(trained["hubert"].parent / "tiny" / f"round-{number}.pt", weights_only=True)["core"]
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert torch.equal(value, theirs[name]), name
    assert not (folder / "round-2.checkpoint.pt").exists()
    assert train.train(plan_, tmp_path, train.Until(), "cpu", said.append), "called once more, there is nothing to do"


def test_another_recipe_does_not_go_on_with_these_weights(trained, tmp_path):
    shutil.copytree(trained["hubert"].parent, tmp_path / "work")
    (tmp_path / "work" / "tiny" / "round-2.pt").unlink()
    changed = tmp_path / "tiny.toml"
    changed.write_text(HUBERT.replace("steps = 20", "steps = 30"), encoding="utf-8")
    with pytest.raises(KwsbenchError, match=r"made by another version of the recipe tiny; put that one back, give"):
        train.train(plan.read_recipe(changed), tmp_path / "work", train.Until(), "cpu", print)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("objective", "objektive"), "unknown entry 'objektive'. Did you mean 'objective'?"),
        (("clusters = 8", "cluster = 8"), "unknown entry 'cluster'. Did you mean 'clusters'?"),
        (('"hubert"', '"bert"'), "objective is 'bert', expected hubert or wav2vec2"),
        (('"hubert"', '"wav2vec2"'), "2 rounds, but wav2vec2 makes its own targets; give one round"),
        (("layer = 1", ""), "round 2: expected the layer whose clusters are learnt"),
        (("clusters = 8", "clusters = 8\nlayer = 2"), "round 1: expected no layer, since nothing is trained yet"),
        (("clusters = 8", "clusters = 1"), "round 1: clusters is 1, expected at least 2"),
        (("steps = 60", "steps = 0"), "round 1: steps and peak_rate must be above 0"),
        (('["4/5", "1/1", "5/4"]', '["1/1"]'), "speeds must hold 1/1 and every one of label_speeds"),
        (('name = "tiny"', ""), "name is missing"),
        (("audio_s = 5", "audio_s ="), "not TOML (Invalid value (at line 4, column 10))"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(tmp_path, change, message):
    path = write_recipe(tmp_path, HUBERT.replace(*change))
    with pytest.raises(KwsbenchError) as caught:
        plan.read_recipe(path)
    assert str(caught.value) == f"{path}: {message}"


# What comes out.


@pytest.mark.parametrize("objective", ["hubert", "wav2vec2"])
def test_what_is_exported_is_an_encoder_of_kwsbench(trained, objective, tmp_path, capsys):
    recipe, directory = trained[objective], tmp_path / "exported"
    __main__.main(["export", str(recipe), "--work", str(recipe.parent), "--to", str(directory)])
    assert capsys.readouterr().out == f"{directory}\n"
    names = {path.name for path in directory.iterdir()}
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json"}
    encoder = from_directory(directory)
    assert check_encoder(encoder) == []
    assert encoder.layers == ("cnn", "0", "1", "2")
    assert encoder.frame_shift_s == streams.SHIFT / 16000
    assert encoder.min_samples == streams.FIELD
    assert encoder.provenance["normalize"] == "true"
    # float16 keeps 11 bits of each weight; the features move by less than a hundredth of their size.
    last = len(plan.read_recipe(recipe).rounds)
    core = train.untrained(plan.read_recipe(recipe), 2).core.eval()
    core.load_state_dict(torch.load(recipe.parent / "tiny" / f"round-{last}.pt", weights_only=True)["core"])
    samples = noise(1)
    with torch.no_grad():
        expected = core(perturb.standardised(torch.from_numpy(samples)[None])).last_hidden_state[0].numpy()
    found = encoder.encode(samples, ["2"])["2"]
    assert found.shape == expected.shape == (49, 32)
    assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)


def test_what_cannot_be_exported_is_one_line(trained, tmp_path, capsys):
    recipe = plan.read_recipe(trained["hubert"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    for arguments, message in (
        ((tmp_path, tmp_path / "new", 2), "round 2 is not trained yet; run train first"),
        (
            (trained["hubert"].parent, tmp_path / "full", 2),
            "is there already; give another directory, or delete this one",
        ),
        ((trained["hubert"].parent, tmp_path / "new", 3), "round 3: the recipe tiny has rounds 1 to 2"),
    ):
        with pytest.raises(KwsbenchError, match=message):
            export(recipe, *arguments)
    assert not (tmp_path / "new").exists()
    with pytest.raises(SystemExit) as end:
        __main__.main(["train", str(tmp_path / "no.toml"), "--work", str(tmp_path)])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error == (
        f"error: {tmp_path / 'no.toml'}: no such recipe; "
        "those beside the code are nano-hubert.toml, nano-wav2vec2.toml\n"
    )


def test_evaluate_is_a_run_of_kwsbench(trained, archive, tmp_path, own_cache, capsys):
    directory = export(plan.read_recipe(trained["hubert"]), trained["hubert"].parent, tmp_path / "exported", 2)
    evaluate([directory], tmp_path / "board", f"manifest:path={archive}")
    table = capsys.readouterr().out
    assert "mfcc" in table
    assert str(directory) in table
    assert "weights=random:seed=0" in table
    # Two transforms of MFCC, of four layers, and of the untrained model's four.
    assert len(list((tmp_path / "board" / "results").rglob("*.json"))) == 2 * (1 + 4 + 4)


def test_choices_are_never_made_on_what_is_tested():
    options = {option.name: option for option in __main__.evaluate.params}
    assert options["dataset"].default == f"prompts/{sources.HELD_OUT}"
    assert sources.HELD_OUT not in sources.NEVER_HEARD
    assert sources.HELD_OUT in build.read_sources().voices
