from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kwsbench import fitting, plugins, trials
from kwsbench.errors import KwsbenchError, PluginError
from kwsbench.spec import parse_chain
from kwsbench.store import FrameStore
from kwsbench.types import Clip

REGISTRY = plugins.load()


def make(tmp_path, speakers="aabbb", *, heldout=0, dims=3, seed=0):
    """Clips of one word by these speakers, with random frames around a mean of each speaker's own."""
    rng = np.random.default_rng(seed)
    clips = [Clip(str(i), Path("x"), s, str(i), w, w) for i, (s, w) in enumerate(zip(speakers, "mkmkm", strict=True))]
    clips += [Clip(f"h{i}", Path("x"), "h", f"h{i}", split="heldout") for i in range(heldout)]
    made = [
        (rng.standard_normal((rng.integers(2, 6), dims)) + 10 * ord(clip.speaker)).astype(np.float32) for clip in clips
    ]
    store = FrameStore.open(tmp_path, {"seed": seed}, len(clips))
    store.write(0, "0", made)
    return store.layer("0"), trials.build(clips, name="x"), made


def fit(tmp_path, chain, **options):
    frames, built, made = make(tmp_path, **options)
    return fitting.fit(frames, built, parse_chain(chain), REGISTRY), made


def test_each_scope_centres_on_its_own_frames_and_no_others(tmp_path):
    for scope, group in {
        "corpus": lambda i: [0, 1, 2, 3, 4],
        "speaker": lambda i: [0, 1] if i < 2 else [2, 3, 4],
        "utterance": lambda i: [i],
        "heldout": lambda i: [5, 6],
        "transductive": lambda i: [0, 1, 2, 3, 4],
    }.items():
        fitted, made = fit(tmp_path / scope, f"center:scope={scope}", heldout=2)
        for i in range(5):
            mean = np.concatenate([made[j] for j in group(i)]).astype(np.float64).mean(axis=0)
            np.testing.assert_allclose(fitted.apply(i), made[i] - mean, atol=1e-3)


def test_fits_of_all_speakers_are_made_at_once_where_copies_need_them(tmp_path):
    fitted, _ = fit(tmp_path, "center:scope=speaker+standardize+center:scope=heldout", heldout=2)
    fitted.fit_groups()
    fits = [set(link.fits) for link in fitted.links]
    assert fits == [{("a", "search"), ("b", "search"), ("h", "heldout")}, {"corpus"}, {"heldout"}]
    for item in range(5):
        fitted.apply(item)
    assert [set(link.fits) for link in fitted.links] == fits


def test_a_chain_is_fitted_link_by_link(tmp_path):
    fitted, made = fit(tmp_path, "center:scope=speaker+standardize")
    a, b = np.concatenate(made[:2]).astype(np.float64), np.concatenate(made[2:]).astype(np.float64)
    centred = np.concatenate([a - a.mean(axis=0), b - b.mean(axis=0)])
    expected = (centred - centred.mean(axis=0)) / centred.std(axis=0)
    found = np.concatenate([fitted.apply(i) for i in range(5)])
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(
    "chain",
    [
        "standardize:scope=speaker+whiten",
        "standardize:scope=utterance+abtt",
        "whiten:scope=heldout,shrinkage=ledoit-wolf",
        "rogue:k=1+rank",
        "speaker-subspace",
        "center:scope=heldout+speaker-subspace+whiten",
    ],
)
@pytest.mark.parametrize("words", ["mmmok", "kmkmm", "okmkm"])
def test_labels_and_queries_do_not_change_what_is_fitted(tmp_path, chain, words):
    """Other keywords and transcripts on the same clips: the corrected frames must stay as they are."""
    frames, built, _ = make(tmp_path, heldout=2)
    relabelled = [
        replace(clip, keyword=word, transcript=f"{word} o", maybe=("n",))
        for clip, word in zip(built.clips, [*words, "m", "k"], strict=True)
    ]
    other = trials.build(relabelled, name="y")
    assert list(other.queries) != list(built.queries) or other.keywords != built.keywords
    one, two = (fitting.fit(frames, t, parse_chain(chain), REGISTRY) for t in (built, other))
    for i in range(5):
        np.testing.assert_array_equal(one.apply(i), two.apply(i))


