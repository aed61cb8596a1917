"""Train in one process, or in several that share each batch, and write what came of it.

    torchrun --nproc_per_node 2 ranks_run.py FOLDER SCENARIO ...

Each process writes FOLDER/SCENARIO-RANK.json. The models have no dropout, so that the processes compute together
what one does.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate.state import AcceleratorState, PartialState
from torch import nn
from torch.utils.data import DataLoader, Sampler

from autoaccel import Task
from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.codec import to_data
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.trial import TrialRequest
from autoaccel.training.ranks import Ranks
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment

STEPS = 12


class Net(nn.Module):
    """A small net; one of its branches may be left out, by what the batch is."""

    def __init__(self, branches=False, most=1000, normed=False):
        super().__init__()
        norm = nn.BatchNorm1d(16) if normed else nn.Identity()
        self.body = nn.Sequential(nn.Linear(6, 16), norm, nn.GELU(), nn.Linear(16, 3))
        self.side = nn.Linear(6, 3) if branches else None
        self.most = most
        self.sizes = []

    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            self.sizes.append(len(x))
            if len(x) > self.most:
                raise torch.OutOfMemoryError("out of memory")
        if (largest := float(x.max())) >= 99:
            raise ValueError(f"sample {largest - 99:.0f} is broken")
        out = self.body(x)
        if self.side is not None and float(x[0, 0]) > 0:
            out = out + self.side(x)
        return out


def in_order(y, predicted):
    """A metric that depends on the order of the samples."""
    return float((predicted == y) @ np.linspace(0, 1, len(y)) / len(y))


def task(model=Net, samples=301, **more):
    """Return a task whose validation set does not divide by two."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 6, generator=generator)
    y = (x[:, 0] * 2 + x[:, 1]).round().long().clamp(0, 2)
    valid = (x[:57], y[:57])
    return Task(
        model=model, train=(x[57:], y[57:]), valid=valid, test=valid, metric=in_order, direction="max", **more
    )


class Batches(Sampler):
    """A user's own batches, the last of which is smaller."""

    def __init__(self, count, size):
        self.batches = list(torch.arange(count).split(size))

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return (batch.tolist() for batch in self.batches)


def with_batches(model, samples, size):
    """Return a task with batches of the user's own."""
    own = task(model, samples=samples + 57)
    rows = list(zip(*own.train, strict=True))
    return replace(own, train=DataLoader(rows, batch_sampler=Batches(samples, size)))


class Running:
    """One training and what surrounds it."""

    def __init__(self, folder, name, cost=0.0):
        self.clock = SimulatedClock()
        self.rank = PartialState(cpu=True).process_index
        self.folder = Path(folder) / name
        self.made = []
        self.steps = 0
        self.cost = cost

    def model(self, **settings):
        """Make the model, and keep it."""
        self.made.append(Net(**settings))
        return self.made[-1]

    def train(self, task, request, stop=None, early=None, preempt=None):
        """Train; the requests come at a step of the first process only."""

        def at(step):
            return self.rank == 0 and step is not None and self.steps > step

        def stopped():
            self.steps += 1
            self.clock.advance_to(self.clock.now() + self.cost * (1 + self.rank))
            return at(stop) or at(preempt)

        environment = TrialEnvironment(
            self.clock,
            0.0,
            lambda report: True,
            self.folder / "trials" / f"{request.trial:04d}",
            cpu=True,
            stopped=stopped,
            finishing=lambda: at(early),
            preempted=lambda: at(preempt),
        )
        return run_trial(task, request, environment)


REQUEST = TrialRequest(
    0, PLAIN["plain_constant"], Budget(steps=STEPS), milestones=(0.5, 1.0), test=True, keep_best=True
)


def plain(run):
    """Nothing special."""
    return run.train(task(run.model), REQUEST)


def cut(run):
    """Micro-batches, of which the processes have different numbers: shares of 33 and 32."""
    return run.train(task(run.model), replace(REQUEST, recipe=sized(65), micro_batch=32))


def uneven(run):
    """Batches of 13 do not divide by two, and the budget is one of samples."""
    return run.train(task(run.model, samples=157), replace(REQUEST, recipe=sized(13), budget=Budget(samples=390)))


def counted(run):
    """The budget is one of FLOPs."""
    budget, evaluation = Budget(flops=5e6), Cost(flops=2e4)
    request = replace(REQUEST, recipe=sized(13), budget=budget, evaluation=evaluation)
    return run.train(task(run.model, samples=157), request)


def branches(run):
    """Not every batch uses every parameter."""
    return run.train(task(lambda: run.model(branches=True)), REQUEST)


def short(run):
    """The second process runs out of memory."""
    return run.train(task(lambda: run.model(most=1000 if run.rank == 0 else 20)), REQUEST)


def normed(run):
    """Shares are too small for BatchNorm."""
    model = lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))  # noqa: E731
    return run.train(task(model), replace(REQUEST, recipe=sized(32)))


