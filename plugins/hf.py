"""wav2vec 2.0, HuBERT, WavLM and their kin, through transformers: every hidden layer is a representation.

A waveform is always encoded alone and whole. Padding it to the length of others changes the
features of group-norm front ends (wav2vec2-base, hubert-base) by as much as half their size, and
cutting it changes them for every model. Memory grows with the square of the length where attention
does: several minutes at once are fine, an hour is not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import kwsbench
from kwsbench.errors import KwsbenchError, TooShort, one_line
from kwsbench.types import SAMPLE_RATE_HZ
from kwsbench_plugins.checkpoints import KNOWN, Known

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kwsbench.plugins import Register
    from kwsbench.types import FloatArray, Waveform

# Convolutions over the raw waveform, then transformer blocks: frames follow from the config's kernels and strides.
FAMILY = ("data2vec-audio", "hubert", "unispeech", "unispeech-sat", "wav2vec2", "wavlm")


class HfEncoder:
    """Hidden layers of a model: layer 0 enters the first block, layer i leaves block i.

    The last layer is ``last_hidden_state``, after the final layer norm where the model has one;
    the layers below it are as the blocks hand them on. Frame i is centred on the middle of its
    receptive field. ``to(device)`` moves the model; features come back to the CPU, in float32.
    """

    concurrent = True

    def __init__(
        self, model: Any, *, normalize: bool, provenance: Mapping[str, str], languages: Sequence[str] = ()
    ) -> None:
        import torch
        import transformers

        config = model.config
        self._model = model.eval()
        self._normalize = normalize
        self._blocks = config.num_hidden_layers
        self._kernels = tuple(zip(config.conv_kernel, config.conv_stride, strict=True))
        shift_samples = int(np.prod(config.conv_stride))
        self.layers = tuple(map(str, range(self._blocks + 1)))
        self.min_samples = _receptive_field(self._kernels)
        self.frame_shift_s = shift_samples / SAMPLE_RATE_HZ
        self.first_centre_s = self.min_samples / 2 / SAMPLE_RATE_HZ
        self.languages = tuple(languages)
        self.provenance = {
            **provenance,
            "normalize": str(normalize).lower(),
            "transformers": transformers.__version__,
            "torch": torch.__version__.partition("+")[0],
        }

    def to(self, device: str) -> None:
        """Compute on another device from now on."""
        self._model.to(device)
        # cuDNN's flags belong to the process: threads that set them and put them back would cross.
        self.concurrent = self._model.device.type == "cpu"

    def frames(self, samples: int) -> int:
        """Frames of so many samples: each convolution without padding takes ``(n - kernel) // stride + 1``."""
        for kernel, stride in self._kernels:
            samples = (samples - kernel) // stride + 1
        return max(samples, 0)

    def encode(self, samples: Waveform, layers: Sequence[str]) -> Mapping[str, FloatArray]:
        """Layers asked for, each float32 (frames, dims). Raises TooShort under ``min_samples``."""
        import torch

        if len(samples) < self.min_samples:
            raise TooShort(len(samples), self.min_samples)
        wanted = [int(layer) for layer in layers]
        wave = torch.from_numpy(standard_score(samples) if self._normalize else np.array(samples, np.float32))
        with torch.inference_mode(), self._exact_convolutions():
            output = self._model(
                wave[None].to(self._model.device),
                # Only the layers in the list are kept in memory.
                output_hidden_states=[layer for layer in wanted if layer < self._blocks],
            )
        hidden = dict(enumerate(output.hidden_states or ()))
        hidden[self._blocks] = output.last_hidden_state
        features = {layer: hidden[int(layer)][0].float().cpu().numpy() for layer in layers}
        for layer, values in features.items():
            if len(values) != self.frames(len(samples)):
                raise RuntimeError(
                    f"layer {layer} has {len(values)} frames of {len(samples)} samples, "
                    f"the convolutions make {self.frames(len(samples))}"
                )
        return features

    def _exact_convolutions(self) -> contextlib.AbstractContextManager[Any]:
        """On a GPU, no TF32: it is cuDNN's default, rounds to 10 bits, and moves features by up to 1e-3."""
        import torch

        if self._model.device.type == "cpu":
            return contextlib.nullcontext()
        return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


