"""When a worker that was asked to stop is killed, and what a trial that cannot tell any more has spent."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from simulation import make, simulate

from autoaccel.core import checkpoints
from autoaccel.core.budget import Budget
from autoaccel.core.events import Finished, Start
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import OutcomeKind, Report, TrialRequest, estimated_cost
from autoaccel.execution.local.job import Job
from autoaccel.execution.local.messages import Channel
from autoaccel.tuner.replay import replay

REQUEST = TrialRequest(
    0, PLAIN["plain"], Budget(seconds=100.0, flops=1e12), step=Cost(seconds=0.01, flops=1e8, steps=1)
)


@pytest.fixture
def job():
    ours, theirs = socket.socketpair()
    yield Job(Channel(ours), 0, 0.0, Path("log.txt"), "", limit=102.0, request=REQUEST)
    ours.close(), theirs.close()


def report(seconds, steps):
    return Report(0, 0, 0.4, 0.5, 0.5, 0.1, Cost(seconds=seconds, flops=1e9 * steps, steps=steps))


def killed_after(job, asked):
    """Ask it to stop; return the seconds until it is killed."""
    job.ask(asked)
    for tenth in range(10_000):
        job.enforce(asked + tenth / 10)
        if job.killed:
            return tenth / 10
    raise AssertionError("it was never killed")


@pytest.mark.parametrize(("step", "patience"), [(0.01, 1), (2.5, 10), (6.0, 24)])
def test_a_stopped_trial_has_time_to_end_its_step(job, step, patience):
    """It looks between two steps whether it was asked to stop."""
    job.latest = report(10 * step, 10)
    assert killed_after(job, 50.0) == pytest.approx(patience, abs=0.15)
    outcome = job.outcome(60.0, "")
    assert outcome.kind is OutcomeKind.PRUNED and "was killed" in outcome.reason


def test_before_its_first_report_what_the_plan_expects_counts(job):
    job.request = replace(REQUEST, step=Cost(seconds=3.0))
    assert killed_after(job, 50.0) == pytest.approx(12, abs=0.15)
    job.killed, job.asked = False, None
    job.request = replace(REQUEST, evaluation=Cost(seconds=5.0))
    assert killed_after(job, 50.0) == pytest.approx(20, abs=0.15)


def test_the_end_of_its_time_ends_the_patience(job):
    job.latest = report(60.0, 10)
    assert killed_after(job, 100.0) == pytest.approx(2.5, abs=0.25)
    assert job.outcome(103.0, "").kind is OutcomeKind.TIMED_OUT


def test_one_that_hung_after_a_checkpoint_is_tried_again_from_there(job, tmp_path):
    job.log, job.hung, job.why = tmp_path / "log.txt", 50.0, "nothing has happened for 2 min"
    assert job.outcome(60.0, "").kind is OutcomeKind.TIMED_OUT
    checkpoints.write(tmp_path, Cost(seconds=20.0, steps=100), lambda file: file.write(b"state"))
    outcome = job.outcome(60.0, "")
    assert outcome.kind is OutcomeKind.LOST and outcome.saved == Cost(seconds=20.0, steps=100)


def test_what_a_killed_trial_spent_is_charged(job):
    job.latest = report(10.0, 5)
    cost = job.outcome(20.0, "gone").cost
    assert (cost.seconds, cost.flops, cost.steps) == (20.0, 1e10, 10)
    job.latest = None
    assert job.outcome(20.0, "gone").cost == Cost(seconds=20.0, flops=2e11, steps=2000)
    assert job.outcome(2000.0, "gone").cost.flops == REQUEST.budget["flops"]


def test_an_estimate_is_never_below_what_was_reported():
    over = replace(report(10.0, 5), cost=Cost(seconds=10.0, flops=2e12))
    assert estimated_cost(REQUEST, over, 20.0) == Cost(seconds=20.0, flops=2e12)
    assert estimated_cost(replace(REQUEST, step=Cost()), None, 3.0) == Cost(seconds=3.0)


def test_a_resumed_run_charges_what_was_running_when_it_was_killed():
    budget = Budget(flops=1e13)
    _, _, book = simulate(budget)
    cut = [i for i, (_, entry) in enumerate(book.entries) if isinstance(entry, Start)][6] + 1
    again = make(budget)
    started = book.entries[cut - 1][0]
    (lost,), _ = replay(again, book.entries[:cut], started + 1.0)
    assert isinstance(lost, Finished) and lost.outcome.cost.flops > 0 and lost.outcome.cost.seconds == 1.0
