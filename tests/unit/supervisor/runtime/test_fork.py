"""What a forked child inherits from the supervisor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from supervisor.ledger.ledger import Ledger
from supervisor.runtime.child_reaper import ChildReaper
from supervisor.runtime.fork import fork
from workers.exit_codes import Exit


def mapped(folder: Path) -> bool:
    """Return whether this process has mapped a file of the folder."""
    return str(folder) in Path("/proc/self/maps").read_text()


def opened(folder: Path) -> bool:
    """Return whether it has a file there open."""
    found = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return any(folder in file.resolve().parents for file in found)


def test_a_fault_in_a_child() -> None:
    """An exception is printed to stderr and ends the child there; it doesn't return into its parent's
    code."""
    program = """\
import os
from supervisor.runtime.fork import fork
pid = fork((), lambda: {}["key"])
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"{int(Exit.FAILED)}\n"
    assert done.stderr == "a child of filemapd failed: KeyError: 'key'\n"


def test_nothing_of_the_ledgers_file_system(tmp_path: Path) -> None:
    """A child doesn't block unmounting the ledger's file system; the ledger stays writable."""
    ledger = Ledger(tmp_path, ChildReaper())
    ledger.add_event("restarted", "/a", "a", "")
    ledger.flush()
    assert mapped(tmp_path)
    assert opened(tmp_path)
    pid = fork((), lambda: mapped(tmp_path) + 2 * opened(tmp_path))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    ledger.add_event("restarted", "/a", "a", "")
    ledger.maintain()
    assert ledger.problem is None
    ledger.close()
