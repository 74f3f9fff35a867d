"""All figures of one space at once: what isotropy, rogue_dimensions and subspaces define, from shared moments.

Each figure is defined, with its source, by the function of ``isotropy``, ``rogue_dimensions`` or
``subspaces`` that computes it alone; what is here only saves reading the frames again for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from kwsbench import isotropy, rogue_dimensions, subspaces
from kwsbench.isotropy import Doubles

TOP = (1, 3, 5)
"""How many rogue dimensions are summed up and left out, as in Timkey & van Schijndel (2021)."""

SEED = 0
"""Of the pairs of frames that r2_without figures sample: the same pairs for each, and in every run."""

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "mean_cosine": "mean cosine of all pairs of frames; 0 is isotropic",
        "mean_cosine_within": "mean cosine of pairs within a recording; isotropic: near 0 and mean_cosine_between",
        "mean_cosine_between": "mean cosine of pairs of different recordings; 0 is isotropic",
        "share_top1": "share of the mean cosine that its greatest dimension has; 1/dims is isotropic",
        "share_top3": "the same of the three greatest dimensions; 3/dims is isotropic",
        "share_top5": "the same of the five greatest dimensions; 5/dims is isotropic",
        "r2_without_top1": "r² of cosines with and without the greatest dimension; 1 is isotropic",
        "r2_without_top3": "the same without the three greatest dimensions; 1 is isotropic",
        "r2_without_top5": "the same without the five greatest dimensions; 1 is isotropic",
        "isoscore": "evenness of the variances, the mean aside; 1 is isotropic, 0 is one direction",
        "isoscore_star": "isoscore with the covariance shrunk for few frames; 1 is isotropic",
        "partition": "least over greatest partition function along the axes; 1 is isotropic, 0 may be underflow",
        "participation_ratio": "dimensions that the variance fills; the number of dimensions is isotropic",
        "participation_ratio_half": "the same on every second clip; much lower means too few frames to say",
        "effective_rank": "exp of the entropy of the singular values; the number of dimensions is isotropic",
        "norm_spread": "standard deviation of the frames' norms over their mean; 0: all of one length",
        "self_similarity": "cosine of a word across clips less that of other words; speakers are not matched",
        "speaker_word_crv": "word variance left as speakers' directions are collapsed; 1 is orthogonal",
        "word_speaker_crv": "speaker variance left as words' directions are collapsed; 1 is orthogonal",
        "words_without_speakers": "word variance left when all speakers' directions are gone; 1 is orthogonal",
        "speaker_self_crv": "self-CRV of the speakers' mean frames; 1/2, for many speakers, is isotropic",
        "word_self_crv": "self-CRV of the words' mean frames; 1/2, for many words, is isotropic",
    }
)
"""Every figure of ``measure``, in its order, and which way is isotropic."""


def measure(
    frames: npt.NDArray[np.float32],
    *,
    recordings: npt.ArrayLike,
    speakers: npt.ArrayLike,
    words: npt.ArrayLike,
    items: npt.ArrayLike,
) -> dict[str, float]:
    """All figures of NAMES, of frames (n, dims). NaN where one is undefined; the same input, the same output.

    recordings, speakers, words, items: whole numbers (n,), what each frame is of; -1 is unknown for
    speakers, words and items. Where dims are fewer than 5, the 5 greatest are all of them. Frames that
    hold NaN or inf, and labels that are not one a frame, are errors.
    """
    near, far = isotropy.mean_cosine_within_between(frames, recordings)
    moments = isotropy.spread(frames)
    geometry = subspaces.speaker_word_geometry(frames, speakers, words)
    figures = {
        **_rogue_figures(frames),
        "mean_cosine_within": near,
        "mean_cosine_between": far,
        "isoscore": isotropy.isoscore_of(moments.scatter),
        "isoscore_star": isotropy.isoscore_star_of(moments, isotropy.ledoit_wolf_shrinkage(moments)),
        "partition": isotropy.partition_of(frames, moments),
        "participation_ratio": isotropy.participation_of(moments.scatter),
        "participation_ratio_half": isotropy.participation_ratio_half(frames, items),
        "effective_rank": isotropy.effective_rank_of(moments.scatter),
        "norm_spread": isotropy.norm_spread(frames),
        "self_similarity": subspaces.self_similarity(frames, words, items),
        "speaker_word_crv": geometry.words_along_speakers,
        "word_speaker_crv": geometry.speakers_along_words,
        "words_without_speakers": geometry.words_left,
        "speaker_self_crv": geometry.speakers_self,
        "word_self_crv": geometry.words_self,
    }
    return {name: figures[name] for name in NAMES}


def few_frames(frames: int, dims: int) -> str | None:
    """The warning line when there are too few frames to tell dimensions apart, else None.

    With fewer frames than dims the covariance cannot have full rank: IsoScore, participation ratio and
    effective rank are low for that reason alone.
    """
    if frames >= dims:
        return None
    return (
        f"{frames} frames for {dims} dimensions: IsoScore, participation ratio and effective rank are low "
        "for want of frames; measure on more audio before comparing them"
    )


def _rogue_figures(frames: npt.NDArray[np.float32]) -> dict[str, float]:
    """Mean cosine, the shares of its greatest dimensions, and what cosines keep without them."""
    contributions: Doubles = rogue_dimensions.dimension_contributions(frames)
    greatest = np.argsort(-contributions, kind="stable")
    shares = rogue_dimensions.shares_of(contributions)
    figures = {"mean_cosine": float(contributions.sum())}
    for k in TOP:
        figures[f"share_top{k}"] = float(shares[greatest[:k]].sum())
        figures[f"r2_without_top{k}"] = rogue_dimensions.cosine_r2_without(
            frames, greatest[:k], np.random.default_rng(SEED)
        )
    return figures
