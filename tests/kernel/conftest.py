"""Devices with a file system for the tests that need a kernel with device-mapper: run them in a guest,

python -m sandbox -- python -m pytest tests/kernel
"""

from __future__ import annotations

import contextlib
import ctypes  # noqa: TID251 - os has no fallocate(2) that punches holes, and a process for each is slow
import lzma
import mmap
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest

from dmstats.device import Device as StatsDevice
from sandbox.devices import Device, Filesystem, dm_device, filesystem
from sandbox.environment import inside
from sandbox.syscalls import sync_filesystem
from tests.kernel import oracle
from tests.unit.data import recorded

KIB64 = 1 << 16

_KEEP_SIZE, _PUNCH_HOLE = 0x1, 0x2
_libc = ctypes.CDLL(None, use_errno=True)

# Nothing here can run on a host, and skipped tests would go unnoticed.
collect_ignore_glob = [] if inside() else ["test_*.py"]


@dataclass
class Disk:
    """A mounted file system on a device-mapper device, empty and without regions when a test starts."""

    device: Device
    folder: Path
    open_files: list[int] = field(default_factory=list)

    @property
    def stats(self) -> StatsDevice:
        """The device, for the messages of dmstats."""
        return StatsDevice(self.device.dev_t)

    def open(self, path: Path) -> int:
        """Open a file for reading and writing until the test ends."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.open_files.append(fd)
        return fd

    @property
    def name(self) -> str:
        """The device's name."""
        return self.device.name

    def write(self, name: str, length: int, *, offset: int = 0) -> Path:
        """Write a file and sync it."""
        path = self.folder / name
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(fd, b"x" * length, offset)
        os.fsync(fd)
        os.close(fd)
        return path

    def pieces(self, name: str, count: int, size: int = KIB64) -> Path:
        """Create a file of `count` extents of `size` bytes, with gaps of the same size in the file and on the
        device."""
        path = self.write(name, 2 * count * size)
        punch(path, *((2 * at + 1) * size for at in range(count)), length=size)
        found = oracle.extents(path)
        assert len(found) == count
        assert all(one.physical + one.length < two.physical for one, two in pairwise(found))
        return path

    def others_region(self, start: int = 0) -> int:
        """Create another program's region and return its id."""
        return self.stats.create(start, 8, program="theirs", aux="mine")

    def clean(self) -> None:
        """Delete all regions and all files."""
        while self.open_files:
            os.close(self.open_files.pop())
        for number in oracle.table(self.device.name):
            self.stats.delete(number)
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        # ext4 reuses freed blocks only after the journal is committed.
        folder = os.open(self.folder, os.O_RDONLY)
        sync_filesystem(folder)
        os.close(folder)


def sync(path: Path) -> None:
    """Sync a file, so that its extents are final."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def punch(path: Path, *offsets: int, length: int) -> None:
    """Punch holes into a file; its size stays."""
    fd = os.open(path, os.O_RDWR)
    for offset in offsets:
        result = _libc.fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, ctypes.c_long(offset), ctypes.c_long(length))
        assert result == 0, os.strerror(ctypes.get_errno())
    os.fsync(fd)
    os.close(fd)


def punch_region(path: Path, device: str, number: int) -> None:
    """Punch out the part of a file at the region's start."""
    (start,) = (row.start * 512 for row in oracle.rows(device) if row.id == number)
    (piece,) = (piece for piece in oracle.extents(path) if piece.physical == start)
    punch(path, piece.logical, length=piece.length)


def read_direct(path: Path, offset: int, times: int) -> None:
    """Read 4 KiB of a file from the device, `times` times."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    page = mmap.mmap(-1, 4096)
    for _ in range(times):
        assert os.preadv(fd, [page], offset) == 4096
    os.close(fd)


def write_direct(path: Path, offset: int, times: int) -> None:
    """Write 4 KiB of a file, already allocated on disk, to the device, `times` times."""
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    page = mmap.mmap(-1, 4096)
    for _ in range(times):
        assert os.pwrite(fd, page, offset) == 4096
    os.close(fd)


@pytest.fixture(scope="session", params=["ext4", "xfs"])
def made(request: pytest.FixtureRequest) -> Iterator[Filesystem]:
    """A file system of each kind, for the whole session."""
    kind: Literal["ext4", "xfs"] = request.param
    with filesystem(kind, 64 if kind == "ext4" else None) as one:
        yield one


@pytest.fixture
def disk(made: Filesystem) -> Iterator[Disk]:
    """A file system of each kind, as if new."""
    one = Disk(made.device, made.mountpoint)
    with contextlib.ExitStack() as undo:
        undo.callback(one.clean)
        yield one


@pytest.fixture(scope="session")
def bare() -> Iterator[Device]:
    """A device with nothing on it, for the whole session."""
    with dm_device() as one:
        yield one


@pytest.fixture
def device(bare: Device) -> Iterator[Device]:
    """A device with nothing on it, without regions when a test starts."""
    yield bare
    for number in oracle.table(bare.name):
        StatsDevice(bare.dev_t).delete(number)


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Path]:
    """A file system of btrfs on a device of device-mapper, from a recorded image; it has "file" and "inline"."""
    with dm_device("btrfs", 16) as device:
        device.path.write_bytes(lzma.decompress(recorded("btrfs.img.xz")))
        oracle.run("mount", "-t", "btrfs", str(device.path), str(tmp_path))
        yield tmp_path
        oracle.run("umount", str(tmp_path))
