"""What the documents say is so: their code runs, their links lead somewhere, their tables are the board's."""

import re
from pathlib import Path

import pytest

from kwsbench import leaderboard, ranking, report, verdicts

ROOT = Path(__file__).parents[1]
FOLDERS = (".", "docs", "datasets/*", "plugins/nano", "leaderboards/prompts", "benchmarks")
DOCUMENTS = sorted(path for folder in FOLDERS for path in ROOT.glob(f"{folder}/*.md"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_every_figure_in_the_readme_stands_in_the_boards_tables():
    """Row: `encoder` and its configuration; columns: languages. Each figure must stand in a row of that encoder."""
    board = (ROOT / "leaderboards" / "prompts" / "README.md").read_text()
    sections = dict(re.findall(r"### prompts/(\w+)\n(.*?)(?=\n### |\n<!--)", board, flags=re.DOTALL))
    text = (ROOT / "README.md").read_text()
    header, _, *rows = re.findall(
        r"^\|.*\|$", text.partition("## What comes out")[2].partition("\n## ")[0], re.MULTILINE
    )
    languages = [{"French": "fr", "Italian": "it", "Spanish": "es"}[c.strip(" †")] for c in header.split("|")[2:-1]]
    assert len(rows) > 3
    for row in rows:
        first, *figures = [cell.strip() for cell in row.strip("|").split("|")]
        names = re.findall(r"`([^`]+)`", first)
        for language, figure in zip(languages, figures, strict=True):
            found = [line for line in sections[language].splitlines() if all(f"| {name}" in line for name in names)]
            assert any(f"| {figure} " in line for line in found), (language, names, figure)


def test_the_findings_in_the_readme_are_what_the_records_say():
    rows = {
        (row.dataset[-2:], row.chosen("encoder"), *(row.chosen(a) for a in ("transform", "distance", "matcher"))): row
        for row in leaderboard.read_rows(ROOT / "leaderboards" / "prompts", "all")
    }

    def value(language, encoder, transform, matcher="sdtw"):
        return rows[language, encoder, transform, "cosine", matcher]

    for name, ranked in leaderboard.by_dataset(
        leaderboard.read_rows(ROOT / "leaderboards" / "prompts", "encoders")
    ).items():
        assert ranked[0].chosen("encoder") == "nano-hubert", name
        assert ranking.rank_spans(ranked)[0] == "1"
    for language in ("fr", "it", "es"):
        plain, centred, white = (value(language, "nano-hubert", t) for t in ("none", "center", "whiten"))
        assert abs(centred.value() - plain.value()) < 0.01
        assert abs(centred.isotropy.figure("mean_cosine")) < 0.002
        assert white.isotropy.figure("isoscore") > 0.97
        gain = white.value() - plain.value()
        assert 0 < gain < 0.01 if language == "fr" else gain < 0
        raw, mean_free, spoken = (
            value(language, "mfcc", t).value() for t in ("none", "center", "standardize:scope=speaker")
        )
        assert max(raw, mean_free) < 0.135
        assert spoken > 0.26
        whitened = value(language, "mfcc", "whiten")
        assert f"{whitened.value():.3f}"[1:] in (ROOT / "README.md").read_text()
        assert f"{spoken:.3f}"[1:] in (ROOT / "README.md").read_text()
        asymmetric = value(language, "mfcc", "standardize:scope=speaker", "sdtw:steps=asymmetric").value()
        assert asymmetric - spoken > 0.05
        untrained = value(language, "nano-hubert:weights=random:seed=0", "standardize:scope=speaker").estimate()
        assert untrained.value < untrained.chance + 0.04


def test_the_answer_in_the_readme_is_what_the_ablation_says():
    raised = {"es": ("center:scope=speaker", 0.065), "fr": ("speaker-subspace", 0.053),
              "it": ("whiten:k=32,kind=pca", 0.072)}  # fmt: skip
    signs = set()
    for found in report.read(ROOT / "leaderboards" / "prompts"):
        mine = {
            change.side.transform: change.effects["map"]
            for change in found.answers
            if (change.side.encoder, change.side.distance, change.side.matcher) == ("nano-hubert", "cosine", "sdtw")
        }
        language = found.dataset[-2:]
        assert len(mine) == 16
        assert [name for name, effect in mine.items() if verdicts.verdict(effect) == "raises"] == [raised[language][0]]
        assert mine[raised[language][0]].change == pytest.approx(raised[language][1], abs=5e-4)
        assert verdicts.verdict(mine["whiten"]) == ("undecided" if language == "fr" else "lowers")
        rho = {c.group: c for c in found.correlations if c.diagnostic == "mean_cosine"}
        assert -0.915 < rho["mfcc"].rho < -0.585
        assert rho["mfcc"].high < 0
        assert -0.165 < rho["nano-hubert"].rho < 0.225
        assert rho["nano-hubert"].cells == 95
        signs.add(rho["nano-hubert"].rho > 0)
    assert signs == {True, False}


def test_the_speeds_in_the_readme_are_those_of_the_benchmarks():
    figures = re.findall(
        r"\*\*([0-9.,]+)", (ROOT / "README.md").read_text().partition("## Speed")[2].partition("\n## ")[0]
    )
    assert figures
    measured = (ROOT / "benchmarks" / "README.md").read_text()
    for figure in figures:
        assert re.search(rf"(?<![0-9.,]){re.escape(figure)}(?![0-9])", measured), figure


def test_every_benchmark_has_its_part_in_their_readme():
    benchmarks = sorted(path.name for path in (ROOT / "benchmarks").glob("[!_]*.py"))
    assert (
        re.findall(r"^<!-- (.*) -->$", (ROOT / "benchmarks" / "README.md").read_text(), flags=re.MULTILINE)
        == benchmarks
    )


def test_the_plugin_in_the_readme_passes_its_check(run_cli, tmp_path):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)[1]
    path = tmp_path / "bands.py"
    path.write_text(code)
    assert "register_encoders" in code
    exit_code, out, err = run_cli("check", path)
    assert exit_code == 0, out + err


def test_options_in_the_documents_exist(run_cli):
    known = {}
    for command in ("run", "leaderboard", "plugins", "check", "datasets", "show", "search"):
        known[command] = run_cli(command, "--help")[1]
    for command in ("new", "list"):
        known["plugins"] += run_cli("plugins", command, "--help")[1]
    for path in DOCUMENTS:
        for command, rest in re.findall(
            r"kwsbench (run|leaderboard|plugins|check|datasets|show)\b([^\n`]*)", path.read_text()
        ):
            for option in re.findall(r"(?<!\S)--[a-z-]+", rest):
                assert option in known[command], f"{path.name}: kwsbench {command} {option}"


def test_every_name_in_the_table_of_encoders_is_registered():
    from kwsbench import plugins

    known = plugins.load().plugins["encoders"]
    text = (ROOT / "docs" / "encoders.md").read_text()
    names = re.findall(
        r"`([a-z0-9-]+)`", " ".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    )
    assert len(names) > 8
    for name in names:
        assert name in known


def test_what_the_readme_says_of_search_stands_in_the_benchmark():
    """Each figure in the row of its encoder, asked with the recording as it is."""
    text = " ".join((ROOT / "README.md").read_text().partition("How well: ")[2].partition("\n## ")[0].split())
    section = (ROOT / "benchmarks" / "README.md").read_text().partition("## Words planted")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    nano, mfcc = (next(r for r in rows if r[:3] == ["file", name, "all"]) for name in ("nano-hubert", "mfcc"))
    timed = {row[0]: row[2] for row in rows if len(row) == 3}
    found = re.search(
        r"word for (.+?) % of them with `nano-hubert`, for (.+?) % with MFCC, .* ten for (.+?) %\. .* first (\d+) % "
        r"begin .* takes (\S+) seconds on one core, with MFCC (\d\.\d+)\.",
        text,
    )
    assert found, text
    assert found.groups() == (nano[3], mfcc[3], nano[4], nano[8], timed["nano-hubert"], timed["mfcc"])
    assert f"{text.split()[0]} words, each said once in 62 minutes" in section
