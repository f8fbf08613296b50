"""Brings what the ledger has written to disk, in a process of its own: that one waits for the disk, the main loop
doesn't. It also finds out whether the disk takes it, which writes to the page cache don't tell.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from supervisor.ledger import checkpoint_process
from supervisor.runtime.child_reaper import ChildReaper
from supervisor.runtime.fork import fork

_log = logging.getLogger("filemapd.supervisor")


class Checkpoint:
    """One checkpoint at a time of the database at `path`. `failed` is called where the disk won't have it,
    `unfinished` where another one is needed."""

    def __init__(
        self, path: Path, children: ChildReaper, failed: Callable[[], None], unfinished: Callable[[], None]
    ) -> None:
        self._path = path
        self._children = children
        self._failed = failed
        self._unfinished = unfinished
        self._pid: int | None = None

    @property
    def running(self) -> bool:
        """Whether one is under way."""
        return self._pid is not None

    def resume(self) -> None:
        """Have the one under way go on where somebody has stopped it: no other is made meanwhile."""
        if self._pid is not None:
            os.kill(self._pid, signal.SIGCONT)

    def start(self) -> bool:
        """Begin one while none is under way, and tell whether it has begun."""
        command = [sys.executable, "-I", "-S", checkpoint_process.__file__, str(self._path)]
        try:
            # It ends with the supervisor, also where somebody has stopped it: from before it is another program.
            self._pid = fork((), partial(_become, command))
        except OSError as error:
            _log.warning("the ledger is not brought to disk for now: %s", error)
            return False
        self._children.register(self._pid, self._ended)
        return True

    def _ended(self, status: int) -> None:
        self._pid = None
        if status == os.EX_IOERR:
            self._failed()
        elif status != 0:
            _log.warning("the ledger was not brought to disk: exit status %d", status)
            self._unfinished()


def _become(command: list[str]) -> NoReturn:
    os.execve(command[0], command, {})
