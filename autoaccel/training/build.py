"""Assemble a training: seed, model, data, techniques and Accelerate, in this order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed

from autoaccel.core.clock import Clock
from autoaccel.errors import UsageError
from autoaccel.techniques.base import Technique
from autoaccel.training.context import TrainingContext
from autoaccel.training.data.prepare import build_model, prepare
from autoaccel.training.data.task import Task
from autoaccel.training.data.understanding import Understanding
from autoaccel.training.device import pick_device
from autoaccel.training.meters.meters import Meters


def assemble(
    task: Task,
    techniques: Sequence[Technique],
    model_parameters: Mapping[str, Any],
    seed: int,
    split_seed: int,
    clock: Clock,
    started: float,
    cpu: bool = False,
    found: Understanding | None = None,
) -> TrainingContext:
    """Build a training that is ready for its first step.

    Args:
        task: The user's task.
        techniques: Techniques in the order of their hooks, with an optimizer, a learning rate and a batch size.
        model_parameters: Keyword arguments for the model's factory.
        seed: Seed of the model and of all random draws.
        split_seed: Seed of the validation split, the same for all trials of a run.
        clock: Measures the seconds.
        started: The clock's reading when the trial was requested.
        cpu: Whether to use the CPU even if there is a GPU.
        found: What was understood of the task before, in this run.

    Raises:
        TaskError: If the task cannot be trained.
        UsageError: If a technique does not work with the number of processes.
    """
    context = prepare_context(task, techniques, model_parameters, seed, split_seed, clock, started, cpu, found)
    set_up(context, cpu)
    return context


def prepare_context(
    task: Task,
    techniques: Sequence[Technique],
    model_parameters: Mapping[str, Any],
    seed: int,
    split_seed: int,
    clock: Clock,
    started: float,
    cpu: bool = False,
    found: Understanding | None = None,
) -> TrainingContext:
    """Build the model, the data and the context, before any technique runs; `assemble` explains the arguments.

    Raises:
        TaskError: If the task cannot be trained.
    """
    device = pick_device(cpu)
    set_seed(seed)
    model = build_model(task, model_parameters).to(device)
    data = prepare(task, model, split_seed, found)
    meter = Meters(model, clock, started, PartialState().num_processes)
    return TrainingContext(model, data, techniques, meter, seed, device)


def set_up(context: TrainingContext, cpu: bool = False) -> None:
    """Run the techniques' setup, then prepare the training with Accelerate.

    Raises:
        UsageError: If there are several processes and a technique does not support that.
    """
    for technique in context.techniques:
        if PartialState().num_processes > 1 and not technique.parallel:
            raise UsageError(f"{type(technique).__name__} does not work with several processes that share a batch")
        technique.setup(context)
    # Built after the techniques' setup, which may set the precision.
    AcceleratorState._reset_state()  # one of the user's file, or of the last trial, may have another precision
    on_cpu = cpu or context.device.type == "cpu"
    context.accelerator = Accelerator(mixed_precision=context.mixed_precision, cpu=on_cpu)
    context.prepare()
    if rank := context.accelerator.process_index:
        set_seed(context.seed + rank)  # or each would draw the same dropout
