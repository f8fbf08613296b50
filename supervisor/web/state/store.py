"""What the supervisor told last, in the web process: the latest message of each kind."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

EVENTS_KEPT: Final = 1000

Status = dict[str, Any]
"""The status of one file, as filemap_status() makes it."""
Message = list[Any]
"""A message of the feed: a word that says what it is, and what it says."""


class Store:
    """Kept up to date by take(). What is read here is never written to by who reads it."""

    def __init__(self) -> None:
        self.files: dict[str, Status] = {}
        """By path."""
        self.supervisor: dict[str, Any] = {}
        """Empty until the first heartbeat."""
        self.events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        """The last events, the newest last."""
        self.told_at = 0.0
        """When the last message came, since the epoch."""
        self._listeners: list[Callable[[Message], None]] = []

    def listen(self, listener: Callable[[Message], None]) -> None:
        """Have `listener` called with each message from now on, once the store has it."""
        self._listeners.append(listener)

    def put(self, message: Message) -> None:
        """Take in one message. Raises ValueError for one that is none of the feed's."""
        match message:
            case ["file", {"path": str(path)} as status]:
                self.files[path] = status
            case ["gone", str(path)]:
                self.files.pop(path, None)
            case ["regions", str(), list()]:
                pass  # of use only to who adds up the I/Os in it (recent.py)
            case ["event", dict(event)]:
                self.events.append(event)
            case ["supervisor", dict(supervisor)]:
                self.supervisor = supervisor
            case _:
                raise ValueError(f"no message of the feed: {str(message)[:80]}")
        self.told_at = time.time()
        for listener in self._listeners:
            listener(message)
