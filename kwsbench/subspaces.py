"""What the space keeps apart: frames of one word from frames of others, speakers' directions from words'.

Words stand where the literature has phones: a keyword data set says which word a frame is of, not which
phone. A word's centroid is its mean frame, so it keeps what differs between whole words and loses their
course in time; figures cannot be set beside those that were published of phones.

All of it is float64, read block by block. Labels are whole numbers; a negative one means unknown, and
such frames are left out. Frames whose values are NaN or infinite are an error. Undefined is NaN.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kwsbench.errors import KwsbenchError
from kwsbench.isotropy import Doubles, matrix, read_blocks, to_unit_norm
from kwsbench.types import FloatArray

Codes = npt.NDArray[np.intp]


def self_similarity(X: FloatArray, words: npt.ArrayLike, items: npt.ArrayLike) -> float:  # noqa: N803
    """Mean cosine of frames of one word, less that of frames of different words; pairs of different items only.

    X: (frames, dims). words, items: (frames,), the word and the clip each frame is of. -2 to 2, and 0
    where words are not to be told apart; the second mean is the baseline that any two frames reach in an
    anisotropic space. Frames of one item are alike because they are neighbours, so no pair is of one item.
    Every pair counts once: frequent and long words weigh most (Ethayarajh averages over words). Frames of
    zeros have cosine 0 with all. NaN where there is no pair of either kind.

    No pair is formed: the squared norm of a group's sum of unit frames holds all cosines within the group,
    and pairs in different items are all pairs of a word less those of the word in one item.
    Source: Ethayarajh (2019), "How contextual are contextualized word representations?", section 3.
    """
    words, items = _labels(X, words, "words"), _labels(X, items, "items")
    known = (words >= 0) & (items >= 0)
    _, word_of = np.unique(words[known], return_inverse=True)
    item_names, item_of = np.unique(items[known], return_inverse=True)
    # A cell is a word in an item; every larger group is made of whole cells.
    cells, cell_of = np.unique(word_of * len(item_names) + item_of, return_inverse=True)
    group_of = np.full(len(X), -1)
    group_of[known] = cell_of

    sums, sizes = _group_sums(X, group_of, len(cells), unit=True)
    in_cells = _within(sums, sizes)
    in_words = _within(*_merge(sums, sizes, cells // max(1, len(item_names))))
    in_items = _within(*_merge(sums, sizes, cells % max(1, len(item_names))))
    everything = _within(*_merge(sums, sizes, np.zeros_like(cells)))
    same = in_words - in_cells
    different = everything - in_words - in_items + in_cells
    if not same[1] or not different[1]:
        return float("nan")
    return float(same[0] / same[1] - different[0] / different[1])


def centroids(X: FloatArray, labels: npt.ArrayLike) -> Doubles:  # noqa: N803
    """The mean frame of each label, in the order of the labels: (labels, dims); X (frames, dims)."""
    codes = _labels(X, labels, "labels")
    known = codes >= 0
    present, groups = np.unique(codes[known], return_inverse=True)
    group_of = np.full(len(X), -1)
    group_of[known] = groups
    sums, sizes = _group_sums(X, group_of, len(present), unit=False)
    means: Doubles = sums / sizes[:, np.newaxis]
    return means


def principal_directions(points: Doubles) -> Doubles:
    """Orthonormal directions in which points (points, dims) vary, most variance first: (directions, dims).

    At most points - 1 of them; none for one point, or points that are all the same. What is below
    rounding, max(points, dims) · 2e-16 of the greatest singular value, is no direction.
    """
    if len(points) < 2:
        return np.empty((0, points.shape[1]))
    # Measured from the first point, equal points give exactly zero, however large they are.
    centred = _centred(points - points[0])
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    smallest = max(centred.shape) * np.finfo(np.float64).eps * singular[0]
    return np.asarray(directions[: min(len(points) - 1, int(np.sum(singular > smallest)))])


def residual_variances(of: Doubles, along: Doubles) -> Doubles:
    """Share of the variance of ``of`` that is left as the principal directions of ``along`` are collapsed.

    of: (points, dims). along: (directions, dims), orthonormal, as ``principal_directions`` gives. Returns
    (directions + 1,): 1 with none collapsed, then what is left after the first, the first two, ...; all NaN
    for points without variance. Points weigh alike.
    """
    centred = _centred(of - of[:1])
    total = np.sum(centred**2)
    if not total:
        return np.full(len(along) + 1, np.nan)
    collapsed = np.sum((centred @ along.T) ** 2, axis=0) / total
    left: Doubles = np.concatenate([[1.0], np.clip(1.0 - np.cumsum(collapsed), 0.0, 1.0)])
    return left


def crv(of: Doubles, along: Doubles) -> float:
    """Cumulative residual variance: the mean of ``residual_variances`` after the 1st to the last direction.

    of: (points, dims). along: (directions, dims), orthonormal. 1: nothing of the points lies along the
    directions (orthogonal). 0: the first direction holds them all. Self-CRV is that of points along their
    own directions: k directions of equal variance give (k - 1) / 2k, which goes to 1/2, and unequal ones
    less. NaN for no direction and for points without variance.

    The published measure is an area under the residual variance against directions collapsed. Here it is
    normalised by the number of directions that ``along`` has, not by dims: beyond them nothing changes, so
    encoders of different widths compare, and with two speakers, one direction, it is simply the share of
    the words' variance that removing the speakers leaves. Self-CRV then depends on k, the number of labels
    less one: compare it on one data set. Directions of equal variance have no order of their own.
    Source: Mohamed, Liu, Tang & Goldwater (2024), "Orthogonality and isotropy of speaker and phonetic
    information in self-supervised speech representations", arXiv:2406.09200.
    """
    return float(np.mean(residual_variances(of, along)[1:])) if len(along) else float("nan")


class SpeakerWordGeometry(NamedTuple):
    """CRV of words' and speakers' centroids, NaN where undefined (one speaker, one word).

    words_along_speakers: of the words, speakers' directions collapsed. speakers_along_words: the other way.
    words_left: share of the words' variance left when all speakers' directions are gone, in any order.
    speakers_self, words_self: self-CRV, how evenly the centroids fill their own directions.
    """

    words_along_speakers: float
    speakers_along_words: float
    words_left: float
    speakers_self: float
    words_self: float


def speaker_word_geometry(X: FloatArray, speakers: npt.ArrayLike, words: npt.ArrayLike) -> SpeakerWordGeometry:  # noqa: N803
    """How orthogonal speakers' and words' centroids lie, and how isotropic each is; X (frames, dims).

    speakers, words: (frames,). Every speaker and every word weighs alike. Where speakers say different
    words the two are confounded, and less orthogonal for that reason alone.
    """
    speaker_points, word_points = centroids(X, speakers), centroids(X, words)
    speaker_directions, word_directions = principal_directions(speaker_points), principal_directions(word_points)
    words_left = residual_variances(word_points, speaker_directions)
    return SpeakerWordGeometry(
        words_along_speakers=crv(word_points, speaker_directions),
        speakers_along_words=crv(speaker_points, word_directions),
        words_left=float(words_left[-1]) if len(words_left) > 1 else float("nan"),
        speakers_self=crv(speaker_points, speaker_directions),
        words_self=crv(word_points, word_directions),
    )


def _centred(points: Doubles) -> Doubles:
    return points - points.mean(axis=0) if len(points) else points


def _group_sums(
    X: FloatArray,  # noqa: N803
    group_of: Codes,
    groups: int,
    *,
    unit: bool,
) -> tuple[Doubles, Doubles]:
    """Sums (groups, dims) of frames, scaled to norm 1 if unit (zeros excepted), and how many frames: (groups,).

    group_of: (frames,), -1 for frames that are in no group.
    """
    sums = np.zeros((groups, X.shape[1]))
    for start, block in read_blocks(X):
        if unit:
            to_unit_norm(block)
        members = group_of[start : start + len(block)]
        order = np.argsort(members, kind="stable")
        order = order[members[order] >= 0]
        if len(order):
            present, firsts = np.unique(members[order], return_index=True)
            sums[present] += np.add.reduceat(block[order], firsts, axis=0)
    return sums, np.bincount(group_of[group_of >= 0], minlength=groups).astype(np.float64)


def _merge(sums: Doubles, sizes: Doubles, into: Codes) -> tuple[Doubles, Doubles]:
    """Sums and sizes of larger groups: group i becomes a part of group into[i]."""
    groups = int(into.max(initial=-1)) + 1
    merged = np.zeros((groups, sums.shape[1]))
    np.add.at(merged, into, sums)
    merged_sizes = np.zeros(groups)
    np.add.at(merged_sizes, into, sizes)
    return merged, merged_sizes


def _within(sums: Doubles, sizes: Doubles) -> Doubles:
    """(sum of cosines, number) of ordered pairs within groups, each frame with itself included."""
    return np.array([np.einsum("ij,ij->", sums, sums), np.sum(sizes**2)])


def _labels(X: npt.NDArray[Any], labels: npt.ArrayLike, what: str) -> npt.NDArray[np.int64]:  # noqa: N803
    """Labels as whole numbers, one a frame."""
    frames = len(matrix(X))
    codes = np.asarray(labels, dtype=np.int64)
    if codes.shape != (frames,):
        raise KwsbenchError(f"{codes.size} {what} for {frames} frames, expected one a frame")
    return codes
