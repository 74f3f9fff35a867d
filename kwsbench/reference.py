"""docs/hooks.md, made of the contracts themselves: ``python -m kwsbench.reference > docs/hooks.md``."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import typing
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import NamedTuple

import kwsbench
from kwsbench import hookspecs, plugins, testing, types

ROOT = Path(kwsbench.__file__).parents[1]

HEAD = """\
# The hooks

*Made of `kwsbench/hookspecs.py` and `kwsbench/types.py` by `python -m kwsbench.reference > docs/hooks.md`. To write a
first plugin, follow [tutorial.md](tutorial.md); how plugins behave in a run is in [plugins.md](plugins.md).*
"""


def render() -> str:
    """The document: what a plugin is, each hook with its contracts, and the nouns that they speak of."""
    source = inspect.getsource(types)
    defined = _definitions(source)
    contracts = {kind: _contracts(kind) for kind in plugins.KINDS}
    told = {name for kind in plugins.KINDS for name in [*_named(kind), *contracts[kind]]}
    parts = [HEAD, _markdown((hookspecs.__doc__ or "").partition("\n\n")[2])]
    parts.append("\n".join(f"- [`register_{kind}`](#register_{kind})" for kind in plugins.KINDS))
    for kind, names in contracts.items():
        parts += _hook(kind)
        for name in names:
            parts += _definition(name, defined[name])
    parts.append("## The nouns")
    for name, node in defined.items():
        if name not in told and _is_spoken_of(name, defined):
            parts += _definition(name, node)
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


class Alias(NamedTuple):
    """``Waveform = …``, and the string on the line below, which Python does not keep."""

    node: ast.Assign
    says: str


Definition = ast.ClassDef | Alias


def _definitions(source: str) -> dict[str, Definition]:
    """The classes and aliases of kwsbench.types, in its order."""
    found: dict[str, Definition] = {}
    for node, after in pairwise([*ast.parse(source).body, ast.Pass()]):
        if isinstance(node, ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            says = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            found[ast.unparse(node.targets[0])] = Alias(node, str(says))
    return found


def _is_spoken_of(name: str, defined: Mapping[str, Definition]) -> bool:
    """Whether any other definition has it in its text."""
    texts = (
        ast.unparse(one.node if isinstance(one, Alias) else one) for other, one in defined.items() if other != name
    )
    return any(re.search(rf"\b{name}\b", text) for text in texts)


def _named(kind: str) -> list[str]:
    """The names of kwsbench.types in a hook's docstring."""
    return re.findall(r"``(?:kwsbench\.types\.)?([A-Z]\w+)``", _says(kind))


def _contracts(kind: str) -> list[str]:
    """The classes that a hook's docstring names; of a union, its members."""
    found: list[str] = []
    for name in _named(kind):
        named = getattr(types, name)
        found += [each.__name__ for each in typing.get_args(named)] if isinstance(named, UnionType) else [name]
    return found


def _says(kind: str) -> str:
    return inspect.getdoc(getattr(hookspecs, f"register_{kind}")) or ""


def _hook(kind: str) -> Iterator[str]:
    check = getattr(testing, f"check_{kind.removesuffix('s')}")
    rules = inspect.getdoc(check) or ""
    yield f"## register_{kind}"
    yield _markdown(_says(kind))
    yield f"Built in: {', '.join(_built_in(f'register_{kind}'))}."
    yield f"`kwsbench check` looks at: {_markdown(rules[:1].lower() + rules[1:])}"


def _built_in(hook: str) -> list[str]:
    """Links to our own files that have this hook."""
    found = []
    for point in entry_points(group=hookspecs.GROUP):
        if point.dist and point.dist.name == kwsbench.__name__:
            module = importlib.import_module(point.value)
            if hasattr(module, hook):
                path = Path(inspect.getfile(module)).relative_to(ROOT)
                place = (path.parent if path.stem == "__init__" else path).as_posix()
                found.append(f"[`{place}`](../{path.as_posix()})")
    return sorted(found)


def _definition(name: str, found: Definition) -> Iterator[str]:
    """A heading, then what it is."""
    yield f"### {name}"
    if isinstance(found, Alias):
        yield _code(ast.unparse(found.node))
        yield _markdown(found.says)
    else:
        yield from _class(found)


def _class(node: ast.ClassDef) -> Iterator[str]:
    """The docstring, the attributes as a block of code, then each method with its docstring."""
    attributes = [each for each in node.body if isinstance(each, ast.AnnAssign)]
    yield _markdown(ast.get_docstring(node) or "", names={ast.unparse(each.target) for each in attributes})
    parents = [base.id for base in node.bases if isinstance(base, ast.Name) and base.id in vars(types)]
    # typing's own bases are not the reader's business.
    parents = [parent for parent in parents if parent not in ("Protocol", "NamedTuple")]
    if parents:
        yield f"Has all that `{parents[0]}` has, and:"
    if attributes:
        yield _code("\n".join(ast.unparse(each) for each in attributes))
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
            yield _code(_signature(method))
            names = {argument.arg for argument in (*method.args.args, *method.args.kwonlyargs)}
            yield _markdown(ast.get_docstring(method) or "", names=names)


def _signature(method: ast.FunctionDef) -> str:
    returned = ast.unparse(method.returns) if method.returns else ""
    if any(ast.unparse(decorator) == "property" for decorator in method.decorator_list):
        return f"{method.name}: {returned}"
    arguments = re.sub(r"^(self|cls)(, )?", "", ast.unparse(method.args))
    return f"{method.name}({arguments}) -> {returned}"


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def _markdown(text: str, *, names: set[str] | frozenset[str] = frozenset()) -> str:
    """A docstring as Markdown; lines that begin with ``name:``, of an attribute or argument, as a list."""
    lines: list[str] = []
    listed = False
    for line in re.sub(r"``(.+?)``", r"`\1`", inspect.cleandoc(text)).split("\n"):
        head, colon, tail = line.partition(": ")
        told = head.split(", ")
        if colon and set(told) <= names:
            listed = True
            lines.append(f"- {', '.join(f'`{name}`' for name in told)}: {tail}")
        else:
            listed = listed and bool(line)
            lines.append(f"  {line}" if listed else line)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(render())
