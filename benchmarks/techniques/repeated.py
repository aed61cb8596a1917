"""Compare deduplication and a coreset with uniform sampling on images that are repeated with small changes.

    python benchmarks/techniques/repeated.py --seeds 5

Each of 1,500 images appears once and 0 to 9 more times, each time slightly darker or brighter, shifted by up to one
pixel, with a little noise. Validation and test images are not repeated.
"""

import torch
from experiment import Experiment, arguments, with_techniques
from nets import conv_net
from tasks import fashion_arrays
from torch import Tensor

from autoaccel import Task
from autoaccel.core.budget import Budget

ORIGINALS = 1_500


def changed(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return images [n, 1, h, w] with small random changes."""
    count = len(x)
    shifts = torch.randint(-1, 2, (count, 2), generator=generator)
    moved = torch.stack(
        [image.roll(tuple(shift.tolist()), (-2, -1)) for image, shift in zip(x, shifts, strict=True)]
    )
    brightness = 1 + 0.1 * torch.randn(count, 1, 1, 1, generator=generator)
    return moved * brightness + 0.05 * torch.randn(moved.shape, generator=generator)


def make_repeated() -> Task:
    """Return a task on Fashion-MNIST with repeated training images."""
    x, y, x_test, y_test = fashion_arrays(ORIGINALS + 1_500, 5_000)
    generator = torch.Generator().manual_seed(0)
    times = torch.randint(0, 10, (ORIGINALS,), generator=generator)
    repeated = torch.arange(ORIGINALS).repeat_interleave(times)
    train_x = torch.cat([x[:ORIGINALS], changed(x[repeated], generator)])
    return Task(
        model=conv_net,
        train=(train_x, torch.cat([y[:ORIGINALS], y[repeated]])),
        valid=(x[ORIGINALS:], y[ORIGINALS:]),
        test=(x_test, y_test),
        metric="accuracy",
        flips=True,
    )


repeated = make_repeated()
RECIPES = {
    "deduplicate": with_techniques(deduplicate={}),
    "coreset": with_techniques(coreset={}),
    "deduplicate and coreset": with_techniques(deduplicate={}, coreset={}),
}


def main() -> None:
    """Train the recipes and print the table."""
    given = arguments(__doc__.splitlines()[0])
    budgets = [Budget(flops=given.scale * 6.6e11), Budget(seconds=given.scale * 6.0)]
    Experiment(__file__, "repeated", {"repeated": 1}, RECIPES).run({"repeated": budgets}, given.seeds)


if __name__ == "__main__":
    main()
