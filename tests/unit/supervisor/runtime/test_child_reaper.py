"""Who is told of a child's end, with real processes."""

from __future__ import annotations

import os
import signal
import time

from supervisor.runtime.child_reaper import ChildReaper


def child(status: int = 0, killed_by: int | None = None) -> int:
    """Return the process id of a child that ends so."""
    pid = os.fork()
    if pid == 0:
        if killed_by is not None:
            os.kill(os.getpid(), killed_by)
        os._exit(status)
    return pid


def test_each_is_told_of_its_own() -> None:
    """Whoever expects a child is told its status once; one that nobody expects is in nobody's way."""
    children, told = ChildReaper(), []
    first, second, nobodys = child(3), child(killed_by=signal.SIGKILL), child()
    children.register(first, lambda status: told.append(("first", status)))
    children.register(second, lambda status: told.append(("second", status)))
    deadline = time.monotonic() + 60
    while os.path.exists(f"/proc/{nobodys}") or len(told) < 2:
        assert time.monotonic() < deadline, told
        children.reap()
    assert sorted(told) == [("first", 3), ("second", -signal.SIGKILL)]
    children.reap()
    assert len(told) == 2
