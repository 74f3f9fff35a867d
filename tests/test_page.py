"""The page: what stands in it is what the records say, nothing in a record can act, and it runs in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import urlencode

import pytest

from kwsbench import leaderboard, page, results
from kwsbench.errors import KwsbenchError
from kwsbench.results import Combination, ConditionResult, Data, Estimate, Groups, Isotropy, Result

KEYWORDS = ["ŋko", "təla", "ma", "ɓe", "da", "ku"]
HOSTILE_SET = """manifest/<script>alert(1)</script>&"'ɡaɮa"""
HOSTILE = """</script><img src=x onerror="document.title='taken'"><!--&amp;ŋ"""
BY_A_PAGE = 101845102
"""Chromium's number for requests of documents (blink_resource_loader) in its network log."""

FAILED = "RuntimeError: <b>no</b> & nothing"


def record(
    dataset="prompts/fr",
    encoder="mfcc",
    layer="0",
    transform="none",
    distance="cosine",
    *,
    value=0.4,
    heard=False,
    error=None,
):
    """A record whose MAP is value within 1e-6, the same for every keyword."""
    cell = Combination(
        dataset=dataset, encoder=encoder, layer=layer, transform=transform, distance=distance, matcher="sdtw"
    )
    common = {
        "fingerprint": f"{abs(hash(cell)):x}".zfill(16),
        "combination": cell,
        "identity": {},
        "provenance": {
            "date": "2026-01-01",
            "packages": {"kwsbench": "0.1.0"},
            "git": {"commit": "c" * 40, "dirty": True},
        },
    }
    if error:
        return Result(**common, error=error)
    return Result(
        **common,
        data=Data(
            digest="d" * 64, language="fr", heard=heard, clips=12, speakers=3, keywords=6, queries=12, utterances=12,
            audio_s=90.0, left_out={"own_recording": 12}, audio={"resampled from 8000 Hz": 12}, too_short=0,
            query_material={}, notes={"source <of>": "a & b"},
        ),
        conditions={"across/isolated": condition(value), "within/isolated": condition(value + 0.1)},
        isotropy=dict.fromkeys(("before", "after"), Isotropy(frames=9, dims=4, figures=SHAPE)),
    )  # fmt: skip


SHAPE = {"mean_cosine": 0.25, "isoscore": 0.5}


def condition(value):
    metrics = {
        name: Estimate(value=value, low=value - 0.05, high=value + 0.05, chance=0.1)
        for name in ("map", "p@1", "p@10", "p@n", "auc", "eer")
    }
    columns = {name: [value] * len(KEYWORDS) for name in metrics if name != "eer"}
    groups = Groups(keyword=KEYWORDS, speaker=["s"] * len(KEYWORDS), queries=[2] * len(KEYWORDS), metrics=columns)
    return ConditionResult(
        queries=12, queries_without_positives=0, trials=120, positives=24, metrics=metrics, groups=groups
    )


@pytest.fixture
def board(tmp_path):
    """Two scored encoders (one with layers, one of them failed), a baseline, a failed encoder, hostile names."""
    folder = tmp_path / "board"
    records = [
        record(value=0.3),
        record(transform="center", value=0.5),
        *(record(encoder="hubert", layer=str(i), value=0.6 + i / 100, heard=True) for i in (0, 1, 10)),
        record(encoder="hubert", layer="2", error="RuntimeError: out of memory"),
        record(encoder="broken", error=FAILED),
        record(HOSTILE_SET, HOSTILE, transform=HOSTILE, value=0.2),
        record("prompts/none-scored", "mfcc", error=FAILED),
    ]
    for made in records:
        results.save(made, folder / "results")
    (folder / "board.toml").write_text(
        'title = "Words <b>&\\" ŋ"\n[[baseline]]\nencoder = "mfcc"\ntransform = "none"\ndistance = "cosine"\n'
        'matcher = "sdtw"\n',
        encoding="utf-8",
    )
    return folder


def figures(text):
    """The JSON that is embedded in a page."""
    (found,) = re.findall(r'<script type="application/json" id="figures">(.*?)</script>', text, flags=re.DOTALL)
    return json.loads(found)


def of_set(text, name="prompts/fr"):
    return next(each for each in figures(text)["sets"] if each["name"] == name)


# ── without a browser ────────────────────────────────────────────────────────────────────────────


