"""Measure a task with the plain recipe: seconds, FLOPs and memory, by batch size."""

from __future__ import annotations

import importlib.util
import inspect
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import psutil
import torch

from autoaccel.core.clock import Clock
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import COUNTS, Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.core.schedules import Scalar
from autoaccel.errors import TaskError, suggestion
from autoaccel.spaces.domains import model_domains
from autoaccel.techniques.registry import build
from autoaccel.training.batches import BatchSampler
from autoaccel.training.build import assemble
from autoaccel.training.context import TrainingContext
from autoaccel.training.data.capabilities import task_capabilities
from autoaccel.training.data.task import Task
from autoaccel.training.evaluate import evaluate, expected_cost
from autoaccel.training.footprint import measuring_cost
from autoaccel.training.identity import data_digest
from autoaccel.training.loop import Step
from autoaccel.training.metrics.choosing import is_common
from autoaccel.training.rehearsal import described, rehearse_delivery, rehearse_training
from autoaccel.training.too_large import one_device

SIZES = (16, 32, 64, 128, 256, 512)
FEW_STEPS = 5
DISTURBED = 1.5
"""A step that takes this many times as long as the fastest quarter was disturbed by something else."""
MOST_ROUNDS = 4
REPEAT_SECONDS = 2.0
"""Seconds of steps after which no measurement is repeated: over such times, disturbances average out."""


@dataclass(frozen=True)
class StepCost:
    """The cost of one training step of the plain recipe.

    Args:
        batch_size: Samples in the step.
        cost: Cost of the step: the median seconds of the undisturbed steps, the mean of everything else.
        bytes: Peak memory of the GPU, or current memory of the process on a CPU.
    """

    batch_size: int
    cost: Cost
    bytes: int


@one_device()
def profile_task(
    task: Task,
    clock: Clock,
    started: float,
    split_seed: int,
    cpu: bool,
    save: Path | None = None,
    measured: tuple[str, ...] = (),
) -> TaskFacts:
    """Rehearse all steps of a training on a few samples, and measure some steps of the plain recipe.

    Args:
        task: The task to measure.
        clock: Measures the seconds.
        started: Time on the clock when the profile was requested.
        split_seed: Seed of the validation split.
        cpu: Use the CPU even if there is a GPU.
        save: File for what is understood of the task, for the trials of the run; None writes none.
        measured: What trials will measure of their models; see `footprint.measure`.

    Raises:
        TaskError: If the task cannot be trained, or its model does not fit on one device.
    """
    _check_space(task)
    context = _plain(task, clock, started, split_seed, cpu)
    setup = context.meter.spent().without(COUNTS)
    rehearse_training(task, context)
    step = measure_step(context, context.batch_size, clock)
    _, resampling = expected_cost(
        context, context.data.valid
    )  # and the set-up of a first evaluation, to exclude it next
    before = context.meter.spent()
    evaluate(context, context.data.valid, error=False)
    evaluation = context.meter.spent() - before
    measuring = measuring_cost(task, measured, context)
    micro_batch = _largest_batch(context, clock) if context.device.type == "cuda" else 0
    facts = _unmeasured(task, context)
    rehearse_delivery(task, context)
    if save is not None:
        context.data.found.save(save)
    return replace(
        facts,
        train=Cost({name: amount / step.batch_size for name, amount in step.cost.items()}),
        evaluation=evaluation.without(COUNTS),
        resampling=resampling.without(COUNTS),
        measuring=measuring,
        setup=setup,
        profile=context.meter.spent(),
        micro_batch=micro_batch,
    )


def _unmeasured(task: Task, context: TrainingContext) -> TaskFacts:
    """Return what is known of a task and its machine without what anything costs."""
    data = context.data
    return TaskFacts(
        kind=data.kind,
        capabilities=task_capabilities(task, data, context.model) | _machine_capabilities(context.device),
        metric=data.metric.name,
        maximize=data.metric.maximize,
        common_metric=is_common(data.metric.name),
        n_train=len(data.train),
        n_valid=len(data.valid),
        n_test=len(data.test) if data.test is not None else 0,
        classes=data.classes,
        parameters=sum(p.numel() for p in context.model.parameters() if p.requires_grad),
        device=_device_name(context.device),
        fingerprint=data_digest(data),
        understood=tuple(described(task, context)),
        folds=task.folds,
        defaults=_defaults(task),
        names=data.found.reader.names,
    )


def _defaults(task: Task) -> dict[str, Scalar | None]:
    """Return the defaults of the searched hyperparameters in the model factory's signature."""
    accepted = _accepted(task)
    stated = {name: accepted[name].default for name in task.space if accepted and name in accepted}
    return {name: given for name, given in stated.items() if isinstance(given, int | float | str | bool | None)}


