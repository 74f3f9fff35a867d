"""The conformance kit must catch each fault by name, and pass what has none: mutants of small correct plugins."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kwsbench import plugins, testing
from kwsbench.errors import KwsbenchError, PluginError
from kwsbench.types import Alignment, Clip, Dataset, Match, Scores


def only(problems, *words):
    """Exactly one problem, in one line, that says all the words."""
    assert len(problems) == 1, problems
    assert "\n" not in problems[0]
    for word in words:
        assert word in problems[0]


# ── encoders ─────────────────────────────────────────────────────────────────────────────────────


class Energy:
    """A correct encoder: log energy and its square root, 20 ms frames every 10 ms."""

    layers = ("a", "b")
    frame_shift_s = 0.010
    first_centre_s = 0.010
    min_samples = 320

    def encode(self, samples, layers):
        count = 1 + (len(samples) - 320) // 160
        energy = np.stack([[np.mean(samples[160 * i : 160 * i + 320] ** 2)] for i in range(count)])
        made = {"a": np.log(energy + 1e-9), "b": np.sqrt(energy)}
        return {layer: made[layer] for layer in layers}


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

    only(testing.check_encoder(Broken()), "exception: ZeroDivisionError: oh")


# ── transforms ───────────────────────────────────────────────────────────────────────────────────


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
        ("in place", "argument: frames are changed in place; work on a copy"),
        ("matrix", "fit: returned ndarray, expected the function that transforms frames"),
        ("random", "determinism: the same fit gives another result; seed what is random"),
        ("neighbours", "per frame: two frames alone come out otherwise than among others; learn in fit()"),
        ("drops", "shape: (40, 24) became (39, 24); expected (40, dims), one frame out for each one in"),
        (
            "zero",
            "finite: fitted on speakers who are equal, it gives NaN or inf; divide by 1 where there is no variance",
        ),
        ("three", "exception: AssertionError: three speakers, please"),
    ],
)
def test_a_faulty_speaker_transform_is_caught(fault, words):
    problems = testing.check_transform(MeanSpeaker(fault))
    assert any(problem.startswith(words) for problem in problems), problems


# ── distances ────────────────────────────────────────────────────────────────────────────────────


class Cosine:
    """A correct gram distance, and by its arguments each faulty one."""

    def __init__(self, fault=""):
        self.fault = fault

    def cost(self, x, y):
        norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)[None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            cosine = x @ y.T / (norms if self.fault == "zero" else np.maximum(norms, 1e-12))
        if self.fault == "transposed":
            return (1 - cosine).T
        if self.fault == "precision":
            return np.clip(1 - cosine, 0, 2).astype(np.float64)
        if self.fault == "negative":
            return -cosine
        if self.fault == "in place":
            x /= 2
        return np.clip(1 - cosine, 0, 2)

    def finish(self, tile, utterance_norms, query_norms):
        tile.clamp_(max=0)
        if self.fault == "disagrees":
            tile.mul_(2)
        if self.fault == "not in place":
            tile = tile * 2
        if self.fault == "sign":
            tile.neg_()


def test_a_correct_distance_passes():
    assert testing.check_distance(Cosine()) == []
    # "not in place" forgets nothing that it had to do, since the cosine's own finish is only a clamp.
    assert testing.check_distance(Cosine("not in place")) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("zero", "clamp the norms"),
        ("transposed", "expected (7, 11)"),
        ("precision", "float32 in, float64 out"),
        ("negative", "a cost has to be at least 0"),
        ("in place", "changes its arguments"),
        ("disagrees", "on the fast path"),
        ("sign", "on the fast path"),
    ],
)
def test_a_faulty_distance_is_caught(fault, words):
    problems = testing.check_distance(Cosine(fault))
    assert any(words in problem for problem in problems), problems


def test_euclidean_and_angle_stay_within_the_kits_tolerance():
    """Distances that go like a square root near zero magnify the tile's rounding; that is no fault of theirs."""
    import torch

    class Euclidean:
        def cost(self, x, y):
            return np.sqrt(((x[:, None] - y[None]) ** 2).sum(axis=2))

        def finish(self, tile, utterance_norms, query_norms):
            product = utterance_norms * query_norms
            squared = (utterance_norms - query_norms) ** 2 - 2 * product * tile
            tile.copy_(-squared.clamp(min=0).sqrt())

    class Angle(Cosine):
        def cost(self, x, y):
            return np.arccos(np.clip(1 - super().cost(x, y), -1, 1)) / x.dtype.type(np.pi)

        def finish(self, tile, utterance_norms, query_norms):
            tile.copy_(-torch.acos((tile + 1).clamp(-1, 1)) / np.pi)

    assert testing.check_distance(Euclidean()) == []
    assert testing.check_distance(Angle()) == []


