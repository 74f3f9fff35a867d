"""Checkpoints of transformers models: found, read whole, pinned by their digest, or left untrained on purpose."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kwsbench.errors import KwsbenchError, one_line
from kwsbench_plugins.torchaudio_extension import make_torchaudio_importable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DTYPES = {"float32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""What a user writes, and torch's name for it."""


class LacksWeightsError(KwsbenchError):
    """A file without all the weights of the model that it is to fill."""

    def __init__(self, file: Path, missing: Sequence[str]) -> None:
        super().__init__(f"{file}: weights lack {missing[0]} ({len(missing)} such); it is not this model's file")
        self.missing = tuple(missing)


class Loaded(NamedTuple):
    """A model in evaluation mode, and what pins it."""

    model: Any
    provenance: dict[str, str]


def locate(plugin: str, checkpoint: str, revision: str, path: Path | None, *, weights: str) -> Path:
    """The local directory of a model: ``path``, ``checkpoint`` if it is a directory, or the hub's."""
    if path is None and checkpoint and Path(checkpoint).is_dir():
        path = Path(checkpoint)
    if path is None and not checkpoint:
        raise KwsbenchError(f"{plugin} needs a model; write {plugin}:checkpoint=HUB_ID or {plugin}:path=DIR")
    return path or fetch(checkpoint, revision, with_weights=read_weights(weights) is None)


def read_config(directory: Path) -> dict[str, Any]:
    """config.json as it stands."""
    if not (directory / "config.json").is_file():
        raise KwsbenchError(f"{directory}: no config.json; give a directory that transformers' save_pretrained wrote")
    config: dict[str, Any] = json.loads((directory / "config.json").read_text("utf-8"))
    return config


def load(
    directory: Path, *, auto: str = "AutoModel", weights: str = "pretrained", dtype: str = "float32", part: str = ""
) -> Loaded:
    """The model of one directory, through one of transformers' Auto classes.

    part: only this attribute of the model is kept (``encoder`` of Whisper), and only its weights must be whole.
    dtype: a key of DTYPES.
    """
    transformers = import_transformers()
    seed = read_weights(weights)
    if seed is not None:
        config = transformers.AutoConfig.from_pretrained(directory)
        config_sha256 = hashlib.sha256((directory / "config.json").read_bytes()).hexdigest()
        model = random_model(config, seed, auto=auto)
        provenance = {"weights": f"random:seed={seed}", "config sha256": config_sha256}
    else:
        file = weights_file(directory)
        try:
            with quiet():
                # Always read in float32: a file in half precision is widened, and what is asked for is narrowed once.
                model, info = getattr(transformers, auto).from_pretrained(
                    directory, dtype="float32", output_loading_info=True, local_files_only=True
                )
        except Exception as error:
            # safetensors, pickle and transformers each have their own exceptions for a damaged file.
            raise KwsbenchError(f"{file}: weights cannot be read ({one_line(error)}); fetch the file again") from error
        check_complete(file, model, info, part)
        provenance = {"weights": "pretrained", "weights sha256": sha256(file)}
    return Loaded(narrow(getattr(model, part) if part else model, dtype), provenance)


def narrow(model: Any, dtype: str) -> Any:
    """The model in evaluation mode, its weights in a precision of DTYPES."""
    import torch

    if dtype not in DTYPES:
        raise KwsbenchError(f"dtype={dtype}: expected {', '.join(DTYPES)}")
    return model.to(getattr(torch, DTYPES[dtype])).eval()


def import_transformers() -> Any:
    """The library, whatever torchaudio lies beside it."""
    make_torchaudio_importable()
    import transformers

    return transformers


def versions() -> dict[str, str]:
    """What a fingerprint holds of the libraries that compute."""
    import torch

    return {"transformers": import_transformers().__version__, "torch": torch.__version__.partition("+")[0]}


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
    # In shards or whole, but in no other precision that may lie beside them.
    weights_patterns = (
        (
            ["model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"],
            ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"],
        )
        if with_weights
        else ([],)
    )
    with quiet():
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
                if (directory / "config.json").is_file() and (
                    not more or any((directory / name).is_file() for name in more)
                ):
                    return directory
    raise KwsbenchError(f"{checkpoint}: revision {revision} holds no config.json with weights; give another checkpoint")


def random_model(config: Any, seed: int, *, auto: str = "AutoModel") -> Any:
    """An untrained model of a config, always the same for a seed."""
    import torch

    transformers = import_transformers()
    # Only the CPU's generator, and only for the while: nothing else in the process sees the seed.
    with torch.random.fork_rng(devices=[]), quiet():
        torch.default_generator.manual_seed(seed)
        return getattr(transformers, auto).from_config(config, dtype=torch.float32)


def weights_file(directory: Path) -> Path:
    """The file that transformers is going to read (of several shards: their index)."""
    for name in (
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ):
        if (directory / name).is_file():
            return directory / name
    raise KwsbenchError(f"{directory}: no model.safetensors and no pytorch_model.bin; weights=random:seed=0 needs none")


def check_complete(file: Path, model: Any, info: Mapping[str, Any], part: str = "") -> None:
    """Refuse weights that leave a part of the encoder random, or have parts that the encoder lacks.

    transformers warns of both and goes on. Heads (quantizer, CTC) that the model class has no place for are
    left out on purpose, and the mask embedding is of training only. With ``part``, only that part counts.
    """
    parts = (f"{part}.",) if part else tuple(f"{name}." for name, _ in model.named_children())
    missing = sorted(
        key for key in info["missing_keys"] if key.startswith(parts if part else "") and "masked_spec_embed" not in key
    )
    surplus = sorted(key for key in info["unexpected_keys"] if key.startswith(parts))
    mismatched = sorted(str(key[0] if isinstance(key, tuple) else key) for key in info["mismatched_keys"])
    if missing:
        raise LacksWeightsError(file, missing)
    for what, keys in (("do not fit", mismatched), ("have, and config.json has no,", surplus)):
        if keys:
            raise KwsbenchError(f"{file}: weights {what} {keys[0]} ({len(keys)} such); it is not this model's file")


def sha256(file: Path) -> str:
    """Of a weights file; of an index, the digest of all its shards' digests."""
    files = sorted(set(json.loads(file.read_text())["weight_map"].values())) if file.suffix == ".json" else [file.name]
    digests = []
    for name in files:
        with (file.parent / name).open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def read_normalize(directory: Path) -> bool:
    """Whether preprocessor_config.json has waveforms brought to mean 0 and variance 1."""
    file = directory / "preprocessor_config.json"
    if not file.is_file():
        raise KwsbenchError(f"{directory}: no preprocessor_config.json; say normalize=true or normalize=false")
    value = json.loads(file.read_text("utf-8")).get("do_normalize", True)
    if not isinstance(value, bool):
        raise KwsbenchError(f"{file}: do_normalize is {value!r}, expected true or false")
    return value


def exact_convolutions(model: Any) -> contextlib.AbstractContextManager[Any]:
    """On a GPU, no TF32: it is cuDNN's default, rounds to 10 bits, and moves features by up to 1e-3."""
    import torch

    if model.device.type == "cpu":
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' loading bar and reports off stderr: what matters in them is checked and raised."""
    import_transformers()
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
