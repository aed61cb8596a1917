"""Messages between the supervisor, the fork server and the workers: one JSON object per line, version first."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any

VERSION = 1


def encode(kind: str, **fields: Any) -> bytes:
    """Encode a message as one line."""
    return json.dumps({"v": VERSION, "kind": kind, **fields}).encode() + b"\n"


def decode(line: bytes) -> Mapping[str, Any]:
    """Decode a line; the inverse of `encode`.

    Raises:
        ValueError: If the line is not a message of this version.
    """
    message = json.loads(line)
    if message.get("v") != VERSION:
        raise ValueError(f"message of version {message.get('v')}, expected {VERSION}")
    return dict(message)


class Channel:
    """One end of a socket that carries messages and file descriptors."""

    def __init__(self, end: socket.socket):
        self.socket = end
        self._rest = b""
        self._descriptors: list[int] = []

    def fileno(self) -> int:
        """Return the socket's file descriptor, for selectors."""
        return self.socket.fileno()

    def send(self, kind: str, *, descriptors: Sequence[int] = (), **fields: Any) -> None:
        """Send a message, with file descriptors if given.

        Raises:
            OSError: If the other end is gone.
        """
        data = encode(kind, **fields)
        if descriptors:
            sent = socket.send_fds(self.socket, [data], list(descriptors))
            data = data[sent:]
        self.socket.sendall(data)

    def receive(self) -> list[Mapping[str, Any]] | None:
        """Wait for data and return the complete messages, maybe none; None if the other end is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.socket, 1 << 16, 16)
        except (ConnectionError, OSError):
            return None
        self._descriptors += descriptors
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [decode(line) for line in lines if line]

    def descriptor(self) -> int:
        """Remove and return the oldest file descriptor received."""
        return self._descriptors.pop(0)

    def close(self) -> None:
        """Close this end."""
        self.socket.close()
