"""What a transform must keep to: shape, precision, determinism, and each frame transformed apart from the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kwsbench.rules import Broken, apart, article, call, check_signature, close, collect, is_float_array, to_floats
from kwsbench.types import FloatArray, SpeakerTransform, Transform

Speakers = list[npt.NDArray[np.float32]]


def transform_rules(transform: Transform | SpeakerTransform) -> Iterator[str]:
    """Every rule that the transform breaks, in a line each."""
    rng = np.random.default_rng(0)
    frames = (rng.standard_normal((300, 24)) @ rng.standard_normal((24, 24)) + 3).astype(np.float32)
    constant = np.where(np.arange(24) == 5, np.float32(2), frames)
    if isinstance(transform, SpeakerTransform):
        check_signature(transform.fit_speakers, "fit_speakers", "speakers", see="kwsbench.types.SpeakerTransform")
        # Three who differ in their mean, as speakers do, and in how much they say.
        offset = 4 * rng.standard_normal((3, 24)).astype(np.float32)
        said = [frames[:50] + offset[0], frames[50:120] + offset[1], frames[120:] + offset[2]]
        few = {
            "two speakers": said[:2],
            "four speakers": [*said, constant[:40]],
            "one frame a speaker": [frames[:1], frames[1:2]],
            "speakers who are equal": [frames[:9], frames[:9]],
            "a constant dimension": [constant[:100], constant[100:] + np.float32(1)],
            "fewer frames than dims": [frames[:3], frames[3:5]],
        }
        yield from _fitted_rules(_Fit("fit_speakers", transform.fit_speakers, as_list=True), said, few)
    elif hasattr(transform, "fit"):
        check_signature(transform.fit, "fit", "frames", see="kwsbench.types.Transform")
        few = {
            "one frame": [frames[:1]],
            "equal frames": [np.repeat(frames[:1], 9, axis=0)],
            "a constant dimension": [constant],
            "fewer frames than dims": [frames[:5]],
        }
        yield from _fitted_rules(_Fit("fit", transform.fit, as_list=False), [frames], few)
    else:
        yield "attributes: fit missing (or fit_speakers, to be told who speaks); see kwsbench.types.Transform"


@dataclass(frozen=True)
class _Fit:
    """A transform's fit() or fit_speakers(); fit() takes the frames of a list of one."""

    name: str
    function: Callable[..., Any]
    as_list: bool

    def __call__(self, parts: Speakers, what: str) -> Callable[..., Any]:
        """The function that it returns. Raises Broken where that is none."""
        apply: Callable[..., Any] = call(
            self.function,
            parts if self.as_list else parts[0],
            where=f"{self.name}, {what}",
            mend=f"{self.name}() must take any number of frames, be they one, equal, or constant in a dimension",
        )
        if not callable(apply):
            raise Broken(f"fit: returned {article(apply)}, expected the function that transforms frames")
        return apply


def _fitted_rules(fit: _Fit, material: Speakers, few: Mapping[str, Speakers]) -> Iterator[str]:
    """What a fit must give, on ordinary material and on little of it."""
    other = material[0][:40] + np.float32(0.5)
    given, handed = [part.copy() for part in material], other.copy()
    apply = fit(given, "ordinary frames")
    fit_changes = not all(np.array_equal(part, before) for part, before in zip(given, material, strict=True))
    result = _apply(apply, handed, "ordinary frames")
    if fit_changes or not np.array_equal(handed, other):
        who = f"{fit.name}()" if fit_changes else f"the function that {fit.name}() returns"
        yield f"argument: frames are changed in place by {who}; work on a copy"
    if not np.isfinite(result).all():
        raise Broken("finite: NaN or inf in the result for ordinary frames; put a floor under logarithms and divisions")
    again = _apply(fit([part.copy() for part in material], "ordinary frames"), other.copy(), "ordinary frames")
    if not np.array_equal(again, result):
        yield (
            f"determinism: the same fit gives another result (it differs {apart(again, result)}); seed what is random, "
            "and keep no state between calls"
        )
    else:
        two = _apply(apply, other[7:9].copy(), "two frames alone")
        if not close(two, result[7:9]):
            yield (
                "per frame: two frames alone come out otherwise than among others (they differ "
                f"{apart(two, result[7:9])}); learn in {fit.name}(), not when applied"
            )
    yield from collect(_few_rules(fit, few, other))


def _few_rules(fit: _Fit, few: Mapping[str, Speakers], other: npt.NDArray[np.float32]) -> Iterator[str]:
    """What is fitted on little must still give numbers."""
    for what, parts in few.items():
        result = _apply(fit([part.copy() for part in parts], what), other.copy(), f"fitted on {what}")
        if not np.isfinite(result).all():
            yield f"finite: fitted on {what}, it gives NaN or inf; divide by 1 where there is no variance"


def _apply(apply: Callable[..., Any], frames: npt.NDArray[np.float32], what: str) -> FloatArray:
    """The frames transformed. Raises Broken unless they are as many, in a numpy array of floats."""
    shape = frames.shape
    result = call(
        apply,
        frames,
        where=f"the fitted function, {what}",
        mend=f"it is called with a float32 array (frames, dims), here {shape}",
    )
    if not isinstance(result, np.ndarray):
        raise Broken(
            f"shape: the function returned {article(result)}, expected a numpy array (frames, dims); "
            f"{'return what it made' if result is None else to_floats(result)}"
        )
    if result.ndim != 2 or len(result) != len(frames) or not result.shape[1]:
        raise Broken(
            f"shape: {shape} became {result.shape}; expected ({shape[0]}, dims), one frame out for each one in"
        )
    if not is_float_array(result):
        raise Broken(f"precision: float32 frames came out {result.dtype}, expected floats; {to_floats(result)}")
    return np.asarray(result)
