"""What follows the final training: other seeds, the recipe without its parts, and when trainings end early."""

import math
from dataclasses import replace

import pytest
from simulation import FACTS, quality, simulate

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import FinishEarly, Proceed, Profiled, Reported, Stop
from autoaccel.core.goal import parse_goal
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN, Choice
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose, Report
from autoaccel.execution.simulated import TableExecutor
from autoaccel.search.base import SearchSettings
from autoaccel.search.evidence import missing, without_each
from autoaccel.search.halving import HalvingSearch
from autoaccel.spaces.space import SearchSpace
from autoaccel.tuner.evidence import parts_data, seeds_data
from autoaccel.tuner.loop import Loop
from autoaccel.tuner.summary import delivery, result_data

LONGEST = Budget(epochs=100)  # about 10 of 400 seconds


def seeded(request, p):
    """A loss with noise of the seed, and a technique that is worth .2."""
    noise = 0.02 * math.sin(97 * request.seed + len(request.recipe.techniques))
    return quality(request, p) + noise - 0.2 * ("ema" in request.recipe.techniques)


@pytest.fixture(scope="module", params=[1, 3])
def run(request):
    search, clock, _ = simulate(Budget(seconds=400), seeded, workers=request.param, longest=LONGEST)
    return search, clock.now()


def test_recipe_and_plain_are_compared_over_seeds_within_the_budget(run):
    search, now = run
    _, model = delivery(search)
    again = search.trials.of(Purpose.EVIDENCE)
    assert again and now <= 400
    assert all(record.request.budget.seconds == pytest.approx(model.request.budget.seconds) for record in again)
    assert all(record.request.keep_best == model.request.keep_best for record in again)
    data = result_data(search, Budget(seconds=400), now, "complete")["seeds"]
    assert 2 <= len(data["seeds"]) <= 5 and data["low"] < data["gain"] < data["high"]
    gains = [p["metric"] - r["metric"] for r, p in zip(data["recipe"], data["plain"], strict=True)]
    assert data["gain"] == pytest.approx(sum(gains) / len(gains))


def test_each_part_of_the_recipe_is_left_out_once(run):
    search, _ = run
    _, model = delivery(search)
    parts = {part["without"]: part for part in parts_data(search.trials, model)}
    # As far as the budget goes.
    assert parts and list(parts.keys() - without_each(model.request.recipe).keys()) == []
    losses = [part["loss"] for part in parts.values()]
    assert losses == sorted(losses, reverse=True)


def test_nothing_is_compared_for_plain_itself_nor_without_a_second_seed(run):
    search, _ = run
    _, model = delivery(search)
    assert seeds_data(search.trials, model, model.request.recipe) is None
    first = [record for record in search.trials if record.request.seed == model.request.seed]
    trials = type(search.trials)()
    trials.facts = search.trials.facts
    trials._records = {record.number: record for record in first}
    assert seeds_data(trials, model, PLAIN["plain"]) is None
    # Without a trial of plain as long, that comes first.
    trials._records = {model.number: model}
    assert missing(trials, model, PLAIN["plain"]).recipe == PLAIN["plain"]


def test_a_budget_for_one_training_has_no_evidence():
    search, _, _ = simulate(Budget(seconds=600), seeded)
    assert search.plan.evidence == 0.0 and not search.trials.of(Purpose.EVIDENCE)


def test_the_parts_of_a_recipe():
    recipe = replace(
        PLAIN["plain"], optimizer=Choice("sgd", {"lr": 0.1}), techniques={"ema": {}}, model={"width": 8}
    )
    rest = without_each(recipe)
    assert list(rest) == ["sgd", "ema", "the model's hyperparameters"]
    # What is decayed stays: a part such as `decoupled` may need biases to be a group of their own.
    plain = PLAIN["plain"].optimizer.parameters
    assert rest["sgd"].optimizer == Choice("adamw", {**plain, "decay_all": False})
    assert rest["sgd"].techniques == recipe.techniques
    assert not rest["ema"].techniques and not rest["the model's hyperparameters"].model
    assert without_each(PLAIN["plain"]) == {}


def finals(values, error=0.01):
    """The actions that a final training's reports lead to, for its metrics at equal steps."""
    search, clock, _ = simulate(Budget(seconds=600), seeded, standard_error=error)
    final = search.trials.of(Purpose.FINAL)[0]
    search.trials._records[final.number] = replace(final, reports=(), outcome=None)
    search.phase = "final training"
    for index, value in enumerate(values):
        report = Report(final.number, index, (index + 1) / 16, value, value, error, Cost(seconds=1.0))
        yield [type(action) for action in search.handle(Reported(report), clock.now())]


