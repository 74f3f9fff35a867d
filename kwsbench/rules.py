"""What the rules of every kind of plugin share: how a broken one is told, in one line, and told once."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kwsbench.errors import KwsbenchError, one_line
from kwsbench.types import FloatArray


class Broken(KwsbenchError):
    """A rule so broken that those after it would only say the same again."""


def collect(rules: Iterator[str]) -> list[str]:
    """A line for each rule that is broken, the first one where it is broken several times.

    A line is ``rule (where): what was seen; how to mend``. Where a rule raises Broken, none after it is looked at.
    """
    problems: list[str] = []
    try:
        problems.extend(rules)
    except Broken as broken:
        problems.append(str(broken))
    except Exception as error:  # noqa: BLE001 - a stranger's exception is the finding
        problems.append(f"exception: {seen(error)}; what comes after it was not checked")
    first: dict[str, str] = {}
    for problem in problems:
        rule = problem.partition(":")[0].partition(" (")[0]
        first.setdefault(rule, " ".join(problem.split()))
    return list(first.values())


def call(function: Callable[..., Any], *arguments: Any, where: str, mend: str, **options: Any) -> Any:
    """What a plugin's function returns. Raises Broken, with the line of the plugin, when it raises."""
    try:
        return function(*arguments, **options)
    except Exception as error:
        raise Broken(f"exception ({where}): {seen(error, function)}; {mend}") from error


def seen(error: BaseException, function: Callable[..., Any] | None = None) -> str:
    """An exception in a line, and where it passed last in the plugin's own file: that of the function, if given."""
    told = one_line(error).removesuffix(": ")
    # A decorator's file is not where its author looks for the fault.
    code = getattr(inspect.unwrap(function), "__code__", None) if function else None
    kit = Path(__file__).parent
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent != kit]
    file = code.co_filename if code else frames[0].filename if frames else ""
    lines = [frame.lineno for frame in frames if frame.filename == file]
    return f"{told} ({Path(file).name}, line {lines[-1]})" if lines else told


def check_signature(function: Callable[..., Any], name: str, *arguments: str, see: str, **options: str) -> None:
    """Raise Broken unless the function can be called with these positional arguments and keywords."""
    if not callable(function):
        raise Broken(f"signature: {name} is {article(function)}, expected a function; see {see}")
    try:
        signature = inspect.signature(function)
    except ValueError:  # a builtin of C that tells nobody its parameters
        return
    try:
        signature.bind(*arguments, **options)
    except TypeError as error:
        asked = ", ".join([*arguments, *(f"{key}={value}" for key, value in options.items())])
        takes = signature.replace(return_annotation=inspect.Signature.empty)
        raise Broken(f"signature: {name}{takes} is called as {name}({asked}): {error}; see {see}") from None


def article(thing: object) -> str:
    """What a thing is: ``None``, ``a list``, ``an array (4, 3)``, ``a torch tensor (4, 3)``."""
    if thing is None:
        return "None"
    if isinstance(thing, np.ndarray):
        return f"an array of {thing.dtype} {thing.shape}"
    kind = type(thing)
    if kind.__module__.partition(".")[0] == "torch" and hasattr(thing, "shape"):
        return f"a torch tensor {tuple(thing.shape)}"
    return f"{'an' if kind.__name__[0] in 'aeioAEIO' else 'a'} {kind.__name__}"


def is_float_array(thing: object) -> bool:
    """Whether it is a numpy array of floats: bool, whole and complex numbers are none."""
    return isinstance(thing, np.ndarray) and np.issubdtype(thing.dtype, np.floating)


def to_floats(thing: object) -> str:
    """How its author makes a numpy array of floats of what was returned."""
    if isinstance(thing, np.ndarray):
        if np.issubdtype(thing.dtype, np.complexfloating):
            return "take np.abs() or .real of it"
        return "add .astype(np.float32)"
    return "add .detach().cpu().numpy()" if hasattr(thing, "detach") else "make it one with np.asarray(…, np.float32)"


def close(x: FloatArray, y: FloatArray) -> bool:
    """Equal up to the rounding of matrix products of another shape (1e-4 of the largest value)."""
    return x.shape == y.shape and bool(np.allclose(x, y, rtol=0, atol=1e-4 * max(float(np.abs(y).max()), 1e-6)))


def apart(x: FloatArray, y: FloatArray) -> str:
    """How far two arrays are from each other, in words."""
    if x.shape != y.shape:
        return f"{x.shape} against {y.shape}"
    return f"by up to {float(np.abs(x - y).max()):.2g}, values up to {float(np.abs(y).max()):.2g}"
