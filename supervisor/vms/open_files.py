"""The files that a process has open."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator


def open_files(pid: int) -> Iterator[tuple[tuple[int, int], str]]:
    """Yield the regular files that a process has open, as st_dev and inode, each with the path of its fdinfo."""
    folder = f"/proc/{pid}"
    # The process and its descriptors may go at any moment.
    with contextlib.suppress(OSError):
        for number in os.listdir(f"{folder}/fd"):
            with contextlib.suppress(OSError):
                found = os.stat(f"{folder}/fd/{number}")
                if stat.S_ISREG(found.st_mode):
                    yield (found.st_dev, found.st_ino), f"{folder}/fdinfo/{number}"
