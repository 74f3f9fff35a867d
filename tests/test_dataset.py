import shutil
import unicodedata

import pytest
import soundfile

from kwsbench import dataset as manifests
from kwsbench.errors import KwsbenchError
from kwsbench.labels import words
from tests.archives import write_manifest, write_tone


def problems(folder, **options):
    return [(p.line, p.message) for p in manifests.check_manifest(folder, **options).problems]


def test_an_archive_with_spaces_and_ipa_is_read(archive):
    found = manifests.read_manifest(archive, name="mine")
    assert [clip.keyword for clip in found.clips] == ["ma", "ŋko", "təla", None] * 2
    assert {clip.speaker for clip in found.clips} == {"Ana", "Ɓen"}
    assert manifests.check_manifest(archive, decode=True).problems == ()


def test_every_problem_is_named_with_its_line_and_not_only_the_first(tmp_path):
    write_tone(tmp_path / "a.wav")
    write_tone(tmp_path / "b.wav")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("no sound at all")
    ok = {"path": "a.wav", "speaker": "x", "keyword": "ma"}
    write_manifest(
        tmp_path,
        [
            {**ok, "start_s": "", "end_s": "", "id": "one", "split": ""},
            {**ok, "id": "one"},
            {**ok, "path": "empty.wav"},
            {**ok, "path": "text.wav"},
            {**ok, "path": "gone.wav"},
            {**ok, "speaker": ""},
            {**ok, "keyword": ""},
            {**ok, "start_s": "0.4", "end_s": "0.2"},
            {**ok, "start_s": "0.1", "end_s": "0.9"},
            {**ok, "start_s": "0,3", "end_s": "0,6"},
            {**ok, "split": "test"},
            {**ok, "path": ""},
        ],
    )
    found = problems(tmp_path)
    assert [line for line, _ in found] == [3, 4, 5, 6, 7, 8, 9, 10, 11, 11, 12, 13]
    messages = [message for _, message in found]
    assert messages[0] == "the id 'one' is already used on line 2; ids must differ"
    assert "0 bytes" in messages[1]
    assert "cannot be read as sound" in messages[2]
    assert "no such sound file" in messages[3]
    assert messages[4].startswith("no speaker; name them")
    assert messages[5] == "neither keyword nor transcript; write what is said, or set split to 'heldout'"
    assert messages[6] == "the span 0.4–0.2 s is empty or negative; start_s must be below end_s"
    assert messages[7] == "the span 0.1–0.9 s runs past the end of a.wav (0.500 s)"
    assert messages[8] == "start_s is '0,3', expected seconds, as in 12.34"
    assert messages[9] == "end_s is '0,6', expected seconds, as in 12.34"
    assert messages[10] == "split is 'test', expected 'search' or 'heldout'"
    assert messages[11] == "no path"


def test_reading_stops_at_a_problem_unless_told_to_skip_and_then_counts(archive):
    (archive / "Ana ma.wav").unlink()
    with pytest.raises(KwsbenchError) as caught:
        manifests.read_manifest(archive, name="mine")
    assert "manifest.tsv:2: " in str(caught.value)
    assert "no such sound file" in str(caught.value)
    found = manifests.read_manifest(archive, name="mine", skip_problems=True)
    assert len(found.clips) == 7
    assert found.notes == {"skipped_problems": 1}


def test_a_file_damaged_in_the_middle_is_found_when_it_is_decoded(archive):
    whole = archive / "Ana ma.wav"
    soundfile.write(archive / "x.flac", *soundfile.read(whole))
    data = bytearray((archive / "x.flac").read_bytes())
    (archive / "x.flac").write_bytes(data[: len(data) // 2])
    table = archive / "manifest.tsv"
    table.write_text(table.read_text().replace("Ana ma.wav", "x.flac"))
    found = problems(archive, decode=True)
    assert [line for line, _ in found] == [2]
    assert "x.flac" in found[0][1]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("path\tspeeker\tkeyword", "unknown column 'speeker'. Did you mean 'speaker'?"),
        ("path\tkeyword\tgloss", "no column 'speaker'; the header needs path, speaker and keyword or transcript"),
        ("path\tspeaker\tgloss", "neither a column 'keyword' nor 'transcript': nothing could be searched for"),
        ("path\tspeaker\tkeyword\tpath", "a column stands twice in the header: path, speaker, keyword, path"),
    ],
)
def test_a_wrong_header_says_what_is_wrong(tmp_path, header, message):
    (tmp_path / "manifest.tsv").write_text(header + "\n")
    with pytest.raises(KwsbenchError) as caught:
        manifests.check_manifest(tmp_path)
    assert str(caught.value) == f"{tmp_path / 'manifest.tsv'}:1: {message}"


