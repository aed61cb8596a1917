"""Train on data that stay home: each node of a Ray cluster reads its own folder, and none sees another's.

    RAY_ADDRESS=HOST:PORT python examples/cluster/own_folders.py /data/own

Each node searches on its own data, all recipes are tried on all nodes, and the one that is best on average trains
in rounds: each node alone, then their weights are averaged by numbers of samples. Recipes, metrics and weights
travel. A node that is lost is left out from then on.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from safetensors.torch import load_file, save_file
from torch import nn

import autoaccel


def net() -> nn.Module:
    """Return the model; here for the digits of scikit-learn, 8 x 8."""
    layers = [nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 16, 10))


def read(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and labels of a file in a node's folder."""
    with np.load(path) as arrays:
        return torch.from_numpy(arrays["x"]).float().view(-1, 1, 8, 8), torch.from_numpy(arrays["y"]).long()


@ray.remote(num_cpus=1, num_gpus=float(torch.cuda.is_available()))
class Node:
    """What runs on one node.

    Args:
        folder: Has `train.npz` and `test.npz`, each with `x` and `y`.
    """

    def __init__(self, folder: str):
        self.train_set, self.test_set = read(Path(folder) / "train.npz"), read(Path(folder) / "test.npz")

    def search(self, budget: str) -> dict:
        """Return the best recipe for this node's data."""
        task = autoaccel.Task(model=net, train=self.train_set)
        with TemporaryDirectory() as out:
            return autoaccel.tune(
                task, budget, space="minimal", memory=False, out=out, quiet=True
            ).best_recipe.to_data()

    def train(self, weights: dict, recipe: dict, epochs: float, seed: int) -> tuple[int, dict]:
        """Go on with weights; return the number of this node's samples, and the new weights."""

        def gone_on() -> nn.Module:
            model = net()
            model.load_state_dict(weights)
            return model

        task = autoaccel.Task(model=gone_on, train=self.train_set)
        with TemporaryDirectory() as out:
            chosen, budget = autoaccel.Recipe.from_data(recipe), autoaccel.Budget(epochs=epochs)
            result = autoaccel.train(task, chosen, budget, seed=seed, out=out, quiet=True)
            return len(self.train_set[1]), load_file(result.weights()[0])

    def score(self, weights: dict) -> tuple[int, float]:
        """Return the number of this node's test samples, and the accuracy on them."""
        model = net().eval()
        model.load_state_dict(weights)
        x, y = self.test_set
        with torch.no_grad():
            return len(y), float((model(x).argmax(1) == y).float().mean())


class Cluster:
    """An actor on each node that has the resources.

    Args:
        folder: Where each node finds its data; `{node}` in it becomes a number, for nodes that share a disk.
    """

    def __init__(self, folder: str):
        alive = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        here = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in alive]
        self.nodes = [
            Node.options(scheduling_strategy=place).remote(folder.replace("{node}", str(number)))
            for number, place in enumerate(here)
        ]

    def all(self, name: str, *arguments: object) -> list:
        """Return what all nodes answer; those that are lost are left out from now on."""
        asked = [(node, getattr(node, name).remote(*arguments)) for node in self.nodes]
        answers, self.nodes = [], []
        for node, ref in asked:
            try:
                answers.append(ray.get(ref))
                self.nodes.append(node)
            except ray.exceptions.RayActorError as error:
                print(f"a node is lost: {error}", flush=True)
        if not answers:
            raise SystemExit("all nodes are lost")
        return answers

    def accuracy(self, weights: dict) -> float:
        """Return the accuracy on the test data of all nodes."""
        scores = self.all("score", weights)
        return sum(count * value for count, value in scores) / sum(count for count, _ in scores)

    def round(self, weights: dict, recipe: dict, epochs: float, seed: int) -> dict:
        """Train on each node alone, and return the average of the weights; counters are those of the first node."""
        trained = self.all("train", weights, recipe, epochs, seed)
        total = sum(count for count, _ in trained)

        def mean(name: str) -> torch.Tensor:
            first = trained[0][1][name]
            if not first.is_floating_point():
                return first
            return sum(part[name].double() * (count / total) for count, part in trained).to(first.dtype)

        return {name: mean(name) for name in trained[0][1]}


def main() -> None:
    """Search, choose, train in rounds, and save the weights beside the recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="the folder of each node; {node} in it becomes its number")
    parser.add_argument("--search", default="60s", help="budget of each node's search")
    parser.add_argument("--epochs", type=float, default=2.0, help="passes of each node over its data in a round")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("own_folders"))
    chosen = parser.parse_args()
    ray.init(log_to_driver=False)
    cluster = Cluster(chosen.folder)
    torch.manual_seed(0)
    weights = net().state_dict()  # the average of models that begin apart is none
    found = cluster.all("search", chosen.search)
    recipes = [recipe for number, recipe in enumerate(found) if recipe not in found[:number]]
    tried = [cluster.accuracy(cluster.round(weights, recipe, chosen.epochs, 0)) for recipe in recipes]
    recipe = recipes[int(np.argmax(tried))]
    print(f"accuracy after a round with each recipe: {tried}", flush=True)
    for number in range(chosen.rounds):
        weights = cluster.round(weights, recipe, chosen.epochs, number)
        print(f"round {number}: accuracy {cluster.accuracy(weights):.4f} on {len(cluster.nodes)} nodes", flush=True)
    chosen.out.mkdir(parents=True, exist_ok=True)
    save_file(weights, chosen.out / "model.safetensors")
    (chosen.out / "recipe.json").write_text(json.dumps(recipe, indent=1))


if __name__ == "__main__":
    main()
