"""A worker killed after each of its messages in turn: the next one completes the work and nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from dmstats.device import Device
from sandbox.devices import Filesystem, filesystem
from tests.kernel import fault, oracle
from tests.kernel.changes import COLLAPSE, KEEP_SIZE, MIB, PUNCH_HOLE, fallocate, opened
from tests.kernel.driver import Driver
from tests.kernel.running import Running, running, wait_for, write
from tests.kernel.test_moves import assert_chain, moves

_MOST_MESSAGES = 40


@pytest.fixture(scope="module")
def fs() -> Iterator[Filesystem]:
    """One file system for all plans."""
    with filesystem("ext4", size_mb=300) as made:
        yield made


def lay_out(file: Path) -> None:
    """Write the file in three extents that lie apart, at 0, 4 and 8 MiB, 2 MiB each. It gets its followed
    name once it is complete: otherwise some of the initial writes might be counted."""
    made, apart = file.with_name(file.name + ".made"), file.with_name(file.name + ".apart")
    for at in (0, 4, 8):
        write(made, 2, at)
        write(apart, 2, at)
    made.rename(file)


def grow(file: Path) -> None:
    """Add two extents."""
    with opened(file) as fd:
        fallocate(fd, 0, 20 * MIB, MIB)
        fallocate(fd, 0, 30 * MIB, MIB)


def split(file: Path) -> None:
    """Punch a hole into the middle of two extents."""
    with opened(file) as fd:
        fallocate(fd, KEEP_SIZE | PUNCH_HOLE, MIB // 2, MIB)
        fallocate(fd, KEEP_SIZE | PUNCH_HOLE, 8 * MIB + MIB // 2, MIB)


def free_leader(file: Path) -> None:
    """Free the first extent, which the lowest region covers."""
    with opened(file) as fd:
        fallocate(fd, KEEP_SIZE | PUNCH_HOLE, 0, 2 * MIB)


def collapse(file: Path) -> None:
    """Remove the middle: the rest moves in the file, not on disk."""
    with opened(file) as fd:
        fallocate(fd, COLLAPSE, 4 * MIB, MIB)


def empty(file: Path) -> None:
    """Truncate to nothing."""
    os.truncate(file, 0)


def replace(file: Path) -> None:
    """Replace the file at the path (mode path)."""
    new = file.with_name(file.name + ".new")
    write(new, 3)
    new.rename(file)


PLANS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "grow": ("inode", grow),
    "split": ("inode", split),
    "free_leader": ("inode", free_leader),
    "collapse": ("inode", collapse),
    "empty": ("inode", empty),
    "replace": ("path", replace),
}


def dropped(supervisor: Running, file: Path) -> bool:
    """Return whether the supervisor has dropped the file."""
    return not supervisor.filemap(file)


class Run:
    """One file for one plan and one place to kill."""

    def __init__(self, fs: Filesystem, file: Path, supervisor: Running) -> None:
        self.file, self.device, self.supervisor = file, fs.device.name, supervisor
        self.drive = Driver(file)

    def at_rest(self) -> bool:
        """Fail unless the group is exact, nothing is left behind and all is counted."""
        oracle.assert_exact_cover(self.file, self.device)
        oracle.assert_no_orphan(self.device)
        return self.drive.counted(self.supervisor)


def reported(supervisor: Running, state_dir: Path, file: Path, restarts: int) -> bool:
    """Fail unless the supervisor reports `restarts` restarts of the file's worker, and each move of its
    group."""
    filemap = supervisor.filemap(file)
    assert filemap["restarts"] == restarts
    assert filemap["state"] in {"RUNNING", "WAITING"}, "its worker has not reconciled yet"
    if found := moves(state_dir, file):
        assert_chain(found, filemap["group_id"])
    return True


@pytest.mark.timeout(900)
@pytest.mark.parametrize("plan", sorted(PLANS))
def test_killed_after_each_message(fs: Filesystem, tmp_path: Path, plan: str) -> None:
    """Whichever message is a worker's last: exact cover, no orphan, no counter lost, others' regions
    unchanged."""
    mode, change = PLANS[plan]
    folder = fs.mountpoint / plan
    folder.mkdir()
    stranger = Device(fs.device.dev_t)
    theirs = stranger.create(0, 8, program="other", aux="theirs")
    config = {
        "directories": [{"path": str(folder), "include": ["*.img"], "mode": mode}],
        "defaults": {"sample": "100ms"},
        "supervisor": {"restart": {"initial": "50ms", "max": "100ms", "give_up": 1000}},
    }
    with running(tmp_path, config, fault.program(tmp_path)) as supervisor:
        for kill_after in range(1, _MOST_MESSAGES):
            file = folder / f"{kill_after}.img"
            lay_out(file)
            supervisor.wait_state(file)
            run = Run(fs, file, supervisor)
            wait_for("the file is covered", run.at_rest)
            run.drive.write(5, 0)
            run.drive.read(6, 4)
            run.drive.write(7, 8)
            (tmp_path / "kill").write_text(str(kill_after))
            change(file)
            wait_for(f"{plan}, killed after message {kill_after}", run.at_rest)
            row = oracle.run("dmsetup", "message", run.device, "0", "@stats_list other").strip()
            assert row == f"{theirs}: 0+8 8 other theirs"
            killed = not (tmp_path / "kill").exists()
            (tmp_path / "kill").unlink(missing_ok=True)
            wait_for("all is reported", partial(reported, supervisor, tmp_path / "state", file, int(killed)))
            for left in folder.glob(f"{kill_after}.img*"):
                left.unlink()
            wait_for("the file is dropped", partial(dropped, supervisor, file))
            if not killed:
                assert kill_after > 1, "no message was ever sent"
                break
        else:
            raise AssertionError(f"{plan} never came to its end")
    stranger.delete(theirs)
