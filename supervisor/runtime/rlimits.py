"""The limit of descriptors: the supervisor needs two for each file. Advice for exhausted limits."""

from __future__ import annotations

import errno
import logging
import resource
from typing import Final

_log = logging.getLogger("filemapd.supervisor")

_A_FILE: Final = 2  # the worker's channel, and the file itself
_SPARE: Final = 128  # logs, ledger, control socket and its clients, the web process, commands that are run


def needed_descriptors(files: int) -> int:
    """Return how many descriptors `files` files need."""
    return _A_FILE * files + _SPARE


def raise_descriptors(files: int) -> None:
    """Raise the limit to what `files` files need, or log what to set."""
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
    """Return advice for a failed start of a process, as the end of a message."""
    match error.errno:
        case errno.EMFILE:
            return ": raise LimitNOFILE= of the service, or ulimit -n"
        case errno.ENFILE:
            return ": raise the sysctl fs.file-max"
        case errno.EAGAIN:
            return ": raise TasksMax= and LimitNPROC= of the service, or the sysctl kernel.pid_max"
    return ""
