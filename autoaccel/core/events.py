"""What the search, the executors and the store tell each other: values only.

Actions go out, events come back. Neither side imports the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from autoaccel.core.trial import Outcome, Report, TaskFacts, TrialRequest


@dataclass(frozen=True)
class Profiled:
    """Event: the task's facts are known; `workers` trials can run side by side."""

    facts: TaskFacts
    workers: int = 1


@dataclass(frozen=True)
class Reported:
    """Event: a running trial has evaluated."""

    report: Report


@dataclass(frozen=True)
class Finished:
    """Event: a trial has ended and its component is free."""

    trial: int
    outcome: Outcome


@dataclass(frozen=True)
class Tick:
    """Event: nothing happened, but time went by."""


@dataclass(frozen=True)
class Interrupted:
    """Event: a person or the system asks the run to end now with what it has."""


Event = Profiled | Reported | Finished | Tick | Interrupted


@dataclass(frozen=True)
class Start:
    """Action: run this trial."""

    request: TrialRequest


@dataclass(frozen=True)
class Proceed:
    """Action: a trial that has reported may go on. Under a pure FLOP budget it waits for this word."""

    trial: int


@dataclass(frozen=True)
class Stop:
    """Action: ask a running trial to end at its next step; it will finish as pruned."""

    trial: int


@dataclass(frozen=True)
class FinishEarly:
    """Action: ask a running trial to anneal over `COOLDOWN` of what it has used; it will finish as complete."""

    trial: int


@dataclass(frozen=True)
class Wake:
    """Action: send a `Tick` no later than `at` (seconds of the run's clock)."""

    at: float


@dataclass(frozen=True)
class Finish:
    """Action: the run is over; no more events are wanted."""


Action = Start | Proceed | Stop | FinishEarly | Wake | Finish


class Executor(Protocol):
    """Runs trials and tells what becomes of them."""

    def start(self, request: TrialRequest) -> None:
        """Begin a trial; returns at once."""
        ...

    def proceed(self, trial: int) -> None:
        """Let a trial go on that has reported; returns at once."""
        ...

    def stop(self, trial: int) -> None:
        """Ask a trial to end at its next step; returns at once."""
        ...

    def finish_early(self, trial: int) -> None:
        """Ask a trial to hurry to the end of its schedules; returns at once."""
        ...

    def poll(self, timeout: float) -> list[Event]:
        """Events since the last call, in order; waits up to `timeout` seconds for the first one."""
        ...

    def close(self) -> None:
        """End everything that is still running."""
        ...
