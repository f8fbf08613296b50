"""Changes to a file's allocation. Each takes a file of some MiB and changes where its extents lie."""

from __future__ import annotations

import ctypes  # noqa: TID251 - fallocate(2) with its modes
import fcntl  # noqa: TID251 - FICLONERANGE
import mmap
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 1 << 20
KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO, INSERT = 0x01, 0x02, 0x08, 0x10, 0x20
_FICLONERANGE = 0x4020940D
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def opened(path: Path, flags: int = os.O_RDWR) -> Iterator[int]:
    """Keep a file open while the context lasts."""
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """Call fallocate(2). Raises OSError."""
    if _libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _fallocating(mode: int, offset: int, length: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with opened(path) as fd:
            fallocate(fd, mode, offset, length)

    return change


def append(path: Path) -> None:
    """Append a MiB and sync it."""
    with opened(path, os.O_WRONLY | os.O_APPEND) as fd:
        os.write(fd, os.urandom(MIB))
        os.fsync(fd)


def append_delayed(path: Path) -> None:
    """Append a MiB without a sync; it lands by itself or with another program's sync."""
    with opened(path, os.O_WRONLY | os.O_APPEND) as fd:
        os.write(fd, os.urandom(MIB))


def land(_path: Path) -> None:
    """Flush all delayed allocations; this causes no event."""
    os.sync()


def write_hole(path: Path) -> None:
    """Write far beyond the end, which leaves a hole."""
    with opened(path) as fd:
        os.pwrite(fd, os.urandom(MIB), os.fstat(fd).st_size + 8 * MIB)
        os.fsync(fd)


def shrink(path: Path) -> None:
    """Cut off the last MiB."""
    os.truncate(path, max(MIB, path.stat().st_size - MIB))


def empty_and_back(path: Path) -> None:
    """Truncate to nothing and rewrite."""
    os.truncate(path, 0)
    with opened(path) as fd:
        os.pwrite(fd, os.urandom(6 * MIB), 0)
        os.fsync(fd)


def store_mapped(path: Path) -> None:
    """Store through mmap(2) into a hole, for which inotify emits no event."""
    with opened(path) as fd:
        size = os.fstat(fd).st_size
        os.ftruncate(fd, size + 4 * MIB)
        with mmap.mmap(fd, 0) as memory:
            at = size + 2 * MIB
            memory[at : at + MIB] = os.urandom(MIB)
            memory.flush()


def same_blocks(path: Path) -> None:
    """Free as much as is allocated, so that st_blocks stays the same."""
    with opened(path) as fd:
        size = os.fstat(fd).st_size
        fallocate(fd, KEEP_SIZE | PUNCH_HOLE, 2 * MIB, MIB)
        fallocate(fd, 0, size + 3 * MIB, MIB)


def write_direct(path: Path) -> None:
    """Write with O_DIRECT."""
    with opened(path, os.O_RDWR | os.O_DIRECT) as fd:
        buffer = mmap.mmap(-1, MIB)
        os.pwrite(fd, buffer, (os.fstat(fd).st_size // MIB + 2) * MIB)


def write_by_loop(path: Path) -> None:
    """Write into a hole through a loop device on the file."""
    os.truncate(path, (path.stat().st_size // MIB + 4) * MIB)
    loop = subprocess.run(
        ["losetup", "--find", "--show", str(path)], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        with opened(Path(loop), os.O_WRONLY) as fd:
            os.pwrite(fd, os.urandom(MIB), (path.stat().st_size // MIB - 2) * MIB)
            os.fsync(fd)
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)


def defragment(path: Path) -> None:
    """Move the file to other blocks with e4defrag."""
    scatter(path)
    subprocess.run(["e4defrag", str(path)], check=True, capture_output=True)


def scatter(path: Path) -> None:
    """Give the file scattered extents by writing it in turns with another file."""
    beside = path.with_name(path.name + ".beside")
    with opened(path) as one, opened(beside, os.O_RDWR | os.O_CREAT) as other:
        size = os.fstat(one).st_size
        for i in range(8):
            for fd in (one, other):
                os.pwrite(fd, os.urandom(65536), size + i * 65536)
                os.fsync(fd)
    beside.unlink()


def reflink(path: Path) -> None:
    """Share the first MiB with a copy and write to it: copy on write allocates new blocks (XFS)."""
    copy = path.with_name(path.name + ".copy")
    with opened(path) as fd, opened(copy, os.O_RDWR | os.O_CREAT) as other:
        os.ftruncate(other, 0)
        fcntl.ioctl(other, _FICLONERANGE, struct.pack("=qQQQ", fd, 0, MIB, 0))
        os.pwrite(fd, os.urandom(MIB), 0)
        os.fsync(fd)
    copy.unlink()


def clone_over(path: Path) -> None:
    """Replace the file's first MiB with another file's blocks (XFS)."""
    source = path.with_name(path.name + ".source")
    with opened(path) as fd, opened(source, os.O_RDWR | os.O_CREAT) as other:
        os.pwrite(other, os.urandom(MIB), 0)
        os.fsync(other)
        fcntl.ioctl(fd, _FICLONERANGE, struct.pack("=qQQQ", other, 0, MIB, 0))
    source.unlink()


CHANGES: dict[str, Callable[[Path], None]] = {
    "append": append,
    "append_delayed": append_delayed,
    "land": land,
    "write_hole": write_hole,
    "fallocate": _fallocating(0, 40 * MIB, 2 * MIB),
    "fallocate_behind_end": _fallocating(KEEP_SIZE, 60 * MIB, 2 * MIB),
    "punch": _fallocating(KEEP_SIZE | PUNCH_HOLE, MIB, MIB),
    "punch_first": _fallocating(KEEP_SIZE | PUNCH_HOLE, 0, MIB),
    "zero": _fallocating(ZERO, 0, 2 * MIB),
    "collapse": _fallocating(COLLAPSE, MIB, MIB),
    "insert": _fallocating(INSERT, MIB, MIB),
    "shrink": shrink,
    "empty_and_back": empty_and_back,
    "store_mapped": store_mapped,
    "same_blocks": same_blocks,
    "write_direct": write_direct,
    "write_by_loop": write_by_loop,
    "scatter": scatter,
}
EXT4_CHANGES = {**CHANGES, "defragment": defragment}
XFS_CHANGES = {**CHANGES, "reflink": reflink, "clone_over": clone_over}