def test_a_folder_without_a_table_and_a_table_that_is_not_utf8(tmp_path):
    with pytest.raises(KwsbenchError, match=r"no manifest\.tsv or manifest\.csv in this folder"):
        manifests.check_manifest(tmp_path)
    (tmp_path / "manifest.tsv").write_bytes("path\tspeaker\tkeyword\né".encode("latin-1"))
    with pytest.raises(KwsbenchError, match="not UTF-8 at byte 21; save it as UTF-8"):
        manifests.check_manifest(tmp_path)


def test_csv_with_commas_and_tsv_with_quotation_marks(tmp_path):
    write_tone(tmp_path / "a.wav")
    (tmp_path / "manifest.csv").write_text('path,speaker,transcript\na.wav,x,"ma, he said ""ko"""\n')
    assert manifests.check_manifest(tmp_path).clips[0].transcript == 'ma, he said "ko"'
    (tmp_path / "manifest.csv").unlink()
    (tmp_path / "manifest.tsv").write_text('path\tspeaker\ttranscript\na.wav\tx\t"ma he said\na.wav\ty\tko\n')
    assert [clip.transcript for clip in manifests.check_manifest(tmp_path / "manifest.tsv").clips] == ['"ma he said']
    # … and the second row is there too, under the same default id: a problem, not a silent merge
    assert problems(tmp_path)[0][0] == 3


def test_words_that_pandas_would_lose(tmp_path):
    write_tone(tmp_path / "a.wav")
    write_manifest(
        tmp_path,
        [
            {"path": "a.wav", "speaker": s, "keyword": w, "id": f"{s}{w}"}
            for s in "xy"
            for w in ("nan", "NA", "null", "001")
        ],
    )
    assert [clip.keyword for clip in manifests.read_manifest(tmp_path, name="m").clips] == [
        "nan",
        "na",
        "null",
        "001",
    ] * 2


def test_keywords_that_ascii_marks_of_ipa_would_merge_are_a_problem(tmp_path):
    write_tone(tmp_path / "a.wav")
    spelt = ("ba:", "ba", "!xo", "xo", "na˥", "na˩", "Ma", "ma")
    write_manifest(
        tmp_path, [{"path": "a.wav", "speaker": s, "keyword": w, "id": f"{s}{w}"} for s in "xy" for w in spelt]
    )
    found = problems(tmp_path)
    assert len(found) == 4
    assert {message.partition(" are compared")[0] for _, message in found} == {
        "keywords 'ba' and 'ba:'",
        "keywords 'xo' and '!xo'",
    }


def test_one_speaker_alone_is_a_problem(tmp_path):
    write_tone(tmp_path / "a.wav")
    write_manifest(tmp_path, [{"path": "a.wav", "speaker": "x", "keyword": w, "id": w} for w in ("ma", "ko")])
    assert problems(tmp_path) == [(1, "no keyword is said by two speakers, so nothing can be searched across speakers")]


def test_without_a_keyword_column_clips_of_one_word_are_keywords(tmp_path):
    write_tone(tmp_path / "a.wav")
    rows = [{"path": "a.wav", "speaker": s, "transcript": t, "id": s + t} for s in "xy" for t in ("Ma!", "ma ko")]
    write_manifest(tmp_path, rows)
    assert [clip.keyword for clip in manifests.read_manifest(tmp_path, name="m").clips] == ["ma", None] * 2


def test_words_are_compared_as_unicode_means_them():
    assert words("«Été, L'EAU!» — (oui)") == ("été", "l'eau", "oui")
    assert words(unicodedata.normalize("NFD", "été")) == words("été")
    assert words("ʈ͡ʂʰɑ˧˥ kv̩˧˥ aː ʔa ŋǃao") == ("ʈ͡ʂʰɑ˧˥", "kv̩˧˥", "aː", "ʔa", "ŋǃao")


def test_the_digest_follows_labels_and_audio_but_not_the_place(archive, tmp_path):
    def digest(folder):
        clips = manifests.read_manifest(folder, name="m").clips
        return manifests.digest(clips, manifests.file_digests(clips))

    before = digest(archive)
    moved = tmp_path / "elsewhere"
    shutil.copytree(archive, moved)
    assert digest(moved) == before
    table = moved / "manifest.tsv"
    text = table.read_text()
    table.write_text(text.replace("Ɓen\t", "Ben\t"))
    assert digest(moved) != before
    table.write_text(text)
    write_tone(moved / "Ana ma.wav", hz=201)
    assert digest(moved) != before
