"""The shape of the house: imports point one way, the core knows nobody by name, start-up is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "kwsbench"

# A module may import what stands in a line above its own, and nothing else of the core.
LAYERS = [
    "errors paths threads cli_options html svg",
    "types shard_writer",
    "hookspecs spec rules",
    "encoder_attributes encoder_features transform_rules distance_rules matcher_rules score_rules dataset_rules",
    "encoder_rules",
    "dtw metrics isotropy hubness labels provenance console windows stages",
    "nist_files streams decoded products cuda_dtw stats significance detection localisation subspaces rogue_dimensions",
    "audio plugins store trials archive.annotations search.nouns",
    "archive.textfile archive.elan_document archive.media archive.columns remote",
    "archive.textgrid archive.elan_bytes archive.pangloss archive.tables",
    "archive.elan_writing archive.praat search.profiles search.peaks search.judgements search.clips search.pictures",
    "archive.elan search.pooling search.page",
    "tiles",
    "neighbours",
    "cuda_engine",
    "gpu",
    "eer power ranks dataset quick engine encoding results trialfiles nist diagnostics calibration",
    "fitting scoring trialscore search.examples utterance_lanes archive.manifests search.costs",
    "archive.reading search.ranking",
    "archive.folder search.confidence",
    "archive.pieces search.query search.practice search.export",
    "tasks archive.verify search.pseudo_queries",
    "plan trialreport index distributed",
    "survey ranking testing compare",
    "runner leaderboard paired scaffold reference search.settings",
    "ablation pytest_plugin search.choice",
    "verdicts search.corpus",
    "figures report",
    "page describe search.find",
    "cli_run cli_boards cli_plugins cli_search",
    "cli",
    "__init__ __main__",
]
LEVEL = {name: level for level, line in enumerate(LAYERS) for name in line.split()}


def name_of(path):
    """A module as LAYERS calls it: ``engine``, ``archive.elan``."""
    return ".".join(path.relative_to(CORE).with_suffix("").parts)


MODULES = sorted(path for folder in (CORE, CORE / "archive", CORE / "search") for path in folder.glob("*.py"))


def imports(path):
    """Modules of the core that a file imports, TYPE_CHECKING blocks left out."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if (
            id(node) in skipped
            or not isinstance(node, ast.ImportFrom)
            or not (node.module or "").startswith("kwsbench")
        ):
            continue
        inner = node.module.removeprefix("kwsbench").removeprefix(".")
        if inner in ("", "archive", "search"):
            yield from (f"{inner}.{alias.name}".removeprefix(".") for alias in node.names)
        else:
            yield inner


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path):
    mine = name_of(path)
    if mine.endswith(".__init__"):
        assert not list(imports(path))
        return
    assert mine in LEVEL, "say in LAYERS where the new module stands"
    for name in imports(path):
        if name in LEVEL:
            assert LEVEL[name] < LEVEL[mine], f"{mine} imports {name}"


def test_the_core_knows_no_plugin_by_name():
    from kwsbench import plugins

    # Words that are also the field's terms, matplotlib's, or the defaults and the one way in for a user's own folder.
    allowed = {"none", "random", "cosine", "sdtw", "dtw", "manifest", "archive", "hf", "rank", "center"}
    names = {plugin.name for plugin in plugins.load().all()} - allowed
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in names, f"{path.name}:{node.lineno} knows {node.value!r}"
        for module in ("kwsbench_plugins", "kwsbench_datasets"):
            assert module not in path.read_text(), f"{path.name} imports a plugin"


TABLES = {"pandas", "scipy"}


@pytest.mark.parametrize(
    ("command", "budget_s", "needed"),
    [
        (["--help"], 1.0, set()),
        (["run", "--help"], 1.0, set()),
        (["plugins"], 1.5, set()),
        (["plugins", "--json"], 1.5, set()),
        (["leaderboard", str(ROOT / "leaderboards" / "prompts")], 8.0, TABLES),
    ],
)
def test_help_lists_and_tables_do_not_pay_for_models(command, budget_s, needed):
    """CPU seconds, about four times what they take on two slow cores: a heavy import would spend them all.

    The third is 708 records read and ranked by bootstrap.
    """
    code = (
        f"import sys; sys.argv = ['kwsbench', *{command!r}]\n"
        "from kwsbench.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'torchaudio', 'transformers', 's3prl', 'numba', 'matplotlib', 'pandas', 'scipy'}\n"
        f"heavy = heavy & set(sys.modules) - {needed!r}\n"
        "assert not heavy, heavy\n"
        "import time; print('spent', time.process_time(), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stderr.split("spent")[1]) < budget_s


def test_every_hook_has_a_built_in_and_documentation():
    from kwsbench import hookspecs, plugins

    registry = plugins.load()
    for kind in plugins.KINDS:
        assert registry.plugins[kind]
        assert getattr(hookspecs, f"register_{kind}").__doc__


def test_no_package_shadows_a_library():
    """An __init__.py there would hide the Hugging Face library ``datasets`` from whoever runs at the root."""
    for folder in ("datasets", "plugins", "leaderboards", "benchmarks"):
        assert folder == "benchmarks" or not (ROOT / folder / "__init__.py").exists()