def test_figures_are_those_of_the_rows_and_records(board):
    shown = of_set(page.make(board))
    rows = leaderboard.by_dataset(leaderboard.read_rows(board, "encoders"))["prompts/fr"]
    assert [line["encoder"] for line in shown["chosen"]] == [row.chosen("encoder") for row in rows]
    for line, row in zip(shown["chosen"], rows, strict=True):
        for name, found in line["of"].items():
            for metric, (value, low, high, chance) in found.items():
                assert Estimate(value=value, low=low, high=high, chance=chance) == row.metrics[name][metric]
    records = [r for r in results.load_all(board) if r.combination.dataset == "prompts/fr"]
    assert len(shown["cells"]) == len(records)
    for cell, made in zip(shown["cells"], records, strict=True):
        encoder, transform, distance, matcher, layer = cell["name"]
        assert made.combination == Combination(
            dataset="prompts/fr",
            encoder=encoder,
            layer=layer,
            transform=transform,
            distance=distance,
            matcher=matcher,
        )
        assert cell["error"] == made.error
        assert set(cell["map"]) == set(made.conditions)
        for name, (value, low, high) in cell["map"].items():
            found = made.metric("map", name)
            assert (value, low, high) == (found.value, found.low, found.high)


def test_a_baseline_is_marked_and_a_chosen_row_is_not(board):
    marks = [(line["encoder"], line["transform"], line["fixed"]) for line in of_set(page.make(board))["chosen"]]
    assert ("mfcc", "none", True) in marks
    assert ("mfcc", "center", False) in marks


def test_equal_records_make_equal_pages(board, tmp_path):
    copy = tmp_path / "elsewhere" / "board"
    shutil.copytree(board, copy)
    assert page.make(board) == page.make(board) == page.make(copy)


def test_failed_cells_are_rows_with_their_reason(board):
    text = page.make(board)
    errors = {line["encoder"]: line["error"] for line in of_set(text)["chosen"]}
    assert errors["broken"] == f"1 of 1 cells failed: {FAILED}"
    assert errors["hubert"] == "1 of 4 cells failed: RuntimeError: out of memory"
    assert errors["mfcc"] is None
    assert of_set(text, "prompts/none-scored")["data"] == {}


def test_no_name_can_leave_its_place(board):
    text = page.make(board)
    assert text.count("<script") == text.count("</script>") == 2
    assert "<img" not in text
    assert "<title>Words &lt;b&gt;&amp;&quot; ŋ</title>" in text
    hostile = of_set(text, HOSTILE_SET)
    assert hostile["chosen"][0]["encoder"] == hostile["chosen"][0]["transform"] == HOSTILE


def test_a_name_that_looks_like_a_place_of_the_template_is_left_alone(board):
    (board / "board.toml").write_text('title = "{{data}} {{nothing}}"\n')
    text = page.make(board)
    assert "<title>{{data}} {{nothing}}</title>" in text
    assert figures(text)["title"] == "{{data}} {{nothing}}"


def test_nothing_is_loaded_from_elsewhere(board):
    text = page.make(board)
    assert "default-src 'none'" in text
    assert "unsafe" not in text
    assert not re.search(r"@import|url\(|<iframe|<object|<embed|<base\b|fetch\(|XMLHttpRequest|import\(", text)
    addresses = re.findall(r"""\b(?:src|href|action)\s*=\s*["']([^"']*)""", text.replace(HOSTILE, ""))
    assert set(addresses) <= {"data:,"}


def test_write_puts_the_page_beside_the_records(board):
    path = page.write(board)
    assert path == board / "index.html"
    assert path.read_text(encoding="utf-8") == page.make(board)


def test_the_command_is_the_run_file_or_none(board):
    assert "keeps no run.toml" in figures(page.make(board))["command"]
    (board / "run.toml").touch()
    assert figures(page.make(board))["command"] == "cd THIS_FOLDER && kwsbench run run.toml --board ."


def test_a_board_without_records_is_an_error(tmp_path):
    with pytest.raises(KwsbenchError, match="no records"):
        page.make(tmp_path)


def test_seven_hundred_records_stay_under_a_megabyte(tmp_path):
    for dataset in ("prompts/fr", "prompts/it"):
        for transform in range(14):
            for layer in range(25):
                made = record(dataset, "hubert", str(layer), f"center:scope=speaker+whiten:eps=1e-{transform}")
                results.save(made, tmp_path / "results")
    assert len(page.make(tmp_path).encode()) < 1e6


# ── in a browser ─────────────────────────────────────────────────────────────────────────────────


class Table(HTMLParser):
    """The rows of one table of a document, a list of texts each, and whether a script or image came in."""

    def __init__(self, css, document):
        super().__init__()
        self.css, self.inside, self.rows, self.tags = css, False, [], []
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "table":
            self.inside = dict(attrs).get("class") == self.css
        elif self.inside and tag == "tr":
            self.rows.append([])
        elif self.inside and tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag == "table":
            self.inside = False

    def handle_data(self, data):
        if self.inside and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


