"""A file system on a device of its own, and files on it that lie in many pieces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.floor import Bare
from dmstats.device import Device
from dmstats.fiemap import read_extents
from dmstats.ranges import Range, footprint
from sandbox.devices import filesystem
from tests.kernel.changes import KEEP_SIZE, PUNCH_HOLE, fallocate

BLOCK: Final = 4096
_CHUNK: Final = 256 * BLOCK


@dataclass
class Volume:
    """A mounted ext4, empty and without regions at first."""

    device: Device
    name: str
    folder: Path
    bare: Bare
    _open: list[int] = field(default_factory=list)

    def open(self, path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> int:
        """Open a file until the volume goes."""
        fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
        self._open.append(fd)
        return fd

    def fragmented(self, name: str, extents: int) -> int:
        """Make a file of so many extents of one block, none of which touch, and return it open."""
        fd = self.open(self.folder / name)
        append_pieces(fd, extents)
        return fd

    def clear(self) -> None:
        """Delete all regions."""
        self.bare.delete([region.id for region in self.device.list().regions])

    def close(self) -> None:
        """Close what was opened."""
        while self._open:
            os.close(self._open.pop())


@contextmanager
def volume(size_mb: int) -> Iterator[Volume]:
    """A file system of that size while the context lasts. Raises DeviceError."""
    with filesystem("ext4", size_mb) as made:
        one = Volume(Device(made.device.dev_t), made.device.name, made.mountpoint, Bare(made.device.dev_t))
        try:
            yield one
        finally:
            one.close()


def append_pieces(fd: int, count: int) -> None:
    """Add so many extents of one block behind a file's end, with a free block behind each of them, on disk too."""
    begin = end = os.fstat(fd).st_size
    left = 2 * count * BLOCK
    while left:
        left -= os.pwrite(fd, bytes(min(left, _CHUNK)), end)
        end = os.fstat(fd).st_size
    os.fsync(fd)
    punch(fd, range(begin // BLOCK + 1, end // BLOCK, 2))


def punch(fd: int, blocks: range | list[int]) -> None:
    """Free blocks of a file."""
    for block in blocks:
        fallocate(fd, KEEP_SIZE | PUNCH_HOLE, block * BLOCK, BLOCK)
    os.fsync(fd)


def ranges_of(fd: int) -> tuple[Range, ...]:
    """Return where a file lies."""
    return footprint(read_extents(fd)).ranges
