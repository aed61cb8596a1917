"""Measured effects of each technique alone on plain training, from data shipped with the package."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

FILE = "effects.json"


@dataclass(frozen=True)
class Effect:
    """Effect of one technique on one task, compared with the better plain recipe at equal budget.

    Args:
        technique: Name of the technique, added with its default parameters or used as its component.
        task: image, text, table or regression; see benchmarks/techniques/tasks.py.
        budget: The budget as text, such as `660 GFLOPs` or `8s`.
        equal: Unit in which the budgets were equal: `flops` or `seconds`.
        metric: Name of the task's metric on the test set.
        seeds: Number of trainings with and without the technique, paired by seed.
        gain: Mean difference in the metric; positive is better.
        half: Half-width of the 95 % confidence interval of `gain` (Student's t).
        seconds: Median ratio of the seconds, technique / plain.
        flops: Median ratio of the FLOPs, technique / plain.
        note: Remark, such as why trainings failed.
    """

    technique: str
    task: str
    budget: str
    equal: str
    metric: str
    seeds: int
    gain: float
    half: float
    seconds: float
    flops: float
    note: str = ""

    @property
    def verdict(self) -> str:
        """Return better, worse, level if the interval contains zero, or failed with fewer than two seeds."""
        if self.seeds < 2 or abs(self.gain) <= self.half:
            return "level" if self.seeds >= 2 else "failed"
        return "better" if self.gain > 0 else "worse"

    def __str__(self) -> str:
        if self.seeds < 2:
            return self.note
        cost = f"{self.seconds:.2f} x the seconds" if self.equal == "flops" else f"{self.flops:.2f} x the FLOPs"
        return f"{self.gain:+.4f} ± {self.half:.4f} {self.metric} ({self.verdict}), {cost}"


def read_effects() -> dict[str, list[Effect]]:
    """Return all measured effects by technique; empty if the package has none."""
    path = files("autoaccel.techniques") / FILE
    rows = json.loads(path.read_text()) if path.is_file() else []
    found: dict[str, list[Effect]] = {}
    for row in rows:
        found.setdefault(row["technique"], []).append(Effect(**row))
    return found


def helpful(effects: Iterable[Effect]) -> bool:
    """Return whether any of the effects is better than plain training."""
    return any(effect.verdict == "better" for effect in effects)
