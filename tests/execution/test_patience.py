"""When a process counts as hung, on a simulated clock: late rather than wrong."""

import math

import pytest

from autoaccel.core.clock import SimulatedClock
from autoaccel.execution.local.beats import BeatingClock, Beats, Counts, shared_memory
from autoaccel.execution.local.patience import Patience, Watch, hangs

PATIENCE = Patience()
TICK = 0.1


class Worker:
    """A worker's counters, its CPU time and the watch on it, on a simulated clock."""

    def __init__(self, step=0.0, stage=0.0):
        self.beats, self.watch, self.clock = Beats(shared_memory()), Watch(), SimulatedClock()
        self.expected, self.used, self.over = (step, stage), 0.0, False
        self.watch.look(0.0, self.beats.read(), lambda: 0.0)

    def goes_on(self, seconds, cpu, tick=TICK):
        """Let time pass without a beat; return why it hangs at the first moment that it does."""
        for _ in range(round(seconds / tick)):
            self.clock.sleep(tick)
            self.used += cpu * tick
            self.watch.look(self.clock.now(), self.beats.read(), lambda: self.used)
            if why := hangs(self.watch, PATIENCE, *self.expected, self.over):
                return why
        return ""

    def steps(self, *seconds, cpu=1.0):
        """Take steps of some seconds each; fail if it counts as hung meanwhile."""
        for taken in seconds:
            self.beats.step()
            assert not self.goes_on(taken, cpu)
            self.beats.beat()


@pytest.fixture
def training():
    worker = Worker()
    worker.steps(1.0, 0.2, 0.2, 0.2)
    return worker


def hung_after(worker, cpu, most=10_000):
    before = worker.clock.now()
    assert worker.goes_on(most, cpu, tick=1.0)
    return worker.clock.now() - before


@pytest.mark.parametrize(("cpu", "seconds"), [(0.0, 120), (0.003, 120), (1.0, 300)])
def test_a_step_that_never_ends(training, cpu, seconds):
    training.beats.step()
    assert hung_after(training, cpu) == pytest.approx(seconds, rel=0.05)


def test_what_is_slow_is_not_killed(training):
    """A first step that compiles, an evaluation, a pass that begins with slow data, shapes that are compiled anew."""
    fresh = Worker()
    assert not fresh.goes_on(900, 0.5, 1.0)  # set-up
    fresh.steps(1500)  # the first step
    fresh.steps(1, 1, 1, 250, 1, 1)
    assert not fresh.goes_on(1700, 0.9, 1.0)  # an evaluation
    training.steps(100.0, cpu=0.0)  # waits for the network
    training.steps(30.0, 500.0)  # 20 times the slowest before


def test_patience_grows_with_what_is_expected(training):
    training.expected = (60.0, 0.0)
    training.beats.step()
    assert hung_after(training, 0.0) == pytest.approx(1200, rel=0.05)
    slow = Worker(stage=200.0)
    slow.beats.beat()
    assert hung_after(slow, 1.0) == pytest.approx(4000, rel=0.05)


def test_waiting_for_a_disk_is_no_idleness(training):
    training.beats.step()
    training.used = math.inf
    assert not training.goes_on(250, 0.0, 1.0)


def test_what_comes_behind_the_budget_is_cut_shorter(training):
    """In a step; but not an evaluation that computes, which the result waits for."""
    training.over = True
    assert not training.goes_on(1700, 0.9, 1.0)
    training.beats.step()
    assert hung_after(training, 1.0) == pytest.approx(60, rel=0.05)
    never = Worker()
    never.over = True
    assert hung_after(never, 1.0) == pytest.approx(60, rel=0.05)


def test_a_supervisor_that_slept_has_seen_nothing(training):
    """A laptop that was closed for a day, or a debugger: the others did not get on since nobody did."""
    training.beats.step()
    training.clock.sleep(86_400)
    training.watch.look(training.clock.now(), training.beats.read(), lambda: 0.0)
    assert training.watch.silent <= 2.0


def test_reading_the_clock_is_progress():
    beats = Beats(shared_memory())
    clock = BeatingClock(SimulatedClock(3.0), beats)
    beats.step()
    assert beats.read() == Counts(1, 1, True) and not beats.read().begun
    assert clock.now() == 3.0
    assert beats.read() == Counts(2, 1, False) and beats.read().begun
    clock.sleep(1.0)
    assert clock.now() == 4.0
