"""Folders of recordings with annotations beside them: what belongs to what."""

import os
import shutil
import unicodedata

import numpy as np
import pytest
import soundfile

from kwsbench.archive.folder import open_archive
from kwsbench.archive.media import Shelf
from kwsbench.archive.verify import verify
from kwsbench.errors import KwsbenchError
from tests.annotated import write_m4a, write_textgrid
from tests.archives import write_tone
from tests.conftest import call
from tests.folders import one_word, owners, told

NFC, NFD = (unicodedata.normalize(form, "détaŋ é.wav") for form in ("NFC", "NFD"))


def test_the_four_real_files_name_sounds_of_another_machine_and_are_taken_by_their_own_names(shared):
    archive = open_archive(shared / "data" / "abui")
    assert archive.problems == ()
    assert owners(archive) == {f"abui_{n}.eaf": f"abui_{n}.wav" for n in range(1, 5)}
    path = shared / "data" / "abui" / "abui_4.wav"
    assert archive.notes[3].message == (f"names 1_1_4.wav, which is not there; taken for {path}, named as this file is")
    last = archive.recordings[3]
    assert last.duration_s == pytest.approx(10.577, abs=1e-3)
    assert archive.said(last, 1.0, 1.5) == ("hekaai deina del ong hayei ba", "SL")
    assert archive.said(last, 2.6, 3.9) == ("", "")
    assert archive.audio_s == pytest.approx(3.687 + 4.656 + 5.578 + 10.577, abs=2e-3)


def test_sound_of_every_format_is_found_in_all_folders_but_hidden_ones(tmp_path):
    for name in (
        "b.wav",
        "A.WAV",
        "deep/er/c.flac",
        "d.aiff",
        "e.ogg",
        "f.mp3",
        ".hidden.wav",
        "._b.wav",
        ".trash/g.wav",
    ):
        path = write_tone((tmp_path / name).with_suffix(".wav"))
        if path != tmp_path / name:
            data, rate_hz = soundfile.read(path)
            path.unlink()
            soundfile.write(tmp_path / name, data, rate_hz)
    write_m4a(tmp_path / "g.m4a", np.zeros(16_000, np.float32) + 0.1, 16_000)
    (tmp_path / "h.g722").write_bytes(bytes(8000))
    (tmp_path / "notes.docx").write_text("no sound")
    archive = open_archive(tmp_path)
    names = ["A.WAV", "b.wav", "d.aiff", "deep/er/c.flac", "e.ogg", "f.mp3", "g.m4a", "h.g722"]
    assert [recording.name for recording in archive.recordings] == names
    assert archive.problems == archive.notes == ()
    # The header of m4a counts what the codec adds in front, and its last frame as a whole.
    assert [round(r.duration_s, 1) for r in archive.recordings] == [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1.1, 1.0]


def test_what_a_folder_lacks_is_said(tmp_path):
    with pytest.raises(KwsbenchError) as caught:
        open_archive(tmp_path / "gone")
    assert str(caught.value) == (
        f"{tmp_path / 'gone'}: no such folder or sound file; give the folder that holds the recordings"
    )
    with pytest.raises(KwsbenchError) as caught:
        open_archive(tmp_path)
    assert str(caught.value) == f"{tmp_path}: no sound or video files here or in the folders below; give where they are"
    one_word(tmp_path / "a.eaf")
    with pytest.raises(KwsbenchError, match=r"a\.eaf: not a sound file; give a recording, or the folder that holds"):
        open_archive(tmp_path / "a.eaf")


def test_folders_that_link_to_one_another_are_walked_once(tmp_path):
    write_tone(tmp_path / "a" / "a.wav")
    write_tone(tmp_path / "b" / "b.wav")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "c").symlink_to(tmp_path / "b")
    (tmp_path / "again.wav").symlink_to(tmp_path / "b" / "b.wav")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "itself.wav").symlink_to(tmp_path / "itself.wav")
    archive = open_archive(tmp_path)
    assert [recording.path.name for recording in archive.recordings] == ["a.wav", "again.wav"]
    assert told(archive.problems) == [
        (name, "", "is a link to a file that does not exist; left out") for name in ("gone.wav", "itself.wav")
    ]


