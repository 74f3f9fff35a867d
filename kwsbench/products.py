"""The product of query and utterance frames, cosine - 1, in full or reduced precision.

- ``float32`` is for published numbers.
- ``bfloat16`` rounds the frames and then the product to 8 significant bits. One more dimension, -1
  in queries and 1 in utterances, takes the 1 off inside the sum, so the last rounding is at most
  2^-8 of the *cost*: costs near 0, which decide what is found, keep their resolution. Sums are float32.
- ``int8`` rounds each frame to integers of at most 127, sums exactly, and divides by the norms of the
  rounded frames: the cosine is that of the rounded frames, so a frame is at 0 from itself.

Where the processor cannot: without bfloat16 instructions torch emulates them, up to several times
slower than float32, with the same roundings. Without 8-bit dot products (VNNI) oneDNN's 16-bit
intermediate sums saturate, and ``torch._int_mm`` is then silently wrong; one worst case is multiplied
first, and where it comes out wrong, the rounded frames are multiplied in float32.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from kwsbench import dtw
from kwsbench.errors import KwsbenchError, did_you_mean

PRECISIONS = ("float32", "bfloat16", "int8")

# Nothing public multiplies int8 on a CPU.
_int_mm = torch._int_mm  # noqa: SLF001
# A frame of a smaller norm counts as silence: its cosine with everything is 0.
TINY_NORM = 1e-30
# Frames rounded at a time, so that their float32 stays small.
_CHUNK_FRAMES = 256
_MOST = 127
# A sum of so many products of two int8 numbers fits int32.
_MOST_DIMS = (2**31 - 1) // _MOST**2


class Unit(NamedTuple):
    """Frames of norm 1 in the precision of the product: (frames, dims + 1), or integers, of dims and some zeros.

    scales: float32 (frames,), what makes integers frames of norm 1; empty where values are no integers.
    """

    values: torch.Tensor
    scales: npt.NDArray[np.float32]

    def part(self, frames: slice) -> Unit:
        """Some of the frames."""
        return Unit(self.values[frames], self.scales[frames])


class Workspace(threading.local):
    """Memory that each worker keeps from job to job: clearing new pages takes as long as the alignment."""

    def __init__(self) -> None:
        self._kept: dict[str, npt.NDArray[np.float32]] = {}

    def floats(self, name: str, *shape: int) -> npt.NDArray[np.float32]:
        """A float32 array of the shape that begins at a cache line and holds anything; the last of its name is lost."""
        size = int(np.prod(shape))
        if name not in self._kept or self._kept[name].size < size:
            self._kept.pop(name, None)
            self._kept[name] = dtw.aligned(size)
        return self._kept[name][:size].reshape(shape)


def check(precision: str, dims: int) -> None:
    """Raise KwsbenchError on a precision that there is none of, or that cannot take so many dimensions."""
    if precision not in PRECISIONS:
        raise KwsbenchError(f"unknown precision {precision!r}. {did_you_mean(precision, PRECISIONS)}")
    if precision == "int8" and dims > _MOST_DIMS:
        raise KwsbenchError(f"frames have {dims} dimensions, int8 sums at most {_MOST_DIMS}; use float32 or bfloat16")


def unit(
    values: npt.NDArray[np.float32],
    norms: npt.NDArray[np.float64],
    order: npt.NDArray[np.int64],
    *,
    extra: float,
    precision: str,
) -> Unit:
    """Frames in the given order, made ready for the product. extra: -1 in queries, 1 in utterances."""
    frames, dims = len(order), values.shape[1]
    divisors = np.maximum(norms, TINY_NORM)
    scales = np.zeros(frames if precision == "int8" else 0, np.float32)
    if precision == "float32":
        full = np.empty((frames, dims + 1), np.float32)
        _divide(values, divisors, order, extra, full)
        return Unit(torch.from_numpy(full), scales)
    if precision == "int8":
        # Zeros up to a multiple of 4, as many as are multiplied at once: of one dimension torch 2.13 makes 0.
        rounded = torch.zeros(frames, dims + -dims % 4, dtype=torch.int8)
    else:
        rounded = torch.empty(frames, dims + 1, dtype=torch.bfloat16)
    chunk = np.empty((min(frames, _CHUNK_FRAMES), dims + 1), np.float32)
    for first in range(0, frames, _CHUNK_FRAMES):
        here = slice(first, first + _CHUNK_FRAMES)
        part = order[here]
        _divide(values, divisors, part, extra, chunk)
        ready = torch.from_numpy(chunk[: len(part)])
        if precision == "int8":
            ready, inverse = _integers(ready[:, :dims])
            # Below TINY_NORM a frame is shorter than 1, here as in the other precisions.
            scales[here] = inverse * np.minimum(norms[part] / TINY_NORM, 1)
        rounded[here, : ready.shape[1]] = ready
    return Unit(rounded, scales)


def _integers(frames: torch.Tensor) -> tuple[torch.Tensor, npt.NDArray[np.float64]]:
    """Frames with their largest component brought to 127, rounded, as float32; and 1 / their norms (frames,)."""
    largest = frames.abs().amax(dim=1, keepdim=True).clamp_(min=TINY_NORM)
    rounded = (frames * (_MOST / largest)).round_()
    norms = torch.linalg.vector_norm(rounded, dim=1, dtype=torch.float64).clamp_(min=1)
    return rounded, (1 / norms).numpy()


def product(utterances: Unit, queries: Unit, lines: npt.NDArray[np.float32], first: int, workspace: Workspace) -> None:
    """Write cosine - 1 of all utterance frames and all query frames to the last columns of lines, from ``first`` on.

    lines: float32 (utterance frames, first + query frames), contiguous.
    """
    out = torch.from_numpy(lines)[:, first:]
    kind = utterances.values.dtype
    if kind == torch.float32:
        torch.mm(utterances.values, queries.values.T, out=out)
        return
    kept = torch.from_numpy(workspace.floats("product", *out.shape))
    if kind == torch.bfloat16:
        short = kept.view(-1).view(torch.bfloat16)[: out.numel()].view(out.shape)
        out.copy_(torch.mm(utterances.values, queries.values.T, out=short))
        return
    if int8_is_exact():
        kept = _int_mm(utterances.values, queries.values.T, out=kept.view(torch.int32))
    else:
        torch.mm(utterances.values.float(), queries.values.float().T, out=kept)
    _scale(kept.numpy(), utterances.scales, queries.scales, lines, first)


@cache
def int8_is_exact() -> bool:
    """Whether torch multiplies int8 without saturating on this machine: tried on frames of 127 and -127."""
    signs = torch.tensor([1, -1]).repeat(32)
    frames = torch.where(torch.arange(64)[:, None] % 3 > 0, _MOST, _MOST * signs).to(torch.int8)
    want = frames.double() @ -frames.double().T
    return bool((_int_mm(frames, -frames.T).double() == want).all())


# Without numpy's rule for 0 / 0, a test for it in every element keeps the loop from being vectorised.
@njit(nogil=True, cache=True, error_model="numpy")
def _divide(values: Any, divisors: Any, order: Any, extra: Any, out: Any) -> None:
    """Rows of values, in the given order, by their divisors in float64, then rounded; extra in the last column."""
    last = values.shape[1]
    for row in range(len(order)):
        source, target, divisor = values[order[row]], out[row], divisors[order[row]]
        for column in range(last):
            target[column] = source[column] / divisor
        target[last] = extra


@njit(nogil=True, cache=True)
def _scale(products: Any, of_rows: Any, of_columns: Any, lines: Any, first: Any) -> None:
    """Products of integers to cosine - 1."""
    for row in range(len(products)):
        source, target, scale = products[row], lines[row][first:], of_rows[row]
        for column in range(len(source)):
            target[column] = np.float32(source[column]) * (scale * of_columns[column]) - np.float32(1)
