"""What stands at a path, as far as the kernel knows without asking a disk or a server: these may not answer, and the
supervisor waits for neither."""

from __future__ import annotations

import os

from workers.libc import open_cached


def stat(path: str) -> os.stat_result | None:
    """Return the status of what stands at `path`, None where nothing does.

    Raises BlockingIOError where that is not known: then nobody has opened a file there of late.
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
    """Return whether the path of a file that is open is still one; not where that is not known, as the kernel keeps
    the names by which files are open."""
    try:
        os.close(open_cached(path, os.O_NOFOLLOW))
    except OSError:
        return False
    return True
