"""What surrounds a trial: its clock, its folder, and whoever listens to it and may ask it to end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autoaccel.core.clock import Clock
from autoaccel.core.trial import Outcome, Report
from autoaccel.training.data.understanding import Understanding

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class TrialEnvironment:
    """What a trial needs besides its request.

    Args:
        clock: Measures the seconds.
        started: The clock's reading when the request arrived.
        report: Called with every evaluation; returns whether the trial may continue.
        folder: Folder in which the weights are saved; None saves none.
        split_seed: Seed of the validation split.
        cpu: Whether to use the CPU even if there is a GPU.
        stopped: Returns whether the trial must stop before its next step.
        finishing: Returns whether the trial must finish early: run its schedules to their end, then complete.
        preempted: Returns whether it must stop because the run does; it then leaves a checkpoint.
        finished: Called with the outcome once the weights are saved, before the test set is scored.
        found: What the run's profile has understood of the task, or None.
    """

    clock: Clock
    started: float
    report: Callable[[Report], bool]
    folder: Path | None = None
    split_seed: int = 0
    cpu: bool = False
    stopped: Callable[[], bool] = lambda: False
    finishing: Callable[[], bool] = lambda: False
    preempted: Callable[[], bool] = lambda: False
    finished: Callable[[Outcome], None] = lambda _: None
    found: Understanding | None = None
