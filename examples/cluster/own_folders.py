"""Train on data that stay home: each node of a Ray cluster reads its own folder, and none sees another's.

    RAY_AUTH_MODE=token RAY_ADDRESS=HOST:PORT python examples/cluster/own_folders.py /data/own

Each node searches on its own data, all recipes are tried on all nodes, and the one that is best on average trains
in rounds: each node alone, then their weights are averaged by numbers of samples. Recipes, metrics, weights and
numbers of samples travel. A node that fails is left out from then on. All nodes with CPUs take part: start a head
without data with `--num-cpus=0`.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from safetensors.torch import load_file, save_file
from torch import nn

import autoaccel

PARTS = ("train", "valid", "test")


def net() -> nn.Module:
    """Return the model; here for the digits of scikit-learn, 8 x 8."""
    layers = [nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 16, 10))


def read(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and labels of a file in a node's folder."""
    with np.load(path) as arrays:
        return torch.from_numpy(arrays["x"]).float().view(-1, 1, 8, 8), torch.from_numpy(arrays["y"]).long()


@ray.remote
class Node:
    """What runs on one node."""

    def load(self, folder: str) -> int:
        """Read `train.npz`, `valid.npz` and `test.npz`, each with `x` and `y`; return the training samples."""
        self.data = {part: read(Path(folder) / f"{part}.npz") for part in PARTS}
        return len(self.data["train"][1])

    def search(self, budget: str) -> dict:
        """Return the best recipe for this node's data, of a space that leaves the model's weights their shapes."""
        task = autoaccel.Task(model=net, train=self.data["train"], valid=self.data["valid"])
        with TemporaryDirectory() as out:
            result = autoaccel.tune(task, budget, space="minimal", memory=False, out=out, quiet=True)
            return result.best_recipe.to_data()

    def train(self, weights: dict, recipe: dict, epochs: float, seed: int) -> dict:
        """Go on with weights, and return the new ones."""

        def gone_on() -> nn.Module:
            model = net()
            model.load_state_dict(weights)
            return model

        task = autoaccel.Task(model=gone_on, train=self.data["train"], valid=self.data["valid"])
        with TemporaryDirectory() as out:
            chosen, budget = autoaccel.Recipe.from_data(recipe), autoaccel.Budget(epochs=epochs)
            return load_file(autoaccel.train(task, chosen, budget, seed=seed, out=out, quiet=True).weights()[0])

    def score(self, weights: dict, part: str) -> tuple[int, int]:
        """Return how many samples of a part are classified correctly, and how many there are."""
        model = net().eval()
        model.load_state_dict(weights)
        x, y = self.data[part]
        with torch.no_grad():
            return int((model(x).argmax(1) == y).sum()), len(y)


class Cluster:
    """An actor on each node, with all that the node has.

    Args:
        folder: Where each node finds its data; `{node}` in it becomes a number, for nodes that share a disk.
    """

    def __init__(self, folder: str):
        self.nodes: dict[str, ray.actor.ActorHandle] = {}
        self.samples: dict[str, int] = {}
        alive = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        for number, node in enumerate(alive):
            name, has = f"{node['NodeManagerAddress']} ({node['NodeID']:.8})", node["Resources"]
            place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            self.nodes[name] = Node.options(
                num_cpus=int(has["CPU"]), num_gpus=min(1, int(has.get("GPU", 0))), scheduling_strategy=place
            ).remote()
            try:
                self.samples[name] = ray.get(self.nodes[name].load.remote(folder.replace("{node}", str(number))))
            except ray.exceptions.RayError as error:  # a folder that is missing is no lost node
                raise SystemExit(f"error: {name}: {getattr(error, 'cause', error)}") from None

    def all(self, name: str, *arguments: object) -> dict:
        """Return what each node answers; those that fail are left out from now on."""
        asked = {node: getattr(actor, name).remote(*arguments) for node, actor in self.nodes.items()}
        answers = {}
        for node, ref in asked.items():
            try:
                answers[node] = ray.get(ref)
            except ray.exceptions.RayError as error:  # its text may tell of the data
                why = type(getattr(error, "cause", None) or error).__name__
                print(f"{node} is left out: {why} in {name}", file=sys.stderr, flush=True)
                del self.nodes[node]
        if not answers:
            raise SystemExit("error: no node is left")
        return answers

    def accuracy(self, weights: dict, part: str) -> float:
        """Return the accuracy on the data of all nodes."""
        right, count = map(sum, zip(*self.all("score", weights, part).values(), strict=True))
        return right / count

    def round(self, weights: dict, recipe: dict, epochs: float, seed: int) -> dict:
        """Train on each node alone, and return the average of the weights; counters are those of one node."""
        trained = self.all("train", weights, recipe, epochs, seed)
        total = sum(self.samples[node] for node in trained)
        mean = dict(next(iter(trained.values())))
        for name, first in mean.items():
            if first.is_floating_point():
                parts = (new[name].double() * (self.samples[node] / total) for node, new in trained.items())
                mean[name] = sum(parts).to(first.dtype)
        return mean


def main() -> None:
    """Search, choose, train in rounds, and save the weights beside the recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="the folder of each node; {node} in it becomes its number")
    parser.add_argument("--search", default="60s", help="budget of each node's search")
    parser.add_argument("--epochs", type=float, default=2.0, help="passes of each node over its data in a round")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("own_folders"))
    chosen = parser.parse_args()
    if not Path(chosen.folder).is_absolute():
        raise SystemExit(f"error: {chosen.folder}: give an absolute path, which means the same on each node")
    if "RAY_ADDRESS" in os.environ and os.environ.get("RAY_AUTH_MODE") != "token":
        raise SystemExit("error: who reaches the cluster can read these data: set RAY_AUTH_MODE=token on all nodes")
    chosen.out.mkdir(parents=True, exist_ok=True)
    ray.init(log_to_driver=False)
    cluster = Cluster(chosen.folder)
    torch.manual_seed(0)
    first = net().state_dict()  # the average of models that begin apart is none
    best, accuracy = {}, -1.0
    recipes = list(cluster.all("search", chosen.search).values())
    for recipe in [recipe for number, recipe in enumerate(recipes) if recipe not in recipes[:number]]:
        weights = cluster.round(first, recipe, chosen.epochs, 0)
        if (found := cluster.accuracy(weights, "valid")) > accuracy:
            best, accuracy, mean = recipe, found, weights
    (chosen.out / "recipe.json").write_text(json.dumps(best, indent=1))
    for number in range(chosen.rounds):
        if number:
            mean = cluster.round(mean, best, chosen.epochs, number)
        save_file(mean, chosen.out / "model.safetensors")
        valid = cluster.accuracy(mean, "valid")
        print(f"round {number}: accuracy {valid:.4f} on validation, {len(cluster.nodes)} nodes", flush=True)
    print(f"accuracy {cluster.accuracy(mean, 'test'):.4f} on the test sets", flush=True)


if __name__ == "__main__":
    main()
