"""Reaps the supervisor's child processes, and calls back for each."""

from __future__ import annotations

import os
from collections.abc import Callable


class ChildReaper:
    """The registered children. SIGCHLD calls reap(), so nothing blocks."""

    def __init__(self) -> None:
        self._callbacks: dict[int, Callable[[int], None]] = {}

    def register(self, pid: int, ended: Callable[[int], None]) -> None:
        """Call `ended` once with the exit status of child `pid`; -N for one killed by signal N."""
        self._callbacks[pid] = ended

    def reap(self) -> None:
        """Reap all children that have ended, registered or not."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ended = self._callbacks.pop(pid, None)
            if ended is not None:
                ended(os.waitstatus_to_exitcode(status))
