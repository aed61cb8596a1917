"""Write checkpoints of a training beside its steps, and go on from them.

The training waits only while its state is copied; a thread writes the copy. The next one is not made until the last
one has cost at most `SHARE` of the time.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import torch

from autoaccel.core import checkpoints
from autoaccel.core.checkpoints import Checkpoint
from autoaccel.core.clock import SystemClock
from autoaccel.core.codec import from_data, to_data
from autoaccel.core.quantities import Cost
from autoaccel.core.trial import Purpose, Report, TrialRequest
from autoaccel.training.loop import Keeper
from autoaccel.training.ranks import Ranks
from autoaccel.training.snapshot import Running, SnapshotError, State, restore, take

SHARE = 0.01
"""Largest share of the time that checkpoints may take."""
EVERY = 2.0
"""Fewest seconds between two checkpoints of a final training."""
LONG = 60.0
"""The same of other trials, of which only those that are longer have any."""
AT_LEAST = 0.01
"""Seconds that a checkpoint is assumed to take, before the first one is made, for bringing it to the disk."""
BYTES_PER_SECOND = 2e8
"""How fast it is assumed to be written."""
SPARE = 3.0
"""Available memory, in sizes of a copy, from which one is made."""


class Checkpointer(Keeper):
    """Keeps the state of one training.

    Args:
        folder: The trial's folder.
        request: The trial.
        reports: The reports that the trial has made; those of the training that it goes on with are put in front.
        report: Called with the latter, so that a trial that goes on has said all that its training has shown.

    Of several processes that share each batch only the first one makes checkpoints, and all go on from them. Where
    they train alone it does so once they have averaged their weights.
    """

    def __init__(
        self, folder: Path, request: TrialRequest, reports: list[Report], report: Callable[[Report], object]
    ):
        self._folder, self._request, self._reports, self._report = folder, request, reports, report
        self._every = EVERY if request.purpose in (Purpose.FINAL, Purpose.EVIDENCE) else LONG
        # Not the trial's own clock, which shows whoever watches that the training gets on.
        self._clock = SystemClock()
        self._running: Running
        self._writing: Thread | None = None
        self._due = self._free = 0.0
        self._saved = Cost()
        self._makes_none = Ranks().rank > 0

    def begin(self, running: Running) -> None:
        """Go on from the newest intact checkpoint of the trial that the request resumes, if there is one.

        Raises:
            SnapshotError: If it does not fit the training.
        """
        self._running = running
        state = None if self._request.resumes is None else self._found(self._request.resumes)
        context, carried = running.context, self._request.carried
        if state is not None:
            try:
                if state["of"] != self._identity:
                    raise SnapshotError("it is one of another recipe or seed")
                restore(running, state, carried)
                before = [from_data(Report, report) for report in state["reports"]]
            except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                raise SnapshotError(str(error)) from error
            self._reports[:0] = [replace(report, trial=self._request.trial) for report in before]
            for report in self._reports:
                self._report(report)
        elif carried:
            context.meter.carry(carried)
            running.progress.setup = context.meter.spent()
        now = self._clock.now()
        self._free = now + (AT_LEAST + self._size() / BYTES_PER_SECOND) / SHARE
        self._due = max(now + self._every, self._free)

    @property
    def _identity(self) -> dict[str, Any]:
        return {"recipe": self._request.recipe.to_data(), "seed": self._request.seed}

    def before_step(self) -> None:
        """Make a checkpoint if it is time to."""
        if self._clock.now() >= self._due:
            self._make()

    def at_report(self) -> None:
        """Make a checkpoint of a final training with what is about to be reported, unless it is too soon."""
        if self._clock.now() >= (self._free if self._every < LONG else self._due):
            self._make()
            self._wait()

    def make_now(self) -> Cost:
        """Make a checkpoint and wait for it; return what the training had spent at the newest one there is."""
        self._wait()
        self._make()
        self._wait()
        return self._saved

    def close(self) -> None:
        """Wait until nothing is written any more."""
        self._wait()

    def _make(self) -> None:
        running = self._running
        # What has begun to anneal is no state to go on from, nor is what one process has learned alone.
        if self._makes_none or running.progress.finishing_early or running.context.apart:
            return None
        if self._writing is not None and self._writing.is_alive():
            return None
        began, spent = self._clock.now(), running.context.meter.spent()
        if psutil.virtual_memory().available < SPARE * self._size():
            return self._give_up("too little memory is free for a copy of the training")
        state = {**take(running), "of": self._identity, "reports": [to_data(report) for report in self._reports]}
        self._writing = Thread(target=self._write, args=(state, spent, began), daemon=True)
        self._writing.start()
        return None

    def _write(self, state: State, spent: Cost, began: float) -> None:
        try:
            made = checkpoints.write(self._folder, spent, lambda file: torch.save(state, file))
            if not self._saved:
                _read(made)  # what cannot be read again is no checkpoint
            self._saved = spent
        except OSError as error:
            log(f"no checkpoint could be written: {error}")
        except (pickle.UnpicklingError, RuntimeError, TypeError, AttributeError) as error:
            checkpoints.drop(self._folder)
            self._give_up(f"its state cannot be saved: {str(error).splitlines()[0]}")
        now = self._clock.now()
        self._free = now + (now - began) / SHARE
        self._due = max(now + self._every, self._free)

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.join()
            self._writing = None

    def _size(self) -> float:
        """Return about how many bytes the state takes."""
        context = self._running.context
        parts = (*context.model.parameters(), *context.model.buffers())
        weights = sum(part.numel() * part.element_size() for part in parts)
        return 3.0 * weights  # most optimizers keep two numbers of each parameter

    def _found(self, trial: int) -> State | None:
        for made in checkpoints.checkpoints(self._folder.parent / f"{trial:04d}"):
            if not made.intact:
                log(f"{made.state} is damaged")
                continue
            try:
                return _read(made)
            except (pickle.UnpicklingError, RuntimeError, OSError) as error:
                log(f"{made.state} cannot be read: {str(error).splitlines()[0]}")
        log(f"no checkpoint of trial {trial} is intact; the training begins again")
        return None

    def _give_up(self, why: str) -> None:
        self._makes_none = True
        log(f"no checkpoints: {why}")


def log(text: str) -> None:
    """Write a line to the trial's log."""
    print(text, flush=True)  # noqa: T201 - a worker's output is its log


def _read(made: Checkpoint) -> State:
    state: State = torch.load(made.state, map_location="cpu", weights_only=True)
    return state
