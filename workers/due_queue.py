"""The files that are due, in the order of time."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class DueQueue:
    """Keys by the time at which they are due. `due` returns a key's time, None where it is not due at all; a key
    whose time changes is added again."""

    def __init__(self, due: Callable[[str], float | None]) -> None:
        self._due = due
        # (due time, key), with entries that are out of date.
        self._heap: list[tuple[float, str]] = []
        self._added: dict[str, float] = {}

    def add(self, key: str) -> None:
        """Add a key whose time may have changed."""
        when = self._due(key)
        if when is not None and when != self._added.get(key):
            self._added[key] = when
            heapq.heappush(self._heap, (when, key))

    def next_due(self) -> float | None:
        """Return when the first key is due, None without one."""
        while self._heap:
            when, key = self._heap[0]
            if self._added.get(key) == when == self._due(key):
                return when
            self._drop_first()
        return None

    def pop(self, now: float) -> str | None:
        """Remove and return a key that is due, None without one."""
        when = self.next_due()
        return self._drop_first() if when is not None and when <= now else None

    def _drop_first(self) -> str:
        when, key = heapq.heappop(self._heap)
        if self._added.get(key) == when:
            del self._added[key]
        return key
