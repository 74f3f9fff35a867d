"""Discovery: entry points and files → one Registry. Nothing is global.

Each plugin is loaded apart from the others: a broken one is reported by name and the rest go on.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol

import pluggy

from kwsbench import hookspecs
from kwsbench.errors import KwsbenchError, PluginError, UnknownName, did_you_mean, one_line
from kwsbench.spec import NAME, Spec
from kwsbench.windows import OVERLAP, WINDOW

KINDS = ("encoders", "transforms", "distances", "matchers", "score_norms", "datasets")

Factory = Callable[..., Any]


class Register(Protocol):
    """What a hook is handed: ``register(name, factory, **defaults)``."""

    def __call__(self, name: str, factory: Factory, **defaults: Any) -> None: ...


@dataclass(frozen=True)
class Plugin:
    """One registered name."""

    kind: str
    name: str
    owner: str
    version: str
    factory: Factory
    defaults: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """The first line of the factory's docstring."""
        return (inspect.getdoc(self.factory) or "").partition("\n")[0]

    @property
    def parameters(self) -> dict[str, Any]:
        """What a user may set, with its default (``inspect.Parameter.empty`` when it must be set)."""
        found = {
            name: parameter.default
            for name, parameter in inspect.signature(self.factory).parameters.items()
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        }
        return found | dict(self.defaults)

    @property
    def maker(self) -> str:
        """The owner as a fingerprint names it: a file without its folder, so that it may be moved."""
        return Path(self.owner).name

    @property
    def signature(self) -> str:
        """The parameters as they are written: ``kind=zca, eps=0.001``; ``path=…`` must be given."""
        return ", ".join(
            f"{key}={'…' if default is inspect.Parameter.empty else _write(default)}"
            for key, default in self.parameters.items()
        )

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "kind": self.kind,
            "name": self.name,
            "what": self.summary,
            "parameters": self.signature,
            "owner": self.owner,
            "version": self.version,
        }

    def create(self, params: Mapping[str, str]) -> Any:
        """The object, made by the factory from parameters as text. Raises KwsbenchError on a wrong one."""
        return self.factory(**(dict(self.defaults) | self.read_params(params)))

    def resolved(self, params: Mapping[str, str]) -> dict[str, Any]:
        """All parameters with their values, given or default: what a fingerprint is made of."""
        return self.parameters | self.read_params(params)

    def pinned(self, params: Mapping[str, str]) -> dict[str, str]:
        """All parameters as text, a path replaced by the digest of what lies there: the same wherever it lies."""
        return {
            key: _digest(value) if isinstance(value, Path) else str(value)
            for key, value in self.resolved(params).items()
        }

    def canonical(self, params: Mapping[str, str]) -> dict[str, str]:
        """The parameters that differ from their defaults, sorted: equal for all ways to write the same thing."""
        values, defaults = self.read_params(params), self.parameters
        return {key: params[key] for key in sorted(params) if values[key] != defaults[key]}

    def _hints(self) -> dict[str, Any]:
        """Annotations of the parameters. What is returned may be a name that only type checkers import."""
        function: Any = self.factory.__init__ if inspect.isclass(self.factory) else self.factory
        annotations = {key: hint for key, hint in inspect.get_annotations(function).items() if key != "return"}
        return typing.get_type_hints(
            types.SimpleNamespace(__annotations__=annotations), getattr(function, "__globals__", {})
        )

    def read_params(self, params: Mapping[str, str]) -> dict[str, Any]:
        """Text → values, by the annotations of the factory."""
        known = self.parameters
        hints = self._hints()
        values = {}
        for key, text in params.items():
            if key not in known:
                raise KwsbenchError(f"{self.name} has no parameter {key!r}. {did_you_mean(key, sorted(known))}")
            # Without an annotation, the default tells the type.
            default = known[key]
            guess = str if default is None or default is inspect.Parameter.empty else type(default)
            values[key] = _convert(text, hints.get(key, guess), f"{self.name}:{key}={text}")
        missing = [key for key, default in (known | values).items() if default is inspect.Parameter.empty]
        if missing:
            raise KwsbenchError(f"{self.name} needs {missing[0]!r}; write {self.name}:{missing[0]}=…")
        return values


