from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwsbench import trials
from kwsbench.errors import KwsbenchError
from kwsbench.labels import words
from kwsbench.trials import CONDITIONS, NEGATIVE, NO_TRIAL, POSITIVE, Condition
from kwsbench.types import Clip


def clip(name, speaker, keyword=None, transcript=None, recording=None, **more):
    return Clip(name, Path("x.wav"), speaker, recording or name, keyword, transcript or keyword, **more)


CLIPS = [
    clip("a1", "ana", "ma"),
    clip("a2", "ana", "ko"),
    clip("a3", "ana", transcript="so ma said"),
    clip("b1", "ben", "ma"),
    clip("b2", "ben", transcript="the Ma, of ko"),
    clip("b3", "ben", "mas", maybe=("ma",)),
    clip("b4", "ben"),
    clip("b5", "ben", transcript="mama"),
]


def by_name(built, condition):
    labels = built.labels(condition)
    return {
        CLIPS[q].id: {
            CLIPS[u].id: int(labels[i, j]) for j, u in enumerate(built.utterances) if labels[i, j] != NO_TRIAL
        }
        for i, q in enumerate(built.queries)
    }


def test_trials_of_a_small_archive_by_hand():
    built = trials.build(CLIPS, name="small")
    assert by_name(built, Condition("across", "isolated")) == {
        "a1": {"b1": POSITIVE},  # b3 may be heard as "ma": left out
        "a2": {"b1": NEGATIVE, "b3": NEGATIVE},
        "b1": {"a1": POSITIVE, "a2": NEGATIVE},
    }
    assert by_name(built, Condition("across", "inside")) == {
        "a1": {"b2": POSITIVE, "b5": NEGATIVE},
        "a2": {"b2": POSITIVE, "b5": NEGATIVE},
        "b1": {"a3": POSITIVE},
    }
    assert by_name(built, Condition("within", "isolated")) == {"a1": {"a2": NEGATIVE}, "a2": {"a1": NEGATIVE}, "b1": {}}
    assert built.queries_left_out == 1  # "mas" is said by nobody else
    assert built.left_out == {"own_recording": 3, "maybe": 2, "unknown_words": 3}


def test_clips_of_the_querys_own_recording_are_never_searched():
    clips = [
        clip("q", "ana", "ma", recording="tape"),
        clip("same tape", "ben", "ma", recording="tape"),
        clip("other", "ben", "ma"),
        clip("another", "ben", "ko"),
    ]
    built = trials.build(clips, name="tape")
    labels = sum((built.labels(condition) != NO_TRIAL).astype(int) for condition in CONDITIONS)
    assert labels[0].tolist() == [0, 0, 1, 1]


def test_held_out_clips_are_neither_queries_nor_utterances():
    clips = [*CLIPS, clip("h", "cleo", "ma", split="heldout")]
    built = trials.build(clips, name="x")
    assert len(CLIPS) not in built.queries
    assert len(CLIPS) not in built.utterances


def test_phrases_are_found_as_words_in_a_row():
    clips = [
        clip("q", "ana", "bon jour"),
        clip("yes", "ben", transcript="oui, Bon jour madame"),
        clip("no", "ben", transcript="jour bon"),
        clip("no2", "ben", transcript="bon et jour"),
    ]
    labels = trials.build(clips, name="x").labels(Condition("across", "inside"))
    assert labels[0].tolist() == [NO_TRIAL, POSITIVE, NEGATIVE, NEGATIVE]


def test_a_search_that_cannot_fail_is_refused():
    with pytest.raises(KwsbenchError, match="mine: every utterance holds every keyword"):
        trials.build([clip("a", "ana", "ma"), clip("b", "ben", "ma")], name="mine")


def test_a_phrase_is_said_by_a_clip_of_it_that_has_no_transcript():
    clips = [clip("a", "ana", "morning"), Clip("b", Path("x"), "ben", "b", "good morning"), clip("c", "ben", "night")]
    labels = trials.build(clips, name="x").labels(Condition("across", "isolated"))
    assert labels[0].tolist() == [NO_TRIAL, POSITIVE, NEGATIVE]


def test_nobody_else_says_it():
    with pytest.raises(KwsbenchError, match="mine: no keyword is said by two speakers"):
        trials.build([clip("a", "ana", "ma"), clip("b", "ana", "ma"), clip("c", "ben", "ko")], name="mine")


archives = st.lists(
    st.builds(
        lambda i, speaker, keyword, extra, recording, maybe: (i, speaker, keyword, extra, recording, maybe),
        st.just(0),
        st.sampled_from("xyz"),
        st.sampled_from([None, "ma", "ko", "ma ko"]),
        st.sampled_from(["", "ma", "ko ma ko", "li"]),
        st.sampled_from(["", "tape"]),
        st.sampled_from([(), ("ma",), ("ma ko", "ko")]),
    ),
    min_size=1,
    max_size=12,
)