class Scaled(Cosine):
    """A correct distance that knows its neighbours, and by its arguments each faulty one."""

    def __init__(self, fault="", neighbours=10):
        super().__init__(fault)
        self.neighbours = neighbours

    def cost(self, x, y, x_nearness, y_nearness):
        cosine = 1 - super().cost(x, y)
        if self.fault == "swapped":
            x_nearness, y_nearness = x_nearness[:1].repeat(len(x)), y_nearness[:1].repeat(len(y))
        if self.fault == "nearness in place":
            x_nearness /= 2
        both = (x_nearness[:, None] + y_nearness[None, :]) / 2
        if self.fault == "wide":
            return np.maximum(0, 1 - cosine + both.astype(np.float64))
        if self.fault == "divides":
            with np.errstate(divide="ignore", invalid="ignore"):
                return (1 - cosine) / (1 + both)
        if self.fault == "below":
            return 1 - cosine + both
        return np.maximum(0, 1 - cosine + both)

    def finish(self, tile, utterance_nearness, query_nearness):
        if self.fault == "beside":
            utterance_nearness.div_(2)
            query_nearness.div_(2)
            tile.sub_(utterance_nearness).sub_(query_nearness).clamp_(max=0)
            return
        if self.fault == "divides":
            tile.div_(1 + (utterance_nearness + query_nearness) / 2).clamp_(max=0)
            return
        tile.sub_(utterance_nearness / 2).sub_(query_nearness / 2)
        if self.fault != "fast below":
            tile.clamp_(max=0)
        if self.fault == "nan":
            tile[2, 1] = float("nan")


def test_a_correct_neighbour_distance_passes():
    assert testing.check_distance(Scaled()) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("swapped", "finish: utterance frame "),
        ("nearness in place", "argument: cost() changes the nearness it is given; work on a copy"),
        ("wide", "precision: float32 in, float64 out; keep the precision of the input"),
        ("divides", "finite: NaN or inf in the cost"),
        ("below", "range: a cost of -1; a cost has to be at least 0, best at 0 (nearness -1 to -1)"),
        ("fast below", "finish: utterance frame "),
        ("nan", "finish: utterance frame 2, query frame 1 costs nan on the fast path"),
        ("beside", "argument: finish() changes what it is told beside the tile; only the tile is its own"),
    ],
)
def test_a_faulty_neighbour_distance_is_caught(fault, words):
    problems = testing.check_distance(Scaled(fault))
    assert any(problem.startswith(words) for problem in problems), problems


@pytest.mark.parametrize("neighbours", [0, -1, 2.5, "10", True])
def test_a_number_of_neighbours_that_cannot_be(neighbours):
    words = f"neighbours: {neighbours!r}; expected a whole number of neighbours, at least 1"
    assert testing.check_distance(Scaled(neighbours=neighbours)) == [words]


def test_a_neighbour_distance_needs_its_fast_path():
    class Half:
        neighbours = 3

        def cost(self, x, y, x_nearness, y_nearness):
            return np.zeros((len(x), len(y)), x.dtype)

    only(testing.check_distance(Half()), "attributes: finish missing; see kwsbench.types.NeighbourDistance")


# ── matchers ─────────────────────────────────────────────────────────────────────────────────────


class Diagonal:
    """A correct cost matcher, and by its arguments each faulty one: the query laid straight, from the best frame."""

    def __init__(self, fault=""):
        self.fault = fault

    def match(self, cost):
        n, m = cost.shape
        if self.fault == "short" and n > m:
            return Match(float("inf"), -1, -1)
        if self.fault == "in place":
            cost += 1
        start = int(cost[0].argmin())
        end = min(start + n - 1, m - 1)
        if self.fault == "exclusive":
            end += 1
        mean = float(np.mean([cost[i, min(start + i, m - 1)] for i in range(n)]))
        return (mean, start, end) if self.fault == "tuple" else Match(mean, start, end)


