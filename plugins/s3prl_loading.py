"""s3prl's upstreams found by name, checked before they load, and loaded without a word.

s3prl prints and warns while it loads, on both streams. Here that goes nowhere, and what matters in it is
looked for and raised: weights that a file lacks, a download that failed. Imports are made before the
streams are closed, since a logger keeps the stream that it finds on import.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import io
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kwsbench.errors import KwsbenchError, UnknownName, one_line
from kwsbench_plugins import weights
from kwsbench_plugins.s3prl_frames import FAMILIES
from kwsbench_plugins.torchaudio_extension import make_torchaudio_importable

if TYPE_CHECKING:
    from collections.abc import Iterator

HUB_MODELS = {"hf_hubert": "hubert", "hf_wav2vec2": "wav2vec2"}
"""Families that load a directory through transformers, and the model_type that each takes for granted."""


class Loaded(NamedTuple):
    """An upstream in evaluation mode, and what pins it."""

    upstream: Any
    provenance: dict[str, str]


def find(name: str) -> str:
    """The folder of s3prl.upstream that defines an upstream. Raises UnknownName with the closest one."""
    found = importlib.util.find_spec("s3prl")
    if found is None or not found.submodule_search_locations:
        raise KwsbenchError("s3prl is not installed; pip install 'kwsbench[s3prl]'")
    root = Path(found.submodule_search_locations[0]) / "upstream"
    folders = {known: folder for folder in sorted(FAMILIES) for known in _defined(root / folder / "hubconf.py")}
    if name in folders:
        return folders[name]
    for file in sorted(root.glob("*/hubconf.py")):
        if name in _defined(file):
            raise KwsbenchError(
                f"s3prl:upstream={name}: where the frames of {file.parent.name} lie is not known to kwsbench; "
                f"known: {', '.join(sorted(FAMILIES))}"
            )
    raise UnknownName("s3prl upstream", name, folders)


def load(name: str, ckpt: Path | None) -> Loaded:
    """The upstream of that name, with all its weights, in float32, ready to be called."""
    folder = find(name)
    _check_argument(name, folder, ckpt)
    provenance = {"upstream": name, **_versions()}
    factory = _import(name, folder)
    if folder in HUB_MODELS and ckpt is not None:
        provenance |= _check_directory(folder, ckpt)
    import torch

    # Some upstreams draw random numbers while they load; nothing else in the process sees that.
    with torch.random.fork_rng(devices=[]), _silence(folder), _downloads(name, folder) as files:
        try:
            upstream = factory(**_arguments(factory, ckpt)).float().eval()
        except KwsbenchError:
            raise
        except Exception as error:
            # Every model of s3prl has its own way to fail on a file that is not its own.
            file = ckpt or next(iter(files), None)
            what = f"{file} could not be loaded" if file else "could not be made"
            raise KwsbenchError(
                f"s3prl:upstream={name}: {what} ({one_line(error)}); give a whole checkpoint of {folder}"
            ) from error
    for file in [ckpt] if ckpt is not None and ckpt.is_file() else files:
        provenance |= {"checkpoint": file.name, "checkpoint sha256": _sha256(file)}
        _check_complete(folder, upstream, file)
    return Loaded(upstream, provenance)


def _defined(hubconf: Path) -> list[str]:
    """Names of the upstreams in a hubconf.py, without importing it. Those that want a URL are left out."""
    if not hubconf.is_file():
        return []
    functions = [node.name for node in ast.parse(hubconf.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)]
    return [name for name in functions if not name.startswith("_") and not name.endswith("_url")]


def _takes_file(name: str) -> bool:
    return name.endswith(("_local", "_custom"))


def _check_argument(name: str, folder: str, ckpt: Path | None) -> None:
    """Refuse what s3prl would fail on with an assertion, or overlook."""
    directory = folder in HUB_MODELS
    if _takes_file(name) and ckpt is None:
        raise KwsbenchError(f"s3prl:upstream={name} needs a checkpoint; add ckpt={'DIR' if directory else 'FILE'}")
    if not _takes_file(name) and ckpt is not None:
        # s3prl lets the default win, and would say nothing of it.
        raise KwsbenchError(
            f"s3prl:upstream={name} has a checkpoint of its own and takes no ckpt; write upstream={_local(folder)}"
        )
    if ckpt is not None and not (ckpt.is_dir() if directory else ckpt.is_file()):
        what = "directory; a model of the hub is hf:checkpoint=ID" if directory else "file"
        raise KwsbenchError(f"s3prl:upstream={name}: {ckpt}: no such {what}")


def _local(folder: str) -> str:
    return f"{folder}_custom" if folder in HUB_MODELS else f"{folder}_local"


def _check_directory(folder: str, directory: Path) -> dict[str, str]:
    """What pins a directory of transformers. Raises where s3prl would ask the hub or leave weights random.

    Without a readable preprocessor_config.json s3prl takes the hub's for another model; weights that the
    files lack it hears of in a warning. So transformers loads the directory once before, and is asked.
    """
    model_type = weights.read_config(directory).get("model_type")
    if model_type != HUB_MODELS[folder]:
        raise KwsbenchError(f"{directory}: a {model_type!r} model, but {folder}_custom makes a {HUB_MODELS[folder]!r}")
    transformers = weights.import_transformers()
    if not (directory / "preprocessor_config.json").is_file():
        raise KwsbenchError(f"{directory}: no preprocessor_config.json, and s3prl would take another model's; add it")
    try:
        transformers.Wav2Vec2FeatureExtractor.from_pretrained(directory, local_files_only=True)
    except Exception as error:
        # What a damaged file raises is transformers' own affair: JSON, Unicode, OSError.
        raise KwsbenchError(f"{directory / 'preprocessor_config.json'}: cannot be read ({one_line(error)})") from error
    found = weights.load(directory).provenance
    file = weights.weights_file(directory)
    return {"checkpoint": file.name, "checkpoint sha256": found["weights sha256"]}


def _check_complete(folder: str, upstream: Any, file: Path) -> None:
    """Refuse a file that leaves a part of the model random. CPC and the transformers load without being strict."""
    import torch

    if folder == "cpc":
        model, given = upstream.model, torch.load(file, map_location="cpu")["weights"]
    elif hasattr(upstream, "transformer"):
        model, given = upstream.transformer.model, upstream.transformer.all_states["Transformer"]
        # It keeps the file's content for ever: the weights a second time, and the optimiser's state.
        del upstream.transformer.all_states
    else:
        return
    missing = sorted(set(model.state_dict()) - set(given))
    if missing:
        raise KwsbenchError(f"{file}: weights lack {missing[0]} ({len(missing)} such); it is not this model's file")


def _import(name: str, folder: str) -> Any:
    """The function that makes the upstream. s3prl.hub and s3prl.nn stay closed: they import every model there is."""
    make_torchaudio_importable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(importlib.import_module(f"s3prl.upstream.{folder}.hubconf"), name)
    except ImportError as error:
        raise KwsbenchError(
            f"s3prl:upstream={name} cannot be imported ({one_line(error)}); pip install 'kwsbench[s3prl]'"
        ) from error


def _arguments(factory: Any, ckpt: Path | None) -> dict[str, str]:
    if ckpt is None:
        return {}
    key = "model_config" if "model_config" in inspect.signature(factory).parameters else "ckpt"
    return {key: str(ckpt)}


@contextlib.contextmanager
def _silence(folder: str) -> Iterator[None]:
    """Both streams and all warnings off. For the whole process, so only while one upstream loads."""
    nowhere = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
        weights.quiet() if folder in HUB_MODELS else contextlib.nullcontext(),
    ):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _downloads(name: str, folder: str) -> Iterator[list[Path]]:
    """The files that s3prl's downloader hands out meanwhile; what it raises becomes one line."""
    from s3prl.util import download

    files: list[Path] = []
    fetch = download._download  # noqa: SLF001 - the one place that every URL goes through

    def watched(path: str, url: str, *args: Any, **options: Any) -> None:
        try:
            fetch(path, url, *args, **options)
        except Exception as error:
            # urllib's and requests' exceptions, and a KeyError where a server does not tell the length.
            raise KwsbenchError(
                f"s3prl:upstream={name}: {url} could not be downloaded ({one_line(error)}); "
                f"give ckpt=FILE with upstream={_local(folder)}"
            ) from error
        files.append(Path(path))

    download._download = watched  # noqa: SLF001
    try:
        yield files
    finally:
        download._download = fetch  # noqa: SLF001


def _versions() -> dict[str, str]:
    """What a fingerprint holds of the libraries that compute."""
    found = {}
    for package in ("espnet-s3prl", "s3prl", "torch", "torchaudio", "transformers"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package).partition("+")[0]
    return found


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
