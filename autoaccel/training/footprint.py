"""What a delivered model takes: its latency, size and memory, and other metrics than the task's.

All of it is measured of the saved file, loaded into the user's own model in eval mode: what pruning left, and what
is stored in int8, with what that costs at every forward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from weakref import finalize

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from autoaccel.core.budget import Budget
from autoaccel.core.goal import FOOTPRINT, LATENCY, MEMORY, SIZE
from autoaccel.core.quantities import COUNTS, Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import TrialRequest
from autoaccel.errors import TaskError
from autoaccel.techniques.shared.tensors import call, tensors_in
from autoaccel.training.checkpoint import load_weights, save_weights
from autoaccel.training.context import TrainingContext
from autoaccel.training.data.prepare import Data, build_model
from autoaccel.training.data.task import Task
from autoaccel.training.evaluate import score_alone
from autoaccel.training.metrics.choosing import make_metric
from autoaccel.training.metrics.metric import Metric

WARM_UP = 3
REPEATS = (7, 50)
"""Fewest and most forwards whose median is the latency."""
LONG_ENOUGH = 0.3
"""Seconds of forwards after which the fewest are enough."""
MEGA = 1e6
"""Bytes of a megabyte, as on the label of a disk."""


def measure(task: Task, request: TrialRequest, path: Path, context: TrainingContext) -> dict[str, float]:
    """Return what a request asks to measure of a saved model, by name; its cost is booked.

    Args:
        task: The user's task.
        request: Names what to measure, and the user's hyperparameters of the model.
        path: The file with the weights.
        context: The training that has ended: its device, data and meter. Its model is moved to the CPU, and the
            state of its optimizer is deleted, since two models may not fit on the device.

    Raises:
        TaskError: If a name is no metric that suits the task.
    """
    names, inputs = request.measure, next(context.training_batches(1))
    with torch.random.fork_rng(devices=[]):
        model = build_model(task, request.recipe.model)
    load_weights(model, path)
    context.optimizer.zero_grad()
    context.optimizer.state.clear()
    context.model.cpu()
    model.to(context.device).eval()
    made: dict[str, Callable[[], float]] = {
        LATENCY: lambda: 1e3 * latency(model, inputs, context),
        SIZE: lambda: path.stat().st_size / MEGA,
        MEMORY: lambda: (stored(model) + activations(model, inputs, context)) / MEGA,
    }
    found = {name: made[name]() for name in names if name in made}
    for name in names:
        if name not in made:
            data = replace(context.data, metric=other_metric(name, context.data))
            judged = TrainingContext(model, data, (), context.meter, request.seed, context.device)
            judged.micro_batch = context.micro_batch
            found[name] = score_alone(judged, data.valid, request.valid_samples).metric
    return found


def measuring_cost(task: Task, names: tuple[str, ...], context: TrainingContext) -> Cost:
    """Return what it costs to measure so, by doing it with the model of a profile; that is booked too.

    Raises:
        TaskError: If a name is no metric that suits the task.
    """
    if not names:
        return Cost()
    before = context.meter.spent()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_weights(context.model, path)
        measure(task, TrialRequest(0, PLAIN["plain"], Budget(seconds=1.0), measure=names), path, context)
    context.model.to(context.device)
    return (context.meter.spent() - before).without(COUNTS)


def other_metric(name: str, data: Data) -> Metric:
    """Return a metric by name, which may be that of the task.

    Raises:
        TaskError: If it is not known, or does not suit the task.
    """
    if name == data.metric.name:
        return data.metric
    form = data.found.form
    try:
        return make_metric(name, None, "prediction", form.readout, data.found.dense and data.found.kind == "tokens")
    except TaskError as error:
        raise TaskError(f"--subject-to {name}: {error.message}; or one of {', '.join(FOOTPRINT)}") from error


def latency(model: nn.Module, inputs: Any, context: TrainingContext) -> float:
    """Return the median seconds of a forward of one sample, after a warm-up.

    It is taken with the threads that the trial trains with. The clock is read after the device has done its work.
    """
    taken: list[float] = []
    with torch.inference_mode():
        for number in range(WARM_UP + REPEATS[1]):
            context.meter.forward(inputs, model)
            _finish_work(context.device)
            before = context.meter.seconds()
            call(model, inputs)
            _finish_work(context.device)
            if number >= WARM_UP:
                taken.append(context.meter.seconds() - before)
            if len(taken) >= REPEATS[0] and sum(taken) > LONG_ENOUGH:
                break
    return median(taken)


def stored(model: nn.Module) -> int:
    """Return the bytes of a model's weights and buffers in memory; what several modules share counts once."""
    state = [*model.parameters(), *model.buffers()]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in state}.values())


def activations(model: nn.Module, inputs: Any, context: TrainingContext) -> int:
    """Return the peak bytes that a forward of one sample takes besides the weights.

    On a GPU that is what torch has allocated at the peak. On a CPU it is the largest total of all tensors that
    operations have made and that are alive at the same time; what an operation takes inside of itself is not seen.
    """
    context.meter.forward(inputs, model)
    if context.device.type == "cuda":
        with torch.inference_mode():
            torch.cuda.reset_peak_memory_stats(context.device)
            before = torch.cuda.memory_allocated(context.device)
            call(model, inputs)
            return int(torch.cuda.max_memory_allocated(context.device) - before)
    with torch.no_grad(), _Alive(model) as alive:
        call(model, inputs)
    return int(alive.most)


class _Alive(TorchDispatchMode):
    """Adds up the bytes of the tensors that operations make, for as long as they are alive.

    Args:
        model: Its weights do not count, nor do views of them.
    """

    def __init__(self, model: nn.Module):
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = self._now = 0
        self._known = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        for tensor in tensors_in(output):
            self._book(tensor)
        return output

    def _book(self, tensor: Tensor) -> None:
        if tensor.layout is not torch.strided:
            return
        storage = tensor.untyped_storage()
        at, size = storage.data_ptr(), storage.nbytes()
        if size and at not in self._known:
            self._known.add(at)
            self._now += size
            self.most = max(self.most, self._now)
            finalize(storage, self._free, at, size)

    def _free(self, at: int, size: int) -> None:
        self._known.discard(at)
        self._now -= size


def _finish_work(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
