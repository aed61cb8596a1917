"""Putting a training together: seed, model, data, techniques, Accelerate, in that order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import set_seed

from autoaccel.core.clock import Clock
from autoaccel.errors import UsageError
from autoaccel.techniques.base import Technique
from autoaccel.training.context import TrainingContext
from autoaccel.training.data.prepare import build_model, prepare
from autoaccel.training.data.task import Task
from autoaccel.training.meters.flops import Meter


def assemble(
    task: Task,
    techniques: Sequence[Technique],
    model_parameters: Mapping[str, Any],
    seed: int,
    split_seed: int,
    clock: Clock,
    started: float,
    cpu: bool = False,
) -> TrainingContext:
    """Build a training that is ready for its first step.

    Args:
        task: What the user gave.
        techniques: In the order in which their hooks run; an optimizer, a learning rate and a batch size too.
        model_parameters: Keyword arguments for the model's factory.
        seed: Seeds the model and all random draws.
        split_seed: Decides the validation split; the same for all trials of a run.
        clock: Counts the seconds.
        started: Its reading when the trial was asked for.
        cpu: Use the CPU even where there is a GPU.

    Raises:
        TaskError: If the task cannot be trained.
    """
    context = prepare_context(task, techniques, model_parameters, seed, split_seed, clock, started, cpu)
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
) -> TrainingContext:
    """Build model, data and context, before any technique has touched them; see `assemble` for the arguments.

    Raises:
        TaskError: If the task cannot be trained.
    """
    device = pick_device(cpu)
    set_seed(seed)
    model = build_model(task, model_parameters).to(device)
    data = prepare(task, model, split_seed)
    meter = Meter(model, clock, started, PartialState().num_processes)
    return TrainingContext(model, data, techniques, meter, seed, device)


def set_up(context: TrainingContext, cpu: bool = False) -> None:
    """Let the techniques install themselves, then hand all to Accelerate.

    Raises:
        UsageError: If a technique does not work with the several processes that there are.
    """
    for technique in context.techniques:
        if PartialState().num_processes > 1 and not technique.parallel:
            raise UsageError(f"{type(technique).__name__} does not work with several processes that share a batch")
        technique.setup(context)
    # Built after the techniques' setup, since one of them may have asked for a precision.
    on_cpu = cpu or context.device.type == "cpu"
    context.accelerator = Accelerator(mixed_precision=context.mixed_precision, cpu=on_cpu)
    context.prepare()


def pick_device(cpu: bool) -> torch.device:
    """The device that Accelerate will use in this process.

    Where there is nothing but a CPU it has to be told so: several processes would not find each other else.
    """
    device: torch.device = PartialState(cpu=cpu or not torch.accelerator.is_available()).device
    return device
