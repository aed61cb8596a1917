"""What each technique alone did to plain training, as it was measured: data that come with the package."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

FILE = "effects.json"


@dataclass(frozen=True)
class Effect:
    """The effect of one technique on one task at equal budget, against the better form of plain training.

    Args:
        technique: Its name; it was added with its default parameters, or took its component.
        task: image, text, table or regression; see benchmarks/techniques/tasks.py.
        budget: For people, such as `660 GFLOPs` or `8s`.
        equal: What was equal: `flops` or `seconds`.
        metric: The task's metric on the test set.
        seeds: Trainings of each kind, paired by seed.
        gain: Mean of the differences in the metric; positive is better.
        half: Half of its 95 % interval (Student's t).
        seconds: Median ratio of the seconds, technique / plain.
        flops: Median ratio of the FLOPs.
        note: What has to be known, such as why trainings failed.
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
        """better, worse, or level where the interval holds zero."""
        if self.seeds < 2 or abs(self.gain) <= self.half:
            return "level" if self.seeds >= 2 else "failed"
        return "better" if self.gain > 0 else "worse"

    def __str__(self) -> str:
        if self.seeds < 2:
            return self.note
        cost = f"{self.seconds:.2f} x the seconds" if self.equal == "flops" else f"{self.flops:.2f} x the FLOPs"
        return f"{self.gain:+.4f} ± {self.half:.4f} {self.metric} ({self.verdict}), {cost}"


def read_effects() -> dict[str, list[Effect]]:
    """All measured effects by technique; empty where none were measured."""
    path = files("autoaccel.techniques") / FILE
    rows = json.loads(path.read_text()) if path.is_file() else []
    found: dict[str, list[Effect]] = {}
    for row in rows:
        found.setdefault(row["technique"], []).append(Effect(**row))
    return found


def helpful(effects: Iterable[Effect]) -> bool:
    """Whether a technique made anything better anywhere."""
    return any(effect.verdict == "better" for effect in effects)
