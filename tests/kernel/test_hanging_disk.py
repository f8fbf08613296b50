"""A hanging disk delays only its own files, nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sandbox.devices import Filesystem, filesystem
from supervisor.control.client import call
from tests.kernel import oracle
from tests.kernel.running import DEADLINE, Running, running, wait_for, write

# A loaded machine takes seconds for what filemapd does within milliseconds.
DEADLINE_LOADED = 10.0


def forget(fs: Filesystem) -> None:
    """Drop everything of a file system that isn't in use from the kernel's caches."""
    os.sync()
    for _ in range(2):
        Path("/proc/sys/vm/drop_caches").write_text("3")
        oracle.run("blockdev", "--flushbufs", str(fs.device.path))


def waits(pid: int) -> bool:
    """Return whether a process waits for a disk."""
    return psutil.Process(pid).status() == psutil.STATUS_DISK_SLEEP


def suspend(fs: Filesystem, folder: Path) -> subprocess.Popen[bytes] | None:
    """Suspend a file system's device; return a process that waits for it. Resume it and return None where filemapd
    has read the folder again, after it was dropped from the caches and before the suspend."""
    forget(fs)
    oracle.run("dmsetup", "suspend", "--nolockfs", "--noflush", fs.device.name)
    looking = subprocess.Popen(
        ["stat", str(folder / "none")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        wait_for("it waits or has ended", lambda: waits(looking.pid) or looking.poll() is not None)
        if looking.returncode is None:
            return looking
    except BaseException:
        oracle.run("dmsetup", "resume", fs.device.name)
        raise
    oracle.run("dmsetup", "resume", fs.device.name)
    looking.communicate()
    return None


@contextlib.contextmanager
def hanging(fs: Filesystem, folder: Path) -> Iterator[None]:
    """Suspend a file system's device while the context lasts, with `folder` dropped from the caches."""
    looking = wait_for("a process that reads there waits", lambda: suspend(fs, folder))
    assert looking is not None
    try:
        yield
        assert waits(looking.pid)
    finally:
        oracle.run("dmsetup", "resume", fs.device.name)
        looking.communicate(timeout=DEADLINE)


def serves(supervisor: Running, fs: Filesystem, file: Path) -> None:
    """Check that a supervisor responds, restarts a worker and follows a change."""
    before = supervisor.wait_state(file)["pid"]
    status = call(supervisor.runtime_dir, "GET", "/v1/status", timeout=DEADLINE_LOADED)
    assert status["pid"] == supervisor.process.pid
    assert supervisor.command("restart", str(file)).returncode == 0
    wait_for("another worker runs", lambda: supervisor.wait_state(file)["pid"] != before)
    write(file, 1, at=os.stat(file).st_size >> 20)
    wait_for("its change is followed", lambda: oracle.assert_exact_cover(file, fs.device.name))


def waiting(supervisor: Running) -> list[int]:
    """Return the supervisor's processes that wait for a disk."""
    return [one.pid for one in psutil.Process(supervisor.process.pid).children() if waits(one.pid)]


class Pools:
    """A directory on each of two file systems, with an image each."""

    def __init__(self, hung: Filesystem, sound: Filesystem) -> None:
        self.hung, self.sound = hung, sound
        self.hung_pool, self.sound_pool = (fs.mountpoint / "pool" for fs in (hung, sound))
        for pool in (self.hung_pool, self.sound_pool):
            pool.mkdir()
        self.image, self.other = self.hung_pool / "hung.img", self.sound_pool / "sound.img"
        for file in (self.image, self.other):
            write(file, 1)

    def config(self) -> dict[str, Any]:
        """Return a configuration of both directories."""
        pools = (self.hung_pool, self.sound_pool)
        return {"directories": [{"path": str(pool), "include": ["*.img"]} for pool in pools]}


@pytest.fixture
def pools() -> Iterator[Pools]:
    """Both on ext4."""
    with filesystem("ext4", 64) as hung, filesystem("ext4", 64) as sound:
        yield Pools(hung, sound)


