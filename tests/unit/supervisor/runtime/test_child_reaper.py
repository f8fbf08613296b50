"""Callbacks for the end of children, with real processes."""

from __future__ import annotations

import os
import signal
import time

from supervisor.runtime.child_reaper import ChildReaper


def child(status: int = 0, killed_by: int | None = None) -> int:
    """Return the process id of a child that ends with this status or signal."""
    pid = os.fork()
    if pid == 0:
        if killed_by is not None:
            os.kill(os.getpid(), killed_by)
        os._exit(status)
    return pid


def test_each_callback_gets_its_own_child() -> None:
    """Each expected child's status is reported once, to its own callback; unexpected children do no harm."""
    children, statuses = ChildReaper(), []
    first, second, nobodys = child(3), child(killed_by=signal.SIGKILL), child()
    children.register(first, lambda status: statuses.append(("first", status)))
    children.register(second, lambda status: statuses.append(("second", status)))
    deadline = time.monotonic() + 60
    while os.path.exists(f"/proc/{nobodys}") or len(statuses) < 2:
        assert time.monotonic() < deadline, statuses
        children.reap()
    assert sorted(statuses) == [("first", 3), ("second", -signal.SIGKILL)]
    children.reap()
    assert len(statuses) == 2
