"""What an encoder says of itself and offers besides encode(): each fault caught by name, and what is right passed."""

import numpy as np
import pytest

from kwsbench import testing
from tests.findings import Energy, encoder, only


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"layers": "ab"}, "layers: 'ab' is one string; write ('ab',) for one layer, a tuple of strings for several"),
        ({"layers": (0, 1)}, "layers: 0 is an int; names are strings: write '0'"),
        ({"layers": 3}, "layers: 3 is an int; expected a tuple of strings, like ('0', '1')"),
        ({"layers": ("a", "a")}, "layers: ['a', 'a'] is not a list of different names; 'a' is there more than once"),
        (
            {"layers": ("top/1",)},
            "layers: 'top/1' cannot be part of a file name; use letters, digits, '.', '_' and '-'",
        ),
        ({"frame_shift_s": "0.01"}, "frame_shift_s: '0.01' is a str; expected a number of seconds, above 0"),
        ({"frame_shift_s": 0}, "frame_shift_s: 0; expected a number of seconds, above 0"),
        ({"frame_shift_s": float("nan")}, "frame_shift_s: nan; expected a number of seconds, above 0"),
        ({"first_centre_s": -0.01}, "first_centre_s: -0.01; expected a number of seconds, 0 or more"),
        (
            {"min_samples": 320.0},
            "min_samples: 320.0 is a float; expected a whole number of samples that one frame needs, like 400",
        ),
        (
            {"min_samples": 0},
            "min_samples: 0; expected at least 1, the number of samples that one frame needs, like 400",
        ),
        ({"sample_rate_hz": "16k"}, "sample_rate_hz: '16k' is a str; expected a whole number of Hz, like 16000"),
        ({"sample_rate_hz": True}, "sample_rate_hz: True is a bool; expected a whole number of Hz, like 16000"),
        (
            {"longest_s": 0},
            "longest_s: 0; expected a number of seconds, above 0, or None where any length will do",
        ),
        (
            {"longest_s": 0.01},
            (
                "longest_s: 0.01 s, but min_samples=320 at 16000 Hz are already 0.02 s; longest_s counts seconds, "
                "min_samples samples"
            ),
        ),
        (
            {"provenance": "main"},
            "provenance: 'main' is a str; expected a mapping of strings, like {'weights': 'sha256:…'}",
        ),
        ({"provenance": {"seed": 3}}, "provenance: 'seed': 3 are not both strings; write them as text with str()"),
        ({"languages": "de en"}, "languages: 'de en' is one string; write ('de', 'en'), a code for each"),
        (
            {"languages": ("de", "EN")},
            "languages: 'EN' is no ISO 639 code; write two or three lower-case letters, like 'de' or 'haw'",
        ),
        ({"languages": None}, "languages: None; expected ISO 639 codes, like ('de', 'haw')"),
        ({"licence": None}, "licence: None; expected a string, like 'CC-BY-NC 4.0' ('' where it is not known)"),
        ({"concurrent": "yes"}, "concurrent: 'yes' is a str; expected True or False"),
        ({"needs_gpu": 0}, "needs_gpu: 0 is an int; expected True or False"),
        ({"to": "cuda"}, "to: 'cuda' is a str; expected a method to(device), or no such attribute"),
        (
            {"encode_batch": lambda self, waves, layers: [self.encode(wave, layers) for wave in waves]},
            (
                "batch_s: missing, but encode_batch is there; set it to the seconds of audio (above 0) to be given "
                "together, like 8.0"
            ),
        ),
    ],
)
def test_a_faulty_attribute_is_told_with_what_it_is(attributes, problem):
    assert testing.check_encoder(encoder(**attributes)) == [problem]


def test_all_attributes_are_looked_at_at_once():
    rules = ["frame_shift_s", "min_samples", "sample_rate_hz", "provenance", "languages", "signature"]
    wrong = dict.fromkeys(rules[:3], "wrong") | {"provenance": 3, "languages": "de"}
    problems = testing.check_encoder(encoder(**wrong, encode=lambda self, samples: {}))
    assert [problem.partition(":")[0] for problem in problems] == rules


def test_right_attributes_pass():
    right = {
        "provenance": {"weights": "sha256:12"},
        "languages": ["de", "haw"],
        "licence": "MIT",
        "concurrent": True,
        "needs_gpu": False,
        "longest_s": None,
        "sample_rate_hz": 16_000,
        "frame_shift_s": np.float32(0.01),
        "min_samples": np.int64(320),
        "batch_s": 8,
        "encode_batch": lambda self, waves, layers: [self.encode(wave, layers) for wave in waves],
        "to": lambda self, device: None,
    }
    assert testing.check_encoder(encoder(**right)) == []


@pytest.mark.parametrize("longest_s", [0.02, 0.3, 1.0, 1.7, 2.5])
def test_no_more_is_given_than_the_encoder_can_take(longest_s):
    given = []

    def encode(self, samples, layers):
        given.append(len(samples))
        return Energy.encode(self, samples, layers)

    class Short(Energy):
        concurrent, batch_s = True, 8.0

        def encode_batch(self, waves, layers):
            return [self.encode(wave, layers) for wave in waves]

    faultless = type("Limited", (Short,), {"longest_s": longest_s, "encode": encode})()
    assert testing.check_encoder(faultless) == []
    assert 320 <= min(given) <= max(given) <= longest_s * 16_000


def test_an_encoder_that_needs_a_gpu_is_not_passed_without_one(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    only(
        testing.check_encoder(encoder(needs_gpu=True, to=lambda self, device: None)),
        "needs_gpu: set, and torch sees no GPU on this machine, so encode() was not checked",
    )
    only(testing.check_encoder(encoder(needs_gpu=True)), "needs_gpu: set, but there is no method to(device)")


@pytest.mark.parametrize(
    ("encode_batch", "problem"),
    [
        (
            lambda self, waves: [],
            "signature: encode_batch(waves) is called as encode_batch(waves, layers): too many positional arguments",
        ),
        (
            lambda self, waves, layers: (self.encode(wave, layers) for wave in waves),
            "batch: encode_batch() returned a generator; give a list, a mapping for each waveform",
        ),
        (
            lambda self, waves, layers: [self.encode(waves[0], layers)],
            "batch: encode_batch gave 1 answers to 5 waveforms",
        ),
        (
            lambda self, waves, layers: [self.encode(wave, layers) for wave in sorted(waves, key=len)],
            "batch: layer a of waveform 0 of 5 differs from what encode() gives it alone (",
        ),
        (
            lambda self, waves, layers: np.stack(waves),
            (
                "exception (encode_batch, 5 waveforms together): ValueError: all input arrays must have the same "
                "shape (test_rules_encoder_attributes.py, line "
            ),
        ),
        (
            lambda self, waves, layers: [self.encode(wave, layers)["a"] for wave in waves],
            "type (5 waveforms together, number 0): encode_batch() returned an array of float32 (49, 1), expected a ",
        ),
    ],
)
def test_a_faulty_batch_is_caught(encode_batch, problem):
    (found,) = testing.check_encoder(encoder(batch_s=8.0, encode_batch=encode_batch))
    assert found.startswith(problem)


def test_a_batch_that_changes_its_samples_is_caught():
    def encode_batch(self, waves, layers):
        made = [self.encode(wave, layers) for wave in waves]
        waves[0] *= 2
        return made

    only(
        testing.check_encoder(encoder(batch_s=8.0, encode_batch=encode_batch)),
        "argument: encode_batch() changes the samples it is given; copy them first",
    )
