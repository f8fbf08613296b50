"""The ledger on a failing disk, and over kills of the supervisor at any moment."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Self

import pytest

from sandbox.devices import Device, Filesystem, filesystem
from tests.kernel import oracle
from tests.kernel.changes import KEEP_SIZE, MIB, PUNCH_HOLE, fallocate, opened
from tests.kernel.driver import Driver
from tests.kernel.running import Running, running, stopped, wait_for, write
from tests.kernel.test_moves import assert_chain, moves


@pytest.fixture
def fs() -> Iterator[Filesystem]:
    """A file system of its own for each test."""
    with filesystem("ext4", size_mb=300) as made:
        yield made


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Filesystem]:
    """The state_dir on its own small file system."""
    with filesystem("ext4", size_mb=16, mountpoint=tmp_path / "state") as made:
        yield made


def scattered(fs: Filesystem, name: str, pieces: int = 3) -> Path:
    """Return a file in extents of 2 MiB that lie apart, each 4 MiB behind the one before."""
    file = fs.mountpoint / name
    for at in range(0, 4 * pieces, 4):
        write(file, 2, at)
        write(file.with_name(name + ".apart"), 1, at)
    os.sync()
    return file


def config(*files: Path) -> dict[str, object]:
    """Return a configuration with frequent samples."""
    return {"filemaps": [{"path": str(file)} for file in files], "defaults": {"sample": "100ms"}}


def stored(state_dir: Path, query: str) -> list[tuple[int, ...]]:
    """Return the rows that another program reads from the ledger on disk."""
    with closing(sqlite3.connect(f"file:{state_dir}/ledger.sqlite3?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


def mended(supervisor: Running) -> bool:
    """Check the ledger, as happens every 30 s too, and return whether it is on disk."""
    assert supervisor.command("reload").returncode == 0
    return supervisor.status()["ledger_problem"] is None


class Case:
    """One file with known I/O, under a supervisor whose ledger is in trouble."""

    def __init__(self, supervisor: Running, file: Path, device: str) -> None:
        self.supervisor, self.file, self.device = supervisor, file, device
        self.drive = Driver(file)

    def counted(self) -> None:
        """Wait until all I/O is counted."""
        wait_for("all is counted", lambda: self.drive.counted(self.supervisor))

    def live_through_changes(self) -> None:
        """Do I/O, free the leader's extent, and do more: the freed region's counts remain."""
        self.drive.write(7, 0)
        self.drive.read(9, 4)
        self.counted()
        with opened(self.file) as fd:
            fallocate(fd, KEEP_SIZE | PUNCH_HOLE, 0, 2 * MIB)
        wait_for("it is followed", lambda: bool(oracle.assert_exact_cover(self.file, self.device)))
        self.drive.read(5, 8)
        self.counted()

    def trouble(self) -> str:
        """Wait until the status reports a problem, and return it."""
        return wait_for("the status shows it", lambda: str(self.supervisor.status()["ledger_problem"] or ""))

    def is_on_disk(self, state_dir: Path) -> None:
        """Kill the supervisor: its successor knows only what was on disk."""
        wait_for("all is written", lambda: stored(state_dir, "SELECT max(moves) FROM files") == [(1,)])
        self.supervisor.process.kill()
        self.supervisor.again()
        self.supervisor.wait_state(self.file)
        self.counted()
        assert len(moves(state_dir, self.file)) == 1
        assert self.supervisor.status()["ledger_problem"] is None


def test_killed_and_the_group_deleted(fs: Filesystem, tmp_path: Path) -> None:
    """Counters that were shown once survive, though the supervisor is killed right then and others delete the
    regions."""
    file = scattered(fs, "disk.img")
    with running(tmp_path, config(file)) as supervisor:
        supervisor.wait_state(file)
        case = Case(supervisor, file, fs.device.name)
        case.drive.write(3, 0)
        case.drive.read(8, 4)
        case.counted()
        supervisor.process.kill()
        oracle.run("dmstats", "delete", "--allregions", fs.device.name)
        supervisor.again()
        supervisor.wait_state(file)
        case.counted()
        case.drive.read(2, 8)
        case.counted()


def test_adopts_once_its_own_group_has_gone(fs: Filesystem, tmp_path: Path) -> None:
    """A file with a group retains it, even if the configuration names another id. Once it is removed the named group
    is adopted, and totals go on."""
    file = scattered(fs, "disk.img")
    with running(tmp_path, config(file)) as supervisor:
        own = supervisor.wait_state(file)["group_id"]
        case = Case(supervisor, file, fs.device.name)
        case.drive.read(8, 0)
        case.counted()
        supervisor.stop()
        theirs = int(
            oracle.run("dmstats", "create", "--filemap", "--nomonitor", str(file)).split()[-1].strip(".")
        )
        supervisor.write({**config(), "filemaps": [{"path": str(file), "group_id": theirs}]})
        supervisor.again()
        assert supervisor.wait_state(file)["group_id"] == own != theirs
        supervisor.stop()
        oracle.run("dmstats", "delete", "--groupid", str(own), fs.device.name)
        supervisor.again()
        assert supervisor.wait_state(file)["group_id"] == theirs
        case.drive.read(5, 4)
        wait_for("totals go on", lambda: supervisor.filemap(file)["reads"] == case.drive.reads)


def test_deleted_while_running(fs: Filesystem, tmp_path: Path) -> None:
    """A ledger whose files are deleted is rewritten completely."""
    file, folder = scattered(fs, "disk.img"), tmp_path / "state"
    with running(tmp_path, config(file)) as supervisor:
        supervisor.wait_state(file)
        case = Case(supervisor, file, fs.device.name)
        case.live_through_changes()
        # Otherwise the loss might be detected half-way, and the ledger be rewritten.
        with stopped(supervisor.process.pid):
            for left in folder.iterdir():
                left.unlink()
            folder.rmdir()
        case.drive.write(3, 4)
        wait_for("it is rewritten", lambda: mended(supervisor))
        case.counted()
        case.is_on_disk(folder)


def test_full_disk(fs: Filesystem, tmp_path: Path, state: Filesystem) -> None:
    """On a full disk the ledger continues in memory and reports it. With room again all is on disk."""
    file = scattered(fs, "disk.img")
    with running(tmp_path, config(file)) as supervisor:
        supervisor.wait_state(file)
        case = Case(supervisor, file, fs.device.name)
        filler = state.mountpoint / "filler"
        fill(filler)
        ballast = {"precise": False, "histogram": ["1s"]}
        for options in (ballast, {}):
            # Each reload recreates the regions and stores their counters before.
            supervisor.write({**config(file), "defaults": {"sample": "100ms", **options}})
            supervisor.command("reload")
            supervisor.wait_state(file)
        case.live_through_changes()
        if supervisor.status()["ledger_problem"] is None:
            wait_for("the log of writes has no more room", lambda: not fits_another(case))
        assert "full" in case.trouble()
        assert not mended(supervisor), "the disk is still full"
        assert "full" in case.trouble()
        filler.unlink()
        wait_for("there is room again", lambda: mended(supervisor))
        log = supervisor.log.read_text()
        assert log.count("the ledger can't be written") == 1
        assert log.count("the ledger is written to") == 1


def fill(file: Path) -> None:
    """Write a file that takes all free space."""
    with file.open("wb", buffering=0) as full, contextlib.suppress(OSError):
        while full.write(bytes(4096)):
            pass
    assert os.statvfs(file).f_bavail == 0


def fits_another(case: Case) -> bool:
    """Write a bit more to the ledger and return whether it still fit."""
    case.drive.read(1, 8)
    case.counted()
    return case.supervisor.status()["ledger_problem"] is None


def test_read_only(fs: Filesystem, tmp_path: Path, state: Filesystem) -> None:
    """A failing disk makes its file system read-only under a running supervisor, and it is mounted read-only
    at the next start. Both know the ledger's content, and it is on disk once the disk is writable again."""
    file, folder = scattered(fs, "disk.img"), state.mountpoint
    with running(tmp_path, config(file)) as supervisor:
        supervisor.wait_state(file)
        case = Case(supervisor, file, fs.device.name)
        case.live_through_changes()
        case.is_on_disk(folder)
        oracle.run("mount", "-o", "remount,errors=remount-ro", str(folder))
        os.sync()
        table = oracle.run("dmsetup", "table", state.device.name)
        load(state.device, f"0 {state.device.sectors} error")
        case.drive.write(2, 4)
        case.counted()
        os.sync()
        wait_for("that is found", lambda: not mended(supervisor))
        assert case.trouble()
        case.counted()
        assert not mended(supervisor)
        supervisor.process.kill()
        supervisor.process.wait()
        wait_for("the disk is released", lambda: unmounted(folder))
        load(state.device, table)
        oracle.run("mount", "-o", "ro", str(state.device.path), str(folder))
        supervisor.again()
        supervisor.wait_state(file)
        assert case.trouble()
        case.counted()
        assert supervisor.filemap(file)["moves_total"] == 1
        assert not mended(supervisor)
        oracle.run("mount", "-o", "remount,rw", str(folder))
        wait_for("it can be written again", lambda: mended(supervisor))
        case.drive.read(4, 8)
        case.counted()
        case.is_on_disk(folder)


