"""Notifies systemd (Type=notify): systemd.service(5), sd_notify(3), sd_watchdog_enabled(3)."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping

from supervisor.fleet.state_machine import State
from supervisor.service.sd_notify import notify


class SystemdNotifier:
    """Notifies the service manager, if there is one."""

    def __init__(self) -> None:
        self._watchdog_every = watchdog_interval(os.environ, os.getpid())
        self._watchdog_at = 0.0
        self._status = ""

    def ready(self) -> None:
        """Notify the end of the start, or of a reload."""
        notify("READY=1")

    def reloading(self) -> None:
        """Notify the start of a reload; ready() notifies its end."""
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Notify that the supervisor is stopping."""
        notify("STOPPING=1")

    def tick(self, now: float, states: Iterable[State], *, sound: bool) -> None:
        """Update the status line from the states of all files, and feed the watchdog if the workers are healthy
        (`sound`).

        Called once a second by the event loop, so the watchdog also covers the loop.
        """
        status = summary(states)
        if status != self._status:
            self._status = status
            notify(f"STATUS={status}")
        if self._watchdog_every is not None and sound and now >= self._watchdog_at:
            self._watchdog_at = now + self._watchdog_every
            notify("WATCHDOG=1")


def summary(states: Iterable[State]) -> str:
    """Return one line such as "1000 files: 998 RUNNING, 2 FAILED", the states in the order of a worker's life."""
    count = Counter(states)
    total = count.total()
    each = ", ".join(f"{count[state]} {state}" for state in State if count[state])
    return f"{total} file{'' if total == 1 else 's'}{': ' if each else ''}{each}"


def watchdog_interval(environment: Mapping[str, str], pid: int) -> float | None:
    """Return the interval of watchdog messages in seconds, half of the manager's timeout; None without a
    watchdog."""
    try:
        microseconds = int(environment.get("WATCHDOG_USEC", "0"))
        meant = int(environment.get("WATCHDOG_PID", str(pid)))
    except ValueError:
        return None
    return microseconds / 2e6 if microseconds > 0 and meant == pid else None
