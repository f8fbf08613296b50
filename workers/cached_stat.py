"""The status of a path from the kernel's cache: a disk or a server may hang, and the supervisor waits for neither."""

from __future__ import annotations

import os

from workers.libc import open_cached


def stat(path: str) -> os.stat_result | None:
    """Return the status of the file at `path`, None where there is none.

    Raises BlockingIOError where the cache doesn't have the path: then no process opened a file there recently.
    """
    try:
        fd = open_cached(path)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)
    except BlockingIOError:
        raise
    except OSError:
        return None


def exists(path: str) -> bool:
    """Return whether the path of an open file still exists. The kernel caches the names of open files: a path that is
    not in the cache does not exist."""
    try:
        os.close(open_cached(path, os.O_NOFOLLOW))
    except OSError:
        return False
    return True
