import shutil
from collections import Counter

import pytest

from kwsbench import plugins
from kwsbench.errors import KwsbenchError
from kwsbench.spec import parse
from kwsbench_datasets.fsdd import DIGITS


def load(path, **params):
    spec = parse(f"fsdd:path={str(path).replace(' ', '%20')}" + "".join(f",{k}={v}" for k, v in params.items()))
    return plugins.load().create("datasets", spec).load()


def test_each_recording_is_one_digit_by_one_speaker(fsdd):
    dataset = load(fsdd)
    assert Counter(clip.keyword for clip in dataset.clips) == dict.fromkeys(DIGITS, 90)
    assert len({clip.speaker for clip in dataset.clips}) == 6
    assert len({clip.recording for clip in dataset.clips}) == len(dataset.clips) == 900
    assert dataset.language == "en"
    seven = next(clip for clip in dataset.clips if clip.id == "7_jackson_3")
    assert (seven.keyword, seven.transcript, seven.speaker) == ("seven", "seven", "jackson")


def test_the_recordings_folder_itself_may_be_given(fsdd):
    assert load(fsdd / "recordings") == load(fsdd)


def test_takes_are_limited_in_the_order_of_their_numbers(fsdd):
    clips = load(fsdd, takes=3).clips
    assert len(clips) == 10 * 6 * 3
    assert {clip.id.rpartition("_")[2] for clip in clips} == {"0", "1", "2"}  # not 0, 1, 10


def test_a_folder_with_spaces_is_read(fsdd, tmp_path):
    folder = tmp_path / "my digits" / "recordings"
    folder.mkdir(parents=True)
    shutil.copy(fsdd / "recordings" / "0_theo_0.wav", folder)
    assert [clip.id for clip in load(folder.parent).clips] == ["0_theo_0"]


def test_mistakes_are_named_in_one_line(tmp_path):
    with pytest.raises(KwsbenchError, match=r"fsdd:path=.*gone: no such folder; give the one that holds recordings/"):
        load(tmp_path / "gone")
    with pytest.raises(KwsbenchError, match=r"no \.wav files, expected names such as 7_jackson_32\.wav"):
        load(tmp_path)
    (tmp_path / "seven.wav").touch()
    with pytest.raises(KwsbenchError, match=r"seven\.wav: expected DIGIT_SPEAKER_TAKE\.wav"):
        load(tmp_path)
    with pytest.raises(KwsbenchError, match="takes=-1 must not be negative"):
        load(tmp_path, takes=-1)


def test_without_a_path_the_environment_or_the_working_folder_has_it(fsdd, tmp_path, monkeypatch):
    create = plugins.load().create
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KWSBENCH_FSDD", raising=False)
    with pytest.raises(KwsbenchError, match=r"path=free-spoken-digit-dataset: no such folder; .* git clone https://"):
        create("datasets", parse("fsdd")).load()
    monkeypatch.setenv("KWSBENCH_FSDD", str(fsdd))
    assert len(create("datasets", parse("fsdd:takes=2")).load().clips) == 120
