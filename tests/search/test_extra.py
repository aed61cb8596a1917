"""What is trained beside the final training, on devices that it leaves idle."""

import math

import pytest
from simulation import FACTS, make, quality
from simulation import simulate as simulated

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Finished, Profiled, Short
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose
from autoaccel.execution.simulated import TableExecutor
from autoaccel.search.ways import Way
from autoaccel.tuner.evidence import seeds_data
from autoaccel.tuner.loop import Loop
from autoaccel.tuner.summary import delivery

MINUTES = Budget(seconds=600)


def slower(request):
    """Seconds of a step: more processes are no use."""
    return float(request.processes)


def simulate(table=quality, budget=MINUTES, workers=8, pace=slower, **options):
    """Longer trainings are always better."""
    return simulated(budget, table, workers=workers, gpus=True, pace=pace, standard_error=None, **options)


def beside(search):
    """The final training, and what was started while it ran."""
    final = search.trials.of(Purpose.FINAL)[0]
    return final, [one for one in search.trials if one.number > final.number]


def test_idle_devices_train_plain_runners_up_and_other_seeds():
    search, clock, _ = simulate()
    final, others = beside(search)
    assert final.complete and Way.of(final.request) == Way(1, 1) and clock.now() <= 600
    assert len(others) == 7
    assert all(one.complete and final.started <= one.started <= final.started + 1 for one in others)
    assert all(0.9 < one.request.budget.seconds / final.request.budget.seconds < 1 for one in others)
    assert all(one.ended <= final.ended for one in others)
    assert [one.purpose for one in others[:2]] == [Purpose.EVIDENCE, Purpose.SEARCH]
    assert others[0].request.recipe in PLAIN.values()
    runners_up = [one.request.recipe for one in others if one.purpose is Purpose.SEARCH]
    assert len({*runners_up, final.request.recipe, *PLAIN.values()}) == len(runners_up) + 1 + len(PLAIN)
    assert seeds_data(search.trials, final, others[0].request.recipe) is not None


def test_a_runner_up_that_turns_out_to_be_better_is_delivered():
    def late(request, p):
        """What the search cannot see: only some recipes gain from trainings as long as the final one."""
        gains = request.budget.seconds > 200 and request.purpose is Purpose.SEARCH
        return quality(request, p) - 0.5 * gains

    search, _, _ = simulated(MINUTES, late, workers=8, gpus=True, pace=slower, standard_error=1e-3)
    final, others = beside(search)
    _, model = delivery(search)
    assert model.purpose is Purpose.SEARCH and model in others
    assert model.request.keep_best == final.request.keep_best


def test_where_the_final_training_has_every_device_nothing_is_beside_it():
    search, _, _ = simulate(pace=lambda r: 1 / r.processes)
    assert beside(search)[1] == []


def test_each_has_as_many_devices_as_the_final_training():
    search, _, _ = simulate(workers=6, pace=lambda r: abs(r.processes - 3) + 1.0)
    final, others = beside(search)
    assert Way.of(final.request) == Way(3, 3) and [Way.of(one.request) for one in others] == [Way(3, 3)]


@pytest.mark.parametrize(("nodes", "count"), [((4, 4), 1), ((4, 2, 2), 0), ((4, 3, 1), 0), ((8,), 1)])
def test_on_a_cluster_each_has_the_devices_of_one_node(nodes, count):
    search, clock, _ = simulate(nodes=nodes, pace=lambda r: abs(r.processes - 4) + 1.0)
    final, others = beside(search)
    assert Way.of(final.request) == Way(4, 4) and clock.now() <= 600
    assert [Way.of(one.request) for one in others] == [Way(4, 4)] * count


def test_on_a_cluster_no_training_is_planned_for_more_than_a_node():
    search, _, _ = simulate(nodes=(2, 2, 2, 2), pace=lambda r: 1 / r.processes)
    assert Way.of(beside(search)[0].request) == Way(2, 2)
    assert max(one.request.devices for one in search.trials) == 2
    assert any(", on as many of 2 GPUs of one node as make it faster" in line for line in search.describe())


def test_what_adds_up_is_not_spent_on_idle_devices():
    search, _, _ = simulate(budget=Budget(flops=6e11))
    assert beside(search)[1] == []


def diverging(request, p):
    return math.nan if request.purpose is Purpose.FINAL and p > 0.05 else quality(request, p)


def test_when_the_final_training_diverges_a_runner_up_has_its_time_already():
    search, clock, _ = simulate(diverging)
    final, others = beside(search)
    assert final.outcome.kind is OutcomeKind.INFEASIBLE and clock.now() <= 600
    assert search.trials.of(Purpose.FINAL) == [final]
    _, model = delivery(search)
    assert model in others and model.purpose is Purpose.SEARCH
    assert model.request.budget.seconds > 0.9 * final.request.budget.seconds


