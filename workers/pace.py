"""When a file is reconciled: at once after a quiet time, then at most twice a second, less often without changes.

Pure: times are seconds of a monotonic clock, passed in.
"""

from __future__ import annotations

from typing import Final

SHORTEST: Final = 0.5
LONGEST: Final = 10.0
# Delayed allocation lands without an event, so the file is reconciled again.
LANDING: Final = 0.5
# Regions are joined once the file has not changed for this long.
QUIET: Final = 10.0


class Pace:
    """The schedule of one file. `due` is when to reconcile next, None while no change is known."""

    __slots__ = ("_event", "_free_from", "_interval", "_join_at", "_last", "_since", "due", "event_at")

    def __init__(self) -> None:
        self.due: float | None = None
        self.event_at: float | None = None
        """The time of the change for which the last reconcile was started."""
        self._since: float | None = None
        self._interval = SHORTEST
        self._event = False
        # From then on an event makes the file due at once; an earlier one makes it due then.
        self._free_from = 0.0
        self._last = -SHORTEST
        self._join_at: float | None = None

    @property
    def since(self) -> float | None:
        """The time of the change for which no reconcile was started yet.

        Of a file that is written all the time it is when the file is due, which may be in the future.
        """
        return self._since

    def mark_event(self, now: float) -> None:
        """Note an event: the file may have changed."""
        self._event = True
        due = max(now, self._free_from)
        # Of a file that is written all the time, this write may not have been the one that changed it.
        self._since = self._since or (now if self._interval == SHORTEST else due)
        self._sooner(due)

    def mark_changed(self, now: float) -> None:
        """Note a certain change: only the shortest interval delays the reconcile."""
        self._since = now
        self._interval = SHORTEST
        self._free_from = min(self._free_from, self._last + SHORTEST)
        self._sooner(max(now, self._free_from))

    def start(self, now: float) -> bool:
        """Note that a reconcile starts; return whether it may join regions."""
        if now > self._free_from + self._interval:
            self._interval = SHORTEST
        join = self._join_at is not None and now >= self._join_at
        self.event_at, self._since = self._since or now, None
        self.due = self._join_at = None
        self._last, self._free_from = now, now + self._interval
        return join

    def finished(self, now: float, *, changed: bool, landing: bool, joinable: bool) -> None:
        """Note that a reconcile has ended. An event without a change lengthens the interval."""
        if changed:
            self._interval = SHORTEST
            self._free_from = min(self._free_from, self._last + SHORTEST)
        elif self._event:
            self._interval = min(2 * self._interval, LONGEST)
        self._event = self.due is not None
        if joinable:
            self._join_at = now + QUIET
            self._sooner(self._join_at)
        if landing:
            self._sooner(now + LANDING)

    def is_throttled(self, now: float) -> bool:
        """Return whether a reconcile is delayed, as recent events came without changes."""
        return self._interval > SHORTEST and now < self._free_from + self._interval

    def _sooner(self, when: float) -> None:
        self.due = when if self.due is None else min(self.due, when)
