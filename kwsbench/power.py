"""How many keywords or speakers it would take to tell two systems apart, from the differences at hand.

The model of a paired difference: mean + keyword + speaker + rest, three independent effects with mean 0,
where the rest is what one keyword said by one speaker has of its own. Keywords and speakers are both
samples of those one would meet elsewhere, as in Westfall, Kenny & Judd (2014, "Statistical power and
optimal design in experiments in which samples of participants respond to samples of stimuli").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from kwsbench.errors import KwsbenchError
from kwsbench.metrics import Doubles
from kwsbench.stats import LEVEL

POWER = 0.8
LIMIT = 10_000
"""More keywords or speakers than this nobody records: the answer is then that it cannot be done so."""


class Spread(NamedTuple):
    """How paired differences vary, and over what they were measured. NaN: it cannot be told.

    keyword, speaker, rest: variances, >= 0. keywords, speakers: how many there are. keyword_share,
    speaker_share, cell_share: by how much each variance is divided in that of the mean, which is the
    sum of squared shares of the weight; 1 / number where all have equal weight.
    """

    keyword: float
    speaker: float
    rest: float
    keywords: int
    speakers: int
    keyword_share: float
    speaker_share: float
    cell_share: float


class Needed(NamedTuple):
    """The least numbers that suffice. None: it cannot be told, or no number up to LIMIT does.

    same_speakers: keywords, where the answer is to hold for these speakers and no others. keywords,
    speakers: where it is to hold for other keywords and other speakers, too, the other number unchanged.
    """

    same_speakers: int | None
    keywords: int | None
    speakers: int | None


def spread(
    differences: Doubles, keywords: npt.ArrayLike, speakers: npt.ArrayLike, *, weights: npt.ArrayLike | None = None
) -> Spread:
    """The variance components of paired differences (rows,), one row for a keyword by a speaker.

    weights: (rows,), how many queries each row is the mean of. NaN rows and rows of weight 0 are left
    out; rows of the same keyword and speaker are merged.

    By the method of moments, without a model of which keyword was said by whom (Gao & Owen 2017,
    "Efficient moment calculations for variance components in large unbalanced crossed random effects
    models", with products of weights as weights): half the mean squared difference of two rows is
    keyword + speaker + rest over all pairs that share nothing, speaker + rest over pairs of one keyword, keyword
    + rest over pairs of one speaker; solved for the three, negative ones set to 0. With all keywords said by all
    speakers these are the estimates of the analysis of variance.

    One speaker: the speakers' variance is NaN and the rest counts as the keywords' own. One keyword, or
    no keyword said by two speakers, or no speaker of two keywords: all three are NaN.
    """
    differences = np.asarray(differences, dtype=np.float64)
    weight = np.ones(len(differences)) if weights is None else np.asarray(weights, dtype=np.float64)
    keyword_of, speaker_of = np.asarray(keywords), np.asarray(speakers)
    for what, found in (("keywords", keyword_of), ("speakers", speaker_of), ("weights", weight)):
        if found.shape != differences.shape:
            raise KwsbenchError(f"{found.size} {what} for {differences.size} differences, expected one each")
    used = ~np.isnan(differences) & (weight > 0)
    words, row = np.unique(keyword_of[used], return_inverse=True)
    people, column = np.unique(speaker_of[used], return_inverse=True)
    counts, sums = np.zeros((len(words), len(people))), np.zeros((len(words), len(people)))
    np.add.at(counts, (row, column), weight[used])
    np.add.at(sums, (row, column), (weight * differences)[used])
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)

    everything = _pairs(means.ravel()[np.newaxis], counts.ravel()[np.newaxis])
    one_keyword, one_speaker = _pairs(means, counts), _pairs(means.T, counts.T)
    by_speaker, by_keyword, all_three = (
        squares / pairs if pairs > 0.0 else np.nan
        for pairs, squares in (one_keyword, one_speaker, everything - one_keyword - one_speaker)
    )
    components = (all_three - by_speaker, all_three - by_keyword, by_speaker + by_keyword - all_three)
    if len(people) == 1:
        keyword, speaker, rest = by_keyword, np.nan, 0.0
    elif np.isnan(components).any():
        keyword, speaker, rest = np.nan, np.nan, np.nan
    else:
        keyword, speaker, rest = (max(component, 0.0) for component in components)

    def share(parts: Doubles) -> float:
        return float(np.sum((parts / counts.sum()) ** 2)) if parts.size else float("nan")

    return Spread(
        keyword=float(keyword),
        speaker=float(speaker),
        rest=float(rest),
        keywords=len(words),
        speakers=len(people),
        keyword_share=share(counts.sum(axis=1)),
        speaker_share=share(counts.sum(axis=0)),
        cell_share=share(counts),
    )


def power(
    difference: float, found: Spread, keywords: npt.ArrayLike, speakers: npt.ArrayLike, *, level: float = LEVEL
) -> Doubles:
    """The probability that the two-way interval leaves out 0 on the true difference's side, (…) each.

    keywords, speakers: numbers >= 2 of them, with weights and gaps as uneven as those of ``found``. The
    criterion is that of ``stats.two_way_bootstraps`` as it is: conservative, for it counts the rest
    three times, and wide with few speakers. The mean is taken as normal: Student's t, noncentral, with
    Satterthwaite's degrees of freedom.
    """
    more_keywords, more_speakers = np.asarray(keywords) / found.keywords, np.asarray(speakers) / found.speakers
    rest = found.cell_share * found.rest / (more_keywords * more_speakers)
    by_keyword = found.keyword_share * found.keyword / more_keywords
    by_speaker = found.speaker_share * found.speaker / more_speakers
    variance, bootstrapped = by_keyword + by_speaker + rest, by_keyword + by_speaker + 3.0 * rest
    # What resampling keywords alone, or speakers alone, is expected to show.
    keywords_alone, speakers_alone = by_keyword + rest, by_speaker + rest
    with np.errstate(divide="ignore", invalid="ignore"):  # no variance at all: see _power
        freedom = (keywords_alone + speakers_alone) ** 2 / (
            keywords_alone**2 / (np.asarray(keywords) - 1.0) + speakers_alone**2 / (np.asarray(speakers) - 1.0)
        )
    return _power(difference, variance, bootstrapped, freedom, level)


def power_same_speakers(difference: float, found: Spread, keywords: npt.ArrayLike, *, level: float = LEVEL) -> Doubles:
    """The probability that the interval over keywords, or the permutation test, separates: (…) for keywords (…) >= 2.

    The speakers are those there are, and nothing is said about others. So few keywords that no
    permutation test could reach the level (five, at 95%) have no power.
    """
    more = np.asarray(keywords) / found.keywords
    variance = (found.keyword_share * found.keyword + found.cell_share * found.rest) / more
    reached = _power(difference, variance, variance, np.asarray(keywords) - 1.0, level)
    return np.where(2.0 ** (1.0 - np.asarray(keywords)) <= 1.0 - level, reached, 0.0)


def needed(difference: float, found: Spread, *, target: float = POWER, level: float = LEVEL) -> Needed:
    """How many keywords or speakers would separate two systems whose true difference is the one observed.

    It is a plan, not a finding: the true difference may be smaller than the observed one, and a variance
    from few speakers is rough. A difference of 0 (or NaN) is never separated.
    """
    if np.isnan(difference) or difference == 0.0 or np.isnan(found.keyword):
        return Needed(None, None, None)
    same = _least(lambda numbers: power_same_speakers(difference, found, numbers, level=level), target)
    if np.isnan(found.speaker):
        return Needed(same, None, None)
    return Needed(
        same,
        _least(lambda numbers: power(difference, found, numbers, found.speakers, level=level), target),
        _least(lambda numbers: power(difference, found, found.keywords, numbers, level=level), target),
    )


def _pairs(values: Doubles, weights: Doubles) -> Doubles:
    """Over pairs within each row of (rows, items): [sum of products of weights, the same times half the squares]."""
    total = weights.sum(axis=1)
    pairs = (total**2 - np.sum(weights**2, axis=1)) / 2.0
    # sum over pairs of w v (x - y)^2 is W sum of w (x - mean)^2
    mean = np.divide(np.sum(weights * values, axis=1), total, out=np.zeros_like(total), where=total > 0)
    half_squares = total * np.sum(weights * (values - mean[:, np.newaxis]) ** 2, axis=1) / 2.0
    return np.array([pairs.sum(), half_squares.sum()])


def _power(difference: float, variance: Doubles, bootstrapped: Doubles, freedom: Doubles, level: float) -> Doubles:
    """P(T > t sqrt(bootstrapped / variance)), T Student's t with the true difference for its noncentrality."""
    with np.errstate(divide="ignore", invalid="ignore"):
        threshold = special.stdtrit(freedom, (1.0 + level) / 2.0) * np.sqrt(bootstrapped / variance)
        reached = 1.0 - special.nctdtr(freedom, abs(difference) / np.sqrt(variance), threshold)
    return np.where(variance > 0.0, reached, 1.0)


def _least(power_of: Callable[[npt.NDArray[np.int64]], Doubles], target: float) -> int | None:
    """The least number from 2 to LIMIT that has the power.

    All are tried in turn, a block at a time: power need not rise with the number, for as keywords cease
    to matter the few speakers' degrees of freedom come to the fore.
    """
    first = 2
    while first <= LIMIT:
        numbers = np.arange(first, min(2 * first, LIMIT + 1))
        enough = power_of(numbers) >= target
        if enough.any():
            return int(numbers[np.argmax(enough)])
        first *= 2
    return None
