"""Each fault of a distance must be caught by name, and what has none must pass: mutants of small correct ones."""

import numpy as np
import pytest

from kwsbench import testing
from tests.findings import only


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


@pytest.mark.parametrize(
    ("cost", "problem"),
    [
        (
            lambda self, x: x,
            "signature: cost(x) is called as cost(x, y): too many positional arguments; see kwsbench.types.Distance",
        ),
        (lambda self, x, y: None, "shape: cost() returned None, expected a numpy array (7, 11); return the costs"),
        (
            lambda self, x, y: np.zeros((11, 7)),
            "shape: (7, 12) × (11, 12) gave (11, 7), expected (7, 11); transpose it (.T)",
        ),
        (
            lambda self, x, y: np.zeros(7),
            "shape: (7, 12) × (11, 12) gave (7,), expected (7, 11); a row for each frame of x, a column for each of y",
        ),
        (
            lambda self, x, y: Cosine.cost(self, x, y) + 0j,
            "precision: float64 in, complex128 out; costs are floats: take np.abs() or .real of it",
        ),
        (
            lambda self, x, y: Cosine.cost(self, x, y) > 0.5,
            "precision: float64 in, bool out; costs are floats: add .astype(np.float32)",
        ),
        (
            lambda self, x, y: Cosine.cost(self, x, y) - x.dtype.type(1e-5),
            "range: a cost of -1e-05; clamp at 0: it is rounding",
        ),
        (lambda self, x, y: -Cosine.cost(self, x, y), "range: a cost of -1.57; a cost has to be at least 0, best at 0"),
    ],
)
def test_a_fault_in_cost_is_told_once_and_its_fast_path_is_not_blamed(cost, problem):
    assert testing.check_distance(type("Faulty", (Cosine,), {"cost": cost})()) == [problem]


def test_costs_that_are_not_finite_are_told_of_which_frames():
    zeros = "finite: NaN or inf in the cost of query frame 0 and utterance frame 4 (a frame of zeros is among them); "
    assert testing.check_distance(Cosine("zero")) == [zeros + "clamp the norms"]
    found = testing.check_distance(Scaled("divides"))
    only(
        found,
        "finite: NaN or inf in the cost of query frame 0 and utterance frame 0; put a floor under what is divided",
    )


def finish_with(change):
    return type(
        "Faulty", (Cosine,), {"finish": lambda self, tile, of_utterance, of_query: change(tile, of_utterance, of_query)}
    )


@pytest.mark.parametrize(
    ("change", "mend"),
    [
        (lambda tile, u, q: tile.neg_(), "the tile must become -cost: change its sign"),
        (lambda tile, u, q: tile.mul_(3), "the fast path is 3 times cost(): scale one of them"),
        (
            lambda tile, u, q: tile.mul_((u > 0) & (q > 0)),
            "frames of norm 0 have cosine 0, so their tile is -1",
        ),
        (
            lambda tile, u, q: tile.mul_(tile),
            "the tile is cosine - 1, (utterance frames, query frames), and must become -cost()",
        ),
        (
            lambda tile, u, q: tile.sub_(tile.max()).log_(),
            "put a floor under what is divided by, rooted or goes into a ",
        ),
    ],
)
def test_a_fast_path_that_disagrees_is_told_the_likeliest_reason(change, mend):
    (problem,) = testing.check_distance(finish_with(change)())
    assert problem.startswith("finish: utterance frame ")
    assert f" by cost(); {mend}" in problem


def test_a_tile_that_is_left_as_it_was():
    class Twice(Cosine):
        def cost(self, x, y):
            return 2 * super().cost(x, y)

        def finish(self, tile, utterance_norms, query_norms):
            return tile * 2

    only(testing.check_distance(Twice()), "; the tile is as it was: change it in place (tile.mul_, tile.copy_), what ")


def test_a_finish_of_numpy_is_told_that_the_tile_is_torchs():
    only(
        testing.check_distance(finish_with(lambda tile, u, q: np.multiply(tile, 2, out=tile))()),
        "exception (finish, a tile of (11, 7)): TypeError: ",
        "; all three are torch tensors: use their own methods, those of the tile in place (tile.mul_, tile.clamp_), "
        "and ",
    )


def test_a_finish_that_cannot_be_called_as_it_will_be():
    class Short(Cosine):
        def finish(self, tile):
            tile.clamp_(max=0)

    only(
        testing.check_distance(Short()),
        "signature: finish(tile) is called as finish(tile, utterance_norms, query_norms): too many positional "
        "arguments",
    )


def test_what_is_no_distance():
    only(testing.check_distance(object()), "attributes: cost missing; see kwsbench.types.Distance")


def test_a_domain_that_there_is_not():
    words = "domain: 'logits'; expected frames (the default) or probabilities"
    assert testing.check_distance(type("Faulty", (Cosine,), {"domain": "logits"})()) == [words]
