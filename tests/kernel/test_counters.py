"""No count is lost: exact numbers of reads and writes through all changes of a file's regions."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sandbox.devices import Filesystem, filesystem
from tests.kernel import oracle
from tests.kernel.changes import KEEP_SIZE, MIB, PUNCH_HOLE, fallocate, opened
from tests.kernel.driver import Driver
from tests.kernel.running import running, wait_for, write


@pytest.fixture
def fs() -> Iterator[Filesystem]:
    """A file system of its own for each test."""
    with filesystem("ext4", size_mb=200) as made:
        yield made


def prepare(fs: Filesystem) -> Path:
    """Return a file in two extents, 4 MiB at 0 and 4 MiB at 8 MiB. No region counted its initial writes."""
    file = fs.mountpoint / "disk.img"
    write(file, 4)
    write(fs.mountpoint / "apart", 2)
    write(file, 4, 8)
    os.sync()
    return file


def config(file: Path) -> dict[str, object]:
    """Return a configuration with frequent samples, so that tests needn't wait."""
    return {"filemaps": [{"path": str(file)}], "defaults": {"sample": "100ms"}}


def follow(fs: Filesystem, file: Path) -> None:
    """Wait until the group covers the file."""

    def exact() -> bool:
        oracle.assert_exact_cover(file, fs.device.name)
        oracle.assert_no_orphan(fs.device.name)
        return True

    wait_for("the change is followed", exact)


def test_exact_over_growth_shrinking_and_moves(fs: Filesystem, tmp_path: Path) -> None:
    """Totals are exact per image while it grows, loses its leader's extent, shrinks, is emptied and comes back."""
    file = prepare(fs)
    drive, other = Driver(file), Driver(fs.mountpoint / "apart")
    with running(tmp_path, config(file)) as supervisor:
        supervisor.wait_state(file)
        drive.read(20, 0)
        drive.write(30, 8)
        other.write(50, 0)
        wait_for("all is counted", lambda: drive.counted(supervisor))
        with opened(file) as fd:
            fallocate(fd, 0, 12 * MIB, 2 * MIB)
        follow(fs, file)
        drive.write(10, 12)
        # Converting the unwritten extent is the journal's I/O and adds no write to the file's regions.
        wait_for("growth keeps what was counted", lambda: drive.counted(supervisor))
        with opened(file) as fd:
            fallocate(fd, KEEP_SIZE | PUNCH_HOLE, 0, 3 * MIB)
        follow(fs, file)
        drive.read(15, 3)
        drive.read(15, 9)
        wait_for("so does a freed leader", lambda: drive.counted(supervisor))
        os.truncate(file, 10 * MIB)
        follow(fs, file)
        drive.read(5, 9)
        wait_for("so does shrinking", lambda: drive.counted(supervisor))
        os.truncate(file, 0)
        follow(fs, file)
        assert not oracle.groups(fs.device.name)
        wait_for("so does an empty file", lambda: drive.counted(supervisor))


def test_exact_over_kills(fs: Filesystem, tmp_path: Path) -> None:
    """Totals are exact over kill -9 of the worker and of the supervisor, and over a restart."""
    file = prepare(fs)
    drive = Driver(file)
    with running(tmp_path, config(file)) as supervisor:
        pid = supervisor.wait_state(file)["pid"]
        drive.write(25, 0)
        with opened(file) as fd:
            fallocate(fd, KEEP_SIZE | PUNCH_HOLE, 8 * MIB, 3 * MIB)
        follow(fs, file)
        drive.read(7, 11)
        os.kill(pid, signal.SIGKILL)
        wait_for("another worker runs", lambda: supervisor.filemap(file).get("pid") not in (None, pid))
        wait_for("counted over the worker's death", lambda: drive.counted(supervisor))
        drive.read(9, 0)
        supervisor.process.kill()
        drive.write(11, 0)
        supervisor.again()
        supervisor.wait_state(file)
        wait_for("counted over the supervisor's death", lambda: drive.counted(supervisor))
        assert supervisor.stop() == 0
        drive.write(3, 0)
        supervisor.again()
        supervisor.wait_state(file)
        wait_for("counted over a stop", lambda: drive.counted(supervisor))


def test_region_deleted_by_others(fs: Filesystem, tmp_path: Path) -> None:
    """When another program deletes a region, its last sampled counters stay in the total."""
    file = prepare(fs)
    drive = Driver(file)
    with running(tmp_path, config(file)) as supervisor:
        group = supervisor.wait_state(file)["group_id"]
        drive.write(40, 0)
        drive.write(10, 8)
        wait_for("all is counted", lambda: drive.counted(supervisor))
        member = oracle.groups(fs.device.name)[group][-1]
        oracle.run("dmstats", "delete", "--regionid", str(member), fs.device.name)
        follow(fs, file)
        drive.write(5, 0)
        drive.write(5, 8)
        wait_for("the total has not gone back", lambda: drive.counted(supervisor))
        assert supervisor.filemap(file)["noticed"]["lost"] == 1


def test_ledger_damaged(fs: Filesystem, tmp_path: Path) -> None:
    """A ledger that is no database is set aside: the group and its counters are found in the kernel."""
    file = prepare(fs)
    drive = Driver(file)
    with running(tmp_path, config(file)) as supervisor:
        group = supervisor.wait_state(file)["group_id"]
        drive.write(12, 0)
        assert supervisor.stop() == 0
        ledger = next((tmp_path / "state").glob("ledger.sqlite3"))
        for left in (tmp_path / "state").glob("ledger.sqlite3-*"):
            left.unlink()
        ledger.write_bytes(b"no database at all, just some text to fill it" * 100)
        supervisor.again()
        assert supervisor.wait_state(file)["group_id"] == group
        wait_for("the kernel's counters are there", lambda: drive.counted(supervisor))
        assert list((tmp_path / "state").glob("*set-aside*"))
        with closing(sqlite3.connect(ledger)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