def lone(run):
    """Every other batch of the user's own has one sample."""
    return run.train(with_batches(run.model, 9, 8), REQUEST)


def last(run):
    """The last batch of each pass is too small to be shared by a model with BatchNorm."""
    return run.train(with_batches(lambda: run.model(normed=True), 84, 64), REQUEST)


def marked(part, *samples):
    """Return samples of which some are read as they are, and make the model fail."""
    x, y = part
    x = x.clone()
    x[list(samples), 0] = torch.tensor([99.0 + sample for sample in samples])
    return x, y


def unreadable(run):
    """The second process fails on one of its part of the validation set."""
    own = task(run.model)
    return run.train(replace(own, valid=marked(own.valid, 40)), REQUEST)


def untestable(run):
    """Both fail on one of their parts of the test set."""
    own = task(run.model)
    return run.train(replace(own, test=marked(own.test, 3, 40)), REQUEST)


def unscored(run):
    """The metric fails in the second process, which has read all."""

    def metric(y, predicted):
        if run.rank == 1:
            raise ArithmeticError("no such thing")
        return 0.5

    return run.train(replace(task(run.model), metric=metric), REQUEST)


def late(run):
    """Only the first process has time left for the test set by its clock."""
    run.cost, own = 0.1, task(run.model)
    test = tuple(torch.cat([part] * 3) for part in own.test)
    evaluation = Cost(seconds=0.3)
    return run.train(replace(own, test=test), replace(REQUEST, budget=Budget(seconds=4.0), evaluation=evaluation))


def unmeasured(run):
    """It comes without a profile, and the clocks differ."""
    run.cost = 0.1
    return run.train(task(run.model), replace(REQUEST, budget=Budget(seconds=4.0), milestones=()))


def measured(run):
    """Another metric of the delivered model is asked for."""
    return run.train(task(run.model), replace(REQUEST, measure=("accuracy",)))


def small(run):
    """All batches of the user's own are too small for BatchNorm."""
    return run.train(with_batches(lambda: run.model(normed=True), 84, 16), REQUEST)


def few(run):
    """There are fewer samples than a batch has."""
    return run.train(task(lambda: run.model(normed=True), samples=107), REQUEST)


def filtered(run):
    """A technique trains on half of each batch."""
    recipe = PLAIN["plain_constant"].to_data() | {"techniques": {"selective_backprop": {"keep": 0.5}}}
    return run.train(task(lambda: run.model(normed=True)), replace(REQUEST, recipe=Recipe.from_data(recipe)))


def buffers(run):
    """BatchNorm sees other batches in each process, and the weights that are saved are those that are scored."""

    def model():
        made = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
        # None of them could be sent as it is.
        odd = {"small": torch.arange(3, dtype=torch.int16), "graph": torch.eye(3).to_sparse()}
        for name, buffer in odd.items():
            made.register_buffer(name, buffer, persistent=False)
        return made

    return run.train(task(model), REQUEST)


def contrastive(run):
    """The loss is one number a batch."""

    def loss(output, y):
        return nn.functional.cross_entropy(output @ output.T, torch.arange(len(y)))

    return run.train(task(run.model, loss=loss), REQUEST)


def stopped(run):
    """The first process is asked to stop."""
    return run.train(task(run.model), REQUEST, stop=5)


def timed(run):
    """Seconds pass at different rates."""
    run.cost = 0.1
    return run.train(task(run.model), replace(REQUEST, budget=Budget(seconds=4.0)))


def early(run):
    """The first process is asked to finish early."""
    run.cost = 0.1
    return run.train(task(run.model), replace(REQUEST, budget=Budget(seconds=20.0)), early=20)


def resumed(run):
    """It is preempted, and another trial goes on from the checkpoint of the first process."""
    first = run.train(task(run.model), REQUEST, preempt=7)
    AcceleratorState._reset_state()
    run.steps = 0
    again = replace(REQUEST, trial=1, resumes=0, carried=Ranks().gathered(first.saved)[0])
    return run.train(task(run.model), again)


def sized(size):
    """Return plain training with batches of a size."""
    data = json.loads(json.dumps(PLAIN["plain_constant"].to_data()))
    data["batch_size"]["size"] = size
    return Recipe.from_data(data)


def main():
    """Run the scenarios."""
    torch.set_num_threads(1)
    state = PartialState(cpu=True)
    folder = Path(sys.argv[1])
    for name in sys.argv[2:]:
        AcceleratorState._reset_state()
        run = Running(folder, f"{name}-{state.num_processes}")
        outcome = globals()[name](run)
        weights = [float(p.detach().double().sum()) for model in run.made[-1:] for p in model.parameters()]
        found = {
            "outcome": to_data(outcome),
            "weights": weights,
            "sizes": run.made[-1].sizes if run.made else [],
            "steps": run.steps,
        }
        (folder / f"{name}-{state.process_index}.json").write_text(json.dumps(found))
        state.wait_for_everyone()


if __name__ == "__main__":
    main()
