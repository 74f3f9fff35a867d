"""Variance components against sums over all pairs and the analysis of variance; plans against simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from kwsbench.errors import KwsbenchError
from kwsbench.power import LIMIT, Needed, Spread, needed, power, power_same_speakers, spread
from kwsbench.significance import permutation_p
from kwsbench.stats import two_way_bootstraps
from tests import reference_stats as reference


def even(keyword, speaker, rest, keywords=40, speakers=6):
    """The spread of a full table, every cell of the same weight."""
    shares = (1 / keywords, 1 / speakers, 1 / (keywords * speakers))
    return Spread(keyword, speaker, rest, keywords, speakers, *shares)


def draw(rng, keywords, speakers, deviations, mean=0.0):
    """Differences by keyword and speaker, normal, of these standard deviations: (rows,) each."""
    keyword, speaker = np.divmod(np.arange(keywords * speakers), speakers)
    by_keyword, by_speaker, rest = deviations
    effects = by_keyword * rng.normal(size=keywords)[keyword] + by_speaker * rng.normal(size=speakers)[speaker]
    return mean + effects + rest * rng.normal(size=len(keyword)), keyword, speaker


def test_components_of_a_full_table_are_those_of_the_analysis_of_variance():
    x, keyword, speaker = draw(np.random.default_rng(1), 12, 5, (1.0, 0.7, 0.5))
    found = spread(x, keyword, speaker)
    assert found[:3] == pytest.approx(reference.anova(x.reshape(12, 5).tolist()))
    assert found[3:] == pytest.approx((12, 5, 1 / 12, 1 / 5, 1 / 60))


@given(st.integers(0, 10**6))
def test_components_of_an_uneven_table_against_all_pairs(seed):
    rng = np.random.default_rng(seed)
    x, keyword, speaker = draw(rng, 5, 3, (1.0, 0.7, 0.5))
    kept = rng.permutation(15)[:12]
    x, keyword, speaker = x[kept], keyword[kept], speaker[kept]
    weights = rng.integers(1, 6, size=12)
    found = spread(x, keyword, speaker, weights=weights)
    expected = reference.components(x.tolist(), keyword.tolist(), speaker.tolist(), weights.tolist())
    assert found[:3] == pytest.approx(expected, abs=1e-9)
    shares = [
        sum(
            (sum(w for w, c in zip(weights, codes, strict=True) if c == code) / sum(weights)) ** 2
            for code in set(codes)
        )
        for codes in (keyword.tolist(), speaker.tolist(), range(12))
    ]
    assert found[3:] == pytest.approx((len(set(keyword)), len(set(speaker)), *shares))


def test_components_are_right_on_average():
    """The mean of 200 estimates, untruncated in practice, within five standard errors of the truth."""
    rng, truth = np.random.default_rng(2), np.array([1.0, 0.49, 0.25])
    found = np.array([spread(*draw(rng, 20, 12, np.sqrt(truth)))[:3] for _ in range(200)])
    error = found.std(axis=0) / math.sqrt(200)
    assert np.all(np.abs(found.mean(axis=0) - truth) <= 5 * error)
    assert np.all(error < 0.2 * truth)


def test_components_do_not_mind_order_names_or_a_constant():
    rng = np.random.default_rng(3)
    x, keyword, speaker = draw(rng, 6, 4, (1.0, 0.7, 0.5))
    order = rng.permutation(24)
    named = [np.array([f"w{code}" for code in codes[order]]) for codes in (5 - keyword, speaker)]
    assert spread(x[order] + 1e6, *named)[:3] == pytest.approx(spread(x, keyword, speaker)[:3], rel=1e-6)
    assert spread(3 * x, keyword, speaker)[:3] == pytest.approx(9 * np.array(spread(x, keyword, speaker)[:3]))


def test_rows_of_one_cell_are_merged_and_undefined_ones_left_out():
    x, keyword, speaker = draw(np.random.default_rng(4), 4, 3, (1.0, 0.7, 0.5))
    halves = np.concatenate([x - 0.3, x + 0.3, [np.nan, 7.0]])
    twice = [np.concatenate([codes, codes, [0, 1]]) for codes in (keyword, speaker)]
    found = spread(halves, *twice, weights=[*np.ones(24), 1, 0])
    assert found == pytest.approx(spread(x, keyword, speaker))


def test_one_speaker_leaves_the_speakers_open():
    x = np.array([0.1, 0.4, -0.2, 0.7])
    found = spread(x, range(4), [0] * 4)
    assert found.keyword == pytest.approx(np.var(x, ddof=1))
    assert math.isnan(found.speaker)
    assert (found.rest, found.keywords, found.speakers) == (0.0, 4, 1)
    plan = needed(0.25, found)
    assert plan.same_speakers is not None
    assert (plan.keywords, plan.speakers) == (None, None)


@pytest.mark.parametrize(
    ("keywords", "speakers"),
    [([], []), ([0], [0]), ([0, 0, 0], [0, 1, 2]), ([0, 1, 2, 3], [0, 0, 1, 1])],
    ids=["nothing", "one row", "one keyword", "no keyword said by two"],
)
def test_where_components_cannot_be_told(keywords, speakers):
    found = spread(np.arange(len(keywords), dtype=float), keywords, speakers)
    assert np.isnan(found[:2]).any()
    assert math.isnan(found.keyword)
    assert needed(0.5, found) == Needed(None, None, None)


def test_lengths_are_checked():
    with pytest.raises(KwsbenchError, match=r"^2 speakers for 3 differences, expected one each$"):
        spread(np.zeros(3), [0, 1, 2], [0, 1])


def test_the_power_of_one_sample_is_that_of_the_t_test():
    """With speakers as they are and nothing but keywords, the plan is the textbook's one-sample t test."""
    numbers = np.array([6, 10, 40, 200])
    nct = scipy.stats.nct(df=numbers - 1, nc=0.4 * np.sqrt(numbers))
    expected = nct.sf(scipy.stats.t(numbers - 1).ppf(0.975))
    assert power_same_speakers(0.4, even(1.0, 0.3, 0.0), numbers) == pytest.approx(expected)
    # 52 is the number in the tables of Cohen (1988) for d = 0.4, two-sided 5%, power 80%
    assert needed(0.4, even(1.0, 0.0, 0.0)).same_speakers == 52


