"""A live view of a run: a table on a terminal, plain lines elsewhere. It is told the time and never reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autoaccel.core.budget import Budget, format_flops, format_seconds
from autoaccel.core.events import Event, Finished, Interrupted, Profiled, Reported, Start
from autoaccel.core.trial import COOLDOWN, Outcome, Purpose, Report, TaskFacts, TrialRequest

SHOWN = 8
HEARTBEAT = 60.0


@dataclass
class _Row:
    request: TrialRequest
    started: float
    report: Report | None = None
    outcome: Outcome | None = None


class Display:
    """Shows what happens.

    Args:
        budget: Of the whole run.
        console: Where to; stderr when missing.
        quiet: Show nothing but notes.
        verbose: Show every trial of the run, not only the last ones.
    """

    def __init__(self, budget: Budget, console: Console | None = None, quiet: bool = False, verbose: bool = False):
        self._budget = budget
        self._console = console or Console(stderr=True)
        self._quiet = quiet
        self._shown = 1000 if verbose else SHOWN
        self._rows: dict[int, _Row] = {}
        self._facts: TaskFacts | None = None
        self._phase = "profile"
        self._now = 0.0
        self._beat = 0.0
        self._live: Live | None = None

    def note(self, text: str) -> None:
        """Print a line above the live view."""
        self._console.print(Text(text))

    def plan(self, lines: Sequence[str]) -> None:
        """Print the plan, before anything but the profile is spent."""
        if self._quiet:
            return
        for line in lines:
            self._console.print(Text(line))
        if self._console.is_terminal:
            self._live = Live(
                console=self._console, get_renderable=self._view, refresh_per_second=4, transient=True
            )
            self._live.start()

    def report(self, report: Report, now: float) -> None:
        """Print an evaluation of a training that is watched on its own."""
        if not self._quiet:
            found = f"{report.progress:.0%}: metric {report.metric:.4g}, loss {report.loss:.4g}"
            self._console.print(Text(f"[{now:6.1f} s] {found}"))

    def finishing(self, request: TrialRequest, started: float, now: float) -> None:
        """Say, also when quiet, that a training was asked to finish now, and about how long that takes.

        Args:
            request: What was asked of it at first.
            started: When it was asked for, in seconds of the run.
            now: Seconds of the run.
        """
        used = now - started
        ahead = min(COOLDOWN * used, max(0.0, (request.budget.seconds or float("inf")) - used))
        self._phase = "finishing"
        self.note(f"finishing: annealing over about the next {format_seconds(ahead)}; Ctrl-C again stops at once")

    def handle(self, entry: Event | Start, now: float) -> None:
        """Take in a start or an event."""
        self._now = now
        match entry:
            case Profiled(facts):
                self._facts = facts
            case Start(request):
                self._rows[request.trial] = _Row(request, now)
                self._phase = "final training" if request.purpose is Purpose.FINAL else "search"
            case Reported(report):
                self._rows[report.trial].report = report
            case Finished(trial, outcome):
                self._rows[trial].outcome = outcome
                self._line(self._rows[trial])
            case Interrupted():
                self._interrupted()
            case _:
                pass

    def tick(self, now: float) -> None:
        """Time went by."""
        self._now = now
        if not self._quiet and self._live is None and now - self._beat > HEARTBEAT:
            self._beat = now
            self._console.print(self._header())

    def close(self) -> None:
        """Put the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _interrupted(self) -> None:
        running = [row for row in self._rows.values() if row.outcome is None]
        if final := next((row for row in running if row.request.purpose is Purpose.FINAL), None):
            self.finishing(final.request, final.started, self._now)
        else:
            self.note("interrupted: ending with what was found; Ctrl-C again stops at once")

    def _line(self, row: _Row) -> None:
        if self._quiet or self._live is not None or row.outcome is None:
            return
        metric = f"{row.report.metric:.4g}" if row.report else "-"
        reason = f" ({row.outcome.reason})" if row.outcome.reason else ""
        text = f"[{self._now:6.1f} s] trial {row.request.trial} {row.outcome.kind.value}{reason}: "
        text += f"{self._name()} {metric}, {row.request.budget}, {row.request.origin}"
        self._console.print(Text(text))

    def _name(self) -> str:
        return self._facts.metric if self._facts else "metric"

    def _header(self) -> Text:
        flops = sum(row.outcome.cost.flops for row in self._rows.values() if row.outcome)
        parts = [self._phase, f"{format_seconds(self._now)} spent"]
        if self._budget.seconds:
            parts.append(f"{format_seconds(max(0.0, self._budget.seconds - self._now))} left")
        limit = f" of {format_flops(self._budget.flops)}" if self._budget.flops else ""
        return Text(" | ".join([*parts, format_flops(flops) + limit, self._counts()]))

    def _counts(self) -> str:
        kinds = [row.outcome.kind.value if row.outcome else "running" for row in self._rows.values()]
        return ", ".join(f"{kinds.count(kind)} {kind.replace('_', ' ')}" for kind in dict.fromkeys(kinds))

    def _best(self) -> str:
        done = [row for row in self._rows.values() if row.outcome and row.outcome.final]
        search = [row for row in done if row.request.purpose is not Purpose.FINAL]
        if not search or self._facts is None:
            return ""
        top = max(_amount(row.request.budget) for row in search)
        level = [row for row in search if _amount(row.request.budget) == top]
        plain = [row for row in level if row.request.purpose is Purpose.BASELINE]
        best = self._first(level)
        against = f", plain {_metric(self._first(plain)):.4g}" if plain else ""
        return f"best {self._name()} {_metric(best):.4g}{against}, with {best.request.budget} each"

    def _first(self, rows: Sequence[_Row]) -> _Row:
        choose = max if self._facts and self._facts.maximize else min
        return choose(rows, key=_metric)

    def _view(self) -> Group:
        share = self._now / self._budget.seconds if self._budget.seconds else 0.0
        table = Table(box=None, pad_edge=False)
        for column in ("trial", "recipe", "budget", "progress", self._name(), "outcome"):
            table.add_column(column)
        for row in list(self._rows.values())[-self._shown :]:
            report, outcome = row.report, row.outcome
            table.add_row(
                str(row.request.trial),
                Text(row.request.origin),
                str(row.request.budget),
                f"{report.progress:.0%}" if report else "",
                f"{report.metric:.4g}" if report else "",
                outcome.kind.value.replace("_", " ") if outcome else "running",
            )
        bar = ProgressBar(total=1.0, completed=min(1.0, share), width=60)
        return Group(self._header(), bar, Text("\n" + self._best()), table)


def _metric(row: _Row) -> float:
    assert row.outcome is not None and row.outcome.final is not None
    return row.outcome.final.metric


def _amount(budget: Budget) -> float:
    return budget.seconds or budget.flops or 0.0
