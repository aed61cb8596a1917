"""How the places of a run are laid over the nodes of a cluster: one on each node that is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autoaccel.core.machine import Gpu, Machine
from autoaccel.core.resources import Resources
from autoaccel.errors import UsageError


@dataclass(frozen=True)
class Node:
    """What a node of a cluster has, as Ray knows it.

    Args:
        name: Ray's name of it.
        cpus: How many CPUs.
        gpus: How many whole GPUs.
        model: What Ray calls them.
        address: Its address, for display.
    """

    name: str
    cpus: int
    gpus: int = 0
    model: str = "GPU"
    address: str = ""


@dataclass(frozen=True)
class Layout:
    """The places of a run.

    Args:
        sizes: How many trials run side by side in each, the most first. One trial may have all of a place.
        threads: CPU threads of each trial; as many CPUs are reserved for it.
        gpus: Whole GPUs of each trial.
        idle: GPUs of the cluster that are not used.
        reserved: CPUs that are reserved for each trial; 0 where a node has fewer of them than GPUs.
        most: CPU threads that one process may have at most.
    """

    sizes: tuple[int, ...]
    threads: int
    gpus: int
    idle: int
    reserved: int
    most: int

    @property
    def count(self) -> int:
        """How many trials run side by side."""
        return sum(self.sizes)

    def bundle(self, size: int) -> dict[str, float]:
        """Return the resources of a place for so many trials, by Ray's names."""
        asked = {"CPU": float(size * self.reserved), "GPU": float(size * self.gpus)}
        return {name: amount for name, amount in asked.items() if amount}

    def __str__(self) -> str:
        """Return it for display, such as `4 trials on 2 nodes, each trial with 1 GPU and 8 CPUs`."""
        gpus = [_number(self.gpus, "GPU")] if self.gpus else []
        each = " and ".join([*gpus, _number(self.reserved, "CPU")])
        where = f"{_number(self.count, 'trial')} on {_number(len(self.sizes), 'node')}"
        return f"{where}, {'each trial ' if self.count > 1 else ''}with {each}"


def lay_out(nodes: Sequence[Node], resources: Resources) -> Layout:
    """Divide the nodes among trials: a whole GPU each, on as few nodes as have them, and as many threads as can be.

    Raises:
        UsageError: If there is not enough, or devices were chosen by number.
    """
    if resources.devices:
        raise UsageError("--devices numbers the GPUs of one machine; of a Ray cluster, --workers uses that many")
    total = 0 if resources.cpu else sum(node.gpus for node in nodes)
    gpus = 1 if total else 0
    count = resources.workers or total or _on_cpus(nodes, resources)
    if gpus and count > total:
        raise UsageError(f"--workers {count}: each trial needs a GPU of its own, and Ray has {describe(nodes)}")
    if gpus:
        # Of nodes that have enough, those with the most CPUs.
        used = sorted(nodes, key=lambda node: (min(node.gpus, count), node.cpus), reverse=True)
        sizes = _filled([node.gpus for node in used], count)
        threads = min(node.cpus // size for node, size in zip(used, sizes, strict=False))
    else:
        most = max((node.cpus for node in nodes), default=0)
        threads = next((n for n in range(most, 0, -1) if sum(node.cpus // n for node in nodes) >= count), 0)
        if not threads:
            raise UsageError(f"--workers {count}: each trial needs a CPU of its own, and Ray has {describe(nodes)}")
        sizes = _filled(sorted((node.cpus // threads for node in nodes), reverse=True), count)
    # No more than the user sets with OMP_NUM_THREADS.
    told = Resources(cpu=True).slots(Machine(cpus=max(1, threads) * sizes[0])).most
    return Layout(sizes, min(max(1, threads), told), gpus, total - gpus * count, min(threads, told), told)


def describe(nodes: Sequence[Node]) -> str:
    """Return what a cluster has, such as `2 nodes with 4 x H200, 32 CPUs`."""
    gpus = Counter[str]()
    for node in nodes:
        gpus[node.model] += node.gpus
    models = [f"{count} x {model}" for model, count in gpus.items() if count]
    cpus = _number(sum(node.cpus for node in nodes), "CPU")
    return f"{_number(len(nodes), 'node')} with {', '.join([*models, cpus])}"


def whole_machine(nodes: Sequence[Node], used: Iterable[tuple[str, Gpu]]) -> Machine:
    """Return what a cluster has as one machine.

    Args:
        nodes: Its nodes.
        used: The GPUs of the places, which have seen them, by node.
    """
    gpus = []
    seen = list(used)
    for node in nodes:
        here = [gpu for name, gpu in seen if name == node.name]
        model = here[0].model if here else node.model
        others = (Gpu(f"{node.address}/unused {number}", model) for number in range(node.gpus - len(here)))
        gpus += [*here, *others]
    return Machine(tuple(gpus), max(1, sum(node.cpus for node in nodes)))


def _on_cpus(nodes: Sequence[Node], resources: Resources) -> int:
    """Return how many trials run without GPUs: one where what they spend adds up, else what fills the large nodes.

    Nodes with less than half of the most CPUs would leave each trial few threads.
    """
    most = max((node.cpus for node in nodes), default=0)
    large = [node.cpus for node in nodes if node.cpus and 2 * node.cpus >= most]
    return sum(cpus // min(large) for cpus in large) if large and resources.choosing else 1


def _filled(rooms: Iterable[int], count: int) -> tuple[int, ...]:
    """Return how many of so many trials each node gets, where the first ones are filled first."""
    sizes: list[int] = []
    for room in rooms:
        sizes.append(min(room, count - sum(sizes)))
    return tuple(size for size in sizes if size)


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