def test_a_directory_that_hangs(pools: Pools, tmp_path: Path) -> None:
    """While a directory can't be read its files are still followed, new files in other directories are
    selected, and the supervisor obeys commands. One process waits. New files in the directory are selected
    once it can be read."""
    with running(tmp_path, pools.config()) as supervisor:
        before = supervisor.wait_state(pools.image)
        supervisor.wait_state(pools.other)
        with hanging(pools.hung, pools.hung_pool):
            write(pools.sound_pool / "new.img", 1)
            supervisor.wait_state(pools.sound_pool / "new.img")
            reloaded = supervisor.command("reload")
            assert reloaded.returncode == 0, reloaded
            supervisor.process.send_signal(signal.SIGHUP)
            serves(supervisor, pools.sound, pools.other)
            line = f"directory {pools.hung_pool}: does not respond: waiting for it"
            wait_for("it is logged", lambda: line in supervisor.log.read_text())
            (pools.sound_pool / "new.img").unlink()
            wait_for("it is dropped", lambda: not supervisor.filemap(pools.sound_pool / "new.img"))
            assert len(waiting(supervisor)) == 1
            coming = subprocess.Popen(["cp", str(pools.other), str(pools.hung_pool / "late.img")])
            wait_for("it can't be created yet", lambda: waits(coming.pid))
        assert coming.wait(DEADLINE) == 0
        supervisor.wait_state(pools.hung_pool / "late.img")
        assert supervisor.wait_state(pools.image)["pid"] == before["pid"]
        assert not waiting(supervisor)


def test_start_and_end_while_a_directory_hangs(pools: Pools, tmp_path: Path) -> None:
    """Files elsewhere are followed from the start, and the supervisor can stop. Groups are retained."""
    with running(tmp_path, pools.config()) as supervisor:
        group = supervisor.wait_state(pools.image)["group_id"]
        supervisor.wait_state(pools.other)
        assert supervisor.stop() == 0
        with hanging(pools.hung, pools.hung_pool):
            supervisor.again()
            serves(supervisor, pools.sound, pools.other)
            assert supervisor.stop() == 0
            supervisor.again()
            serves(supervisor, pools.sound, pools.other)
            assert not supervisor.filemap(pools.image)
        assert supervisor.wait_state(pools.image)["group_id"] == group


@pytest.mark.parametrize("mode", ["inode", "path"])
def test_a_listed_file_that_hangs(pools: Pools, tmp_path: Path, mode: str) -> None:
    """Only workers wait for a missing file or an unmappable one on a hanging disk. They delay neither the
    supervisor's stop nor its restart."""
    missing, folder = pools.hung_pool / "missing.img", pools.hung_pool / "folder.img"
    folder.mkdir()
    files = (missing, folder, pools.image, pools.other)
    filemaps: list[dict[str, Any]] = [{"path": str(file)} for file in files]
    filemaps[0]["group_id"] = 7
    with running(tmp_path, {"defaults": {"mode": mode}, "filemaps": filemaps}) as supervisor:
        supervisor.wait_state(missing, "WAITING")
        supervisor.wait_state(folder, "FAILED")
        for file in (pools.image, pools.other):
            supervisor.wait_state(file)
        with hanging(pools.hung, pools.hung_pool):
            wait_for("a worker waits", lambda: waiting(supervisor))
            assert supervisor.command("reload").returncode == 0
            serves(supervisor, pools.sound, pools.other)
            assert supervisor.stop() == 0
            supervisor.again()
            serves(supervisor, pools.sound, pools.other)
        write(missing, 1)
        for file in (missing, pools.image):
            supervisor.wait_state(file)


def test_a_deleted_image_whose_disk_hangs(pools: Pools, tmp_path: Path) -> None:
    """The last close of a deleted file frees its blocks, and waits for the disk. Neither the supervisor nor
    the process that stops it does this close. The blocks are freed once the disk responds again."""
    write(pools.image, 8, at=1)
    files = (pools.image, pools.other)
    with running(tmp_path, {"filemaps": [{"path": str(file)} for file in files]}) as supervisor:
        for file in files:
            supervisor.wait_state(file)
        before = free(pools.hung)
        held = os.open(pools.image, os.O_RDONLY)
        pools.image.unlink()
        with hanging(pools.hung, pools.hung_pool):
            os.close(held)
            supervisor.wait_state(pools.image, "STOPPED")
            serves(supervisor, pools.sound, pools.other)
            wait_for("one process waits for the disk", lambda: len(waiting(supervisor)) == 1)
            assert supervisor.stop() == 0
        wait_for("its blocks are freed", lambda: free(pools.hung) >= before + (9 << 20))


def free(fs: Filesystem) -> int:
    """Return a file system's free bytes."""
    found = os.statvfs(fs.mountpoint)
    return found.f_bfree * found.f_frsize