@pytest.mark.parametrize(("keywords", "speakers"), [(40, 6), (15, 4), (300, 2)])
def test_power_by_hand(keywords, speakers):
    """From Westfall, Kenny & Judd's variance of a mean, and the criterion as Owen and Satterthwaite have it."""
    k, s, r = 0.9 / keywords, 0.05 / speakers, 0.6 / (keywords * speakers)
    df = reference.satterthwaite([(k + r, keywords - 1), (s + r, speakers - 1)])
    edge = scipy.stats.t(df).ppf(0.975) * math.sqrt(k + s + 3 * r) / math.sqrt(k + s + r)
    expected = scipy.stats.nct(df=df, nc=0.4 / math.sqrt(k + s + r)).sf(edge)
    assert power(0.4, even(0.9, 0.05, 0.6), keywords, speakers) == pytest.approx(expected)


def test_five_keywords_have_no_power():
    assert power_same_speakers(9.0, even(1e-6, 0.0, 0.0), [2, 5, 6]).tolist() == [0.0, 0.0, 1.0]
    assert needed(9.0, even(1e-6, 0.0, 0.0)).same_speakers == 6


@given(st.floats(0.05, 2.0), st.floats(0.0, 2.0), st.floats(0.0, 2.0))
def test_a_larger_difference_needs_no_more(difference, by_speaker, rest):
    found = even(1.0, by_speaker, rest)
    less, more = needed(difference, found), needed(1.5 * difference, found)
    assert needed(-difference, found) == less
    for small, large in zip(less, more, strict=True):
        assert (large or LIMIT) <= (small or LIMIT)


