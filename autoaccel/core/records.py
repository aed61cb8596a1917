"""The trials of a run, built from its events; used by the search, the terminal, the report and the exports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from autoaccel.core.events import Event, Finished, Profiled, Reported, Start
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import Cost
from autoaccel.core.trial import UNFINISHED, Outcome, OutcomeKind, Purpose, Report, TrialRequest


@dataclass(frozen=True)
class TrialRecord:
    """One trial: its request, its reports and its outcome.

    Args:
        request: The request that started it.
        started: Seconds into the run when it was requested.
        ended: Seconds into the run when its outcome arrived; None while it runs, or if the run was killed.
        reports: Its evaluations, in order.
        outcome: Its outcome; None while it runs, or if the run was killed.
    """

    request: TrialRequest
    started: float = 0.0
    ended: float | None = None
    reports: tuple[Report, ...] = ()
    outcome: Outcome | None = None

    @property
    def number(self) -> int:
        """The trial's number within the run."""
        return self.request.trial

    @property
    def purpose(self) -> Purpose:
        """The reason for running it."""
        return self.request.purpose

    @property
    def state(self) -> str:
        """The outcome's kind, or `running`, for display."""
        return self.outcome.kind.value.replace("_", " ") if self.outcome else "running"

    @property
    def running(self) -> bool:
        """Whether it has no outcome yet."""
        return self.outcome is None

    @property
    def complete(self) -> bool:
        """Whether it finished as complete."""
        return self.outcome is not None and self.outcome.kind is OutcomeKind.COMPLETE

    @property
    def final(self) -> Report | None:
        """The final evaluation of a complete trial; None if it took no step, which is no result."""
        trained = self.outcome and self.outcome.cost.get("steps") != 0
        return self.outcome.final if self.outcome and trained else None

    @property
    def unfinished(self) -> bool:
        """Whether it ended without an outcome of its own, because its process or the run was killed."""
        return self.outcome is not None and self.outcome.kind in UNFINISHED

    @property
    def checkpoint(self) -> tuple[int, Cost] | None:
        """The trial from whose checkpoint an unfinished training can go on, and what it had spent; None if none."""
        if self.outcome is not None and self.outcome.saved:
            return self.number, self.outcome.saved
        return None if self.request.resumes is None else (self.request.resumes, self.request.carried)

    @property
    def latest(self) -> Report | None:
        """The final evaluation, or the last report if there is none."""
        return self.final or (self.reports[-1] if self.reports else None)


class Trials:
    """All trials of a run by number, and the facts of the task.

    Args:
        log: Starts and events, each with its time in seconds since the start of the run.
    """

    def __init__(self, log: Iterable[tuple[float, Event | Start]] = ()):
        self.facts: TaskFacts | None = None
        self._records: dict[int, TrialRecord] = {}
        # Kept beside the records, since a search with thousands of trials asks for them at each decision.
        self._running: dict[int, None] = {}
        self._unfinished: list[int] = []
        self._spent: dict[Purpose, Cost] = {}
        for now, entry in log:
            self.handle(entry, now)

    def handle(self, entry: Event | Start, now: float) -> None:
        """Update the records with a start or an event."""
        match entry:
            case Profiled(facts):
                self.facts = facts
            case Start(request):
                self._records[request.trial] = TrialRecord(request, now)
                self._running[request.trial] = None
            case Reported(report):
                record = self[report.trial]
                self._records[record.number] = replace(record, reports=(*record.reports, report))
            case Finished(number, outcome):
                record = self._records[number] = replace(self[number], ended=now, outcome=outcome)
                self._running.pop(number, None)
                if record.unfinished:
                    self._unfinished.append(number)
                own = outcome.cost - record.request.carried
                self._spent[record.purpose] = self._spent.get(record.purpose, Cost()) + own
            case _:
                pass

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[TrialRecord]:
        return iter(self._records.values())

    def __getitem__(self, number: int) -> TrialRecord:
        return self._records[number]

    def get(self, number: int | None) -> TrialRecord | None:
        """Return the trial with this number, or None."""
        return None if number is None else self._records.get(number)

    def running(self) -> list[TrialRecord]:
        """Return the trials without an outcome."""
        return [self[number] for number in self._running]

    def unfinished(self) -> list[TrialRecord]:
        """Return the trials whose process or run was killed, in the order in which that happened."""
        return [self[number] for number in self._unfinished]

    def of(self, purpose: Purpose) -> list[TrialRecord]:
        """Return the trials with this purpose."""
        return [record for record in self if record.purpose is purpose]

    def spent(self, purpose: Purpose | None = None) -> Cost:
        """Return the total cost of the ended trials, or of those with one purpose."""
        return sum((cost for of, cost in self._spent.items() if purpose in (None, of)), Cost())

    def run_cost(self, now: float) -> Cost:
        """Return what the run has spent: its wall-clock seconds; for the rest, the profile and the ended trials.

        Args:
            now: Seconds since the start of the run.
        """
        profile = self.facts.profile if self.facts else Cost()
        return (profile + self.spent()).replace(seconds=now)
