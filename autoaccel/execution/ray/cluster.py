"""The connection to Ray: the cluster at RAY_ADDRESS, or one on this machine that ends with the run."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError

from autoaccel.core.machine import usable_cpus
from autoaccel.core.resources import Resources
from autoaccel.errors import MachineError, UsageError
from autoaccel.execution.ray.environment import unless_set
from autoaccel.execution.ray.layout import Node

ADDRESS, LOCAL = "RAY_ADDRESS", "local"
TOKENS = "RAY_AUTH_MODE"
NICENESS = "RAY_worker_niceness"
SUBMITTED = "RAY_OVERRIDE_JOB_RUNTIME_ENV"
HERE = ("local", "auto", "localhost", "127.0.0.1", "::1")
TYPE = "accelerator_type:"
QUIETLY = {"log_to_driver": False, "logging_level": "ERROR"}


def address() -> str:
    """Return the address of the cluster; `local` to start one."""
    return os.environ.get(ADDRESS) or LOCAL


def connect(resources: Resources, runtime_env: Mapping[str, Any]) -> None:
    """Connect this process to the cluster, or start one.

    Args:
        resources: What the run asks for.
        runtime_env: What the processes of the cluster get to run with.

    Raises:
        UsageError: If the address is of a kind that is not supported, needs a token, or what is sent is too large.
        MachineError: If Ray does not start, or the cluster does not answer or has other versions.
    """
    place = address()
    if ray.is_initialized():
        raise UsageError("this process is connected to Ray already; call ray.shutdown() before")
    if "://" in place:
        raise UsageError(f"{ADDRESS}={place}: Ray Client is not supported; give HOST:PORT on a node of the cluster")
    if place.rpartition(":")[0].strip("[]") not in HERE and place not in HERE:
        _need_token(place)
    settings = {NICENESS: "0"} if place == LOCAL else {SUBMITTED: "1"}
    own = _local(resources) if place == LOCAL else {}
    try:
        with unless_set(settings), _handlers():
            ray.init(place, runtime_env=dict(runtime_env) or None, **own, **QUIETLY)
    except ValueError as error:
        raise UsageError(f"Ray: {_one_line(error)}") from error
    except (ConnectionError, RuntimeError, OSError, RayError) as error:
        raise MachineError(f"Ray: {_one_line(error)}") from error


def nodes() -> list[Node]:
    """Return the nodes that are alive."""
    return [_node(data) for data in ray.nodes() if data["Alive"]]


def room(bundle: Mapping[str, float]) -> int:
    """Return how many times what nobody uses is so much, by Ray's names; parts of it may be on different nodes."""
    left = ray.available_resources()
    return min((int(left.get(name, 0.0) // amount) for name, amount in bundle.items()), default=0)


def _local(resources: Resources) -> dict[str, Any]:
    """Return the arguments for a cluster on this machine: as with processes, there may be more trials than CPUs."""
    gpus = {"num_gpus": 0} if resources.cpu else {}
    return {"num_cpus": max(usable_cpus(), resources.workers or 1), "include_dashboard": False, **gpus}


def _need_token(place: str) -> None:
    if os.environ.get(TOKENS, "").lower() != "token":
        raise UsageError(
            f"{ADDRESS}={place}: whoever reaches a Ray cluster can run code there, so one beyond this machine "
            f"needs a token: {TOKENS}=token on all nodes, and `ray get-auth-token --generate`"
        )


def _node(data: Mapping[str, Any]) -> Node:
    has = data["Resources"]
    model = next((name.removeprefix(TYPE) for name in has if name.startswith(TYPE)), "GPU")
    cpus, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
    return Node(data["NodeID"], cpus, gpus, model, data["NodeManagerAddress"])


@contextmanager
def _handlers() -> Iterator[None]:
    """Keep the handler of SIGTERM, which Ray would replace."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _one_line(error: Exception) -> str:
    return " ".join(f"{error}".split()) or type(error).__name__