def test_a_correct_matcher_passes():
    assert testing.check_matcher(Diagonal()) == []
    assert testing.check_matcher(Alignment()) == []
    assert testing.check_matcher(Alignment(steps=((1, 1), (1, 2), (2, 1)), normalize="path")) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("short", "every query must get a cost"),
        ("in place", "match() changes the costs"),
        ("exclusive", "both included"),
        ("tuple", "expected kwsbench.Match"),
    ],
)
def test_a_faulty_matcher_is_caught(fault, words):
    problems = testing.check_matcher(Diagonal(fault))
    assert any(words in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("alignment", "words"),
    [
        (Alignment(steps=()), "steps"),
        (Alignment(steps=((0, 0),)), "never (0, 0)"),
        (Alignment(steps=((1, 3),)), "0-2"),
        (Alignment(steps=((0, 1),)), "none advances in the query"),
        (Alignment(normalize="frames"), "expected query, path or none"),
        (Alignment(rows="zscore"), "rows: 'zscore'; expected none or minmax"),
    ],
)
def test_a_faulty_alignment_is_caught(alignment, words):
    only(testing.check_matcher(alignment), words)


@pytest.mark.parametrize("name", ["sdtw", "dtw"])
def test_rows_of_the_built_in_alignments_are_scaled_when_asked(name):
    plugin = plugins.load().find("matchers", name)
    plain = plugin.create({})
    assert plain.rows == "none"
    assert plugin.create({"rows": "minmax"}) == replace(plain, rows="minmax")
    assert plugin.create({"rows": "minmax", "steps": "skip"}).steps == ((1, 1), (1, 2), (2, 1))
    with pytest.raises(KwsbenchError, match=f"^{name}:rows=zscore: expected one of none, minmax$"):
        plugin.create({"rows": "zscore"})


class Pool:
    """A correct pair matcher, and by its arguments each faulty one: the distance of mean frames."""

    def __init__(self, fault=""):
        self.fault = fault

    def score(self, queries, utterances, distance, *, first_utterance):
        means = [np.stack([frames[i].mean(axis=0) for i in range(len(frames))]) for frames in (queries, utterances)]
        scores = -distance.cost(*means).astype(np.float32)
        if self.fault == "blocks":
            scores -= scores.mean()
        starts = np.zeros(scores.shape, np.int32)
        ends = np.broadcast_to(utterances.lengths - 1, scores.shape).astype(np.int32)
        if self.fault == "nan":
            scores[0, 0] = np.nan
        if self.fault == "span":
            ends = ends + np.int32(1)
        if self.fault == "types":
            starts = starts.astype(np.int64)
        if self.fault == "shape":
            scores = scores.T
        return Scores(scores, starts, ends)


def test_a_correct_pair_matcher_passes():
    assert testing.check_matcher(Pool()) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("blocks", "depend on how the search set is cut"),
        ("nan", "NaN or +inf"),
        ("span", "leaves its utterance"),
        ("types", "int64"),
        ("shape", "(3, 4)"),
    ],
)
def test_a_faulty_pair_matcher_is_caught(fault, words):
    problems = testing.check_matcher(Pool(fault))
    assert any(words in problem for problem in problems), problems


def test_what_is_no_matcher():
    only(testing.check_matcher(object()), "neither an Alignment nor")


# ── score norms ──────────────────────────────────────────────────────────────────────────────────


class Centred:
    """A correct correction of scores, and by its arguments each faulty one: minus the query's mean, over its spread."""

    def __init__(self, fault=""):
        self.fault = fault
        self.rng = np.random.default_rng(0)

    def normalize(self, scores, used):
        if self.fault == "ignores used":
            used = np.isfinite(scores)
        result = scores.copy()
        for row, mask in zip(result, used, strict=True):
            known = row[mask].astype(np.float64)
            varied = len(set(known)) > 1 or (self.fault == "spread" and len(known))
            with np.errstate(divide="ignore", invalid="ignore"):
                row[:] = (row - (known.mean() if len(known) else 0)) / (known.std() if varied else 1)
        if self.fault == "scores in place":
            scores[0, 0] += 1
        if self.fault == "used in place":
            used[:] = True
        if self.fault == "nothing used" and not used.any():
            result[:] = np.nan
        if self.fault == "random":
            result += self.rng.random(result.shape, dtype=np.float32)
        if self.fault == "fills":
            result[np.isneginf(result)] = -9
        if self.fault == "drops":
            return result[:, 1:]
        if self.fault == "list":
            return result.tolist()
        return result.astype(int) if self.fault == "whole" and np.isfinite(result).all() else result


