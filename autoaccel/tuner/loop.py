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
    Proceed,
    Start,
    Stop,
    Tick,
    Wake,
)
from autoaccel.execution.base import Executor
from autoaccel.search.base import Search


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
        interrupted: Returns whether the run was asked to end now.
        patience: Longest wait for an event, in seconds.
    """

    search: Search
    executor: Executor
    clock: Clock
    listeners: Sequence[Listener] = ()
    interrupted: Callable[[], bool] = lambda: False
    patience: float = float("inf")
    _wake: float = field(default=0.0, init=False)
    _told: bool = field(default=False, init=False)

    def run(self, events: Sequence[Event], actions: Sequence[Action] = ()) -> None:
        """Run until the search is finished.

        Args:
            events: Events to handle first.
            actions: Actions that a resumed search had decided on but not started.
        """
        done = self._act(actions)
        for event in events:
            done = self._handle(event) or done
        while not done:
            if self.interrupted() and not self._told:
                self._told = True
                done = self._handle(Interrupted())
                continue
            timeout = min(self.patience, max(0.0, self._wake - self.clock.now()))
            arrived = self.executor.poll(timeout)
            for listener in self.listeners:
                listener.tick(self.clock.now())
            for event in arrived or [Tick()]:
                done = self._handle(event) or done

    def _handle(self, event: Event) -> bool:
        now = self.clock.now()
        actions = self.search.handle(event, now)
        # Log a tick only if the search started a trial because of it.
        if not isinstance(event, Tick) or any(isinstance(action, Start) for action in actions):
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
