"""The ablation in words: what each correction does, one line a data set or an encoder.

No sentence says more than its interval: `raises` and `lowers` need a corrected p below .05 and an
interval (over keywords, and over keywords and speakers where that was measured) without 0; `no
difference larger than x` needs an interval with 0 that lies within ±SMALL; all else is `undecided`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from kwsbench import paired
from kwsbench.ablation import Ablation
from kwsbench.leaderboard import fraction
from kwsbench.paired import Change, Effect

ALPHA = 0.05
SMALL = 0.05
"""An interval within ±SMALL is called no difference (and says how large one may be)."""

CAVEATS = (
    "Changes are paired, corrected minus uncorrected on the same queries, with 95% intervals over {keywords} keywords; "
    "p is that of a permutation test over keywords, after Holm over all lines of a data set's table. {speakers} "
    "Layers (and, where it says so, corrections) are chosen on one half of the keywords and scored on the other, apart "
    "for either side. Controls are encoders without trained weights: what a correction does to them, too, is not the "
    "repair of what training did."
)
NO_SPEAKERS = (
    f"Queries of fewer than {paired.LEAST_SPEAKERS} speakers give no interval over speakers that could be relied on: "
    "all of this is said of these voices, and of other words."
)
SPEAKERS = "A second interval resamples keywords and the queries' speakers, and a verdict needs both."


def verdict(effect: Effect) -> str:
    """``raises``, ``lowers``, ``no difference larger than .012`` or ``undecided``; see above for the rules."""
    low, high = effect.low, effect.high
    if effect.two_way is not None:
        low, high = min(low, effect.two_way.low), max(high, effect.two_way.high)
    if effect.p_holm < ALPHA and low > 0:
        return "raises"
    if effect.p_holm < ALPHA and high < 0:
        return "lowers"
    largest = max(-low, high)
    if low <= 0 <= high and largest <= SMALL:
        return f"no difference larger than {fraction(math.ceil(largest * 1000) / 1000)}"
    return "undecided"


def answer(found: Ablation) -> str:
    """One line for a data set: does correcting anisotropy help each trained encoder, and do the controls gain, too?"""
    name = f"{found.language}, {found.dataset}" if found.language else found.dataset
    start = f"**{name}** ({found.speakers} speakers, {found.keywords} keywords)"
    if not found.chosen:
        return f"{start}: no encoder was run both with and without a correction."
    metric = found.metrics[0]
    trained, controls = [], []
    for change in found.chosen:
        encoder, effect = change.side.encoder, change.effects[metric]
        word = verdict(effect)
        said = (
            f"{word} {metric.upper()} by {signed(effect)}"
            if word in {"raises", "lowers"}
            else f"{word}, {signed(effect)}"
        )
        if encoder in found.controls:
            controls.append(f"{encoder} {said}")
            continue
        mine = [verdict(each.effects[metric]) for each in _main(found, found.answers) if each.side.encoder == encoder]
        counts = f"of {len(mine)} corrections {mine.count('raises')} raise it and {mine.count('lowers')} lower it"
        trained.append(f"{encoder} {said} ({fraction(effect.base)} to {fraction(effect.value)}; {counts})")
    parts = [f"{start}, choosing correction and layer by MAP of the other keywords: {'; '.join(trained)}."]
    if controls:
        parts.append(f"Controls: {'; '.join(controls)}.")
    return " ".join(parts)


def findings(found: Ablation) -> list[str]:
    """One line an encoder: which corrections raise, lower, leave alone, and which are undecided."""
    metric = found.metrics[0]
    lines = []
    for encoder in found.encoders:
        mine = [change for change in _main(found, found.answers) if change.side.encoder == encoder]
        if not mine:
            continue
        said: dict[str, list[str]] = {"raises": [], "lowers": [], "no difference": [], "undecided": []}
        for change in mine:
            word = verdict(change.effects[metric])
            shown = signed(change.effects[metric]) if "than" not in word else f"at most {word.rpartition(' ')[2]}"
            said[word.partition(" larger")[0]].append(f"`{change.side.transform}` {shown}")
        control = ", a control" if encoder in found.controls else ""
        parts = "; ".join(f"*{word}*: {', '.join(which)}" for word, which in said.items() if which)
        start = f"{fraction(mine[0].effects[metric].base)} at layer {mine[0].base.layer}"
        lines.append(f"**{encoder}**{control} (uncorrected {metric.upper()} {start}): {parts}.")
    return lines


def caveats(found: Ablation) -> str:
    """What the figures of a data set rest on."""
    told = any(change.effects[found.metrics[0]].two_way for change in found.answers)
    speakers = SPEAKERS if told else f"{found.speakers} speakers. {NO_SPEAKERS}"
    notes = [CAVEATS.format(keywords=found.keywords, speakers=speakers)]
    if found.alone:
        notes.append(f"{found.alone} corrected cells have no uncorrected cell beside them and are left out.")
    notes += [f"Failed and left out: {len(found.failed)} cells, first {line}." for line in found.failed[:1]]
    return " ".join(notes)


def signed(effect: Effect) -> str:
    """``+.065 [+.029, +.104]``; without an interval where one keyword leaves it undefined."""
    if math.isnan(effect.low):
        return plus(effect.change)
    return f"{plus(effect.change)} [{plus(effect.low)}, {plus(effect.high)}]"


def plus(value: float) -> str:
    """``+.065``, ``-.010``, ``.000``; empty for NaN."""
    if math.isnan(value):
        return ""
    text = rounded(value)
    return text if text.startswith("-") or text == ".000" else f"+{text}"


def rounded(value: float | None) -> str:
    """A fraction that has no sign where it rounds to 0."""
    return fraction(value).replace("-.000", ".000")


def p_value(p: float) -> str:
    """``<.001`` or three decimals; empty for NaN."""
    if math.isnan(p):
        return ""
    return "<.001" if p < 0.001 else fraction(p)


def _main(found: Ablation, changes: Iterable[Change]) -> list[Change]:
    return [change for change in changes if (change.side.distance, change.side.matcher) == found.main]
