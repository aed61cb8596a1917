"""Ray clusters with logical nodes on this machine, to which nobody gets without a token."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
# Not `importorskip`: this process needs no Ray, and keeps its settings.
HAS_RAY = find_spec("ray") is not None and find_spec("ray").origin is not None


def pytest_collection_modifyitems(items):
    for item in items:
        if "ray_cluster" in str(item.path) and not HAS_RAY:
            item.add_marker(pytest.mark.skip(reason="Ray is not installed: pip install 'autoaccel[ray]'"))


class Nodes:
    """The cluster, as a process with all others below it."""

    def __init__(self, count, cpus):
        environment = {**os.environ, **TOKEN, "RAY_worker_niceness": "0"}
        command = [sys.executable, str(Path(__file__).parent / "nodes.py"), str(count), str(cpus)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=environment, text=True, **pipes)
        self.environment = {**TOKEN, "RAY_ADDRESS": self.process.stdout.readline().strip()}

    def kill(self, node):
        """Kill a node and wait until it is dead."""
        self.process.stdin.write(f"{node}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "killed\n"

    def places(self):
        """The processes of places, and what the supervisors in them have started."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                line = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if line.startswith("ray::Place") or "autoaccel.execution.local" in line:
                found.append(process)
        return found


@pytest.fixture(scope="module")
def cluster():
    """Four nodes with a CPU each."""
    yield from started(4, 1)


@pytest.fixture
def pairs():
    """Two nodes with two CPUs each."""
    yield from started(2, 2)


@pytest.fixture
def three_pairs():
    yield from started(3, 2)


def started(count, cpus):
    nodes = Nodes(count, cpus)
    yield nodes
    nodes.process.communicate(timeout=60)
