"""Changes to a file's content: those of tests/kernel/changes.py, and random variants."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from tests.kernel.changes import (
    COLLAPSE,
    EXT4_CHANGES,
    INSERT,
    KEEP_SIZE,
    MIB,
    PUNCH_HOLE,
    XFS_CHANGES,
    ZERO,
    fallocate,
    opened,
)

Content = Callable[[Random, Path], None]

_BLOCK: Final = 4096
# The file size that the changes of tests/kernel/changes.py need.
_LEAST: Final = 3 * MIB
_FIRST: Final = 6
# Larger files are rewritten, so that a long run fits on a small disk.
LARGEST: Final = 96 * MIB


def fill(path: Path, megabytes: int = _FIRST) -> None:
    """Write a file from its start and sync it; the previous content is gone."""
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
        for i in range(megabytes):
            os.pwrite(fd, os.urandom(MIB), i * MIB)
        os.fsync(fd)


def write_anew(rng: Random, path: Path) -> None:
    """Truncate the file and rewrite it."""
    fill(path, rng.randint(1, _FIRST))


def _size(path: Path) -> int:
    return path.stat().st_size


def _grown(path: Path) -> int:
    """Return the file's size, after filling it if it is too small."""
    if _size(path) < _LEAST:
        fill(path)
    return _size(path)


def _named(change: Callable[[Path], None]) -> Content:
    def content(_rng: Random, path: Path) -> None:
        _grown(path)
        change(path)

    return content


def _aligned(rng: Random, below: int) -> int:
    return rng.randrange(max(1, below // _BLOCK)) * _BLOCK


def _length(rng: Random) -> int:
    """Return a length from one block to 2 MiB, short and long ones equally often."""
    return _BLOCK << rng.randrange(10)


def _write_at(rng: Random, path: Path, *, synced: bool) -> None:
    offset = rng.randrange(_size(path) + 8 * MIB)
    with opened(path, os.O_WRONLY) as fd:
        os.pwrite(fd, os.urandom(rng.randint(1, _length(rng))), offset)
        if synced:
            os.fsync(fd)


def write_at(rng: Random, path: Path) -> None:
    """Write anywhere, unaligned, and sync."""
    _write_at(rng, path, synced=True)


def write_at_delayed(rng: Random, path: Path) -> None:
    """Write anywhere; it lands by itself or with another program's sync."""
    _write_at(rng, path, synced=False)


def write_at_land_later(rng: Random, path: Path) -> None:
    """Write anywhere, and flush after the file has been reconciled."""
    _write_at(rng, path, synced=False)
    time.sleep(rng.uniform(0.0, 0.6))
    with opened(path, os.O_RDONLY) as fd:
        os.fdatasync(fd)


def _fallocated(mode: int, *, beyond: int = 0) -> Content:
    def content(rng: Random, path: Path) -> None:
        offset = rng.randrange(_size(path) + beyond + 1)
        with opened(path) as fd:
            fallocate(fd, mode, offset, rng.randint(1, _length(rng)))

    return content


def collapse_at(rng: Random, path: Path) -> None:
    """Remove some blocks from the file."""
    size = _grown(path)
    length = min(_length(rng), MIB)
    with opened(path) as fd:
        fallocate(fd, COLLAPSE, _aligned(rng, size - length - _BLOCK), length)


def insert_at(rng: Random, path: Path) -> None:
    """Insert a hole into the file, which moves the rest."""
    size = _grown(path)
    with opened(path) as fd:
        fallocate(fd, INSERT, _aligned(rng, size - _BLOCK), _length(rng))


def truncate_to(rng: Random, path: Path) -> None:
    """Set any size, also beyond the end."""
    os.truncate(path, rng.randrange(_size(path) + 4 * MIB))


def truncate_to_nothing(_rng: Random, path: Path) -> None:
    """Truncate the file to nothing."""
    os.truncate(path, 0)


def store_at(rng: Random, path: Path) -> None:
    """Store through mmap(2) anywhere, for which inotify emits no event."""
    size = _grown(path)
    offset = rng.randrange(size - 1)
    length = min(_length(rng), size - offset)
    with opened(path) as fd, mmap.mmap(fd, 0) as memory:
        memory[offset : offset + length] = os.urandom(length)
        memory.flush()


def write_direct_at(rng: Random, path: Path) -> None:
    """Write anywhere with O_DIRECT."""
    length = _length(rng)
    with opened(path, os.O_WRONLY | os.O_DIRECT) as fd, mmap.mmap(-1, length) as buffer:
        os.pwrite(fd, buffer, _aligned(rng, _size(path) + 2 * MIB))


def punch_many(rng: Random, path: Path) -> None:
    """Punch small holes all over the file."""
    size = _grown(path)
    with opened(path) as fd:
        for _ in range(rng.randint(2, 6)):
            fallocate(
                fd, KEEP_SIZE | PUNCH_HOLE, _aligned(rng, min(size, 8 * MIB)), _BLOCK << rng.randrange(5)
            )


# Changes that need no second name, so they work on an unlinked file.
NAMELESS: Final[dict[str, Content]] = {
    "write at random": write_at,
    "write at random, delayed": write_at_delayed,
    "punch at random": _fallocated(KEEP_SIZE | PUNCH_HOLE),
    "punch many at random": punch_many,
    "zero at random": _fallocated(ZERO, beyond=MIB),
    "allocate at random": _fallocated(0, beyond=4 * MIB),
    "allocate at random, size kept": _fallocated(KEEP_SIZE, beyond=8 * MIB),
    "collapse at random": collapse_at,
    "insert at random": insert_at,
    "truncate at random": truncate_to,
    "truncate to nothing": truncate_to_nothing,
    "store at random": store_at,
    "write direct at random": write_direct_at,
    "write at random, lands late": write_at_land_later,
}
CONTENTS: Final[dict[str, dict[str, Content]]] = {
    "ext4": {**{name: _named(change) for name, change in EXT4_CHANGES.items()}, **NAMELESS},
    "xfs": {**{name: _named(change) for name, change in XFS_CHANGES.items()}, **NAMELESS},
}