@dataclass
class Registry:
    """All that is registered, by kind and name, and what could not be loaded."""

    plugins: dict[str, dict[str, Plugin]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    broken: dict[str, str] = field(default_factory=dict)

    def find(self, kind: str, name: str) -> Plugin:
        """The plugin of that name. Raises UnknownName with the closest one."""
        try:
            return self.plugins[kind][name]
        except KeyError:
            error = UnknownName(kind.removesuffix("s"), name, self.plugins[kind])
            if self.broken:
                error.args = (f"{error} ({len(self.broken)} plugin(s) could not be loaded: see kwsbench plugins)",)
            raise error from None

    def create(self, kind: str, spec: Spec) -> Any:
        """The object that a spec names."""
        return self.find(kind, spec.name).create(spec.params)

    def all(self) -> list[Plugin]:
        """Every plugin, by kind and name."""
        return [self.plugins[kind][name] for kind in KINDS for name in sorted(self.plugins[kind])]


def load(files: Sequence[Path] = ()) -> Registry:
    """A Registry of all installed plugins and of the given single files.

    An installed plugin that fails is reported in ``broken``; a file that the user named raises.
    """
    registry = Registry()
    for point in sorted(entry_points(group=hookspecs.GROUP), key=lambda point: point.name):
        owner, version = _distribution(point)
        try:
            _add(registry, point.load(), owner, version)
        except Exception as error:  # noqa: BLE001 - whatever a stranger's module raises must not take the others down
            registry.broken[f"{owner}: {point.name}"] = one_line(error)
    for path in files:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""
        module = _import_file(path, digest)
        try:
            _add(registry, module, str(path), digest)
        except KwsbenchError:
            raise
        except Exception as error:
            raise PluginError(f"{path} could not be registered: {one_line(error)}") from error
    return registry


def _distribution(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else (point.value, "")


def _add(registry: Registry, module: types.ModuleType, owner: str, version: str) -> None:
    """Register all that one module offers, or nothing of it."""
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module)
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{module.__name__}: a hook's one argument must be called 'register'") from error
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        hooks = [f"register_{kind}" for kind in KINDS]
        wrong = next((name for name in vars(module) if name not in hooks and _is_hook(module, name)), "")
        message = f"{module.__name__}: no hook is called {wrong!r}. {did_you_mean(wrong, hooks)}"
        raise PluginError(message) from error
    found: list[Plugin] = []
    for kind in KINDS:

        def register(name: str, factory: Factory, /, *, _kind: str = kind, **defaults: Any) -> None:
            if not callable(factory):
                raise PluginError(f"{name}: register() wants the class or function itself, not what it returns")
            found.append(Plugin(_kind, name, owner, version, factory, defaults))

        getattr(manager.hook, f"register_{kind}")(register=register)
    if not found:
        raise PluginError(f"{module.__name__} registers nothing; mark its hooks with @kwsbench.hookimpl")
    for plugin in found:
        _check(registry, plugin)
    for plugin in found:
        registry.plugins[plugin.kind][plugin.name] = plugin


def _check(registry: Registry, plugin: Plugin) -> None:
    other = registry.plugins[plugin.kind].get(plugin.name)
    if other:
        raise PluginError(
            f"{plugin.kind.removesuffix('s')} {plugin.name!r} is registered twice, by {other.owner} and by "
            f"{plugin.owner}; rename one of them"
        )
    if not NAME.fullmatch(plugin.name):
        raise PluginError(f"{plugin.name!r} cannot be typed as a name; use a-z, 0-9, '.', '_', '/' and '-'")
    taken = {"transforms": {"scope"}, "encoders": {WINDOW, OVERLAP}}.get(plugin.kind, set()) & set(plugin.parameters)
    if taken:
        raise PluginError(f"{plugin.name}: {min(taken)!r} is the runner's parameter; call yours something else")
    strange = sorted(set(plugin.defaults) - set(inspect.signature(plugin.factory).parameters))
    if strange:
        raise PluginError(f"{plugin.name}: the factory has no parameter {strange[0]!r} to give a default to")


def _is_hook(module: types.ModuleType, name: str) -> bool:
    return hasattr(getattr(module, name), f"{hookspecs.GROUP}_impl")


def _import_file(path: Path, digest: str) -> types.ModuleType:
    if not path.is_file():
        raise KwsbenchError(f"no plugin file {path}; --plugin takes the path of a .py file")
    # A name of its own: a file called whisper.py must not stand in for the library of that name.
    name = f"kwsbench_plugin_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise KwsbenchError(f"{path} is no Python file; --plugin takes the path of a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise PluginError(f"{path} could not be imported: {one_line(error)}") from error
    return module


def _write(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _convert(text: str, hint: Any, where: str) -> Any:
    """The text as one of the types of an annotation: int, float, str, bool, Path, Literal, or several of them."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    expected: list[str] = []
    for option in options:
        if option in (None, types.NoneType):
            if text == "none":
                return None
        elif typing.get_origin(option) is typing.Literal:
            members = {str(member): member for member in typing.get_args(option)}
            if text in members:
                return members[text]
            expected.append(f"one of {', '.join(members)}")
        elif option is bool:
            if text in ("true", "false"):
                return text == "true"
            expected.append("true or false")
        else:
            try:
                return option(text)
            except (TypeError, ValueError):
                expected.append(getattr(option, "__name__", str(option)))
    raise KwsbenchError(f"{where}: expected {' or '.join(expected)}")


def _digest(path: Path) -> str:
    """sha256 of a file, or of the names and contents of a folder's files."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if not file.is_file():
            raise KwsbenchError(f"{file}: no such file or folder")
        digest.update(file.relative_to(path).as_posix().encode())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return f"sha256:{digest.hexdigest()}"
