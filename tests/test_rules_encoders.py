"""Each fault of an encoder must be caught by name, and what has none must pass: mutants of a small correct one."""

import re
import time
from pathlib import Path

import numpy as np
import pytest

from kwsbench import testing
from tests.findings import Energy, encoder, only


def test_a_correct_encoder_passes():
    assert testing.check_encoder(Energy()) == []


class AllLayersAlways(Energy):
    def encode(self, samples, layers):
        return super().encode(samples, self.layers)


class NoFloor(Energy):
    def encode(self, samples, layers):
        made = super().encode(samples, layers)
        with np.errstate(divide="ignore"):
            return {layer: np.log(values) if layer == "b" else values for layer, values in made.items()}


class InPlace(Energy):
    def encode(self, samples, layers):
        samples -= samples.mean()
        return super().encode(samples, layers)


class Dithered(Energy):
    rng = np.random.default_rng(0)

    def encode(self, samples, layers):
        return super().encode(samples + 1e-3 * self.rng.standard_normal(len(samples)), layers)


class Batched(Energy):
    def encode(self, samples, layers):
        return {layer: values[None] for layer, values in super().encode(samples, layers).items()}


class Padded(Energy):
    def encode(self, samples, layers):
        return super().encode(np.pad(samples, (0, 800)), layers)


class Uneven(Energy):
    def encode(self, samples, layers):
        made = super().encode(samples, layers)
        return {layer: values[: len(values) - (layer == "b")] for layer, values in made.items()}


class WrongShift(Energy):
    frame_shift_s = 0.020


class WrongCentre(Energy):
    first_centre_s = 0.050

    def encode(self, samples, layers):
        made = super().encode(samples, layers)
        return {layer: values[:-5] if len(values) > 6 else values for layer, values in made.items()}


class WrongMinimum(Energy):
    min_samples = 200


class NoLayers(Energy):
    layers = ()


class TwiceTheSame(Energy):
    layers = ("a", "a")


class Stateful(Energy):
    seen = 0.0

    def encode(self, samples, layers):
        self.seen = 0.9 * self.seen + 0.1 * float(np.abs(samples).mean())
        return {layer: values + self.seen for layer, values in super().encode(samples, layers).items()}


class Shared(Energy):
    """Works in a buffer of its own that all calls share."""

    concurrent = True

    def encode(self, samples, layers):
        self.buffer = samples
        time.sleep(0.01)
        return super().encode(self.buffer, layers)


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        (AllLayersAlways, "return the layers asked for and no other"),
        (NoFloor, "finite (silence)"),
        (InPlace, "encode() changes the samples"),
        (Dithered, "determinism"),
        (Stateful, "determinism"),
        (Shared, "concurrent"),
        (Batched, "expected a numpy array of floats (frames, dims)"),
        (Padded, "past the end"),
        (Uneven, "expected the same number"),
        (WrongShift, "frame_shift_s"),
        (WrongCentre, "times: a sound at 0.5 s shows at"),
        (WrongMinimum, "min_samples: 200 samples raised ValueError"),
        (NoLayers, "is not a list of different names"),
        (TwiceTheSame, "is not a list of different names"),
    ],
)
def test_a_faulty_encoder_is_caught(encoder, words):
    problems = testing.check_encoder(encoder())
    assert any(words in problem for problem in problems), problems
    assert not any("\n" in problem for problem in problems)


def test_what_is_no_encoder():
    only(testing.check_encoder(object()), "attributes: layers, frame_shift_s", "kwsbench.types.Encoder")


def test_an_encoder_that_raises_is_a_finding_and_not_a_traceback():
    class Broken(Energy):
        def encode(self, samples, layers):
            raise ZeroDivisionError("oh\nno")

    mend = "encode() must take any audio of 320 samples (min_samples) or more"
    (problem,) = testing.check_encoder(Broken())
    assert re.sub(r"\d+\)", "N)", problem, count=1) == (
        f"exception (encode, 1 s of noise): ZeroDivisionError: oh (test_rules_encoders.py, line N); {mend}"
    )
    line = int(problem.partition("line ")[2].partition(")")[0])
    assert "ZeroDivisionError" in Path(__file__).read_text(encoding="utf-8").splitlines()[line - 1]


def through(change):
    """encode() of a correct encoder, its features changed."""
    return lambda self, samples, layers: change(Energy.encode(self, samples, layers))


