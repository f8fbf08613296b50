"""Modes inode and path under a supervisor: which file is followed, and until when."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.devices import Filesystem, filesystem
from tests.kernel import oracle
from tests.kernel.changes import CHANGES, MIB, fallocate, opened
from tests.kernel.running import running, wait_for, write
from workers import followed_file


@pytest.fixture
def fs() -> Iterator[Filesystem]:
    """A file system of its own for each test."""
    with filesystem("xfs", size_mb=320) as made:
        yield made


def exact(file: Path, fs: Filesystem) -> bool:
    """Return whether the file's group covers it exactly and nothing is left behind."""
    oracle.assert_exact_cover(file, fs.device.name)
    oracle.assert_no_orphan(fs.device.name)
    return True


@pytest.mark.parametrize("on_unlink", ["delete", "keep"])
def test_inode_until_its_last_close(fs: Filesystem, tmp_path: Path, on_unlink: str) -> None:
    """The file is followed through a rename and a hard link, and after unlink until its last close. The group
    goes or stays as configured."""
    file = fs.mountpoint / "disk.img"
    write(file, 2)
    config = {"filemaps": [{"path": str(file), "on_unlink": on_unlink}]}
    with running(tmp_path, config) as supervisor:
        pid = supervisor.wait_state(file)["pid"]
        moved = file.rename(fs.mountpoint / "moved.img")
        os.link(moved, fs.mountpoint / "link.img")
        CHANGES["append"](moved)
        wait_for("the renamed file is followed", lambda: exact(moved, fs))
        moved.unlink()
        CHANGES["append"](fs.mountpoint / "link.img")
        wait_for("the link is followed", lambda: exact(fs.mountpoint / "link.img", fs))
        with opened(fs.mountpoint / "link.img") as fd:
            (fs.mountpoint / "link.img").unlink()
            extents = supervisor.filemap(file)["extents"]
            fallocate(fd, 0, 20 * MIB, MIB)
            wait_for("the unlinked file is followed", lambda: supervisor.filemap(file)["extents"] > extents)
            assert supervisor.filemap(file)["pid"] == pid
        ended = supervisor.wait_state(file, "STOPPED")
        assert "unlinked and closed" in ended["reason"]
        assert ended["restarts"] == 0
        assert bool(oracle.rows(fs.device.name)) is (on_unlink == "keep")
        write(file, 1)
        supervisor.wait_state(file)
        wait_for("a new file at the path is followed", lambda: exact(file, fs))


def test_worker_killed_after_a_rename(fs: Filesystem, tmp_path: Path) -> None:
    """Mode inode: a successor worker follows the file itself, not a new file under its old name."""
    file = fs.mountpoint / "disk.img"
    write(file, 2)
    with running(tmp_path, {"filemaps": [{"path": str(file)}]}) as supervisor:
        before = supervisor.wait_state(file)
        moved = file.rename(fs.mountpoint / "moved.img")
        write(file, 1)
        os.kill(before["pid"], 9)
        wait_for("another runs", lambda: supervisor.filemap(file)["pid"] not in (None, before["pid"]))
        CHANGES["append"](moved)
        wait_for("the renamed file is followed", lambda: exact(moved, fs))
        assert supervisor.filemap(file)["inode"] == before["inode"]


