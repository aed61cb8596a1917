"""The peers of the search benchmark keep their budgets, and train the default if they can afford nothing more."""

import importlib.util
import math
from itertools import pairwise

import pytest

from autoaccel.core.catalog import Domain
from benchmarks.search.methods import METHODS, OURS, find
from benchmarks.search.problems import Problem
from benchmarks.search.trainings import RUNGS, SpentError, Trainings

PACKAGES = {"bohb": "hpbandster", "dehb": "dehb", "smac": "smac", "flaml": "flaml", "neps": "neps"}
PEERS = [name for name in METHODS if not name.startswith(OURS)]
BUILT_IN = [name for name in PEERS if name not in PACKAGES]
RATE, LAYERS = "rate", "layers"
DEFAULT = {RATE: 0.1, LAYERS: 2}


class Paid:
    """A problem that keeps account of what is trained of it, from the calls of its losses alone."""

    def __init__(self, continues: bool):
        self.furthest: dict[tuple, float] = {}
        self.cost = 0.0
        self.lengths: list[float] = []
        domains = {RATE: Domain(0.001, 1.0, log=True), LAYERS: Domain(1, 5, integer=True)}
        self.problem = Problem("made", "one", domains, DEFAULT, self.curve, continues)
        # Each call is seen, which the problem's memory of its curves would hide.
        object.__setattr__(self.problem, "loss", self.loss)

    def curve(self, values, length):
        far = (math.log10(values[RATE]) + 2) ** 2 + 0.1 * (values[LAYERS] - 3) ** 2
        if values[RATE] > 0.5:
            return lambda progress: math.nan
        return lambda progress: 1 + far + 0.3 * (length * progress) ** -0.3

    def loss(self, values, length, progress=1.0):
        assert set(values) == set(DEFAULT)
        assert all(domain.contains(values[name]) for name, domain in self.problem.domains.items())
        key = (tuple(values.items()), None if self.problem.continues else length)
        reached, before = length * progress, self.furthest.get(key, 0.0)
        if not self.problem.continues and progress == 1.0 and length < 1.0:
            before = 0.0  # an annealed training starts anew
        self.cost += max(0.0, reached - before)
        self.furthest[key] = max(reached, before)
        self.lengths.append(reached)
        return self.curve(values, 1.0 if self.problem.continues else length)(
            reached if self.problem.continues else progress
        )


@pytest.mark.parametrize("continues", [True, False])
@pytest.mark.parametrize("name", BUILT_IN)
def test_a_peer_pays_for_all_that_it_trains(name, continues):
    paid = Paid(continues)
    values, length, seconds = find(name)(paid.problem, 3.0, 1)
    assert paid.cost <= 3.0 + 1e-6
    assert name == "default" or paid.cost > 1.5
    assert max(paid.lengths) == 1.0
    assert dict(values).keys() == DEFAULT.keys()
    assert 0 < length <= 1.0
    assert 0 <= seconds < 60


@pytest.mark.parametrize("continues", [True, False])
@pytest.mark.parametrize("name", BUILT_IN)
def test_a_budget_of_one_training_is_that_of_the_default(name, continues):
    paid = Paid(continues)
    values, length, _ = find(name)(paid.problem, 1.0, 1)
    assert (dict(values), length) == (DEFAULT, 1.0)
    assert paid.cost == pytest.approx(1.0)


@pytest.mark.parametrize("name", BUILT_IN)
def test_less_than_one_training_is_that_of_the_default_too(name):
    values, length, _ = find(name)(Paid(False).problem, 0.5, 1)
    assert (dict(values), length) == (DEFAULT, 0.5)


@pytest.mark.filterwarnings("ignore")  # other packages' own
@pytest.mark.parametrize("name", PACKAGES)
def test_a_peer_of_another_package_pays_too(name):
    if importlib.util.find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is not installed")
    one, three = Paid(True), Paid(True)
    values, length, _ = find(name)(one.problem, 1.0, 1)
    assert (values, length) == (pytest.approx(DEFAULT), 1.0)
    find(name)(three.problem, 3.0, 1)
    assert 1.0 < three.cost <= 3.0 + 1e-6
    assert max(three.lengths) == 1.0


@pytest.mark.parametrize("name", ["random", "one-epoch", "asha", "hyperband", "tpe", "tpe-hyperband"])
def test_the_same_seed_is_the_same_search(name):
    first, again = (find(name)(Paid(True).problem, 3.0, 5)[:2] for _ in range(2))
    assert first == again


def test_asha_promotes_the_top_third_and_resumes():
    trained, again = Paid(True), Paid(False)
    find("asha")(trained.problem, 6.0, 0)
    find("asha")(again.problem, 6.0, 0)
    counts = [sum(math.isclose(length, rung) for length in trained.lengths) for rung in RUNGS]
    assert all(above <= below // 3 + 1 for below, above in pairwise(counts))
    assert len(trained.lengths) > len(again.lengths), "to start anew costs more"


def test_trainings_that_continue_get_what_is_left():
    trainings = Trainings(Paid(True).problem, 2.0)
    for layers in (1, 2, 3, 4, 5):
        trainings.train({RATE: 0.01, LAYERS: layers}, 1 / 3)
    with pytest.raises(SpentError):
        trainings.train({RATE: 0.01, LAYERS: 3}, 1.0)
    trainings.finish()
    assert trainings.best() == ({RATE: 0.01, LAYERS: 3}, pytest.approx(2 / 3))
    assert trainings.spent == pytest.approx(2.0)


def test_what_trains_the_leader_in_full_is_not_spent():
    trainings = Trainings(Paid(False).problem, 1.5)
    trainings.train({RATE: 0.01, LAYERS: 3}, 1 / 3)
    with pytest.raises(SpentError):
        trainings.train({RATE: 0.02, LAYERS: 3}, 1 / 3)
    trainings.finish()
    assert trainings.best() == ({RATE: 0.01, LAYERS: 3}, 1.0)
    assert trainings.spent == pytest.approx(4 / 3)


def test_a_search_is_told_the_worst_loss_of_a_training_that_diverged():
    trainings = Trainings(Paid(True).problem, 3.0)
    worst = trainings.train({RATE: 0.3, LAYERS: 5}, 1 / 3)
    assert trainings.train({RATE: 0.9, LAYERS: 3}, 1 / 3) == worst
    trainings.finish()
    assert trainings.best()[0] == {RATE: 0.3, LAYERS: 5}