def standard_score(samples: Waveform) -> Waveform:
    """Mean 0 and variance 1 over the whole waveform, as Wav2Vec2FeatureExtractor takes it. Silence stays 0."""
    return np.asarray((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7), dtype=np.float32)


def hf(
    *,
    checkpoint: str = "",
    revision: str = "main",
    path: Path | None = None,
    weights: str = "pretrained",
    normalize: bool | None = None,
) -> HfEncoder:
    """Hidden layers of a wav2vec 2.0, HuBERT or WavLM model, from the hub or a directory.

    checkpoint: a hub id or a directory. path: a directory to use instead of the hub.
    weights: ``pretrained``, or ``random:seed=0`` for an untrained model of the same shape, the
    control that every claim about training needs.
    normalize: whether the waveform is brought to mean 0 and variance 1 first; otherwise what
    preprocessor_config.json says.
    """
    seed = read_weights(weights)
    known = next((known for known in KNOWN if known.checkpoint == checkpoint), None)
    if known and seed is not None and path is None:
        return untrained(known, seed, normalize=normalize)
    if path is None and checkpoint and Path(checkpoint).is_dir():
        path = Path(checkpoint)
    if path is None and not checkpoint:
        raise KwsbenchError("hf needs a model; write hf:checkpoint=HUB_ID or hf:path=DIR")
    directory = path or fetch(checkpoint, revision, with_weights=seed is None)
    if known and normalize is None and not (directory / "preprocessor_config.json").is_file():
        normalize = known.normalize
    return from_directory(
        directory,
        weights=weights,
        normalize=normalize,
        languages=known.languages.split() if known and seed is None else (),
    )


def from_directory(
    directory: Path, *, weights: str = "pretrained", normalize: bool | None = None, languages: Sequence[str] = ()
) -> HfEncoder:
    """An encoder from config.json, preprocessor_config.json and the weights in one directory."""
    import torch
    import transformers

    if not (directory / "config.json").is_file():
        raise KwsbenchError(f"{directory}: no config.json; give a directory that transformers' save_pretrained wrote")
    config_dict = json.loads((directory / "config.json").read_text("utf-8"))
    model_type = config_dict.get("model_type")
    if model_type not in FAMILY or config_dict.get("add_adapter"):
        what = f"{model_type!r} model" + (" with an adapter" if model_type in FAMILY else "")
        raise KwsbenchError(f"{directory}: a {what} is not supported; the family is {', '.join(FAMILY)}")
    if normalize is None:
        normalize = _read_normalize(directory)
    seed = read_weights(weights)
    if seed is not None:
        config = transformers.AutoConfig.from_pretrained(directory)
        config_sha256 = hashlib.sha256((directory / "config.json").read_bytes()).hexdigest()
        return HfEncoder(
            _random_model(config, seed),
            normalize=normalize,
            provenance={"weights": f"random:seed={seed}", "config sha256": config_sha256},
        )
    file = _weights_file(directory)
    try:
        with _quiet():
            model, info = transformers.AutoModel.from_pretrained(
                directory, dtype=torch.float32, output_loading_info=True, local_files_only=True
            )
    except Exception as error:
        # safetensors, pickle and transformers each have their own exceptions for a damaged file.
        raise KwsbenchError(f"{file}: weights cannot be read ({one_line(error)}); fetch the file again") from error
    _check_complete(file, model, info)
    provenance = {"weights": "pretrained", "weights sha256": _sha256(file)}
    return HfEncoder(model, normalize=normalize, provenance=provenance, languages=languages)


def untrained(known: Known, seed: int, *, normalize: bool | None = None) -> HfEncoder:
    """A published architecture with random weights: needs no hub, so that the control can always be run."""
    import transformers

    config = transformers.AutoConfig.for_model(known.model_type, **known.config)
    return HfEncoder(
        _random_model(config, seed),
        normalize=known.normalize if normalize is None else normalize,
        provenance={"weights": f"random:seed={seed}", "architecture": known.name},
    )


def read_weights(weights: str) -> int | None:
    """``pretrained`` → None, ``random:seed=N`` → N, ``random`` → 0."""
    if weights == "pretrained":
        return None
    seed = "0" if weights == "random" else weights.removeprefix("random:seed=")
    if not seed.isdecimal():
        raise KwsbenchError(f"weights={weights}: expected pretrained or random:seed=N")
    return int(seed)