@given(archives)
def test_trials_equal_a_slow_reading_of_the_rules(rows):
    clips = [
        Clip(str(i), Path("x"), speaker, recording or str(i), keyword, keyword or extra or None, maybe=maybe)
        for i, (_, speaker, keyword, extra, recording, maybe) in enumerate(rows)
    ]
    try:
        built = trials.build(clips, name="x")
    except KwsbenchError:
        return
    for condition in CONDITIONS:
        labels = built.labels(condition)
        for i, q in enumerate(built.queries):
            for j, u in enumerate(built.utterances):
                assert labels[i, j] == slow_label(clips[q], clips[u], condition)


def slow_label(query, utterance, condition):
    if (query.speaker == utterance.speaker) != (condition.relation == "within"):
        return NO_TRIAL
    if (utterance.keyword is not None) != (condition.kind == "isolated"):
        return NO_TRIAL
    if query.recording == utterance.recording or not (utterance.transcript or utterance.keyword):
        return NO_TRIAL
    said, wanted = " ".join(words(utterance.transcript or "")), query.keyword
    if utterance.keyword == wanted or f" {wanted} " in f" {said} ":
        return POSITIVE
    return NO_TRIAL if wanted in utterance.maybe else NEGATIVE


def test_no_trial_across_shares_a_speaker_on_real_labels(shared):
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    clips = []
    for path in sorted((shared / "data" / "fsdd" / "recordings").glob("*.wav")):
        digit, speaker, _ = path.stem.split("_")
        clips.append(Clip(path.stem, path, speaker, path.name, names[int(digit)], names[int(digit)]))
    built = trials.build(clips, name="fsdd")
    speakers = np.array([c.speaker for c in clips])
    labels = built.labels(Condition("across", "isolated"))
    trial = labels != NO_TRIAL
    assert not (trial & (speakers[built.queries][:, None] == speakers[built.utterances][None, :])).any()
    assert (labels == POSITIVE).sum() == 900 * 15 * 5


# ── the protocols of what was published before ──


def test_pooled_ranks_everything_but_the_own_recording_in_one_list():
    built = trials.build(CLIPS, name="small", protocol="pooled")
    assert [str(condition) for condition in built.conditions] == ["any/any"]
    assert by_name(built, built.conditions[0])["a1"] == {
        "a2": NEGATIVE, "a3": POSITIVE, "b1": POSITIVE, "b2": POSITIVE, "b5": NEGATIVE,
    }  # fmt: skip
    assert built.left_out == {"own_recording": 3, "maybe": 2, "unknown_words": 3}


def test_pooled_with_self_finds_the_query_itself():
    built = trials.build(CLIPS, name="small", protocol="pooled+self")
    found = by_name(built, built.conditions[0])
    assert all(found[query][query] == POSITIVE for query in found)
    assert "b3" in found  # "mas" is said once, which is enough
    assert not built.apart.any()
    assert built.left_out["own_recording"] == 0


def test_pooled_needs_a_word_said_twice_but_not_by_two():
    clips = [clip("a1", "ana", "ma"), clip("a2", "ana", "ma"), clip("a3", "ana", "ko")]
    with pytest.raises(KwsbenchError, match="no keyword is said by two speakers"):
        trials.build(clips, name="small")
    assert len(trials.build(clips, name="small", protocol="pooled").queries) == 2
    with pytest.raises(KwsbenchError, match="small: no keyword is said twice"):
        trials.build(clips[1:], name="small", protocol="pooled")


def test_where_a_word_lies_is_known_from_the_clip_that_was_cut_there():
    spans = {"start_s": 2.5, "end_s": 3.0}
    clips = [
        clip("word", "ana", "ma", recording="tape", **spans),
        clip("elsewhere", "ana", "ma", recording="tape", start_s=9.0, end_s=9.5),
        clip("sentence", "ana", transcript="so ma said", recording="tape", start_s=2.0, end_s=4.0),
        clip("whole", "ana", transcript="ma and ma", recording="tape"),
        Clip("other", Path("y.wav"), "ben", "y", None, "ma it is"),
        Clip("b", Path("z.wav"), "ben", "z", "ma", "ma"),
        Clip("c", Path("z2.wav"), "ben", "z2", "ko", "ko"),
    ]
    built = trials.build(clips, name="small")
    known = {(word, clips[built.utterances[column]].id): at for (word, column), at in built.known_spans.items()}
    assert known == {("ma", "sentence"): [(0.5, 1.0)], ("ma", "whole"): [(2.5, 3.0), (9.0, 9.5)]}