def unmounted(folder: Path) -> bool:
    """Unmount a file system that ending workers may still have mapped."""
    return bool(oracle.run("umount", str(folder)) or not folder.is_mount())


def load(device: Device, table: str) -> None:
    """Replace the device's table."""
    oracle.run("dmsetup", "load", device.name, "--table", table.strip())
    oracle.run("dmsetup", "resume", "--noflush", device.name)


class Turmoil:
    """Changes, reads and writes files in a thread until the context ends."""

    def __init__(self, files: list[Path], seed: int) -> None:
        self.drives = [Driver(file) for file in files]
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._trouble: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._trouble:
            raise self._trouble[0]

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                self._step(self._random.choice(self.drives))
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self._trouble.append(error)

    def _step(self, drive: Driver) -> None:
        """Read and write where the file stays the same, and change it elsewhere."""
        drive.read(self._random.randrange(5), 0)
        drive.write(self._random.randrange(5), 0)
        at = self._random.randrange(1, 6) * 4
        with opened(drive.file) as fd:
            if self._random.random() < 0.5:
                fallocate(fd, KEEP_SIZE | PUNCH_HOLE, at * MIB, 2 * MIB)
            else:
                fallocate(fd, 0, at * MIB, 2 * MIB)
        time.sleep(self._random.uniform(0, 0.05))