def test_the_least_number_is_the_least():
    found = even(0.5, 0.05, 0.5)
    plan = needed(0.4, found)
    assert (
        power_same_speakers(0.4, found, plan.same_speakers)
        >= 0.8
        > power_same_speakers(0.4, found, plan.same_speakers - 1)
    )
    assert power(0.4, found, plan.keywords, 6) >= 0.8 > power(0.4, found, plan.keywords - 1, 6)
    assert power(0.4, found, 40, plan.speakers) >= 0.8 > power(0.4, found, 40, plan.speakers - 1)


def test_where_no_number_will_do():
    for nothing in (0.0, math.nan):
        assert needed(nothing, even(1.0, 0.1, 0.5)) == Needed(None, None, None)
    # Speakers differ too much for any number of keywords, and keywords for any number of speakers.
    plan = needed(0.3, even(1.0, 1.0, 0.5, keywords=20, speakers=4))
    assert plan.keywords is None
    assert plan.speakers is None
    assert needed(0.001, even(1.0, 0.0, 0.0)).same_speakers is None


def test_no_spread_at_all_separates_at_once():
    assert needed(0.1, even(0.0, 0.0, 0.0)) == Needed(6, 2, 2)


def share(deviations, difference, keywords, speakers, sets, *, fixed):
    """How often the systems come out separated, in the sets simulated."""
    rng, hits = np.random.default_rng(8), 0
    for _ in range(sets):
        x, keyword, speaker = draw(rng, keywords, speakers, deviations, difference)
        if fixed:
            hits += permutation_p(x, keyword, rng=rng, permutations=499) <= 0.05
        else:
            ((low, high),) = two_way_bootstraps(x[:, np.newaxis], keyword, speaker, rng=rng, resamples=600)
            hits += low > 0.0 or high < 0.0
    return hits / sets


def test_the_keywords_that_are_asked_for_give_the_power_that_is_promised():
    """300 studies of the size planned; three standard deviations of a binomial at 80% are 7 points.

    Another 3 for a plan that is right on average over samples, not for every shape. Half the keywords give far less.
    """
    plan = needed(0.5, even(1.0, 0.0, 1.0, speakers=4))
    margin = 3 * math.sqrt(0.8 * 0.2 / 300) + 0.03
    found = share((1.0, 0.0, 1.0), 0.5, plan.same_speakers, 4, 300, fixed=True)
    assert found == pytest.approx(0.8, abs=margin)
    assert share((1.0, 0.0, 1.0), 0.5, plan.same_speakers // 2, 4, 300, fixed=True) < 0.8 - margin


def test_so_do_keywords_and_speakers_where_both_are_to_be_other_ones():
    found = even(0.25, 0.04, 0.25, keywords=40, speakers=8)
    deviations = np.sqrt(found[:3])
    plan = needed(0.3, found)
    margin = 3 * math.sqrt(0.8 * 0.2 / 300) + 0.03
    assert share(deviations, 0.3, plan.keywords, 8, 300, fixed=False) == pytest.approx(0.8, abs=margin)
    assert share(deviations, 0.3, 40, plan.speakers, 300, fixed=False) == pytest.approx(0.8, abs=margin)
    assert share(deviations, 0.3, max(plan.keywords // 3, 2), 8, 300, fixed=False) < 0.8 - margin


def test_a_plan_from_a_pilot_study_holds_on_average():
    """Plans from 40 pilots of 60 keywords by 6 speakers: their median is near the plan from the truth.

    A variance from 60 keywords has a standard error of sqrt(2 / 59) = 18%, and a number of keywords goes
    with the variance; the median of 40 is off by a fifth of that, so 20% are five standard errors.
    """
    rng, deviations = np.random.default_rng(9), (1.0, 0.0, 1.0)
    truth = needed(0.4, even(1.0, 0.0, 1.0, keywords=60)).same_speakers
    pilots = [needed(0.4, spread(*draw(rng, 60, 6, deviations))).same_speakers for _ in range(40)]
    assert np.median(pilots) == pytest.approx(truth, rel=0.2)
