"""The final training runs on as many devices as make its steps faster, and measures that within its budget."""

import math
from dataclasses import replace

import pytest
from simulation import FACTS, quality
from simulation import simulate as simulated

from autoaccel.core.budget import Budget
from autoaccel.core.events import Finished, Profiled, Start, Tick
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.core.records import Trials
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose, TrialRequest
from autoaccel.search.pacing import shared
from autoaccel.search.single import Single
from autoaccel.search.ways import Way, ways

MINUTES = Budget(seconds=600)


def simulate(*given, **options):
    """Longer trainings are always better."""
    return simulated(*given, **options, standard_error=None)


def trained(search):
    """The final training, and the ways that were measured before it."""
    [final] = search.trials.of(Purpose.FINAL)
    paced = search.trials.of(Purpose.PACE)
    assert all(record.number < final.number for record in paced)
    return final, [Way.of(record.request) for record in paced]


def test_on_gpus_the_final_training_has_all_that_make_it_faster():
    search, clock, _ = simulate(MINUTES, workers=8, gpus=True)
    final, measured = trained(search)
    assert measured == [Way(8, 8), Way(4, 4)]
    assert (final.request.devices, final.request.processes, final.request.speed) == (8, 8, 8.0)
    assert all(record.request.devices == 1 for record in search.trials.of(Purpose.SEARCH))
    assert all(record.request.recipe == final.request.recipe for record in search.trials.of(Purpose.PACE))
    assert clock.now() <= 600


def test_more_that_are_slower_are_left_idle():
    search, _, _ = simulate(MINUTES, workers=8, gpus=True, pace=lambda r: 0.1 + abs(r.processes - 2))
    final, measured = trained(search)
    assert measured == [Way(8, 8), Way(4, 4), Way(2, 2), Way(1, 1)]
    assert (final.request.devices, final.request.processes) == (2, 2)


def test_a_recipe_that_does_not_train_in_several_processes_trains_in_one():
    search, _, _ = simulate(MINUTES, workers=2, gpus=True, pace=lambda r: math.inf if r.processes > 1 else 1.0)
    final, _ = trained(search)
    assert (final.request.processes, final.request.speed) == (1, 1.0)
    assert final.complete


def test_on_cpus_one_process_has_all_threads_unless_several_are_faster():
    search, _, _ = simulate(MINUTES, workers=4, pace=lambda r: 1.0)
    final, measured = trained(search)
    assert measured == [Way(4, 4), Way(4, 1)]
    assert Way.of(final.request) == Way(4, 1)
    search, _, _ = simulate(MINUTES, workers=4)
    assert Way.of(trained(search)[0].request) == Way(4, 4)


def test_one_slot_is_not_measured():
    search, _, _ = simulate(MINUTES)
    assert trained(search)[1] == []


def test_a_short_training_is_not_measured():
    search, _, _ = simulate(Budget(seconds=60), workers=4, gpus=True)
    final, measured = trained(search)
    assert measured == []
    assert Way.of(final.request) == Way(1, 1)


def test_measuring_takes_little_of_the_budget():
    search, _, _ = simulate(MINUTES, workers=8, gpus=True, pace=lambda r: float(r.processes))
    final, measured = trained(search)
    assert len(measured) == 4
    spent = sum(record.outcome.cost.seconds for record in search.trials.of(Purpose.PACE))
    assert spent <= 0.04 * final.request.budget.seconds


def test_under_a_budget_of_flops_time_decides_nothing():
    """With batches of 64, two processes have 32 samples each."""
    search, _, _ = simulate(Budget(flops=6e11), workers=8, gpus=True, pace=lambda r: float(r.processes))
    final, measured = trained(search)
    size = final.request.recipe.batch_size.parameters["size"]
    assert Way.of(final.request).processes == max(
        way.processes for way in ways(8, True) if 32 * way.processes <= size
    )
    assert len(measured) <= 1


