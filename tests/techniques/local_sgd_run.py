"""Train in two processes that take steps alone, and write what each one saw.

    torchrun --nproc_per_node 2 local_sgd_run.py FOLDER SCENARIO ...

Each process writes FOLDER/SCENARIO-RANK.json. Where nothing else is said the model has no BatchNorm and no dropout.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, PartialState
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from ranks_run import REQUEST, Net, Running, task

from autoaccel.core import checkpoints
from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import Choice, Recipe
from autoaccel.techniques.registry import build
from autoaccel.techniques.shared.ranks import average_over_ranks, averaged_over_ranks
from autoaccel.training.build import assemble
from autoaccel.training.checkpointer import Checkpointer
from autoaccel.training.evaluate import evaluated_weights
from autoaccel.training.finalize import finalize
from autoaccel.training.loop import Keeper, Milestones, train
from autoaccel.training.meters.progress import Progress

STEPS = 12
SGD = Choice("sgd", {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0})
ALONE = {"after": 0.0, "every": 0.3}
"""Alone from the first step on; averages after the steps 1, 5 and 9 of 12."""


class Watch(Keeper):
    """Notes the weights before each step, and what is averaged in it."""

    def __init__(self, profiled=()):
        self.weights, self.apart, self.sizes, self._profiled = [], [], {}, profiled
        self._profile = None

    def begin(self, running):
        self.running, self.context = running, running.context

    def before_step(self):
        step = len(self.weights)
        self.weights.append(numbers(self.context.model))
        self.apart.append(self.context.apart)
        if self._profile is not None:
            self._profile.stop()
            events = [e for e in self._profile.events() if e.name == "gloo:all_reduce"]
            self.sizes[step - 1] = [int(torch.Size(e.input_shapes[0]).numel()) for e in events]
            self._profile = None
        if step in self._profiled:
            self._profile = torch.profiler.profile(record_shapes=True)
            self._profile.start()


def numbers(model):
    """Return all weights of a model as a list."""
    return torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()


def recipe_with(techniques):
    """Return a recipe of plain SGD, whose steps are linear in the gradient."""
    return Recipe(optimizer=SGD, learning_rate=Choice("constant"), techniques=techniques)


def trained(model, techniques, profiled=()):
    """Train, and return the context, what was noted before each step, and the losses at the milestones."""
    recipe = recipe_with(techniques)
    context = assemble(task(model), build(recipe.chosen()), {}, 0, 0, SimulatedClock(), 0.0, cpu=True)
    watch, losses = Watch(profiled), []
    progress = Progress(Budget(steps=STEPS), context.meter.spent(), Cost(), 2, Cost())
    milestones = Milestones((0.5, 1.0), 0, lambda index, score, cost: losses.append(score.loss) or True)
    train(context, progress, milestones, seed=0, keeper=watch)
    return context, watch, losses


def seen(context, watch, losses):
    """Return what a process saw, as plain data."""
    live = numbers(context.model)
    with averaged_over_ranks(context.model):
        mean = numbers(context.model)
    found = {"steps": watch.weights, "apart": watch.apart, "sizes": watch.sizes, "losses": losses}
    return {**found, "live": live, "mean": mean, "restored": numbers(context.model) == live}


def each_step():
    """An average after each step of SGD, and gradients that are shared."""
    alone, _, _ = trained(Net, {"local_sgd": {"after": 0.0, "every": 1e-6}})
    AcceleratorState._reset_state()
    together, _, _ = trained(Net, {})
    return {"alone": numbers(alone.model), "together": numbers(together.model)}


def apart():
    """An average now and then."""
    return seen(*trained(Net, {"local_sgd": ALONE}, profiled=(6, 7)))


def later():
    """Gradients are shared in the first half."""
    return seen(*trained(Net, {"local_sgd": {"after": 0.5, "every": 1.0}}, profiled=(4, 5, 8)))


def pulled():
    """Others pull weights, freeze them and evaluate an average of them."""
    techniques = {
        "local_sgd": ALONE,
        "ema": {"half_life": 0.1, "start": 0.0},
        "lookahead": {"every": 1e-6},
        "layer_freezing": {},
    }
    layers = [nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)]
    context, watch, losses = trained(lambda: nn.Sequential(*layers), techniques)
    named = {t.info.name: t for t in context.techniques}
    average = torch.cat([part.flatten() for part in named["ema"].average]).tolist()
    with evaluated_weights(context):
        evaluated = numbers(context.model)
    frozen = named["layer_freezing"].frozen
    return {**seen(context, watch, losses), "ema": average, "evaluated": evaluated, "frozen": frozen}


def normed():
    """BatchNorm: what is delivered has the average of its statistics, and scores what was evaluated."""
    model = lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))  # noqa: E731
    context, watch, losses = trained(model, {"local_sgd": ALONE})
    statistics = context.model[1].running_mean.tolist()
    finalize(context, Path(sys.argv[1]) / "normed.safetensors", test=False)
    return {"statistics": statistics, **seen(context, watch, losses)}


def branches():
    """The processes use other parameters."""
    return seen(*trained(lambda: Net(branches=True), {"local_sgd": ALONE}))


def short():
    """Only one process lacks memory, and only it halves what it computes at once."""
    made = []

    def model():
        made.append(Net(most=1000 if PartialState().process_index == 0 else 20))
        return made[-1]

    return {**seen(*trained(model, {"local_sgd": ALONE})), "batches": made[-1].sizes}


class Odd(nn.Module):
    """Tensors of all kinds."""

    def __init__(self, rank):
        super().__init__()
        self.weight = nn.Parameter(torch.full((2, 3), float(rank)))
        self.tied = self.weight
        self.short = nn.Parameter(torch.full((2,), 40_000.0 + 64 * rank, dtype=torch.float16))
        self.wide = nn.Parameter(torch.full((2,), 1.0 + rank * 2.0**-40, dtype=torch.float64))
        self.waves = nn.Parameter(torch.full((2,), complex(rank, -rank)))
        self.frozen = nn.Parameter(torch.full((2,), 5.0 + rank), requires_grad=False)
        self.last = nn.Parameter(torch.zeros(1, 2, 3, 3).add(rank).to(memory_format=torch.channels_last))
        self.register_buffer("mean", torch.tensor(float(rank)))
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
        self.register_buffer("table", torch.linspace(0.1, 0.9, 7))
        self.register_buffer("count", torch.tensor(3 + rank))
        self.register_buffer("empty", torch.zeros(0))
        self.register_buffer("sparse", torch.eye(2).mul(1 + rank).to_sparse())


def odd():
    """The average of tensors of all kinds."""
    model = Odd(PartialState().process_index)
    table, place = model.table.clone(), model.weight.data_ptr()
    average_over_ranks(model)
    return {
        "weight": model.weight.flatten().tolist(),
        "short": model.short.tolist(),
        "wide": [float(w - 1) * 2.0**40 for w in model.wide],
        "waves": [[w.real, w.imag] for w in model.waves.tolist()],
        "frozen": model.frozen.tolist(),
        "last": [model.last.unique().tolist(), model.last.is_contiguous(memory_format=torch.channels_last)],
        "mean": float(model.mean),
        "mask": [float(model.mask[0]), str(float(model.mask[1]))],
        "table": torch.equal(model.table, table),
        "count": int(model.count),
        "sparse": model.sparse.to_dense().tolist(),
        "same": model.weight is model.tied and model.weight.data_ptr() == place,
    }


def preempted():
    """It is asked to end between two averages; another training goes on from the checkpoint."""
    run = Running(sys.argv[1], "preempted")
    techniques = {"local_sgd": {"after": 0.0, "every": 1.0}}
    request = replace(REQUEST, recipe=recipe_with(techniques))
    first = run.train(task(run.model), request, preempt=7)
    live = numbers(run.made[-1])
    AcceleratorState._reset_state()
    run.steps = 0
    again = run.train(task(run.model), replace(request, trial=1, resumes=0, carried=first.saved))
    saved = saved_weights(run.folder / "trials" / "0000", run.made[-1])
    return {"live": live, "saved": saved, "kind": again.kind.value, "steps": again.cost.steps, "taken": run.steps}


def saved_weights(folder, model):
    """Return the weights in the newest checkpoint in a folder; empty if there is none."""
    for made in checkpoints.checkpoints(folder):
        state = torch.load(made.state, weights_only=True)["model"]
        return torch.cat([state[name].flatten() for name, _ in model.named_parameters()]).tolist()
    return []


def checkpointed():
    """The first process is asked for a checkpoint while it is apart from the other, and again after they have met."""
    context, watch, _ = trained(Net, {"local_sgd": ALONE})
    folder = Path(sys.argv[1]) / "checkpointed" / "0000"
    checkpointer = Checkpointer(folder, REQUEST, [], lambda report: None)
    checkpointer.begin(watch.running)
    checkpointer.make_now()
    apart, live = saved_weights(folder, context.model), numbers(context.model)
    context.meet()
    checkpointer.make_now()
    return {"apart": apart, "live": live, "met": saved_weights(folder, context.model)}


def main():
    """Run the scenarios."""
    torch.set_num_threads(1)
    state = PartialState(cpu=True)
    folder = Path(sys.argv[1])
    for name in sys.argv[2:]:
        AcceleratorState._reset_state()
        found = globals()[name]()
        (folder / f"{name}-{state.process_index}.json").write_text(json.dumps(found))
        state.wait_for_everyone()


if __name__ == "__main__":
    main()
