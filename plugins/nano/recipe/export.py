"""The encoder of a finished recipe as a directory that transformers and kwsbench load: float16, config, front end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from kwsbench.errors import KwsbenchError
from kwsbench_plugins.weights import import_transformers, quiet

from .files import Folder, weights_name
from .model import config
from .plan import Recipe

# As Wav2Vec2FeatureExtractor takes them: the waveform is brought to mean 0 and variance 1.
FRONT_END = {
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "do_normalize": True,
    "feature_size": 1,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": True,
    "sampling_rate": 16000,
}


def export(recipe: Recipe, work: Path, directory: Path, number: int) -> Path:
    """Write round ``number``'s encoder to a directory, whole or not at all; returns it."""
    import torch

    if not 1 <= number <= len(recipe.rounds):
        raise KwsbenchError(f"round {number}: the recipe {recipe.name} has rounds 1 to {len(recipe.rounds)}")
    if directory.exists() and any(directory.iterdir()):
        raise KwsbenchError(f"{directory}: is there already; give another directory, or delete this one")
    folder = Folder(work, recipe)
    content = folder.load(weights_name(number), "cpu")
    if content is None:
        raise KwsbenchError(f"{folder.path / weights_name(number)}: round {number} is not trained yet; run train first")
    transformers = import_transformers()
    kind = {"hubert": transformers.HubertModel, "wav2vec2": transformers.Wav2Vec2Model}[recipe.objective]
    arriving = directory.with_name(directory.name + ".arriving")
    shutil.rmtree(arriving, ignore_errors=True)
    with quiet():
        model = kind(config(recipe))
        model.load_state_dict(content["core"])
        model.to(torch.float16).save_pretrained(arriving)
    (arriving / "preprocessor_config.json").write_text(json.dumps(FRONT_END, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(directory, ignore_errors=True)
    return arriving.rename(directory)