def test_a_final_training_that_overfits_ends_early():
    falling = [3.0 - 0.1 * index for index in range(5)]
    actions = list(finals([*falling, 2.7, 2.8, 2.9, 3.0]))
    ended = [index for index, found in enumerate(actions) if FinishEarly in found]
    assert ended and ended[0] == 7  # the third that is clearly worse than the best


def test_a_final_training_within_noise_goes_on():
    wavering = [0.5 + 0.01 * (-1) ** index for index in range(10)]
    assert not any(FinishEarly in found or Stop in found for found in finals(wavering))
    # Of an unknown noise, nothing is clearly worse.
    assert all(Proceed in found for found in finals([0.5 + 0.1 * index for index in range(10)], error=None))


def test_a_final_training_is_not_given_up_for_not_being_annealed_yet():
    """Halfway it is worse than plain's shortest trial at its end, and better than plain at the same point of that."""

    def annealed(request, p):
        return quality(request, 1.0) + (0.5 if p < 0.9 else 0.0)

    search, _, _ = simulate(Budget(seconds=600), annealed, standard_error=0.01)
    assert [record.complete for record in search.trials.of(Purpose.FINAL)] == [True]


def test_after_a_failed_final_training_a_recommended_recipe_is_trained():
    def fails_late(request, p):
        if request.purpose is Purpose.FINAL and not request.origin.startswith(("portfolio", "plain")):
            return math.nan
        return quality(request, p) - (0.5 if request.origin in ("random", "model") else 0.0)

    search, _, _ = simulate(Budget(seconds=3000), fails_late)
    tried = search.trials.of(Purpose.FINAL)
    assert len(tried) > 1 and tried[0].request.origin in ("random", "model")
    assert tried[1].request.origin.startswith(("portfolio", "plain")) and tried[1].complete


def test_the_search_ends_when_training_gains_more():
    """Where a quarter less training costs much and recipes are alike, the rest of the budget is trained."""

    def steep(request, p):
        amount = request.budget.seconds * max(p, 0.1)
        lr = float(request.recipe.optimizer.parameters["lr"])
        return 100 / amount + 0.001 * abs(math.log10(lr) + 2)

    ended, _, _ = simulate(Budget(seconds=3000), steep, workers=4)
    assert (
        ended.plan.ended.startswith("search ended: another recipe may bring")
        and ended.plan.ended in ended.describe()
    )
    assert ended.final().request.budget.seconds > 1.1 * ended.plan.trial_budget(ended.plan.top).seconds

    def flat(request, p):
        lr = float(request.recipe.optimizer.parameters["lr"])
        return 1 + abs(math.log10(lr) + 2) + 1e-3 / (request.budget.seconds * max(p, 0.1))

    going_on, _, _ = simulate(Budget(seconds=3000), flat)
    assert not going_on.plan.ended


def test_a_training_for_evidence_may_be_the_only_one_that_keeps_a_constraint():
    """Then it is delivered, like a trial of the search."""

    def measured(request):
        return {"size_mb": 1.0 if request.origin.startswith("without") else 9.0}

    goal, clock = parse_goal(None, "size_mb<=2", None), SimulatedClock(2.0)
    space, budget = SearchSpace.load("vision"), Budget(seconds=200)
    search = HalvingSearch(SearchSettings(space, budget, longest=Budget(epochs=50), goal=goal))
    Loop(search, TableExecutor(seeded, clock, measured=measured), clock).run([Profiled(FACTS)])
    kind, record = delivery(search, goal)
    assert kind == "trial" and record.purpose is Purpose.EVIDENCE


def test_trials_that_failed_without_training_do_not_end_the_run():
    """They have cost no operation, and the search asks of every trial how long it was."""

    failed = simulate(Budget(flops=2e11), seeded, longest=LONGEST)[0]
    first = next(record for record in failed.trials if record.purpose is Purpose.SEARCH)
    outcome = Outcome(OutcomeKind.FAILED, Cost(seconds=0.1), reason="RuntimeError: no")
    failed.trials._records[first.number] = replace(first, outcome=outcome)
    assert missing(failed.trials, failed.final() or failed.best(), PLAIN["plain"]) is not None