@pytest.mark.parametrize(
    ("encode", "problem"),
    [
        (lambda self, samples, layers: None, "type (1 s of noise): encode() returned None, expected a mapping from "),
        (
            through(lambda made: made["a"]),
            (
                "type (1 s of noise): encode() returned an array of float32 (99, 1), expected a mapping from layer "
                "to features: return {'a': array}"
            ),
        ),
        (
            lambda self, samples: {},
            (
                "signature: encode(samples) is called as encode(samples, layers): too many positional arguments; see "
                "kwsbench.types.Encoder"
            ),
        ),
        (
            through(lambda made: {name: values[None] for name, values in made.items()}),
            (
                "shape (1 s of noise): layer a is an array of float32 (1, 99, 1), expected a numpy array of floats "
                "(frames, dims); take [0], the only one of its batch"
            ),
        ),
        (
            through(lambda made: {name: values[:, 0] for name, values in made.items()}),
            (
                "shape (1 s of noise): layer a is an array of float32 (99,), expected a numpy array of floats "
                "(frames, dims); write [:, None] for a single dimension"
            ),
        ),
        (
            through(lambda made: {name: values.astype(int) for name, values in made.items()}),
            (
                "shape (1 s of noise): layer a is an array of int64 (99, 1), expected a numpy array of floats "
                "(frames, dims); add .astype(np.float32)"
            ),
        ),
        (
            through(lambda made: {name: np.tile(values, 3).T for name, values in made.items()}),
            (
                "shape: 16000 samples give (3, 99) and 48007 samples (3, 299), expected (frames, dims), dims always "
                "the same; frames come first: transpose it (.T)"
            ),
        ),
        (
            through(lambda made: {name: values.mean(axis=0, keepdims=True) for name, values in made.items()}),
            (
                "frame_shift_s: 32007 samples more, 2 s, bring 0 frames more, where 0.01 s a frame promises 200; the "
                "number of frames must follow the length: do not pool over time or pad to a fixed length"
            ),
        ),
        (
            lambda self, samples, layers: Energy.encode(self, np.pad(samples, (0, 800)), layers),
            (
                "frames: the last of 104 is centred at 1.0400 s, past the end of 16000 samples (1.0000 s); do not "
                "pad, or cut the frames that padding invented, or lower first_centre_s"
            ),
        ),
        (
            lambda self, samples, layers: Energy.encode(
                self, np.where(np.arange(len(samples)) < 16000, samples, 1), layers
            ),
            (
                "times: other sound at 1.5 s of 2 s changes no frame at all; features must follow the sound "
                "everywhere: is the audio cut, or a part of it left out?"
            ),
        ),
        (
            through(lambda made: {name: values / len(made) for name, values in made.items()}),
            "layers: layer b asked for alone differs from the same layer among all (by up to ",
        ),
    ],
)
def test_a_fault_in_encode_is_told_once_with_what_was_seen_and_how_to_mend_it(encode, problem):
    (found,) = testing.check_encoder(encoder(encode=encode))
    assert found.startswith(problem)


def test_a_torch_tensor_is_told_how_to_become_an_array():
    import torch

    def encode(self, samples, layers):
        return {name: torch.from_numpy(values)[None] for name, values in Energy.encode(self, samples, layers).items()}

    only(
        testing.check_encoder(encoder(encode=encode)),
        "shape (1 s of noise): layer a is a torch tensor (1, 99, 1), expected",
        "; take [0], the only one of its batch, and add .detach().cpu().numpy()",
    )


@pytest.mark.parametrize("faulty", [Dithered, Stateful])
def test_what_is_not_determined_is_told_that_and_nothing_that_follows_from_it(faulty):
    """Either also differs when a layer is asked for alone, in threads, and everywhere when a sound is changed."""
    for concurrent in (False, True):
        changed = type("Changed", (faulty,), {"concurrent": concurrent})()
        only(
            testing.check_encoder(changed), "determinism: the same samples give other features the second time (layer "
        )


def test_a_wrong_shift_is_not_told_to_stop_padding():
    only(
        testing.check_encoder(WrongShift()),
        "frame_shift_s: 32007 samples more, 2 s, bring 200 frames more, where 0.02 s a frame promises 100; a frame "
        "came about every 0.01 s: set frame_shift_s (in seconds) to the exact shift",
    )


def test_a_wrong_centre_is_told_by_how_much():
    only(testing.check_encoder(WrongCentre()), "at 0.540 s; lower first_centre_s by about 0.04 s")
    late = through(lambda made: {name: values[5:] if len(values) > 5 else values for name, values in made.items()})
    only(testing.check_encoder(encoder(encode=late)), "at 0.450 s; raise first_centre_s by about 0.05 s")


def test_frames_left_out_by_what_is_heard_are_caught():
    def encode(self, samples, layers):
        made = Energy.encode(self, samples, layers)
        voiced = int(1e4 * abs(samples[len(samples) // 4])) % 2 or len(samples) == self.min_samples
        return {name: values if voiced else values[:-1] for name, values in made.items()}

    only(
        testing.check_encoder(encoder(encode=encode)), "frames: 32000 samples of noise give ", " so leave no frame out"
    )


@pytest.mark.parametrize("longest_s", [0.3, 1.0])
def test_an_encoder_of_short_audio_is_still_caught(longest_s):
    limited = {"longest_s": longest_s}
    only(
        testing.check_encoder(encoder(frame_shift_s=0.02, **limited)), "frame_shift_s: ", "a frame came about every 0.0"
    )
    only(testing.check_encoder(type("Late", (WrongCentre,), limited)()), "times: a sound at ", "lower first_centre_s")


def test_one_fault_does_not_hide_another_of_another_rule():
    def encode(self, samples, layers):
        if not samples.any():
            raise ValueError("no sound")
        return Energy.encode(self, samples, layers)

    problems = testing.check_encoder(encoder(encode=encode, min_samples=200, languages="de"))
    assert [problem.partition(":")[0] for problem in problems] == [
        "languages",
        "exception (encode, silence)",
        "min_samples",
    ]


def test_numbers_that_are_none_are_told_before_what_they_would_spoil():
    """NaN differs from itself, which is no lack of determinism."""
    nowhere = through(lambda made: {name: values * np.nan for name, values in made.items()})
    only(testing.check_encoder(encoder(encode=nowhere)), "finite (1 s of noise): layer a holds NaN or inf; put a floor")


def test_no_frame_at_all_is_told_apart_from_a_wrong_minimum():
    nothing = through(lambda made: {name: values[:0] for name, values in made.items()})
    only(testing.check_encoder(encoder(encode=nothing)), "frames (1 s of noise): no frame at all; min_samples must be ")

    def encode(self, samples, layers):
        made = Energy.encode(self, np.pad(samples, (0, max(0, 320 - len(samples)))), layers)
        return {name: values[: len(samples) // 320 * len(values)] for name, values in made.items()}

    only(
        testing.check_encoder(encoder(encode=encode, min_samples=200)),
        "min_samples: 200 samples give no frame; set it to the samples that one frame needs",
    )