@pytest.mark.timeout(900)
def test_supervisor_killed_at_any_moment(fs: Filesystem, tmp_path: Path) -> None:
    """After 15 kills while files change and are read and written each file has one group that covers it
    exactly and nothing is left behind. Every I/O to an unchanged part is counted once, and the moves form a
    chain."""
    files = [scattered(fs, f"{n}.img", pieces=2) for n in range(4)]
    chance = random.Random(4)
    with running(tmp_path, config(*files)) as supervisor:
        for file in files:
            supervisor.wait_state(file)
        with Turmoil(files, seed=5) as turmoil:
            for _ in range(15):
                # Anywhere between Python's start and full operation.
                time.sleep(chance.uniform(0.0, 3.0))
                supervisor.process.send_signal(signal.SIGKILL)
                supervisor.again()

        def at_rest() -> bool:
            for drive in turmoil.drives:
                oracle.assert_exact_cover(drive.file, fs.device.name)
            oracle.assert_no_orphan(fs.device.name)
            return len(oracle.groups(fs.device.name)) == len(files)

        wait_for("all is in step", at_rest)
        for drive in turmoil.drives:
            wait_for("all is counted", as_done(drive, supervisor))
            supervisor.wait_state(drive.file)
            wait_for(
                "all moves are reported", partial(moves_reported, tmp_path / "state", drive.file, supervisor)
            )


def moves_reported(state_dir: Path, file: Path, supervisor: Running) -> bool:
    """Fail unless the status and the ledger have the same moves, a chain to the group's id."""
    found, status = moves(state_dir, file), supervisor.filemap(file)
    assert status["moves_total"] == len(found)
    if found:
        assert_chain(found, status["group_id"])
    return True


def as_done(drive: Driver, supervisor: Running) -> Callable[[], bool]:
    """Return a condition: the status shows the I/O of `drive`."""
    return lambda: drive.counted(supervisor)
