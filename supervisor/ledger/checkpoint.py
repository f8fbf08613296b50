"""Checkpoints of the ledger, in a process of their own: that process waits for the disk, the event loop doesn't.

A checkpoint also shows whether the disk works; writes to the page cache don't.
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
    """One checkpoint at a time of the database at `path`. `failed` is called if the disk fails, `unfinished` if
    another checkpoint is needed."""

    def __init__(
        self, path: Path, reaper: ChildReaper, failed: Callable[[], None], unfinished: Callable[[], None]
    ) -> None:
        self._path = path
        self._reaper = reaper
        self._failed = failed
        self._unfinished = unfinished
        self._pid: int | None = None

    @property
    def running(self) -> bool:
        """Whether a checkpoint is running."""
        return self._pid is not None

    def resume(self) -> None:
        """Continue a checkpoint that was stopped by a signal: no other starts until it ends."""
        if self._pid is not None:
            os.kill(self._pid, signal.SIGCONT)

    def start(self) -> bool:
        """Start a checkpoint while none is running; return whether it has started."""
        command = [sys.executable, "-I", "-S", checkpoint_process.__file__, str(self._path)]
        try:
            # Forked first, so that it ends with the supervisor even while it is stopped; only then another program.
            self._pid = fork((), partial(_become, command))
        except OSError as error:
            _log.warning("can't start a checkpoint of the ledger: %s", error)
            return False
        self._reaper.register(self._pid, self._ended)
        return True

    def _ended(self, status: int) -> None:
        self._pid = None
        if status == os.EX_IOERR:
            self._failed()
        elif status != 0:
            _log.warning("the checkpoint of the ledger failed: exit status %d", status)
            self._unfinished()


def _become(command: list[str]) -> NoReturn:
    os.execve(command[0], command, {})
