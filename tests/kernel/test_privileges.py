"""The workers' privileges, which suffice for other users' images."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sandbox.devices import Filesystem, filesystem
from tests.kernel import oracle
from tests.kernel.running import running, wait_for, write

# CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN and CAP_LEASE, by their numbers in capability.h.
KEPT = 1 << 2 | 1 << 21 | 1 << 28


@pytest.fixture
def fs() -> Iterator[Filesystem]:
    """A file system of its own for each test."""
    with filesystem("ext4", 64) as made:
        yield made


@pytest.fixture
def image(fs: Filesystem) -> Path:
    """An image of an unprivileged user, in that user's folder, which only the owner may read."""
    folder = fs.mountpoint / "images"
    folder.mkdir(mode=0o700)
    path = folder / "disk.img"
    write(path, 1)
    nobody = pwd.getpwnam("nobody")
    for owned in (path, folder):
        os.chown(owned, nobody.pw_uid, nobody.pw_gid)
    os.sync()
    return path


def privileges(pid: int) -> dict[str, int]:
    """Return a process's capability sets from proc(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":\t") for line in lines if line.startswith(("Cap", "NoNew")))
    return {name: int(value, 16) for name, value in status.items()}


def command(pid: int) -> list[str]:
    """Return the words of a process's command line, empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def test_workers_have_what_they_need(fs: Filesystem, image: Path, tmp_path: Path) -> None:
    """A worker and the fork server have three capabilities and can get no others; the worker follows the
    image."""
    with running(tmp_path, {"filemaps": [{"path": str(image)}]}) as supervisor:
        worker = supervisor.wait_state(image)["pid"]
        # A search for virtual machines may currently be another child.
        children = [child.pid for child in psutil.Process(supervisor.process.pid).children()]
        served = [pid for pid in children if "workers.fork_server" in command(pid)]
        assert worker in served
        assert len(served) == 2
        for pid in served:
            assert privileges(pid) == {
                **dict.fromkeys(["CapPrm", "CapEff", "CapBnd"], KEPT),
                **dict.fromkeys(["CapInh", "CapAmb"], 0),
                "NoNewPrivs": 1,
            }
        write(image, 2, 4)
        wait_for("it is followed", lambda: len(oracle.assert_exact_cover(image, fs.device.name)) == 2)


def test_an_image_of_another_user_that_is_unlinked(image: Path, fs: Filesystem, tmp_path: Path) -> None:
    """A worker detects whether the image's user still has it open: it is followed until the last close, then
    dropped."""
    config = {"filemaps": [{"path": str(image), "mode": "inode"}]}
    with running(tmp_path, config) as supervisor:
        supervisor.wait_state(image)
        with (
            image.open("r+b") as stdin,
            subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=stdin, user="nobody") as user,
        ):
            stdin.close()
            image.unlink()
            assert user.stdin is not None
            written = os.open(f"/proc/{user.pid}/fd/1", os.O_RDWR)
            os.pwrite(written, bytes(1 << 20), 4 << 20)
            os.fsync(written)
            wait_for("it is followed on", lambda: supervisor.filemap(image)["extents"] == 2)
            assert supervisor.filemap(image)["state"] == "RUNNING"
            os.close(written)
            user.stdin.close()
            user.wait()
        supervisor.wait_state(image, "STOPPED")
        wait_for("its group is gone", lambda: oracle.rows(fs.device.name) == [])
