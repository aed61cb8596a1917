"""Checkpoints of final trainings, brought to the run folder while they train: their node may be lost."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from autoaccel.core import checkpoints
from autoaccel.core.clock import Clock
from autoaccel.core.trial import Purpose
from autoaccel.errors import StoreError
from autoaccel.execution.ray.files import trial_folder, unpack
from autoaccel.execution.ray.handle import Handle
from autoaccel.execution.ray.messages import Said

EVERY = 10.0
"""Fewest seconds from one checkpoint to the next."""
SHARE = 0.01
"""Largest share of the time in which one is on its way, after the first."""
SAFETY = 2.0
"""How many times as long as the last one the next may be on its way, which must not delay the training's end."""


class Fetcher:
    """Asks places for checkpoints, and writes them to the run folder.

    Args:
        folder: The run folder.
        clock: Says when it is time to.
    """

    def __init__(self, folder: Path, clock: Clock):
        self._folder, self._clock = folder, clock

    def ask(self, place: Handle) -> None:
        """Ask a place for the checkpoints that are due."""
        now = self._clock.now()
        for trial, running in place.running.items():
            due = max(running.fetch_at, running.started + EVERY) <= now < running.ends_at - SAFETY * running.took
            if due and running.request.purpose is Purpose.FINAL:
                had = next(iter(checkpoints.checkpoints(trial_folder(self._folder, trial))), None)
                place.tell("fetch", trial, had.path.name if had else "")
                running.fetch_at, running.asked_at = math.inf, now

    def take(self, place: Handle, said: Said) -> None:
        """Write what a place has sent, if there was anything new, and say when the next is due."""
        trial = said.data["trial"]
        if running := place.running.get(trial):
            try:
                unpack(self._folder, said.files)
            except (StoreError, OSError):  # the training goes on without
                for name in said.files:
                    shutil.rmtree((self._folder / name).parent, ignore_errors=True)
            checkpoints.prune(trial_folder(self._folder, trial))
            now = self._clock.now()
            running.took = now - running.asked_at
            running.fetch_at = now + max(EVERY, running.took / SHARE)