@pytest.fixture
def chromium(tmp_path):
    """Open an address in Chromium: (the document after its scripts ran, what it said on the console, what it asked
    the network for)."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on PATH; on Debian: apt-get install chromium")

    def open_address(address):
        log = tmp_path / "net.json"
        command = [
            program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", f"--log-net-log={log}",
            f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,900", "--dump-dom", address,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        # The log also has what Chromium asks for on its own account; a page's requests bear the mark of its loader.
        asked = re.findall(rf'"traffic_annotation":{BY_A_PAGE},"url":"((?!file:|data:)[^"]*)', log.read_text())
        return done.stdout, said, asked

    return open_address


@pytest.fixture
def browse(board, chromium):
    """The board's page in Chromium, at a state: its document. Any message or request fails."""
    path = page.write(board)

    def open_page(**state):
        document, said, asked = chromium(f"{path.as_uri()}#{urlencode(state)}")
        assert said == []
        assert asked == []
        assert 'data-drawn="yes"' in document
        return document

    return open_page


def test_a_request_and_an_error_of_a_page_would_be_noticed(chromium, tmp_path):
    (tmp_path / "bad.html").write_text('<img src="http://example.invalid/a.png"><script>nothing()</script>')
    _, said, asked = chromium((tmp_path / "bad.html").as_uri())
    assert "nothing is not defined" in said[0]
    assert asked == ["http://example.invalid/a.png"]


def test_a_script_that_is_not_the_pages_own_does_not_run(board, chromium):
    path = page.write(board)
    path.write_text(path.read_text().replace("</body>", "<script>document.title = 'taken'</script></body>"))
    document, said, _ = chromium(path.as_uri())
    assert "<title>taken" not in document
    assert "Content Security Policy" in said[0]


def test_the_script_draws_tables_and_figures(browse):
    document = browse(set="prompts/fr")
    best = Table("best", document).rows[1:]
    assert [row[1].split("layer")[0] for row in best] == ["hubert †", "mfcc", "mfccbaseline", "broken"]
    assert best[-1][2] == f"1 of 1 cells failed: {FAILED}"
    hubert = Table("all", document).rows[1]
    # Every keyword prefers the last layer, so that both halves choose it.
    assert [hubert[1], hubert[5].strip(), hubert[-3]] == ["10", ".700 [.650, .750]", "+.100"]
    # Layers 0 and 1 are joined; layer 2 failed, so that 10 stands alone.
    assert len(re.findall(r'<path [^>]*class="curve"', document)) == 1
    # Three layers in the one figure, all five cells in the other, two transforms in its key.
    assert len(re.findall(r'<path [^>]*class="mark"', document)) == 3 + 5 + 2


def test_hostile_names_are_shown_and_inert(browse):
    document = browse(set=HOSTILE_SET, q="<img")
    parsed = Table("all", document)
    assert [row[0] for row in parsed.rows[1:]] == [HOSTILE]
    assert Table("best", document).rows[1][1].startswith(HOSTILE)
    assert "img" not in parsed.tags
    assert parsed.tags.count("script") == 2
    assert "<title>Words &lt;b&gt;&amp;" in document


def test_sorting_and_filtering_come_from_the_address(browse):
    def encoders(**state):
        rows = Table("all", browse(set="prompts/fr", **state)).rows[1:]
        return [(re.sub(r" †|\d of .*", "", row[0]), row[2]) for row in rows]

    broken, hubert = ("broken", "none"), ("hubert", "none")
    plain, centered = ("mfcc", "none"), ("mfcc", "center")
    assert encoders() == [hubert, centered, plain, broken]
    assert encoders(sort="map", dir="up") == [plain, centered, hubert, broken]
    assert encoders(sort="encoder", dir="up")[:2] == [broken, hubert]
    assert encoders(q="MFCC cent") == [centered]
    assert encoders(sort="nonsense", cond="nonsense", pair="nonsense") == [hubert, centered, plain, broken]


def test_the_condition_changes_all_figures(browse):
    row = Table("all", browse(set="prompts/fr", cond="within/isolated", q="center")).rows[1]
    assert ".600 [.550, .650]" in [cell.strip() for cell in row]


def test_a_data_set_without_a_score_is_shown(browse):
    document = browse(set="prompts/none-scored")
    assert "No cell has been scored." in document
    assert Table("best", document).rows[1][2] == f"1 of 1 cells failed: {FAILED}"
