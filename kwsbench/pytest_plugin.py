"""For the tests of a plugin's own package: the rules of ``kwsbench check`` as tests.

    def test_with_other_parameters(kwsbench_check):
        kwsbench_check("encoder", "bands:n=40")

    @pytest.mark.kwsbench(owner="kwsbench-bands")  # the distribution; or file="bands.py"
    def test_contract(kwsbench_plugin, kwsbench_check):
        kwsbench_check(*kwsbench_plugin)  # once for each plugin that it registers

Every pytest run on a machine with kwsbench imports this: nothing heavy, until a test asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from kwsbench.plugins import Registry

Check = Callable[..., None]

_USE = '@pytest.mark.kwsbench(owner="DISTRIBUTION") or (file="FILE.py")'


class Registered(NamedTuple):
    """What ``kwsbench_check`` takes: a plugin's kind, its name, and the file that it is in, if it is in one."""

    kind: str
    name: str
    file: Path | None


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "kwsbench(owner=, file=, leave_out=()): give kwsbench_plugin each plugin of a distribution, or of a file "
        "relative to the test's own",
    )


@pytest.fixture
def kwsbench_check(request: pytest.FixtureRequest) -> Check:
    """``kwsbench_check(kind, spec, file=None)``: fail the test with a line for each rule that the plugin breaks."""

    def check(kind: str, spec: str, file: Path | str | None = None) -> None:
        from kwsbench import plugins, testing
        from kwsbench.errors import KwsbenchError
        from kwsbench.scaffold import kind_of
        from kwsbench.spec import parse

        try:
            asked = parse(spec)
            if asked.layers:
                raise KwsbenchError(f"{spec}: all layers are checked; leave out @{asked.layers}")  # noqa: TRY301
            registry = plugins.load([request.path.parent / file] if file else [])
            finding = testing.check_plugin(registry.find(kind_of(kind), asked.name), asked.params)
        except KwsbenchError as error:
            pytest.fail(str(error), pytrace=False)
        if finding.problems:
            count = len(finding.problems)
            heading = f"{kind} {spec} breaks {count} rule{'s' * (count > 1)} of its contract:"
            pytest.fail("\n  ".join([heading, *finding.problems]), pytrace=False)

    return check


@pytest.fixture
def kwsbench_plugin(request: pytest.FixtureRequest) -> Registered:
    """(kind, name, file) of one plugin that the marker ``kwsbench`` asks for."""
    found: Registered = request.param
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each plugin that the marker's distribution or file registers."""
    if "kwsbench_plugin" not in metafunc.fixturenames:
        return
    from kwsbench.errors import KwsbenchError

    marker = metafunc.definition.get_closest_marker("kwsbench")
    where = metafunc.definition.nodeid
    if marker is None:
        raise pytest.Collector.CollectError(f"{where}: kwsbench_plugin does not know whose; add {_USE}")
    whose = set(marker.kwargs) - {"leave_out"}
    if marker.args or whose not in ({"owner"}, {"file"}):
        raise pytest.Collector.CollectError(f"{where}: cannot read the marker; write {_USE}, leave_out=(…) with either")
    try:
        found = _registered(folder=metafunc.definition.path.parent, **marker.kwargs)
    except KwsbenchError as error:
        raise pytest.Collector.CollectError(f"{where}: {error}") from None
    metafunc.parametrize("kwsbench_plugin", found, indirect=True, ids=[f"{one.kind}-{one.name}" for one in found])


def _registered(*, folder: Path, owner: str = "", file: str = "", leave_out: tuple[str, ...] = ()) -> list[Registered]:
    from kwsbench import plugins
    from kwsbench.errors import KwsbenchError, did_you_mean

    path = folder / file if file else None
    registry = plugins.load([path] if path else [])
    _require_loaded(registry, owner)
    mine = [plugin for plugin in registry.all() if plugin.owner == (str(path) if path else owner)]
    if not mine:
        owners = sorted({plugin.owner for plugin in registry.all()})
        raise KwsbenchError(f"no plugin is registered by {owner!r}; is it installed? {did_you_mean(owner, owners)}")
    unknown = sorted(set(leave_out) - {plugin.name for plugin in mine})
    if unknown:
        raise KwsbenchError(f"leave_out: {unknown[0]!r} is none of {', '.join(plugin.name for plugin in mine)}")
    return [
        Registered(plugin.kind.removesuffix("s"), plugin.name, path) for plugin in mine if plugin.name not in leave_out
    ]


def _require_loaded(registry: Registry, owner: str) -> None:
    """A plugin that cannot be loaded must not look like one that is not there."""
    from kwsbench.errors import KwsbenchError

    for what, problem in registry.broken.items():
        if owner and what.startswith(f"{owner}: "):
            raise KwsbenchError(f"{what} could not be loaded: {problem}")