@pytest.mark.parametrize("name", ["whiten", "speaker-subspace"])
def test_a_transductive_fit_sees_which_clips_are_asked_for_and_not_their_words(tmp_path, name):
    frames, built, _ = make(tmp_path)
    swapped = [replace(c, keyword={"m": "k", "k": "m"}[c.keyword], transcript=None) for c in built.clips]
    other = trials.build(swapped, name="y")
    assert list(other.queries) == list(built.queries)
    assert other.keywords != built.keywords
    one, two = (fitting.fit(frames, t, parse_chain(f"{name}:scope=transductive"), REGISTRY) for t in (built, other))
    for i in range(5):
        np.testing.assert_array_equal(one.apply(i), two.apply(i))


class SpeakerSpy:
    """A transform that keeps what it was fitted on, and changes nothing."""

    def __init__(self):
        self.seen = []

    def fit_speakers(self, speakers):
        self.seen.append([np.array(frames) for frames in speakers])
        return lambda x: x


def spied(monkeypatch, frames, built, chain):
    spy, registry = SpeakerSpy(), plugins.load()
    create = registry.create
    monkeypatch.setattr(registry, "create", lambda kind, spec: spy if spec.name == "spy" else create(kind, spec))
    fitted = fitting.fit(frames, built, parse_chain(chain), registry)
    for item in range(len(built.clips)):
        fitted.apply(item)
    return spy.seen


@pytest.mark.parametrize(
    ("scope", "groups"),
    [
        ("corpus", [[0, 1], [2, 3, 4]]),
        ("heldout", [[5, 6]]),
        # Every clip is a query here, and counts twice.
        ("transductive", [[0, 1, 0, 1], [2, 3, 4, 2, 3, 4]]),
    ],
)
def test_a_speaker_transform_gets_the_scopes_frames_one_array_a_speaker(tmp_path, monkeypatch, scope, groups):
    frames, built, made = make(tmp_path, heldout=2)
    assert built.queries.tolist() == [0, 1, 2, 3, 4]
    (seen,) = spied(monkeypatch, frames, built, f"spy:scope={scope}")  # fitted once for all clips
    assert len(seen) == len(groups)
    for found, group in zip(seen, groups, strict=True):
        np.testing.assert_array_equal(found, np.concatenate([made[i] for i in group]))


def test_a_speaker_transform_in_a_chain_sees_what_the_links_before_it_return(tmp_path, monkeypatch):
    frames, built, made = make(tmp_path)
    (seen,) = spied(monkeypatch, frames, built, "center:scope=utterance+spy")
    expected = [np.concatenate([made[i] - made[i].mean(axis=0) for i in group]) for group in ([0, 1], [2, 3, 4])]
    for found, frames_of in zip(seen, expected, strict=True):
        np.testing.assert_allclose(found, frames_of, atol=1e-4)


