"""TextGrids as text, and what the project and praatio read from them."""

from itertools import pairwise
from pathlib import Path

from hypothesis import strategies as st
from praatio import textgrid as praatio

from kwsbench.archive.annotations import Annotation
from kwsbench.archive.praat import read

LONG = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.5
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words ŋ"
        xmin = 0
        xmax = 2.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.75
            text = "ma˧˥ ""kʼa"""
        intervals [2]:
            xmin = 0.75
            xmax = 1.5
            text = ""
        intervals [3]:
            xmin = 1.5
            xmax = 2.5
            text = "t͡ʃ
in two lines"
    item [2]:
        class = "TextTier"
        name = "bell"
        xmin = 0
        xmax = 2.5
        points: size = 2
        points [1]:
            number = 1.25
            mark = "H*"
        points [2]:
            number = 2
            mark = ""
'''

SHORT = '''File type = "ooTextFile"
Object class = "TextGrid"

0
2.5
<exists>
2
"IntervalTier"
"words ŋ"
0
2.5
3
0
0.75
"ma˧˥ ""kʼa"""
0.75
1.5
""
1.5
2.5
"t͡ʃ
in two lines"
"TextTier"
"bell"
0
2.5
2
1.25
"H*"
2
""
'''

SAID = {
    "words ŋ": [(0.0, 0.75, 'ma˧˥ "kʼa"'), (1.5, 2.5, "t͡ʃ\nin two lines")],
    "bell": [(1.25, 1.25, "H*")],
}
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"]
MARKS = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}


def write(path: Path, text: str, encoding="utf-8", newline="\n") -> Path:
    path.write_bytes(MARKS.get(encoding, b"") + text.replace("\n", newline).encode(encoding))
    return path


def said(path: Path) -> dict[str, list[tuple[float, float, str]]]:
    return {tier.name: [annotation[:3] for annotation in tier.annotations] for tier in read(path).tiers}


def problems(path: Path) -> list[tuple[int, str, str]]:
    found = read(path).problems
    assert all(problem.path == path and "\n" not in str(problem) for problem in found)
    return [(problem.line, problem.tier, problem.message) for problem in found]


def by_praatio(path: Path) -> dict[str, list[tuple]]:
    """Name of a tier → its entries, with the empty ones."""
    read_by_them = praatio.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode="error")
    return {tier.name: [tuple(entry) for entry in tier.entries] for tier in read_by_them.tiers}


def intervals(*rows: str, size: int | None = None, xmax="10") -> str:
    """A short TextGrid of one tier "words"; its first interval is on line 13."""
    rows_text = "".join(row.replace(" ", "\n", 2) + "\n" for row in rows)
    head = f'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n{xmax}\n<exists>\n1\n'
    return f'{head}"IntervalTier"\n"words"\n0\n{xmax}\n{len(rows) if size is None else size}\n{rows_text}'


# praatio cuts a long file at "item [" and "intervals [", whoever says so, and strips texts.
texts = st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs"], exclude_characters="["), min_size=1)
times = st.lists(st.integers(0, 10**8), min_size=2, max_size=12, unique=True).map(sorted)


@st.composite
def tiers(draw):
    """Annotations that do not overlap, some next to one another, times to the sixteenth digit."""
    bounds = [draw(st.floats(0.9999, 1.0)) + at for at in draw(times)]
    said = [(start / 1e4, end / 1e4, draw(texts)) for start, end in pairwise(bounds)]
    return [Annotation(*row) for row in said if row[2].strip() and draw(st.booleans())]
