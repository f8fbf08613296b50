"""Forks of the supervisor, for work that it must not wait for itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from workers.child import as_child


def fork(keep: Iterable[int], body: Callable[[], int]) -> int:
    """Fork a child that ends with the status which `body` returns, and return its pid; see as_child().

    Raises OSError where no process is to be had.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        as_child(keep, body, parent)
    return pid
