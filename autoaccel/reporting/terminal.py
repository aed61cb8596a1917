"""A live view of a run: a table on a terminal, plain lines elsewhere. Callers pass in the time."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autoaccel.core.budget import Budget
from autoaccel.core.events import Event, Finished, Interrupted, Short, Start
from autoaccel.core.quantities import FLOPS, format_amount, format_flops, format_seconds
from autoaccel.core.records import TrialRecord, Trials
from autoaccel.core.trial import COOLDOWN, Purpose, Report, TrialRequest
from autoaccel.reporting.best import best_line
from autoaccel.reporting.phases import phase_of

SHOWN = 8
HEARTBEAT = 60.0


class Display:
    """Shows the state of a run.

    Args:
        budget: The budget of the run.
        console: The console to print to; stderr if None.
        quiet: Show only notes.
        verbose: Show up to 1000 trials of the run instead of the last few.
    """

    def __init__(self, budget: Budget, console: Console | None = None, quiet: bool = False, verbose: bool = False):
        self._budget = budget
        self._console = console or Console(stderr=True)
        self._quiet = quiet
        self._shown = 1000 if verbose else SHOWN
        self._trials = Trials()
        self._phase = "profile"
        self._now = 0.0
        self._beat = 0.0
        self._live: Live | None = None

    def note(self, text: str) -> None:
        """Print a line above the live view."""
        self._console.print(Text(text))

    def plan(self, lines: Sequence[str]) -> None:
        """Print the plan, the first one or a new one; on a terminal, start the live view."""
        if self._quiet:
            return
        for line in lines:
            self._console.print(Text(line))
        if self._console.is_terminal and self._live is None:
            self._live = Live(
                console=self._console, get_renderable=self._view, refresh_per_second=4, transient=True
            )
            self._live.start()

    def report(self, report: Report, now: float) -> None:
        """Print an evaluation of a single training."""
        if not self._quiet:
            loss = "unknown" if report.loss is None else f"{report.loss:.4g}"
            found = f"{report.progress:.0%}: metric {report.metric:.4g}, loss {loss}"
            self._console.print(Text(f"[{now:6.1f} s] {found}"))

    def finishing(self, request: TrialRequest, started: float, now: float) -> None:
        """Announce, even if quiet, that a training was asked to finish early, and about how long that takes.

        Args:
            request: The request of the training.
            started: When it was requested, in seconds since the start of the run.
            now: Seconds since the start of the run.
        """
        used = now - started
        ahead = min(COOLDOWN * used, max(0.0, (request.budget.seconds or float("inf")) - used))
        self._phase = "finishing"
        self.note(f"finishing: annealing over about the next {format_seconds(ahead)}; Ctrl-C again stops at once")

    def handle(self, entry: Event | Start, now: float) -> None:
        """Update the display with a start or an event."""
        self._now = now
        self._trials.handle(entry, now)
        match entry:
            case Start():
                self._phase = phase_of(self._trials)
            case Finished(trial):
                self._line(self._trials[trial])
            case Short(why):
                self.note(why or "there is room again: trials go on")
            case Interrupted(preempted):
                self._interrupted(preempted)
            case _:
                pass

    def tick(self, now: float) -> None:
        """Update the time; without a live view, print a status line every `HEARTBEAT` seconds."""
        self._now = now
        if not self._quiet and self._live is None and now - self._beat > HEARTBEAT:
            self._beat = now
            self._console.print(self._header())

    def close(self) -> None:
        """Stop the live view and restore the terminal."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _interrupted(self, preempted: bool) -> None:
        running = self._trials.running()
        if preempted:
            self.note("asked to end: saving checkpoints and what was found")
        elif final := next((record for record in reversed(running) if record.purpose is Purpose.FINAL), None):
            self.finishing(final.request, final.started, self._now)
        else:
            self.note("interrupted: ending with what was found; Ctrl-C again stops at once")

    def _line(self, record: TrialRecord) -> None:
        if self._quiet or self._live is not None or record.outcome is None:
            return
        request, outcome = record.request, record.outcome
        metric = f"{record.latest.metric:.4g}" if record.latest else "-"
        reason = f" ({outcome.reason})" if outcome.reason else ""
        text = f"[{self._now:6.1f} s] trial {record.number} {outcome.kind.value}{reason}: "
        text += f"{self._name()} {metric}, {request.budget}, {request.origin}"
        text += f"; {outcome.kept}" if outcome.kept else ""
        self._console.print(Text(text))

    def _name(self) -> str:
        return self._trials.facts.metric if self._trials.facts else "metric"

    def _header(self) -> Text:
        spent = self._trials.spent()
        parts = [self._phase, f"{format_seconds(self._now)} spent"]
        if self._budget.seconds:
            parts.append(f"{format_seconds(max(0.0, self._budget.seconds - self._now))} left")
        limit = f" of {format_amount(FLOPS, self._budget[FLOPS])}" if FLOPS in self._budget else ""
        return Text(" | ".join([*parts, format_flops(spent.flops) + limit, self._counts()]))

    def _counts(self) -> str:
        kinds = [record.state for record in self._trials]
        return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))

    def _view(self) -> Group:
        share = self._now / self._budget.seconds if self._budget.seconds else 0.0
        table = Table(box=None, pad_edge=False)
        for column in ("trial", "recipe", "budget", "progress", self._name(), "outcome"):
            table.add_column(column)
        for record in list(self._trials)[-self._shown :]:
            report = record.latest
            table.add_row(
                str(record.number),
                Text(record.request.origin),
                str(record.request.budget),
                f"{report.progress:.0%}" if report else "",
                f"{report.metric:.4g}" if report else "",
                record.state,
            )
        bar = ProgressBar(total=1.0, completed=min(1.0, share), width=60)
        return Group(self._header(), bar, Text("\n" + best_line(self._trials)), table)
