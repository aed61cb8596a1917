"""A meter of your own, registered in the model file. Run: python examples/extending/meter.py

It measures the processor time of a training, over all its threads. A meter of energy would read joules from the
machine's counters. Budgets, costs and progress then know the quantity by its name.
"""

from typing import ClassVar

import psutil
from sklearn.datasets import load_digits
from torch import nn

from autoaccel import Budget, Task, train
from autoaccel.training.meters.base import Meter
from autoaccel.training.meters.meters import register


@register
class CpuSeconds(Meter):
    """Processor seconds of this process since the trial's model was built."""

    quantity: ClassVar[str] = "cpu_seconds"

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = self._used()

    def read(self) -> float:
        """Processor seconds until now."""
        return self._used() - self._before

    def _used(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


def net() -> nn.Module:
    """A small classifier."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


x, y = load_digits(return_X_y=True)
task = Task(model=net, train=((x / 16).astype("float32"), y))

if __name__ == "__main__":
    result = train(__file__, "plain", Budget(cpu_seconds=4))
    print(result, result.data["final"]["cost"])