def _accepted(task: Task) -> Mapping[str, inspect.Parameter] | None:
    """Return the parameters of the model factory; None for a callable written in C that has no signature."""
    try:
        return inspect.signature(task.model).parameters
    except (TypeError, ValueError):
        return None


def _check_space(task: Task) -> None:
    """Check that the model factory accepts the searched hyperparameters."""
    model_domains(task.space)
    accepted = _accepted(task)
    if accepted is None or any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
        return
    for name in task.space:
        if name not in accepted:
            takes = ", ".join(accepted) or "nothing"
            raise TaskError(
                f"space: the model's factory has no {name!r}, it takes {takes}{suggestion(name, accepted)}"
            )


def measure_sizes(
    task: Task, clock: Clock, split_seed: int, cpu: bool, sizes: Sequence[int] = SIZES
) -> Iterator[StepCost]:
    """Yield the cost of a step at several batch sizes, ascending; stop early when memory runs out."""
    context = _plain(task, clock, clock.now(), split_seed, cpu)
    for size in sizes:
        if size > len(context.data.train):
            return
        cost = measure_step(context, size, clock)
        if context.micro_batch:  # it did not fit at once
            return
        yield cost


def measure_step(context: TrainingContext, size: int, clock: Clock) -> StepCost:
    """Return the cost of a step with `size` samples; a first warm-up step is not measured.

    Other processes only ever make a step slower, so steps that took much longer than the fastest quarter are left
    out, and if most steps took longer than the fastest one, the measurement is repeated.
    """
    context.batch_size = min(size, len(context.data.train) or size)
    step, batches = Step(context), iter(BatchSampler(context, 0))
    if context.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    context.model.train()
    step(next(batches))
    before = context.meter.spent()
    seconds = _timed(context, lambda: step(next(batches)), clock)
    spent = (context.meter.spent() - before).without(COUNTS)
    mean = Cost({name: amount / FEW_STEPS for name, amount in spent.items()})
    for _ in range(MOST_ROUNDS - 1):
        if median(seconds) <= DISTURBED * min(seconds) or sum(seconds) > REPEAT_SECONDS:
            break
        # How often it repeats depends on the clock, and what is charged in FLOPs and steps must not.
        with context.meter.uncounted():
            seconds += _timed(context, lambda: step(next(batches)), clock)
    return StepCost(context.batch_size, mean.replace(seconds=median(_undisturbed(seconds))), _peak_memory(context))


def _timed(context: TrainingContext, step: Callable[[], None], clock: Clock) -> list[float]:
    """Take a few steps; return the seconds of each."""
    seconds = []
    for _ in range(FEW_STEPS):
        _finish_work(context)
        started = clock.now()
        step()
        _finish_work(context)
        seconds.append(clock.now() - started)
    return seconds


def _undisturbed(seconds: Sequence[float]) -> list[float]:
    fastest = sorted(seconds)[(len(seconds) - 1) // 4]
    return [taken for taken in seconds if taken <= DISTURBED * fastest]


def _plain(task: Task, clock: Clock, started: float, split_seed: int, cpu: bool) -> TrainingContext:
    techniques = build(PLAIN["plain"].chosen())
    return assemble(task, techniques, {}, 0, split_seed, clock, started, cpu)


def _finish_work(context: TrainingContext) -> None:
    if context.device.type == "cuda":
        torch.cuda.synchronize()


def _peak_memory(context: TrainingContext) -> int:
    if context.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return int(psutil.Process().memory_info().rss)


def _largest_batch(context: TrainingContext, clock: Clock) -> int:
    """Return the micro-batch of the first of a few sizes that do not fit in memory; 0 if all fit."""
    for size in (128, 256, 512, 1024):
        if size > len(context.data.train):
            break
        measure_step(context, size, clock)
        if context.micro_batch:
            break
    return context.micro_batch


def _machine_capabilities(device: torch.device) -> frozenset[str]:
    """Return the capabilities of the hardware, and whether torch finds a compiler."""
    cuda = device.type == "cuda"
    offers = {
        "fast_bf16": _fast_bf16(device),
        "fp16": cuda,
        "fp8": cuda and torch.cuda.get_device_capability(device) >= (8, 9),
        "compiler": _finds_compiler(device),
    }
    return frozenset(name for name, offered in offers.items() if offered)


def _fast_bf16(device: torch.device) -> bool:
    """Return whether bfloat16 has matrix units; without them, conversions cost more than it saves."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))


def _finds_compiler(device: torch.device) -> bool:
    """Return whether torch's Inductor finds its compiler: C++, or Triton and the C compiler that it needs."""
    if device.type == "cuda":
        has_c = any(shutil.which(name) for name in (os.environ.get("CC", "cc"), "gcc", "clang"))
        return has_c and importlib.util.find_spec("triton") is not None
    return device.type == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is not None


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"{device.type}, {torch.get_num_threads()} threads"
