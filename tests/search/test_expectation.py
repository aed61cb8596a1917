"""What plain training is expected to reach with the whole budget, against what it did reach."""

import math
from dataclasses import replace

import pytest
from simulation import FACTS, make, quality, simulate

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Finished, Interrupted, Profiled, Start
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.core.records import Trials
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose, Report, TrialRequest
from autoaccel.execution.simulated import TableExecutor
from autoaccel.search.expectation import expected_plain
from autoaccel.search.scale import Scale
from autoaccel.search.valuation import Valuation
from autoaccel.search.value_model import Observation
from autoaccel.spaces.space import SearchSpace
from autoaccel.tuner.loop import Loop

WHOLE = Budget(seconds=5.4)
LENGTHS = (0.2, 0.6, 1.8, 5.4)
TASKS = {  # plain trainings of four lengths: metric and standard error; validation samples, whether more is better
    "table, overfitting": ((0.2782, 0.2735, 0.2724, 0.2836), (0.0077, 0.0077, 0.0077, 0.0087), 6590, False),
    "colour images": ((0.1613, 0.3156, 0.3344, 0.4419), (0.0092, 0.0116, 0.0118, 0.0124), 1600, True),
    "digits, level": ((0.780, 0.926, 0.956, 0.952), (0.0185, 0.0117, 0.0092, 0.0096), 500, True),
    "clothes": ((0.1075, 0.6663, 0.7456, 0.8156), (0.0077, 0.0118, 0.0109, 0.0097), 1600, True),
    "letters": ((0.7453, 0.8738, 0.9344, 0.9444), (0.0077, 0.0059, 0.0044, 0.0041), 3200, True),
    "satellite": ((0.8715, 0.8850, 0.9030, 0.8985), (0.0112, 0.0107, 0.0099, 0.0101), 887, True),
    "text": ((4.2793, 3.4016, 2.7758, 2.4645), (0.0038, 0.0111, 0.0106, 0.0099), 624, False),
    "speech, late": ((0.1000, 0.3519, 0.6500, 0.8148), (0.0129, 0.0206, 0.0205, 0.0167), 540, True),
}


def facts_of(n_valid, maximize):
    return replace(FACTS, n_valid=n_valid, maximize=maximize, metric="accuracy" if maximize else "loss")


def expected(metrics, errors, facts, length=1.0, lengths=LENGTHS):
    """What is expected of plain after trials of these metrics, the only ones of the run."""
    trials, sign = Trials(), -1 if facts.maximize else 1
    trials.handle(Profiled(facts, 1), 0.0)
    plain, seen = PLAIN["plain"], []
    for number, (metric, error, seconds) in enumerate(zip(metrics, errors, lengths, strict=False)):
        trials.handle(Start(TrialRequest(number, plain, Budget(seconds=seconds), Purpose.BASELINE)), 0.0)
        report = Report(number, 0, 1.0, metric, None, error, Cost())
        trials.handle(Finished(number, Outcome(OutcomeKind.COMPLETE, Cost(seconds=seconds), report)), 0.0)
        seen.append(Observation(plain, seconds / WHOLE.seconds, sign * metric))
    space, _ = SearchSpace.load("vision").for_task(facts.capabilities)
    valuation = Valuation(space, facts, 0)
    valuation.update(seen, 1.0)
    return expected_plain(trials, WHOLE, valuation.belief, length)


@pytest.mark.parametrize("name", TASKS)
def test_the_interval_covers_what_plain_reached_with_three_and_nine_times_the_length(name):
    metrics, errors, n_valid, maximize = TASKS[name]
    facts = facts_of(n_valid, maximize)
    for seen, goal in ((2, 2), (2, 3), (3, 3)):
        found = expected(metrics[:seen], errors, facts, LENGTHS[goal] / WHOLE.seconds)
        assert found.low <= metrics[goal] <= found.high
        assert found.low < found.metric < found.high and not found.measured
        assert not maximize or found.high <= 1.0


