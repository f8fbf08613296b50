"""One supervisor a runtime_dir: a lock that the kernel drops with the process."""

from __future__ import annotations

import fcntl  # noqa: TID251 - flock(2)
import os
from pathlib import Path


class AnotherSupervisorError(Exception):
    """The runtime_dir is taken."""


def acquire(runtime_dir: Path) -> int:
    """Make `runtime_dir` where needed and return the descriptor that holds its lock.

    Raises AnotherSupervisorError, which names the process, and OSError.
    """
    try:
        runtime_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd = os.open(runtime_dir / "filemapd.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise type(error)(f"runtime_dir {runtime_dir} can't be used: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise AnotherSupervisorError(
            f"filemapd runs already with runtime_dir {runtime_dir} (pid {pid or 'unknown'})"
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
