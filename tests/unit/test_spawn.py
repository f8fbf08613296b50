"""What a fork of the supervisor has of it."""

from __future__ import annotations

import os
from pathlib import Path

from supervisor.children import Children
from supervisor.ledger import Ledger
from supervisor.spawn import fork


def mapped(folder: Path) -> bool:
    """Tell whether this process has anything in a folder mapped."""
    return str(folder) in Path("/proc/self/maps").read_text()


def opened(folder: Path) -> bool:
    """Tell whether it has a file there open."""
    found = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return any(folder in file.resolve().parents for file in found)


def test_nothing_of_the_ledgers_file_system(tmp_path: Path) -> None:
    """A child is in nobody's way who wants to unmount it; the ledger goes on being written."""
    ledger = Ledger(tmp_path, Children())
    ledger.happened("restarted", "/a", "a", "")
    ledger.flush()
    assert mapped(tmp_path)
    assert opened(tmp_path)
    pid = fork((), lambda: mapped(tmp_path) + 2 * opened(tmp_path))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    ledger.happened("restarted", "/a", "a", "")
    ledger.mend()
    assert ledger.problem is None
    ledger.close()
