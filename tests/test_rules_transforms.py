"""Each fault of a transform must be caught by name, and what has none must pass: mutants of small correct ones."""

import numpy as np
import pytest

from kwsbench import testing
from tests.findings import only


class Scale:
    """A correct transform, and by its arguments each faulty one."""

    def __init__(self, fault=""):
        self.fault = fault
        self.rng = np.random.default_rng(0)

    def fit(self, frames):
        if self.fault == "matrix":
            return frames.mean(axis=0)
        mean, deviation = frames.mean(axis=0), frames.std(axis=0)
        if self.fault != "zero":
            deviation[deviation < 1e-4] = 1
        if self.fault == "in place":
            frames -= mean
        if self.fault == "random":
            mean = mean + self.rng.standard_normal(len(mean)).astype(np.float32)

        def apply(x):
            with np.errstate(divide="ignore", invalid="ignore"):
                if self.fault == "neighbours":
                    return (x - x.mean(axis=0)) / deviation
                return ((x - mean) / deviation)[1 if self.fault == "drops" else 0 :]

        return apply


def test_a_correct_transform_passes():
    assert testing.check_transform(Scale()) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("matrix", "expected the function that transforms frames"),
        ("zero", "fitted on one frame, it gives NaN or inf"),
        ("in place", "frames are changed in place"),
        ("random", "determinism"),
        ("neighbours", "per frame"),
        ("drops", "one frame out for each one in"),
    ],
)
def test_a_faulty_transform_is_caught(fault, words):
    problems = testing.check_transform(Scale(fault))
    assert any(words in problem for problem in problems), problems


def test_what_is_no_transform():
    only(testing.check_transform(object()), "fit missing (or fit_speakers, to be told who speaks)")


class MeanSpeaker:
    """A correct speaker transform, and by its arguments each faulty one: subtract the mean of the speakers' means."""

    def __init__(self, fault=""):
        self.fault = fault
        self.rng = np.random.default_rng(0)

    def fit_speakers(self, speakers):
        means = np.stack([frames.mean(axis=0) for frames in speakers])
        between = means.std(axis=0)
        if self.fault == "in place":
            speakers[-1] -= means[-1]
        if self.fault == "matrix":
            return means
        if self.fault == "three":
            assert len(speakers) == 3, "three speakers, please"
        if self.fault == "random":
            means += self.rng.standard_normal(means.shape).astype(np.float32)

        def apply(x):
            with np.errstate(divide="ignore", invalid="ignore"):
                if self.fault == "neighbours":
                    return x - x.mean(axis=0)
                if self.fault == "zero":
                    return x / between
                return (x - means.mean(axis=0))[1 if self.fault == "drops" else 0 :]

        return apply


def test_a_correct_speaker_transform_passes():
    assert testing.check_transform(MeanSpeaker()) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("in place", "argument: frames are changed in place by fit_speakers(); work on a copy"),
        ("matrix", "fit: returned an array of float32 (3, 24), expected the function that transforms frames"),
        ("random", "determinism: the same fit gives another result (it differs by up to "),
        ("neighbours", "per frame: two frames alone come out otherwise than among others (they differ by up to "),
        ("drops", "shape: (40, 24) became (39, 24); expected (40, dims), one frame out for each one in"),
        (
            "zero",
            "finite: fitted on speakers who are equal, it gives NaN or inf; divide by 1 where there is no variance",
        ),
        (
            "three",
            (
                "exception (fit_speakers, two speakers): AssertionError: three speakers, please "
                "(test_rules_transforms.py, line "
            ),
        ),
    ],
)
def test_a_faulty_speaker_transform_is_caught(fault, words):
    problems = testing.check_transform(MeanSpeaker(fault))
    assert any(problem.startswith(words) for problem in problems), problems


def fitted_by(apply):
    """A transform whose fit() gives this function."""

    class Fitted:
        def fit(self, frames):
            return apply

    return Fitted()


@pytest.mark.parametrize(
    ("apply", "problem"),
    [
        (
            np.fft.fft,
            "precision: float32 frames came out complex64, expected floats; take np.abs() or .real of it",
        ),
        (lambda x: x > 0, "precision: float32 frames came out bool, expected floats; add .astype(np.float32)"),
        (
            lambda x: None,
            "shape: the function returned None, expected a numpy array (frames, dims); return what it made",
        ),
        (
            lambda x: x.tolist(),
            (
                "shape: the function returned a list, expected a numpy array (frames, dims); make it one with "
                "np.asarray(…, np.float32)"
            ),
        ),
        (lambda x: x[:, :0], "shape: (40, 24) became (40, 0); expected (40, dims), one frame out for each one in"),
        (
            lambda x: np.add(x, 1, out=x),
            "argument: frames are changed in place by the function that fit() returns; work on a copy",
        ),
        (
            lambda x: np.where(x < 9, np.inf, x),
            "finite: NaN or inf in the result for ordinary frames; put a floor under logarithms and divisions",
        ),
    ],
)
def test_what_the_fitted_function_returns_is_told_once(apply, problem):
    assert testing.check_transform(fitted_by(apply)) == [problem]


def test_what_the_fitted_function_raises_is_told_with_its_line():
    only(
        testing.check_transform(fitted_by(lambda x: x[100])),
        "exception (the fitted function, ordinary frames): IndexError: index 100 is out of bounds for axis 0 with "
        "size 40 (test_rules_transforms.py, line ",
        "; it is called with a float32 array (frames, dims), here (40, 24)",
    )


def test_a_fit_that_raises_on_little_is_told_on_what():
    class Inverse:
        def fit(self, frames):
            inverse = np.linalg.inv(np.cov(frames.T, ddof=0)).astype(np.float32)
            return lambda x: x @ inverse

    only(
        testing.check_transform(Inverse()),
        "exception (fit, one frame): LinAlgError: Singular matrix (test_rules_transforms.py, line ",
        "; fit() must take any number of frames, be they one, equal, or constant in a dimension",
    )


def test_a_fit_that_cannot_be_called_as_it_will_be():
    class NoFrames:
        def fit(self):
            return lambda x: x

    class Number:
        fit = 3

    words = "signature: fit() is called as fit(frames): too many positional arguments; see kwsbench.types.Transform"
    assert testing.check_transform(NoFrames()) == [words]
    words = "signature: fit is an int, expected a function; see kwsbench.types.Transform"
    assert testing.check_transform(Number()) == [words]


def test_a_random_fit_is_not_told_that_frames_are_not_apart():
    """Were the frames looked at too, a function with a state of its own would be told both."""
    rng = np.random.default_rng(0)
    only(testing.check_transform(fitted_by(lambda x: x + rng.random(x.shape, np.float32))), "determinism: ")