@pytest.mark.parametrize(
    ("media", "how"),
    [
        ("story.wav", ""),
        ("../field/./story.wav", ""),
        ("{folder}/field/story.wav", ""),
        ("file://{folder}/field/story.wav", ""),
        ("STORY.WAV", ""),
        ("file:///D:/corpus/2011/story.wav", "of that name"),
        ("C:\\corpus\\2011\\story.wav", "of that name"),
        ("https://archive.example/audio/story.wav", "of that name"),
        ("/elsewhere/far.wav", "of that name"),
        ("/elsewhere/story.mpg", "of that name but for the suffix"),
        ("far.mov", "of that name but for the suffix"),
        ("/elsewhere/1_1_4.wav", "named as this file is"),
        ("", "named as this file is"),
    ],
)
def test_an_annotation_file_is_about_the_sound_that_it_names_or_else_the_likeliest(tmp_path, media, how):
    """Two recordings are called story and lie in folders of their own: beside is nearer than elsewhere."""
    write_tone(tmp_path / "field" / "story.wav")
    write_tone(tmp_path / "other" / "story.wav")
    write_tone(tmp_path / "other" / "far.wav")
    write_tone(tmp_path / "field" / "notes.wav")
    media = media.format(folder=tmp_path)
    one_word(tmp_path / "field" / "notes.eaf", [media] if media else [])
    archive = open_archive(tmp_path)
    expected = "field/notes.wav" if "as this" in how else "other/far.wav" if "far" in media else "field/story.wav"
    assert owners(archive) == {"notes.eaf": expected}
    assert archive.problems == ()
    assert [message.rpartition(", ")[2] for _, _, message in told(archive.notes)] == ([how] if how else [])


def test_the_sound_of_another_folder_is_found_by_name_only_if_it_is_the_only_one(tmp_path):
    write_tone(tmp_path / "audio" / "one.wav")
    write_tone(tmp_path / "audio" / "two.wav")
    write_tone(tmp_path / "copy" / "two.wav")
    for name in ("one", "two", "three"):
        one_word(tmp_path / "texts" / f"{name}.eaf", [f"/elsewhere/{name}.wav"])
    outside = write_tone(tmp_path.parent / f"{tmp_path.name} outside" / "four.wav")
    one_word(tmp_path / "texts" / "four.eaf", [str(outside)])
    archive = open_archive(tmp_path)
    assert owners(archive) == {"one.eaf": "audio/one.wav"}
    assert told(archive.problems) == [
        ("four.eaf", "", f"names {outside}, which lies outside the archive; put the recording beside this file"),
        ("three.eaf", "", (
            "names three.wav, which is not there, and no recording here is called three.wav or three.*; put it beside "
            "this file"
        )),
        ("two.eaf", "", (
            f"names two.wav, which is not there, and several may be meant: {tmp_path}/audio/two.wav, "
            f"{tmp_path}/copy/two.wav; put one beside this file"
        )),
    ]  # fmt: skip


def test_paths_of_windows_are_read_as_such(tmp_path):
    path = write_tone(tmp_path / "in" / "a b.wav")
    shelf = Shelf({path: path})
    for name in ("in\\a b.wav", "file:///in\\a%20b.wav", "D:\\x\\a b.wav"):
        assert shelf.find(tmp_path / "b.eaf", [name]).media == path


def test_names_with_a_zero_byte_or_without_letters_find_nothing(tmp_path):
    shelf = Shelf({tmp_path / "a.wav": tmp_path / "a.wav"})
    for name in ("a\0.wav", "", "/", "..", "file://", "x" * 5000):
        assert shelf.find(tmp_path / "b.eaf", [name]).media is None


