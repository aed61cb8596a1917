"""One run: the loop between search and executor, and what is written down on the way.

The loop is the same for real and for simulated trials; only the executor and the clock differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from autoaccel.core.budget import Cost
from autoaccel.core.clock import Clock
from autoaccel.core.events import (
    Action,
    Event,
    Executor,
    Finish,
    FinishEarly,
    Finished,
    Interrupted,
    Proceed,
    Start,
    Stop,
    Tick,
    Wake,
)
from autoaccel.core.trial import Outcome, OutcomeKind
from autoaccel.errors import StoreError
from autoaccel.search.halving import Search
from autoaccel.storage.log import Entry


class Listener(Protocol):
    """Is told of everything that happens, in order."""

    def handle(self, entry: Event | Start, now: float) -> None:
        """A trial was started, or an event arrived."""
        ...

    def tick(self, now: float) -> None:
        """Nothing happened for a while."""
        ...


@dataclass
class Loop:
    """Waits for events, asks the search, and does what it says.

    Args:
        search: Decides.
        executor: Trains.
        clock: Tells the time that has passed, all sessions of the run together.
        listeners: Are told.
        interrupted: Whether somebody asked the run to end now.
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
        """Go on until the search is finished.

        Args:
            events: What has happened already.
            actions: What a resumed search had decided but not begun.
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
        # A tick is worth remembering only when the search acted on it.
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


def replay(search: Search, entries: Sequence[Entry]) -> tuple[list[Event], list[Action]]:
    """Bring a new search to where a killed one was.

    Args:
        search: A search made with the same space, budget and seed.
        entries: The log of the killed run.

    Returns:
        Events to handle now: trials that were running are lost. And actions that were decided but not begun.

    Raises:
        StoreError: If the search decides otherwise than the log says.
    """
    begun = {entry.request.trial: entry.request for _, entry in entries if isinstance(entry, Start)}
    running = set(begun)
    decided: list[Start] = []
    for now, entry in entries:
        if isinstance(entry, Start | Interrupted):
            continue
        decided += [action for action in search.handle(entry, now) if isinstance(action, Start)]
        if isinstance(entry, Finished):
            running.discard(entry.trial)
    for action in decided:
        logged = begun.get(action.request.trial)
        if logged is not None and logged.recipe != action.request.recipe:
            raise StoreError(f"the log does not replay: trial {logged.trial} had another recipe")
    lost = [Finished(n, Outcome(OutcomeKind.LOST, Cost(), reason="the run was killed")) for n in sorted(running)]
    return [*lost], [action for action in decided if action.request.trial not in begun]