def fetch(checkpoint: str, revision: str, *, with_weights: bool) -> Path:
    """The local directory of a hub model, downloaded when the hub's cache does not hold it yet."""
    import huggingface_hub

    patterns = ["config.json", "preprocessor_config.json"]
    # Many checkpoints hold the same weights twice; the .bin file is taken only where there is nothing else.
    weights_patterns = (["model*.safetensors*"], ["pytorch_model*.bin*"]) if with_weights else ([],)
    with _quiet():
        for offline in (True, False):
            for more in weights_patterns:
                try:
                    directory = Path(
                        huggingface_hub.snapshot_download(
                            checkpoint, revision=revision, allow_patterns=patterns + more, local_files_only=offline
                        )
                    )
                except Exception as error:
                    # The hub's client raises OSError, ValueError and its HTTP library's own exceptions.
                    if offline:
                        break
                    raise KwsbenchError(
                        f"{checkpoint}: not in the local cache, and the hub did not give it "
                        f"({one_line(error).partition('. ')[0]}); go online once, "
                        "or download it elsewhere and give path=DIR"
                    ) from error
                if (directory / "config.json").is_file() and (not more or any(directory.glob(more[0]))):
                    return directory
    raise KwsbenchError(f"{checkpoint}: revision {revision} holds no config.json with weights; give another checkpoint")


def _receptive_field(kernels: Sequence[tuple[int, int]]) -> int:
    """Samples that one frame sees."""
    samples = 1
    for kernel, stride in reversed(kernels):
        samples = (samples - 1) * stride + kernel
    return samples


def _random_model(config: Any, seed: int) -> Any:
    import torch
    import transformers

    # Only the CPU's generator, and only for the while: nothing else in the process sees the seed.
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.default_generator.manual_seed(seed)
        return transformers.AutoModel.from_config(config, dtype=torch.float32)


def _read_normalize(directory: Path) -> bool:
    file = directory / "preprocessor_config.json"
    if not file.is_file():
        raise KwsbenchError(f"{directory}: no preprocessor_config.json; say normalize=true or normalize=false")
    value = json.loads(file.read_text("utf-8")).get("do_normalize", True)
    if not isinstance(value, bool):
        raise KwsbenchError(f"{file}: do_normalize is {value!r}, expected true or false")
    return value


def _weights_file(directory: Path) -> Path:
    """The file that transformers is going to read (of several shards: their index)."""
    for name in ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"):
        if (directory / name).is_file():
            return directory / name
    raise KwsbenchError(f"{directory}: no model.safetensors and no pytorch_model.bin; weights=random:seed=0 needs none")


def _check_complete(file: Path, model: Any, info: Mapping[str, Any]) -> None:
    """Refuse weights that leave a part of the encoder random, or have parts that the encoder lacks.

    transformers warns of both and goes on. Heads (quantizer, CTC) are left out on purpose, and the
    mask embedding is of training only.
    """
    parts = tuple(f"{name}." for name, _ in model.named_children())
    missing = sorted(set(info["missing_keys"]) - {"masked_spec_embed"})
    surplus = sorted(key for key in info["unexpected_keys"] if key.startswith(parts))
    mismatched = sorted(str(key[0] if isinstance(key, tuple) else key) for key in info["mismatched_keys"])
    for what, keys in (("lack", missing), ("do not fit", mismatched), ("have, and config.json has no,", surplus)):
        if keys:
            raise KwsbenchError(f"{file}: weights {what} {keys[0]} ({len(keys)} such); it is not this model's file")


def _sha256(file: Path) -> str:
    """Of a weights file; of an index, the digest of all its shards' digests."""
    files = sorted(set(json.loads(file.read_text())["weight_map"].values())) if file.suffix == ".json" else [file.name]
    digests = []
    for name in files:
        with (file.parent / name).open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' loading bar and reports off stderr: what matters in them is checked and raised."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    hub = logging.getLogger("huggingface_hub")
    hub_level = hub.level
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        hub.setLevel(hub_level)
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


@kwsbench.hookimpl
def register_encoders(register: Register) -> None:
    """Register ``hf`` and the published models by name."""
    register("hf", hf)
    for known in KNOWN:
        register(known.name, hf, checkpoint=known.checkpoint, revision=known.revision)
