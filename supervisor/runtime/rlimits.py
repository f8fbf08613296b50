"""How many descriptors the supervisor may have: it needs two for each file. What helps where something is used up."""

from __future__ import annotations

import errno
import logging
import resource
from typing import Final

_log = logging.getLogger("filemapd.supervisor")

_A_FILE: Final = 2  # the worker's channel, and the file itself
_SPARE: Final = 128  # logs, ledger, control socket and its clients, the web process, commands that are run


def needed_descriptors(files: int) -> int:
    """Return how many descriptors so many files take."""
    return _A_FILE * files + _SPARE


def raise_descriptors(files: int) -> None:
    """Have as many descriptors as `files` take, or say in the log what to set."""
    need = needed_descriptors(files)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= need:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (need, max(need, hard)))
    except (OSError, ValueError):
        if soft < hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        _log.error(
            "%d files need %d descriptors, only %d may be had: set LimitNOFILE=%d in the unit, or ulimit -n %d",
            files, need, hard, need, need,
        )  # fmt: skip


def advice(error: OSError) -> str:
    """Return what helps where no process was to be had, as a text's end."""
    match error.errno:
        case errno.EMFILE:
            return ": raise LimitNOFILE= of the service, or ulimit -n"
        case errno.ENFILE:
            return ": raise the sysctl fs.file-max"
        case errno.EAGAIN:
            return ": raise TasksMax= and LimitNPROC= of the service, or the sysctl kernel.pid_max"
    return ""
