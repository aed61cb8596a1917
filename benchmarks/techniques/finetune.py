"""Compare fine-tuning recipes: a net pretrained on clothes learns 300 handwritten digits.

    python benchmarks/techniques/table.py --tasks image --only adamw --no-seconds   # trains the net on clothes
    python benchmarks/techniques/finetune.py --seeds 5

The portfolio of the space `finetune` comes from here. The task `scratch` trains the same net from scratch with the
plain recipe.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from experiment import Experiment, arguments
from nets import conv_net
from runner import OUT
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

from autoaccel import Task
from autoaccel.core.budget import Budget
from autoaccel.core.recipe import Choice, Recipe
from autoaccel.core.schedules import Schedule

WEIGHTS = OUT / "teacher-image" / "trials" / "0000" / "model.safetensors"


def pretrained() -> nn.Module:
    """Return the net with its weights from clothes, except for a newly initialized last layer."""
    model = conv_net()
    weights = load_file(WEIGHTS)
    last = next(name for name, _ in reversed(list(model.named_children())))
    model.load_state_dict({k: v for k, v in weights.items() if not k.startswith(f"{last}.")}, strict=False)
    return model


def digits(first: int, last: int) -> tuple[Tensor, Tensor]:
    """Return images [n, 1, 28, 28] with mean 0 and standard deviation 1, and their classes."""
    x, y = load_digits(return_X_y=True)
    x = torch.as_tensor(x[first:last]).float().view(-1, 1, 8, 8)
    return F.interpolate((x - x.mean()) / x.std(), (28, 28), mode="bilinear"), torch.as_tensor(y[first:last])


def make(model) -> Task:
    """Return a task with 300 digits to train on."""
    return Task(
        model=model, train=digits(0, 300), valid=digits(300, 800), test=digits(800, 1797), metric="accuracy"
    )


tuned, scratch = make(pretrained), make(conv_net)
RATE = Choice("linear", {"warmup": 0.1})


def recipe(optimizer: Choice, size: int, techniques: Mapping[str, Mapping[str, object]] | None = None) -> Recipe:
    """Return a recipe with a batch size and some techniques."""
    return Recipe(optimizer, RATE, Choice("constant_batch", {"size": size}), techniques or {})


def adamw(lr: float) -> Choice:
    """Return AdamW with a small weight decay."""
    return Choice("adamw", {"lr": lr, "weight_decay": 0.01})


HEAD_FIRST = {"share": Schedule(1.0, 0.0, 0.0, 0.3), "levels": 4}
RECIPES = {
    "adamw 5e-4, batch 32": recipe(adamw(5e-4), 32),
    "adamw 2e-3, batch 32": recipe(adamw(2e-3), 32),
    "adamw 5e-3, batch 32": recipe(adamw(5e-3), 32),
    "adamw 2e-3, batch 16": recipe(adamw(2e-3), 16),
    "adamw 2e-3, batch 16, ema": recipe(adamw(2e-3), 16, {"ema": {"half_life": 0.05}}),
    "adamw 5e-3, batch 16, ema": recipe(adamw(5e-3), 16, {"ema": {"half_life": 0.05}}),
    "adamw 2e-3, batch 16, head first": recipe(adamw(2e-3), 16, {"layer_freezing": HEAD_FIRST}),
    "adamw 2e-3, batch 16, a quarter frozen": recipe(adamw(2e-3), 16, {"layer_freezing": {"share": 0.25}}),
    "adamw 2e-3, batch 16, crop": recipe(adamw(2e-3), 16, {"crop": {"shift": 0.06}}),
    "adamw 2e-3, batch 16, smoothed": recipe(adamw(2e-3), 16, {"label_smoothing": {"eps": 0.1}}),
    "adamw 2e-3, batch 16, shrunk": recipe(adamw(2e-3), 16, {"shrink_perturb": {}}),
    "sgd 0.02, batch 16": recipe(Choice("sgd", {"lr": 0.02}), 16),
    "sgd 0.05, batch 16": recipe(Choice("sgd", {"lr": 0.05}), 16),
}


def main() -> None:
    """Train the recipes and print the tables."""
    given = arguments(__doc__.splitlines()[0])
    budgets = [Budget(flops=given.scale * 1.4e11)]
    Experiment(__file__, "finetune", {"tuned": 1}, RECIPES).run({"tuned": budgets}, given.seeds)
    Experiment(__file__, "finetune", {"scratch": 1}, {}).run({"scratch": budgets}, given.seeds)


if __name__ == "__main__":
    main()
