"""The contract of an executor."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from autoaccel.core.budget import Budget
from autoaccel.core.events import Event, Finished, Reported
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import FLOPS
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import Outcome, OutcomeKind, TrialRequest
from autoaccel.execution.base import Executor

MILESTONES = (0.5, 1.0)
STEPS = 30
BATCH = 64
POLLS = 600
"""Calls of `poll`, of up to 0.1 s each, after which a trial counts as lost."""


def check_executor(make: Callable[[Path], Executor], folder: Path) -> None:
    """Check that an executor keeps the contract that a run relies on.

    Args:
        make: Makes the executor; given the folder that it may write to. It trains a small task with a test set.
        folder: An empty folder.

    Raises:
        AssertionError: If it does not report all milestones in order, does not finish each trial once, does not
            end a trial that is stopped or preempted, raises on one that is over, or cannot score the weights
            that it saved.
    """
    with closing(make(folder)) as executor:
        catalog = executor.load(None)
        assert all(name == info.name for name, info in catalog.items()), "load: names do not match"
        slots = executor.slots
        assert slots.count == len(slots.devices) >= 1 <= slots.threads, f"slots: {slots}"
        assert {*slots.gpus} <= {*executor.machine.gpus}, f"{slots.gpus} are not all of {executor.machine}"
        facts, space = executor.profile(None)
        assert facts.n_train > 0 and facts.n_valid > 0 and FLOPS in facts.train, f"profile: {facts}"
        assert all(isinstance(name, str) for name in space), "profile: the model's space needs names"
        assert executor.identify(None) == (facts.fingerprint, facts.files), "identify: not what the profile said"
        _check_complete(executor, facts)
        _check_score(executor, folder)
        _check_side_by_side(executor, facts)
        _check_stop(executor, facts)
        _check_preempt(executor, facts)
        _check_finish_early(executor, facts)
        _check_strangers(executor)
    executor.close()  # once more


def _request(trial: int, facts: TaskFacts, steps: int = STEPS) -> TrialRequest:
    evaluations = 2 * len(MILESTONES) * facts.evaluation[FLOPS]
    budget = Budget(flops=steps * min(BATCH, facts.n_train) * facts.train[FLOPS] + evaluations)
    return TrialRequest(trial, PLAIN["plain"], budget, milestones=MILESTONES, evaluation=facts.evaluation)


def _check_complete(executor: Executor, facts: TaskFacts) -> None:
    executor.start(_request(0, facts))
    *reported, last = _events(executor, {0})
    assert [e.report.milestone for e in reported if isinstance(e, Reported)] == [0, 1], "milestones out of order"
    assert len(reported) == len(MILESTONES), "something else than reports came before the end"
    outcome = _outcome(last)
    assert outcome.kind is OutcomeKind.COMPLETE, f"the plain recipe ended as {outcome.kind}: {outcome.reason}"
    assert outcome.final is not None and outcome.final.milestone == 1, "a complete trial has its last report"
    assert outcome.cost[FLOPS] > 0, "its FLOPs are not charged"


def _check_score(executor: Executor, folder: Path) -> None:
    scored = executor.score(PLAIN["plain"], folder / "trials" / "0000" / "model.safetensors", None)
    assert {"metric", "loss", "standard_error", "cost"} <= set(scored), f"score: {sorted(scored)}"


def _check_side_by_side(executor: Executor, facts: TaskFacts) -> None:
    executor.start(_request(1, facts))
    executor.start(_request(2, facts))
    ended = [event.trial for event in _events(executor, {1, 2}) if isinstance(event, Finished)]
    assert sorted(ended) == [1, 2], f"two trials were started, and {ended} have finished"


def _check_stop(executor: Executor, facts: TaskFacts) -> None:
    executor.start(_request(3, facts, steps=20_000))
    executor.stop(3)
    outcome = _outcome(_events(executor, {3})[-1])
    assert outcome.kind in (OutcomeKind.PRUNED, OutcomeKind.COMPLETE), f"stopped, it ended as {outcome.kind}"


def _check_preempt(executor: Executor, facts: TaskFacts) -> None:
    executor.start(_request(5, facts, steps=20_000))
    executor.preempt(5)
    outcome = _outcome(_events(executor, {5})[-1])
    assert outcome.kind in (OutcomeKind.PREEMPTED, OutcomeKind.COMPLETE), f"preempted, it ended as {outcome.kind}"


def _check_finish_early(executor: Executor, facts: TaskFacts) -> None:
    executor.start(_request(4, facts))
    executor.finish_early(4)
    outcome = _outcome(_events(executor, {4})[-1])
    # It may have been asked before its first step; then there is nothing to finish.
    ends = OutcomeKind.COMPLETE if outcome.cost.get("steps") != 0 else OutcomeKind.PRUNED
    assert outcome.kind is ends, f"asked to finish early, it ended as {outcome.kind}"


def _check_strangers(executor: Executor) -> None:
    for trial in (0, 99):
        executor.proceed(trial)
        executor.stop(trial)
        executor.preempt(trial)
        executor.finish_early(trial)
    late = executor.poll(0.2)
    assert not late, f"no trial is running, but {late} arrived"


def _events(executor: Executor, running: set[int]) -> list[Event]:
    """All events until these trials have finished; each report is answered with `proceed`."""
    seen: list[Event] = []
    for _ in range(POLLS):
        for event in executor.poll(0.1):
            seen.append(event)
            if isinstance(event, Reported):
                executor.proceed(event.report.trial)
            if isinstance(event, Finished):
                assert event.trial in running, f"trial {event.trial} finished twice, or was never started"
                running = running - {event.trial}
        if not running:
            return seen
    raise AssertionError(f"trials {sorted(running)} never finished")


def _outcome(event: Event) -> Outcome:
    assert isinstance(event, Finished)
    return event.outcome
