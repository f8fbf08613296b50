"""The latest messages of the supervisor, in the web process."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

MAX_EVENTS: Final = 1000

Status = dict[str, Any]
"""The status of one file, as in `status --json`."""
Message = list[Any]
"""A message of the feed: its kind and its contents."""


class Store:
    """put() updates it. Readers must not modify the values."""

    def __init__(self) -> None:
        self.files: dict[str, Status] = {}
        """By path."""
        self.supervisor: dict[str, Any] = {}
        """Empty until the first heartbeat."""
        self.events: deque[dict[str, Any]] = deque(maxlen=MAX_EVENTS)
        """The last events, newest last."""
        self.last_message_at = 0.0
        """Time of the last message, in seconds since the epoch."""
        self._listeners: list[Callable[[Message], None]] = []

    def listen(self, listener: Callable[[Message], None]) -> None:
        """Call `listener` with each later message, after the store is updated."""
        self._listeners.append(listener)

    def put(self, message: Message) -> None:
        """Handle one message. Raises ValueError if it is invalid."""
        match message:
            case ["file", {"path": str(path)} as status]:
                self.files[path] = status
            case ["gone", str(path)]:
                self.files.pop(path, None)
            case ["regions", str(), list()]:
                pass  # handled by the listener Recent
            case ["event", dict(event)]:
                self.events.append(event)
            case ["supervisor", dict(supervisor)]:
                self.supervisor = supervisor
            case _:
                raise ValueError(f"invalid message: {str(message)[:80]}")
        self.last_message_at = time.time()
        for listener in self._listeners:
            listener(message)