def test_the_interval_is_about_the_trend_and_no_wider_than_what_is_not_known():
    """A loss that falls by a tenth with each factor of three: the trend's end and no improvement are its ends."""
    found = expected((1.0, 0.9, 0.81), (0.0, 0.0, 0.0), facts_of(1000, False))
    assert found.metric == pytest.approx(0.73, abs=0.02)
    assert 0.65 < found.low < 0.73 and 0.81 <= found.high < 0.85


def test_a_plain_trial_as_long_is_what_plain_reaches_within_its_noise():
    found = expected((0.780, 0.926, 0.956, 0.952), (0.0185, 0.0117, 0.0092, 0.0096), facts_of(500, True))
    assert found.measured and found.metric == pytest.approx(0.952)
    assert found.low <= 0.952 - 1.96 * 0.009 and 0.96 < found.high < 0.99


@pytest.mark.parametrize(
    ("metrics", "lengths"), [((), ()), ((0.9,), (0.2,)), ((0.9, 0.8), (0.2, 0.3)), ((0.9, 0.8), (0.2, 0.2))]
)
def test_without_two_lengths_nothing_is_expected(metrics, lengths):
    assert expected(metrics, (0.01, 0.01), facts_of(1000, False), lengths=lengths) is None


@pytest.mark.parametrize(
    ("metrics", "maximize"),
    [
        ((-0.5, 0.1, 0.4), True),  # R2
        ((-1200.0, -1100.0, -1050.0), True),  # a log likelihood
        ((3.0, -1.0, -2.0), False),  # a loss of any sign
        ((31000.0, 28000.0, 27000.0), False),  # an RMSE in money
        ((55.0, 71.0, 80.0), True),  # an accuracy in percent
        ((0.99, 1.0, 1.0), True),  # perfect
        ((1e-3, 1e-9, 0.0), False),
    ],
)
def test_metrics_of_any_range_and_sign(metrics, maximize):
    found = expected(metrics, (0.01, 0.01, 0.01), facts_of(500, maximize))
    assert all(map(math.isfinite, (found.low, found.metric, found.high)))
    assert found.low < found.high and found.low <= found.metric <= found.high
    worst, best = (found.low, found.high) if maximize else (found.high, found.low)
    assert worst <= metrics[-1] if maximize else worst >= metrics[-1]
    assert best > metrics[-1] if maximize and metrics[-1] < 1 else True


@pytest.mark.parametrize("score", [-1.0, -0.999, -0.5, 0.0])
def test_a_score_survives_the_scale(score):
    scale = Scale.of([-0.9], facts_of(500, True))
    assert scale.score(scale.level(score)) == pytest.approx(score)
    assert scale.error(-1.0, 0.0) == pytest.approx(1.0)  # one sample could have been wrong


def test_what_plain_would_have_had_is_what_the_run_has_spent_since_it_was_set_up():
    search, clock, _ = simulate(Budget(seconds=600))
    found = search.plain_at_full_length()
    assert found.budget.seconds == pytest.approx(clock.now() - 2.0)
    assert found.low <= 2 + 1 / math.sqrt(found.budget.seconds) <= found.high

    clock, early = SimulatedClock(2.0), make(Budget(seconds=3600))
    executor = TableExecutor(quality, clock)
    Loop(early, executor, clock, [], lambda: Interrupted() if clock.now() >= 1000 else None, patience=5.0).run(
        [Profiled(FACTS)]
    )
    assert early.plain_at_full_length().budget.seconds < 1300


def test_asking_changes_no_decision():
    class Asked(type(make(Budget(seconds=1.0)))):
        def handle(self, event, now):
            actions = super().handle(event, now)
            self.plain_at_full_length()
            return actions

    def requests(search):
        clock = SimulatedClock(2.0)
        Loop(search, TableExecutor(quality, clock), clock).run([Profiled(FACTS)])
        return [record.request for record in search.trials]

    search = make(Budget(seconds=600))
    assert requests(Asked(search._settings)) == requests(search)
