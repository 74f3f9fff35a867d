"""A new plugin to start from: one file, or a package, that already runs and keeps its contract.

The templates are plugins themselves, called ``my-plugin``. Only the name is changed on the way.
"""

from __future__ import annotations

import keyword
import re
import shlex
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from kwsbench import plugins
from kwsbench.errors import KwsbenchError, UnknownName
from kwsbench.spec import NAME


class Scaffold(NamedTuple):
    """What was written, and what to type next."""

    files: list[Path]
    commands: list[str]


def new(kind: str, name: str, folder: Path, *, package: bool = False) -> Scaffold:
    """Write a plugin of that kind and name into folder: NAME.py, or with package the folder kwsbench-NAME.

    Raises KwsbenchError for an unknown kind, for what is no name or is taken, and rather than overwrite.
    """
    registered = kind_of(kind)
    if not NAME.fullmatch(name):
        raise KwsbenchError(
            f"{name!r} cannot be typed as a name; use a-z, 0-9, '.', '_', '/' and '-', beginning with a letter or digit"
        )
    taken = plugins.load().plugins[registered].get(name)
    if taken:
        word = registered.removesuffix("s").replace("_", " ")
        raise KwsbenchError(
            f"{word} {name!r} is registered already, by {taken.owner} {taken.version}; choose another name"
        )
    return _new_package(registered, name, folder) if package else _new_file(registered, name, folder)


def kind_of(word: str) -> str:
    """A kind as a Registry calls it: ``encoder`` → ``encoders``, ``score-norm`` → ``score_norms``."""
    kind = f"{word.replace('-', '_')}s"
    if kind not in plugins.KINDS:
        known = (kind.removesuffix("s").replace("_", "-") for kind in plugins.KINDS)
        raise UnknownName("kind of plugin", word, known)
    return kind


def _new_file(kind: str, name: str, folder: Path) -> Scaffold:
    text = _renamed(_template(f"{kind.removesuffix('s')}.py"), kind, name)
    path = folder / f"{_joined(name, '_')}.py"
    commands = [line.replace(path.name, shlex.quote(str(path))) for line in _commands(text)]
    return Scaffold(_write({path: text}), commands)


def _new_package(kind: str, name: str, folder: Path) -> Scaffold:
    root = folder / f"kwsbench-{_joined(name, '-')}"
    module = _template(f"{kind.removesuffix('s')}.py")
    # Installed, it is a plugin by its entry point: given as a file too, it would be registered twice.
    module = module.replace("kwsbench check my_plugin.py", "pip install -e .").replace("--plugin my_plugin.py ", "")
    _, run = _commands(module)
    texts = {
        root / "pyproject.toml": _template("package/pyproject.toml"),
        root / "README.md": _template("package/README.md").replace("kwsbench run …", run),
        root / "src" / f"kwsbench_{_joined(name, '_')}" / "__init__.py": module,
        root / "tests" / "test_contract.py": _template("package/test_contract.py"),
    }
    where = shlex.quote(str(root))
    return Scaffold(
        _write({path: _renamed(text, kind, name) for path, text in texts.items()}),
        [f"pip install -e {where}", f"pytest {where}"],
    )


def _template(name: str) -> str:
    return (files("kwsbench") / "templates" / name).read_text(encoding="utf-8")


def _commands(text: str) -> list[str]:
    """The commands to try that a template's docstring shows."""
    return re.findall(r"^    ((?:kwsbench|pip) .+)$", text.split('"""')[1], flags=re.MULTILINE)


def _renamed(text: str, kind: str, name: str) -> str:
    """A template under the new name. In one pass: a name may hold what another replacement looks for."""
    word = kind.removesuffix("s").replace("_", " ")
    changes = {
        "kwsbench-my-plugin": f"kwsbench-{_joined(name, '-')}",
        "my-plugin": name,
        "my_plugin": _joined(name, "_"),
        "MyPlugin": _class_name(text, kind, name),
        "KINDS": kind,
        "KIND": word,
    }
    return re.sub("|".join(changes), lambda found: changes[found[0]], text)


def _class_name(text: str, kind: str, name: str) -> str:
    """``log-bands`` → ``LogBands``, or ``EncoderNone`` where that is no name or means something else in the text."""
    camel = "".join(part.capitalize() for part in _joined(name, "-").split("-"))
    if not camel.isidentifier() or keyword.iskeyword(camel) or re.search(rf"\b{camel}\b", text):
        return "".join(part.capitalize() for part in kind.removesuffix("s").split("_")) + camel
    return camel


def _joined(name: str, joint: str) -> str:
    """The letters and digits of a name, as a file (``_``) or a distribution (``-``) may be called."""
    return re.sub(r"[^a-z0-9]+", joint, name).strip(joint)


def _write(texts: Mapping[Path, str]) -> list[Path]:
    """All of them, or nothing where one is there already."""
    for path in texts:
        if path.exists():
            raise KwsbenchError(f"{path} is there already; remove it, choose another name or another folder")
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(texts)
