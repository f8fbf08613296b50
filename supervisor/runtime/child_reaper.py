"""The supervisor's child processes: who is told of which one's end."""

from __future__ import annotations

import os
from collections.abc import Callable


class ChildReaper:
    """The processes whose end somebody waits for. To be told of it costs no wait: SIGCHLD has reap() called."""

    def __init__(self) -> None:
        self._callbacks: dict[int, Callable[[int], None]] = {}

    def register(self, pid: int, ended: Callable[[int], None]) -> None:
        """Have `ended` called once with the exit status of child `pid`; that is -N for one killed by signal N."""
        self._callbacks[pid] = ended

    def reap(self) -> None:
        """Take in which children have ended. One that nobody expects is reaped all the same."""
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
