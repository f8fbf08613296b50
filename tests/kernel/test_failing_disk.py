"""A disk that fails affects its own files only."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from sandbox.devices import Device, filesystem
from tests.kernel import oracle
from tests.kernel.changes import append
from tests.kernel.running import running, wait_for, write


def have_fail(device: Device) -> None:
    """Make every I/O to the device fail."""
    oracle.run("dmsetup", "suspend", "--nolockfs", device.name)
    oracle.run("dmsetup", "load", device.name, "--table", f"0 {device.sectors} error")
    oracle.run("dmsetup", "resume", device.name)


def failing(call: Callable[[], object]) -> bool:
    """Return whether a system call fails now."""
    try:
        call()
    except OSError:
        return True
    return False


def test_file_system_that_is_shut_down(tmp_path: Path) -> None:
    """XFS shuts down if its log can't be written, and fails stat(2): the supervisor and other files go on."""
    with filesystem("xfs") as bad, filesystem("ext4", 64) as good:
        lost, kept = bad.mountpoint / "lost.img", good.mountpoint / "kept.img"
        for file in (lost, kept):
            write(file, 1)
        config = {
            "filemaps": [{"path": str(file)} for file in (lost, kept)],
            "supervisor": {"restart": {"initial": "50ms", "max": "100ms", "give_up": 3}},
        }
        with running(tmp_path, config) as supervisor:
            before = [supervisor.wait_state(file) for file in (lost, kept)]
            have_fail(bad.device)
            assert failing(lambda: append(lost))
            os.sync()  # which writes its log
            wait_for("the file system is shut down", lambda: failing(lost.stat))
            supervisor.wait_state(lost, "FAILED")
            append(kept)
            wait_for("the other is followed", lambda: oracle.assert_exact_cover(kept, good.device.name))
            after = supervisor.filemap(kept)
            assert (after["pid"], after["restarts"]) == (before[1]["pid"], 0)