@pytest.mark.parametrize("most", [3, 6, 9])
def test_speakers_are_thinned_evenly_and_none_away(tmp_path, monkeypatch, most):
    monkeypatch.setattr(fitting, "FIT_FRAMES", most)
    frames, built, made = make(tmp_path, "abbbb")
    (seen,) = spied(monkeypatch, frames, built, "spy")
    said = [made[0], np.concatenate(made[1:])]
    step = -(-sum(map(len, made)) // (most - 2))
    assert step > 1
    for found, all_said in zip(seen, said, strict=True):
        np.testing.assert_array_equal(found, all_said[::step])
    assert sum(map(len, seen)) <= most


@pytest.mark.parametrize("scope", ["speaker", "utterance"])
def test_a_scope_of_one_speaker_is_refused_before_any_frame_is_read(tmp_path, monkeypatch, scope):
    frames, built, _ = make(tmp_path)
    monkeypatch.setattr(type(frames), "item", lambda self, index: pytest.fail("a frame was read"))
    chain = parse_chain(f"center+speaker-subspace:scope={scope}")
    words = f"speaker-subspace:scope={scope}: speaker-subspace compares speakers, and this scope shows it one at a "
    with pytest.raises(KwsbenchError, match=words + "time; use scope=corpus, heldout or transductive$"):
        fitting.fit(frames, built, chain, REGISTRY)


def test_a_scope_in_which_one_person_speaks_is_one_line(tmp_path):
    """The held-out clips are all of one speaker."""
    fitted, _ = fit(tmp_path, "speaker-subspace:scope=heldout", heldout=2)
    with pytest.raises(
        KwsbenchError, match=r"needs frames of two speakers or more .*, and was given 1; choose another"
    ):
        fitted.apply(0)


def test_fits_see_an_even_sample_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "FIT_FRAMES", 7)
    seen = []

    class Spy:
        def fit(self, frames):
            seen.append(np.array(frames))
            return lambda x: x

    registry = plugins.load()
    monkeypatch.setattr(registry, "create", lambda kind, spec: Spy())
    frames, built, made = make(tmp_path)
    fitting.fit(frames, built, parse_chain("center"), registry).apply(0)
    everything = np.concatenate(made)
    step = -(-len(everything) // 7)
    np.testing.assert_array_equal(seen[0], everything[::step])
    assert len(seen[0]) <= 7


def test_the_material_of_queries_is_counted():
    clips = [
        Clip("a", Path("x"), "ana", "a", "ma", "ma"),
        Clip("b1", Path("x"), "ben", "tape", "ma", "ma"),
        Clip("b2", Path("x"), "ben", "tape", transcript="so ma"),
        Clip("c1", Path("x"), "cleo", "c1", "ma", "ma"),
        Clip("c2", Path("x"), "cleo", "c2", transcript="ko"),
    ]
    counts = fitting.query_material(trials.build(clips, name="x"))
    assert counts == {"other_recordings": 1, "source_recording": 1, "itself": 1}


def test_utterances_without_frames_stay_empty_and_keep_their_place(tmp_path):
    store = FrameStore.open(tmp_path, {}, 3)
    store.write(0, "0", [np.ones((2, 3), np.float32), None, np.zeros((1, 3), np.float32)])
    clips = [
        Clip(str(i), Path("x"), s, str(i), w, w) for i, (s, w) in enumerate(zip("aab", ["m", "k", "m"], strict=True))
    ]
    fitted = fitting.fit(store.layer("0"), trials.build(clips, name="x"), parse_chain("whiten:kind=pca,k=2"), REGISTRY)
    assert fitted.utterances().read(0, 3).lengths.tolist() == [2, 0, 1]
    assert fitted.queries().values.shape == (3, 2)
    assert fitted.utterances().read(1, 2).values.shape == (0, 2)  # alone, it still has the width of the others


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ("center:scope=speakers", "center:scope=speakers: scope is 'speakers', expected one of corpus, heldout, "),
        ("center:scope=heldout", "the data set has no clips with split 'heldout' to fit on"),
    ],
)
def test_a_scope_that_cannot_be_is_one_line(tmp_path, chain, message):
    with pytest.raises(KwsbenchError, match=message):
        fit(tmp_path, chain)[0].apply(0)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda x: x[:-1], "frames must stay in number"),
        (lambda x: x * np.nan, "returned NaN or infinity"),
        (lambda x: x.sum(axis=1), "frames must stay in number"),
    ],
)
def test_a_transform_that_breaks_its_contract_is_named(tmp_path, monkeypatch, broken, message):
    class Broken:
        def fit(self, frames):
            return broken

    registry = plugins.load()
    monkeypatch.setattr(registry, "create", lambda kind, spec: Broken())
    frames, built, _ = make(tmp_path)
    with pytest.raises(PluginError, match=f"transform center returned .*|{message}"):
        fitting.fit(frames, built, parse_chain("center"), registry).apply(0)