def test_path_follows_what_stands_there(fs: Filesystem, tmp_path: Path) -> None:
    """The group follows the path when a file is renamed over it, removed and recreated, when a link is
    retargeted, the directory renamed away and back, and another file system mounted over it."""
    folder = fs.mountpoint / "images"
    folder.mkdir()
    file = folder / "disk.img"
    write(file, 2)
    with running(tmp_path, {"filemaps": [{"path": str(file), "mode": "path"}]}) as supervisor:
        pid = supervisor.wait_state(file)["pid"]
        write(fs.mountpoint / "new", 3)
        (fs.mountpoint / "new").rename(file)
        wait_for("renamed over", lambda: exact(file, fs))
        file.unlink()
        supervisor.wait_state(file, "WAITING")
        wait_for("no group without a file", lambda: not oracle.rows(fs.device.name))
        write(file, 1)
        wait_for("it is recreated", lambda: exact(file, fs))
        for n in (1, 2):
            write(folder / f"{n}", n)
        file.unlink()
        for n in (1, 2):
            (folder / "link").symlink_to(f"{n}")
            (folder / "link").rename(file)
            wait_for("the link is followed", lambda: exact(file, fs))
        file.unlink()
        (folder / "1").rename(file)
        wait_for("a file again", lambda: exact(file, fs))
        away = folder.rename(fs.mountpoint / "away")
        supervisor.wait_state(file, "WAITING")
        away.rename(folder)
        wait_for("the directory is back", lambda: exact(file, fs))
        with filesystem("ext4", size_mb=64, mountpoint=folder) as over:
            supervisor.wait_state(file, "WAITING")
            write(file, 2)
            wait_for("the other file system's file", lambda: exact(file, over))
            wait_for("nothing on the first", lambda: not oracle.rows(fs.device.name))
            assert supervisor.filemap(file)["device"] == over.device.name
            file.unlink()
            supervisor.wait_state(file, "WAITING")
        wait_for("back on the first", lambda: exact(file, fs))
        assert supervisor.filemap(file)["pid"] == pid


def test_speculative_preallocation_is_followed_away(fs: Filesystem, tmp_path: Path) -> None:
    """Blocks that XFS preallocates for appends are covered while they exist, and no longer."""
    file = fs.mountpoint / "disk.img"
    write(file, 1)
    with running(tmp_path, {"filemaps": [{"path": str(file)}]}) as supervisor:
        supervisor.wait_state(file)
        with opened(file, os.O_WRONLY | os.O_APPEND) as fd:
            for _ in range(48):
                os.write(fd, os.urandom(64 * 1024))
                os.fsync(fd)
            ahead = os.fstat(fd).st_blocks * 512 - os.fstat(fd).st_size
            wait_for("it is followed while it grows", lambda: exact(file, fs))
        assert ahead > 0, "XFS did not allocate ahead"
        wait_for("XFS has trimmed it", lambda: trimmed(file))
        wait_for("it is followed", lambda: exact(file, fs))


def trimmed(file: Path) -> bool:
    """Reopen and close a file, at which XFS trims it if its extents aren't being read. Return whether it
    did."""
    with opened(file):
        pass
    return file.stat().st_blocks * 512 == file.stat().st_size


def test_open_elsewhere(fs: Filesystem) -> None:
    """The lease shows whether another process has the file open."""
    file = fs.mountpoint / "disk.img"
    write(file, 1)
    with opened(file, os.O_RDONLY) as fd:
        assert not followed_file.open_elsewhere(fd)
        with (
            file.open("rb") as stdin,
            subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=stdin) as other,
        ):
            stdin.close()
            assert followed_file.open_elsewhere(fd)
            assert other.stdin is not None
            other.stdin.close()
            other.wait()
        assert not followed_file.open_elsewhere(fd)


def test_no_descriptor_to_watch_with(fs: Filesystem, tmp_path: Path) -> None:
    """A file that couldn't be opened for lack of descriptors is opened and watched once there are some."""
    file, other = fs.mountpoint / "disk.img", fs.mountpoint / "other"
    write(file, 2)
    with running(tmp_path, {"filemaps": [{"path": str(file), "mode": "path"}]}) as supervisor:
        supervisor.wait_state(file)
        pid = supervisor.process.pid

        def held() -> bool:
            for path in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                    if path.readlink() == file:
                        return True
            return False

        wait_for("it is held", held)
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        # The numbers below are those of stdio, which are in use: none is free.
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
        write(other, 3)
        other.rename(file)
        wait_for("the new file is followed", lambda: exact(file, fs))
        assert not held()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        wait_for("it is held", held)
        CHANGES["append"](file)
        wait_for("it is followed", lambda: exact(file, fs))
