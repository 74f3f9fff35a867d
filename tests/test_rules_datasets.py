"""Each fault of a data set must be caught by name, and what has none must pass: mutants of a small correct one."""

from pathlib import Path

import pytest

from kwsbench import testing
from kwsbench.types import Clip, Dataset
from tests.findings import only


def clips(**changes):
    """Two clips of one word by two speakers, the first of them changed."""
    here = Path(__file__)
    first = {"id": "a", "path": here, "speaker": "s1", "recording": "r1", "keyword": "word"}
    second = {"id": "b", "path": here, "speaker": "s2", "recording": "r2", "keyword": "word"}
    return Dataset("tiny", (Clip(**(first | changes)), Clip(**second)))


def test_a_correct_data_set_passes():
    assert testing.check_dataset(clips()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": "b"}, "ids: 'b' names two clips"),
        ({"speaker": ""}, "speaker: not set for clip 'a' (1 such)"),
        ({"recording": ""}, "recording: not set"),
        ({"path": Path("/no/such.wav")}, "files: /no/such.wav does not exist"),
        (
            {"start_s": 2.0, "end_s": 1.0},
            "spans: clip 'a' ends before it begins, 2 s to 1 s (1 such); start_s and end_s are seconds",
        ),
        ({"speaker": "s2"}, "no cross-speaker trial exists"),
        ({"keyword": "other"}, "no cross-speaker trial exists"),
    ],
)
def test_a_faulty_data_set_is_caught(changes, words):
    problems = testing.check_dataset(clips(**changes))
    assert any(words in problem for problem in problems), problems


def test_a_source_is_loaded_and_must_then_be_prepared():
    class Source:
        def __init__(self, prepared):
            self.prepared = prepared

        def load(self, progress=None):
            return clips()

    assert testing.check_dataset(Source(prepared=True)) == []
    only(testing.check_dataset(Source(prepared=False)), "prepared: still false after load()")
    only(testing.check_dataset(object()), "attributes: prepared, load missing")
    only(testing.check_dataset(Dataset("none", ())), "clips: the data set is empty")


def test_what_load_returns_or_raises_is_told_in_words():
    class Source:
        prepared = True

        def __init__(self, data):
            self.data = data

        def load(self, progress):
            return self.data()

    only(
        testing.check_dataset(Source(lambda: [1])),
        "type: load() returned a list, expected a kwsbench.types.Dataset(name, clips)",
    )
    only(
        testing.check_dataset(Source(lambda: Dataset("x", ("a.wav",)))),
        "clips: one of them is a str; each is a kwsbench.types.Clip",
    )
    only(
        testing.check_dataset(Source(lambda: Path("/no/such").read_text(encoding="utf-8"))),
        "exception (load): FileNotFoundError: ",
        "(test_rules_datasets.py, line ",
        "; load() must fetch what is not there, and read it",
    )


def test_load_must_take_the_progress_that_the_runner_gives_it():
    class Source:
        prepared = True

        def load(self):
            return clips()

    only(
        testing.check_dataset(Source()), "signature: load() is called as load(progress): too many positional arguments"
    )


def test_a_clip_of_no_split_that_there_is():
    only(testing.check_dataset(clips(split="train")), "split: 'train' of clip 'a' (1 such); expected search or heldout")