def test_where_only_evidence_is_beside_a_diverged_one_it_makes_way():
    first = []

    def diverges_once(request, p):
        first[:] = first or [request.trial] if request.purpose is Purpose.FINAL else first
        return diverging(request, p) if request.trial in first else quality(request, p)

    search, clock, _ = simulate(diverges_once, workers=2)
    first, *others = beside(search)[0], *beside(search)[1]
    assert others[0].purpose is Purpose.EVIDENCE and others[0].outcome.kind is OutcomeKind.PRUNED
    again = search.trials.of(Purpose.FINAL)[1]
    assert again.started == pytest.approx(first.ended, abs=10) and again.complete and clock.now() <= 600


@pytest.mark.parametrize("diverges", [False, True])
def test_what_waits_for_a_place_that_is_gone_is_not_waited_for_at_the_end(diverges):
    """Fewer places are left than there were, so that a training beside the final one never begins."""

    class Lost(TableExecutor):
        def start(self, request):
            if not (beside_final and request.purpose in (Purpose.EVIDENCE, Purpose.SEARCH)):
                super().start(request)
            if request.purpose is Purpose.FINAL:
                beside_final.append(request.trial)

        def stop(self, trial):
            if not any(entry[2].trial == trial for entry in self._queue if isinstance(entry[2], Finished)):
                self._push(0.0, Finished(trial, Outcome(OutcomeKind.PRUNED, reason="stopped")))
            super().stop(trial)

    beside_final, clock, search = [], SimulatedClock(2.0), make(MINUTES)
    table = diverging if diverges else quality
    executor = Lost(table, clock, standard_error=None, pace=slower)
    Loop(search, executor, clock).run([Profiled(FACTS, 4, True)])
    _, others = beside(search)
    assert clock.now() <= 600 and any(one.outcome.reason == "stopped" for one in others)


class Ends(TableExecutor):
    """The first final training ends after 50 s, without a model."""

    def __init__(self, kind, clock):
        super().__init__(quality, clock, standard_error=None, pace=slower)
        self.kind, self.first = kind, None

    def start(self, request):
        if request.purpose is not Purpose.FINAL or self.first is not None:
            super().start(request)
            return
        self.first = request.trial
        self._push(50.0, Finished(request.trial, Outcome(self.kind, self._cost(50.0), reason="died")))


def ended_with(kind):
    clock, search = SimulatedClock(2.0), make(MINUTES)
    executor = Ends(kind, clock)
    Loop(search, executor, clock).run([Profiled(FACTS, 4, True)])
    return search, clock, search.trials[executor.first]


def test_a_lost_final_training_goes_on_at_once_and_evidence_makes_way():
    search, clock, first = ended_with(OutcomeKind.LOST)
    again = search.trials.of(Purpose.FINAL)[1]
    assert again.started == pytest.approx(first.ended, abs=1) and again.complete and clock.now() <= 600
    evidence = [one for one in search.trials.of(Purpose.EVIDENCE) if first.number < one.number < again.number]
    assert evidence and all(one.outcome.reason == "stopped" for one in evidence)


def test_after_a_hanging_final_training_runners_up_are_waited_for():
    search, clock, first = ended_with(OutcomeKind.TIMED_OUT)
    _, model = delivery(search)
    assert search.trials.of(Purpose.FINAL) == [first] and clock.now() <= 600
    assert model.purpose is Purpose.SEARCH and model.number > first.number
    assert all(one.outcome.reason == "stopped" for one in search.trials.of(Purpose.EVIDENCE))


class RunsShort:
    """A search that is told of too little space once its search is over."""

    def __init__(self, search):
        self.search, self.told = search, False

    def __getattr__(self, name):
        return getattr(self.search, name)

    def handle(self, event, now):
        if self.search.phase == "final training" and not self.told:
            self.told = True
            return [*self.search.handle(Short("no space"), now), *self.search.handle(event, now)]
        return self.search.handle(event, now)


def test_while_space_is_short_nothing_begins_beside_the_final_training():
    search, clock = RunsShort(make(MINUTES)), SimulatedClock(2.0)
    Loop(search, TableExecutor(quality, clock, standard_error=None, pace=slower), clock).run(
        [Profiled(FACTS, 4, True)]
    )
    final, others = beside(search)
    assert search.told and final.complete and others == [] and clock.now() <= 600


def test_evidence_that_was_cut_off_is_trained_again_once():
    """Its length is that of its first try, so that it is known again."""

    class Dies(TableExecutor):
        def start(self, request):
            super().start(request)
            if request.purpose is Purpose.EVIDENCE and not died:
                died.append(request.trial)
                self._end(request.trial, Outcome(OutcomeKind.LOST, reason="died"))

    died, clock, search = [], SimulatedClock(2.0), make(Budget(seconds=1000), longest=Budget(epochs=300))
    Loop(search, Dies(quality, clock, standard_error=0.01, pace=slower), clock).run([Profiled(FACTS, 4, True)])
    [lost] = died
    alike = [
        one for one in search.trials.of(Purpose.EVIDENCE)
        if (one.request.recipe, one.request.seed) == (search.trials[lost].request.recipe, search.trials[lost].request.seed)
    ]  # fmt: skip
    assert 1 <= len(alike) <= 2 and clock.now() <= 1000
