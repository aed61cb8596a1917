"""The loop between search and executor, for real and simulated trials alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from autoaccel.core.clock import Clock
from autoaccel.core.events import (
    Action,
    Event,
    Finish,
    FinishEarly,
    Interrupted,
    Preempt,
    Proceed,
    Start,
    Stop,
    Tick,
    Wake,
)
from autoaccel.execution.base import Executor
from autoaccel.search.base import Decisions


class Listener(Protocol):
    """Receives all starts and events in order."""

    def handle(self, entry: Event | Start, now: float) -> None:
        """Handle a trial's start or an event."""
        ...

    def tick(self, now: float) -> None:
        """Handle the passing of time; called after every poll of the executor."""
        ...


@dataclass
class Loop:
    """Waits for events, passes them to the search, and carries out its actions.

    Args:
        search: Decides what to do.
        executor: Runs the trials.
        clock: Measures the seconds of the run over all its sessions.
        listeners: Receive all starts and events.
        interrupted: Returns how the run was asked to end now; None if it was not.
        patience: Longest wait for an event, in seconds.
        news: Returns events that come neither from the executor nor from the user.
    """

    search: Decisions
    executor: Executor
    clock: Clock
    listeners: Sequence[Listener] = ()
    interrupted: Callable[[], Interrupted | None] = lambda: None
    patience: float = float("inf")
    news: Callable[[], Sequence[Event]] = tuple
    _wake: float = field(default=0.0, init=False)
    _told: Interrupted | None = field(default=None, init=False)

    def run(self, events: Sequence[Event], starts: Sequence[Start] = ()) -> None:
        """Run until the search is finished.

        Args:
            events: Events to handle first.
            starts: Starts that a killed run had decided on and that are only recorded; see `replay`.
        """
        done = False
        for start in starts:
            self._tell(start, self.clock.now())
        for event in events:
            done = self._handle(event) or done
        while not done:
            if (asked := self.interrupted()) and asked != self._told:
                self._told = asked
                done = self._handle(asked)
                continue
            timeout = min(self.patience, max(0.0, self._wake - self.clock.now()))
            arrived = self.executor.poll(timeout)
            for listener in self.listeners:
                listener.tick(self.clock.now())
            for event in [*self.news(), *(arrived or [Tick()])]:
                done = self._handle(event) or done

    def _handle(self, event: Event) -> bool:
        now = self.clock.now()
        actions = self.search.handle(event, now)
        if not isinstance(event, Tick) or any(_decides(action, now) for action in actions):
            self._tell(event, now)
        return self._act(actions)

    def _act(self, actions: Sequence[Action]) -> bool:
        for action in actions:
            match action:
                case Start(request):
                    self._tell(action, self.clock.now())
                    self.executor.start(request)
                case Proceed(trial):
                    self.executor.proceed(trial)
                case Stop(trial):
                    self.executor.stop(trial)
                case Preempt(trial):
                    self.executor.preempt(trial)
                case FinishEarly(trial):
                    self.executor.finish_early(trial)
                case Wake(at):
                    self._wake = at
                case Finish():
                    return True
        return False

    def _tell(self, entry: Event | Start, now: float) -> None:
        for listener in self.listeners:
            listener.handle(entry, now)


def _decides(action: Action, now: float) -> bool:
    """Return whether the search is another one after this action, so that a resumed run has to hear of its cause.

    A search that wants to be asked again at once has come to its next phase.
    """
    return isinstance(action, Start) or (isinstance(action, Wake) and action.at <= now)