def test_a_correct_score_norm_passes():
    assert testing.check_score_norm(Centred()) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("ignores used", "used: pairs that are not used changed "),
        ("spread", "finite (one used score a query): a finite score became "),
        ("nothing used", "finite (no pair used): a finite score became nan; where fewer than two scores are used or "),
        ("scores in place", "argument (6 queries × 9 utterances): normalize() changes its arguments; work on a copy"),
        ("used in place", "argument (6 queries × 9 utterances): normalize() changes its arguments; work on a copy"),
        ("random", "determinism (6 queries × 9 utterances): the same scores give another result; seed what is random"),
        ("fills", "missing (6 queries × 9 utterances): -inf became -9.0; -inf stays -inf"),
        ("drops", "shape (6 queries × 9 utterances): (6, 8), expected a numpy array (6, 9), one score out for each"),
        ("list", "shape (6 queries × 9 utterances): list, expected a numpy array (6, 9)"),
        ("whole", "precision (one query and one utterance): int64 out; scores are floats"),
    ],
)
def test_a_faulty_score_norm_is_caught(fault, words):
    problems = testing.check_score_norm(Centred(fault))
    assert any(problem.startswith(words) for problem in problems), problems


def test_what_is_no_score_norm():
    only(testing.check_score_norm(object()), "attributes: normalize missing; see kwsbench.types.ScoreNorm")


# ── data sets ────────────────────────────────────────────────────────────────────────────────────


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
        ({"start_s": 2.0, "end_s": 1.0}, "spans: clip 'a' ends before it begins"),
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


# ── files ────────────────────────────────────────────────────────────────────────────────────────

GOOD = '''
import numpy as np
import kwsbench

class Half:
    """Frames at half their size."""
    def __init__(self, *, by: float = 0.5):
        self.by = np.float32(by)
    def fit(self, frames):
        return lambda x: x * self.by

@kwsbench.hookimpl
def register_transforms(register):
    register("half", Half)
'''


def test_a_file_is_checked_as_a_stranger_would(tmp_path):
    file = tmp_path / "half_file.py"
    file.write_text(GOOD, encoding="utf-8")
    assert testing.check_file(file) == [testing.Finding("transforms", "half", [])]


def test_a_score_norm_in_a_file_is_checked(tmp_path):
    file = tmp_path / "norm_file.py"
    source = """
import kwsbench

class Twice:
    \"""Scores at twice their size.\"""
    def normalize(self, scores, used):
        return 2 * scores

@kwsbench.hookimpl
def register_score_norms(register):
    register("twice", Twice)
"""
    file.write_text(source, encoding="utf-8")
    assert testing.check_file(file) == [testing.Finding("score_norms", "twice", [])]
    file.write_text(source.replace("2 * scores", "2 * scores[0]"), encoding="utf-8")
    (finding,) = testing.check_file(file)
    only(finding.problems, "shape (6 queries × 9 utterances): (9,), expected")


def test_a_file_with_faults_names_them(tmp_path):
    file = tmp_path / "bad_file.py"
    source = GOOD.replace('    """Frames at half their size."""\n', "").replace("x * self.by", "x[1:]")
    file.write_text(source, encoding="utf-8")
    (finding,) = testing.check_file(file)
    assert finding.name == "half"
    assert finding.problems[0].startswith("docstring")
    assert finding.problems[1].startswith("shape")


def test_a_factory_that_needs_a_parameter_says_so(tmp_path):
    file = tmp_path / "needy_file.py"
    file.write_text(GOOD.replace("by: float = 0.5", "by: float"), encoding="utf-8")
    (finding,) = testing.check_file(file)
    only(finding.problems, "factory: half needs 'by'; write half:by=…")


def test_a_file_that_is_no_plugin(tmp_path):
    with pytest.raises(KwsbenchError, match="no plugin file"):
        testing.check_file(tmp_path / "gone.py")
    file = tmp_path / "empty_file.py"
    file.write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(PluginError, match="registers nothing"):
        testing.check_file(file)