def test_plain_is_expected_to_have_had_the_devices_too():
    one, _, _ = simulate(MINUTES, workers=8, gpus=True, pace=lambda r: 1.0)
    eight, _, _ = simulate(MINUTES, workers=8, gpus=True)
    alone, together = one.plain_at_full_length(), eight.plain_at_full_length()
    assert together.budget.seconds == pytest.approx(alone.budget.seconds, rel=0.05)
    assert together.metric < alone.metric


def test_evidence_is_trained_like_what_it_is_evidence_of():
    def seeded(request, p):
        return quality(request, p) - 0.2 * request.devices

    search, clock, _ = simulate(Budget(seconds=1000), seeded, workers=4, gpus=True, longest=Budget(epochs=900))
    found = search.trials.of(Purpose.EVIDENCE)
    finals = search.trials.of(Purpose.FINAL)
    assert clock.now() <= 1000
    if finals and found:
        assert {Way.of(record.request) for record in found} == {Way.of(finals[-1].request)}
    for one in search.trials:
        beside = [other for other in search.trials if other.started <= one.started < other.ended]
        assert sum(other.request.devices for other in beside) <= 4


REQUEST = TrialRequest(0, PLAIN["plain"], Budget(seconds=3600), Purpose.FINAL, step=Cost(seconds=0.01))


def test_what_goes_on_keeps_its_way_where_that_is_still_there():
    resumed = replace(REQUEST, resumes=3, devices=2, processes=2, speed=1.5)
    assert shared(resumed, Trials(), ways(2, True)) == resumed
    assert Way.of(shared(resumed, Trials(), ways(1, True))) == Way(1, 1)


def test_a_single_training_measures_too():
    single = Single(REQUEST, 1.0, ways(2, True))
    starts = [action.request for action in single.handle(Tick(), 0.0) if isinstance(action, Start)]
    assert [(request.purpose, Way.of(request)) for request in starts] == [(Purpose.PACE, Way(2, 2))]
    assert single.last is None
    assert starts[0].budget.seconds < 37
    assert Profiled(FACTS, 2, True).gpus


def test_what_was_interrupted_says_nothing_of_a_way():
    single = Single(REQUEST, 1.0, ways(2, True))
    single.handle(Tick(), 0.0)
    again = single.handle(Finished(0, Outcome(OutcomeKind.PRUNED, reason="stopped")), 5.0)
    assert [Way.of(action.request) for action in again if isinstance(action, Start)] == [Way(2, 2)]


def test_a_measurement_has_its_share_of_what_is_left_after_a_try_that_died():
    single = Single(replace(REQUEST, budget=Budget(seconds=500)), 1.0, ways(2, True))
    [first] = [action.request for action in single.handle(Tick(), 0.0) if isinstance(action, Start)]
    assert first.purpose is Purpose.FINAL, "1 % of it is too little to measure anything"
    single._request = REQUEST  # the budget was extended
    again = single.handle(Finished(0, Outcome(OutcomeKind.LOST, Cost(seconds=10.0))), 10.0)
    [second] = [action.request for action in again if isinstance(action, Start)]
    assert second.purpose is Purpose.PACE
    assert second.budget.seconds < 37


def test_a_useful_length_in_epochs_is_not_exceeded_on_many_devices():
    measured = Trials()
    paced = shared(replace(REQUEST, trial=0), measured, ways(2, True))
    measured.handle(Start(paced), 0.0)
    measured.handle(Finished(0, Outcome(OutcomeKind.COMPLETE, pace=0.5)), 1.0)
    other = shared(replace(REQUEST, trial=1), measured, ways(2, True))
    measured.handle(Start(other), 1.0)
    measured.handle(Finished(1, Outcome(OutcomeKind.COMPLETE, pace=1.0)), 2.0)
    final = shared(replace(REQUEST, trial=2), measured, ways(2, True), longest=Budget(epochs=10))
    assert (Way.of(final), final.speed) == (Way(2, 2), 2.0)
    assert dict(final.budget) == {"seconds": 3600.0, "epochs": 10.0}
