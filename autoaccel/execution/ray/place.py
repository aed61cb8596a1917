"""A place: the actor that hosts a supervisor on a node of the cluster."""

from __future__ import annotations

import json
import queue
from collections.abc import Mapping
from contextlib import closing, suppress
from threading import Thread
from typing import Any

import ray

from autoaccel.execution.ray.files import scratch
from autoaccel.execution.ray.host import Host
from autoaccel.execution.ray.messages import Inbox, Said, Told, error_data

CALLS = 4
"""Calls at a time: one listens, the others bring commands."""


class Place:
    """Takes commands and says what happens, while a thread of its own does the work.

    Args:
        told: What the driver has told.
    """

    def __init__(self, told: Told):
        self._inbox = Inbox()
        self._outbox: queue.Queue[Said] = queue.Queue()
        Thread(target=self._live, args=(told,), daemon=True).start()

    def tell(self, number: int, *command: Any) -> None:
        """Take a command; the numbers say in which order they were given."""
        self._inbox.put(number, command)

    def hear(self, timeout: float) -> list[Said]:
        """Return what has happened since the last call; wait up to `timeout` seconds for it."""
        said = []
        with suppress(queue.Empty):
            said.append(self._outbox.get(timeout=timeout))
            while True:
                said.append(self._outbox.get_nowait())
        return said

    def _live(self, told: Told) -> None:
        try:
            with scratch() as home, closing(Host(told, home, fetched(told.files), self._outbox.put)) as host:
                try:
                    self._serve(host)
                except Exception as error:
                    host.fail(error)
        except Exception as error:  # not even the host could be made
            self._outbox.put(Said("failed", json.dumps(error_data(error))))
        self._outbox.put(Said("closed", "null"))

    def _serve(self, host: Host) -> None:
        host.load()
        while not host.closed:
            for word, *given in self._inbox.take(host.patience):
                host.do(word, *map(fetched, given))
            host.look()


def fetched(value: Any) -> Any:
    """Return a value with the objects of the store in the place of references to them."""
    if isinstance(value, ray.ObjectRef):
        return ray.get(value)
    if isinstance(value, Mapping):
        return {key: fetched(each) for key, each in value.items()}
    return value
