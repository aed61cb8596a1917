"""Events and actions: the values that search, executors and storage exchange.

The search emits actions, and executors return events. Neither side imports the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from autoaccel.core.budget import Budget
from autoaccel.core.facts import TaskFacts
from autoaccel.core.trial import Outcome, Report, TrialRequest


@dataclass(frozen=True)
class Profiled:
    """Event: the task's facts are known.

    Args:
        facts: The facts.
        workers: How many trials can run in parallel.
        gpus: Whether each has a GPU, and not a share of the CPUs.
        nodes: How many of these places each machine has, where there are several; a trial has those of one.
    """

    facts: TaskFacts
    workers: int = 1
    gpus: bool = False
    nodes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Reported:
    """Event: a running trial has reported an evaluation."""

    report: Report


@dataclass(frozen=True)
class Finished:
    """Event: a trial has ended, and its worker is free."""

    trial: int
    outcome: Outcome


@dataclass(frozen=True)
class Extended:
    """Event: the run has a larger budget from now on, what was spent included."""

    budget: Budget


@dataclass(frozen=True)
class Measured:
    """Event: the last files and the end of the processes, which follow the final training, take so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Short:
    """Event: disk or memory are short, so that no new trial of the search may start.

    Args:
        why: One line for display; empty when there is room again.
    """

    why: str


@dataclass(frozen=True)
class Tick:
    """Event: time has passed without another event."""


@dataclass(frozen=True)
class Interrupted:
    """Event: the user or the system asks the run to end now and keep its results so far.

    Args:
        preempted: Whether the machine is about to be taken away, so that there is no time to anneal.
    """

    preempted: bool = False


Event = Profiled | Extended | Reported | Finished | Measured | Short | Tick | Interrupted


@dataclass(frozen=True)
class Start:
    """Action: run this trial."""

    request: TrialRequest


@dataclass(frozen=True)
class Proceed:
    """Action: a trial that has reported may continue. Under a pure FLOP budget the trial waits for this."""

    trial: int


@dataclass(frozen=True)
class Stop:
    """Action: ask a running trial to stop at its next step; it finishes as pruned."""

    trial: int


@dataclass(frozen=True)
class Preempt:
    """Action: ask a running trial to save a checkpoint and stop at its next step; it finishes as preempted."""

    trial: int


@dataclass(frozen=True)
class FinishEarly:
    """Action: ask a running trial to anneal over `COOLDOWN` times what it has used and finish as complete."""

    trial: int


@dataclass(frozen=True)
class Wake:
    """Action: send a `Tick` no later than `at` (seconds of the run's clock)."""

    at: float


@dataclass(frozen=True)
class Finish:
    """Action: end the run; no more events are needed."""


Action = Start | Proceed | Stop | Preempt | FinishEarly | Wake | Finish