@pytest.mark.parametrize(("on_disk", "written"), [(NFC, NFD), (NFD, NFC)])
def test_names_match_whatever_their_unicode_form(tmp_path, on_disk, written):
    assert on_disk != written
    write_tone(tmp_path / on_disk)
    one_word(tmp_path / "a.eaf", [written])
    one_word(tmp_path / written.replace(".wav", ".eaf"))
    archive = open_archive(tmp_path)
    assert [recording.name for recording in archive.recordings] == [NFC]
    assert len(archive.recordings[0].transcriptions) == 2
    assert archive.problems == ()


def test_a_name_that_is_not_utf_8_is_a_problem_that_can_be_printed(tmp_path):
    path = write_tone(tmp_path / "a.wav")
    shutil.copy(path, os.fsencode(tmp_path) + b"/caf\xe9.wav")
    archive = open_archive(tmp_path)
    assert [r.name for r in archive.recordings] == ["a.wav"]
    (problem,) = archive.problems
    assert str(problem).encode().endswith("caf�.wav: the file's name is not UTF-8; rename it; left out".encode())


def test_one_recording_in_several_formats_is_searched_once_and_without_loss(tmp_path):
    wav = write_tone(tmp_path / "story.wav", seconds=2)
    samples, rate_hz = soundfile.read(wav, dtype="float32")
    write_m4a(tmp_path / "Story.M4A", samples, rate_hz)
    soundfile.write(tmp_path / "story.flac", samples[: rate_hz // 2], rate_hz)
    one_word(tmp_path / "a.eaf", ["Story.M4A"])
    archive = open_archive(tmp_path)
    assert owners(archive) == {"a.eaf": "story.wav"}
    same = f"not searched: {wav} is the same recording by its name"
    assert told(archive.notes) == [("Story.M4A", "", same)]
    assert told(archive.problems) == [
        ("story.flac", "", f"{same}, but lasts 2.0 s, this one 0.5 s; rename one if they differ")
    ]
    wav.write_bytes(b"broken")
    (tmp_path / "story.flac").unlink()
    archive = open_archive(tmp_path)
    assert owners(archive) == {"a.eaf": "Story.M4A"}
    assert [name for name, _, _ in told(archive.problems)] == ["story.wav"]


def test_all_annotation_files_of_a_recording_are_kept_whatever_their_format(tmp_path):
    write_tone(tmp_path / "a.wav", seconds=2)
    one_word(tmp_path / "a.eaf", ["a.wav"])
    one_word(tmp_path / "second.eaf", ["a.wav"])
    write_textgrid(tmp_path / "a.TextGrid", 2.0, {"w": [(0.5, 1.0, "ŋko")]})
    (tmp_path / "a.xml").write_text(
        '<TEXT id="t" xml:lang="nru"><S id="s1"><AUDIO start="0.1" end="0.9"/><FORM>ma ko</FORM></S></TEXT>'
    )
    (tmp_path / "a.csv").write_text("start_s,end_s,text\n0.2,0.4,ma\n")
    (tmp_path / "a.txt").write_text("0.2\t0.4\tma\n")
    (tmp_path / "metadata.xml").write_text("<METATRANSCRIPT/>")
    (tmp_path / "speakers.csv").write_text("name,born\nAna,1950\n")
    (tmp_path / "readme.txt").write_text("Recorded in 2011.\n")
    archive = open_archive(tmp_path)
    files = [t.path.name for t in archive.recordings[0].transcriptions]
    assert files == ["a.TextGrid", "a.csv", "a.eaf", "a.txt", "a.xml", "second.eaf"]
    assert archive.problems == ()


def test_one_table_may_annotate_several_recordings(tmp_path):
    for name in ("a.wav", "in/b.wav"):
        write_tone(tmp_path / name)
    (tmp_path / "all.tsv").write_text("path\tstart_s\tend_s\ttext\na.wav\t0\t0.2\tma\nin/b.wav\t0.1\t0.3\tko\n")
    archive = open_archive(tmp_path)
    said = {r.name: [a.text for tier in r.tiers() for a in tier.annotations] for r in archive.recordings}
    assert said == {"a.wav": ["ma"], "in/b.wav": ["ko"]}


def test_a_single_recording_is_an_archive_and_its_neighbours_are_left_alone(tmp_path):
    wav = write_tone(tmp_path / "story.wav", seconds=2)
    samples, rate_hz = soundfile.read(wav, dtype="float32")
    write_m4a(tmp_path / "story.m4a", samples, rate_hz)
    write_tone(tmp_path / "other.wav")
    one_word(tmp_path / "other.eaf", ["other.wav"])
    one_word(tmp_path / "lost.eaf", ["lost.wav"])
    one_word(tmp_path / "v2.eaf", ["story.m4a"])
    one_word(tmp_path / "story.eaf", ["/elsewhere/x.wav"], end_s=2.4)
    (tmp_path / "story.TextGrid").write_text("broken")
    (tmp_path / "other.TextGrid").write_text("broken")
    archive = open_archive(wav)
    assert [r.name for r in archive.recordings] == ["story.wav"]
    assert owners(archive) == {"story.eaf": "story.wav", "v2.eaf": "story.wav"}
    assert [name for name, _, _ in told(archive.problems)] == ["story.TextGrid", "story.eaf"]
    assert [name for name, _, _ in told(archive.notes)] == ["story.eaf"]
    (tmp_path / "story.wav").write_bytes(b"")
    with pytest.raises(KwsbenchError, match=r"story\.wav: 0 bytes; the file is empty"):
        open_archive(wav)


def test_verify_reads_every_recording_to_its_end(tmp_path):
    write_tone(tmp_path / "a.wav", seconds=2)
    samples, rate_hz = soundfile.read(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.flac", samples, rate_hz)
    data = (tmp_path / "b.flac").read_bytes()
    one_word(tmp_path / "a.eaf", ["x.wav"])
    lines, sound = verify(tmp_path)
    assert sound
    assert lines == [
        f"note: {tmp_path}/a.eaf: names x.wav, which is not there; taken for {tmp_path}/a.wav, named as this file is",
        "2 recordings, 0.1 min, 1 with annotations (1); 0 problems",
    ]
    (tmp_path / "b.flac").write_bytes(data[: len(data) // 2])
    assert open_archive(tmp_path).problems == ()
    lines, sound = verify(tmp_path)
    assert not sound
    assert lines[0].startswith(f"{tmp_path}/b.flac: ")
    assert lines[-1].endswith("1 problem")


def test_the_command_line_takes_a_folder_without_manifest_as_an_archive(tmp_path, archive):
    """``archive`` is the fixture's folder, which has a manifest."""
    assert "8 clips without a problem" in call("datasets", archive, "--verify")[1]
    write_tone(tmp_path / "new" / "a.wav")
    one_word(tmp_path / "new" / "a.eaf", ["a.wav"], end_s=0.7)
    code, out, _ = call("datasets", tmp_path / "new", "--verify")
    assert code == 2
    assert out.splitlines() == [
        (
            f"{tmp_path}/new/a.eaf:9: tier words: 0.1–0.7 s 'ma' is not inside the recording, which is 0.500 s long; "
            "left out"
        ),
        "1 recording, 0.0 min, 1 with annotations (0); 1 problem",
    ]
    one_word(tmp_path / "new" / "a.eaf", ["a.wav"])
    for given in (tmp_path / "new", tmp_path / "new" / "a.wav"):
        assert call("datasets", given, "--verify")[:2] == (
            0,
            "1 recording, 0.0 min, 1 with annotations (1); 0 problems\n",
        )
    code, out, _ = call("datasets", tmp_path / "new")
    assert (code, out.splitlines()) == (0, [
        f"{tmp_path}/new: 1 recording, 0.0 min, 1 with annotations (1)",
        "  tier words: Ana (1)",
        ("as a data set it cannot be used yet: archive/new: no keyword is said by two speakers, so nothing can be "
        "searched across speakers"),
    ])  # fmt: skip
