"""Forks of the supervisor, for work that may block."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from workers.child import run_child
from workers.libc import unmap

_SHARED: Final = b"rw-s"


def fork(keep: Iterable[int], body: Callable[[], int]) -> int:
    """Fork a child that exits with the status that `body` returns, and return its pid; see run_child().

    The child unmaps files that the supervisor writes to: however long it hangs, their file system can be unmounted.
    Raises OSError where no process is available.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        run_child(keep, partial(_without_mappings, body), parent)
    return pid


def _without_mappings(body: Callable[[], int]) -> int:
    # Lines of START-END PERMISSIONS OFFSET DEVICE INODE PATH (proc(5)), inode 0 for anonymous memory.
    with open("/proc/self/maps", "rb") as file:
        rows = [line.split() for line in file]
    for row in rows:
        if row[1] == _SHARED and row[4] != b"0":
            start, end = (int(word, 16) for word in row[0].split(b"-"))
            unmap(start, end - start)
    return body()
