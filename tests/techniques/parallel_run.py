"""Train each given technique for a few steps, in one process or in several that share each batch.

    torchrun --nproc_per_node 2 parallel_run.py results.json ema clip ...

The models have neither BatchNorm nor dropout, so that two processes compute the same as one with the whole batch.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import gather
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from sample_tasks import task_for

from autoaccel.core.budget import Budget
from autoaccel.core.catalog import REFERENCE
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.quantities import Cost
from autoaccel.techniques.registry import build, classes
from autoaccel.testing.techniques import alone
from autoaccel.training.build import prepare_context, set_up
from autoaccel.training.data.prepare import build_model
from autoaccel.training.loop import Milestones, train
from autoaccel.training.meters.progress import Progress

STEPS = 12


def quiet(task):
    """The same task with a model without BatchNorm and dropout, which differ between processes."""

    def model():
        made = task.model()
        for parent in list(made.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.modules.batchnorm._BatchNorm):
                    setattr(parent, name, nn.Identity())
                if isinstance(child, nn.Dropout):
                    child.p = 0.0
        return made

    return replace(task, model=model)


def losses(name):
    """Return the losses at the middle and the end, and the largest difference of weights between processes."""
    AcceleratorState._reset_state()
    info = classes()[name].info
    task = quiet(task_for(info))
    context = prepare_context(task, build(alone(name, {}).chosen()), {}, 0, 0, SimulatedClock(), 0.0, cpu=True)
    if REFERENCE in info.requires:
        context.teacher = build_model(task, {}).eval().requires_grad_(False)
    set_up(context, cpu=True)
    found = []

    def report(index, score, cost):
        found.append(score.loss)
        return True

    progress = Progress(Budget(steps=STEPS), context.meter.spent(), Cost(), 2, Cost())
    train(context, progress, Milestones((0.5, 1.0), 0, report), seed=0)
    flat = torch.cat([p.detach().float().flatten() for p in context.model.parameters()])
    every = gather(flat[None])
    return found, float((every - every[0]).abs().max())


def main():
    """Write the losses of each technique, or the error it failed with."""
    torch.set_num_threads(1)
    PartialState(cpu=True)
    found = {}
    for name in sys.argv[2:]:
        try:
            found[name] = losses(name)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    if PartialState().is_main_process:
        Path(sys.argv[1]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
