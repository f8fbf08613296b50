"""Where a file's extents lie: the one FIEMAP ioctl and its parser (linux/fiemap.h)."""

from __future__ import annotations

import errno
import fcntl  # noqa: TID251 - the module's one ioctl
import struct
from collections.abc import Iterator
from enum import IntFlag
from typing import Final, NamedTuple

from dmstats.errors import NoExtentsError

FS_IOC_FIEMAP: Final = 0xC020660B
FIEMAP: Final = struct.Struct("=QQ4I")  # start, length, flags, mapped_extents, extent_count, reserved
FIEMAP_EXTENT: Final = struct.Struct("=3Q16xI12x")  # logical, physical, length, flags
_MAPPED_EXTENTS: Final = struct.Struct("=I")
_MAPPED_OFFSET: Final = 20
_WHOLE_FILE: Final = 2**64 - 1
_FEW: Final = 32
_MOST: Final = 16384


class ExtentFlag(IntFlag):
    """FIEMAP_EXTENT_*: the flags about an extent's place on the device, and about sharing."""

    LAST = 0x1
    UNKNOWN = 0x2
    DELALLOC = 0x4
    ENCODED = 0x8
    DATA_INLINE = 0x200
    UNWRITTEN = 0x800
    SHARED = 0x2000


NOT_ON_DISK: Final = int(
    ExtentFlag.UNKNOWN | ExtentFlag.DELALLOC | ExtentFlag.ENCODED | ExtentFlag.DATA_INLINE
)


class Extent(NamedTuple):
    """One extent; `logical`, `physical` and `length` are bytes."""

    logical: int
    physical: int
    length: int
    flags: int


def parse_fiemap(buffer: bytes | bytearray | memoryview) -> list[Extent]:
    """Return the extents in a struct fiemap that the kernel filled."""
    return list(map(Extent._make, unpack_extents(_extents_in(buffer))))


def _extents_in(buffer: bytes | bytearray | memoryview) -> memoryview:
    (count,) = _MAPPED_EXTENTS.unpack_from(buffer, _MAPPED_OFFSET)
    return memoryview(buffer)[FIEMAP.size : FIEMAP.size + count * FIEMAP_EXTENT.size]


def unpack_extents(structs: bytes | bytearray | memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Yield the extents of read_structs(), as tuples with the fields of Extent."""
    return FIEMAP_EXTENT.iter_unpack(structs)


def read_extents(fd: int) -> list[Extent]:
    """Return the extents of the file open at `fd`, by logical offset. Raises like read_structs()."""
    return list(map(Extent._make, unpack_extents(read_structs(fd))))


def read_structs(fd: int, room: int = _FEW) -> bytes | bytearray:
    """Return the extents of the file open at `fd`, by logical offset, as the kernel's structs one behind the other.
    Up to `room` extents take one call.

    Without FIEMAP_FLAG_SYNC: flags show what is not yet on disk, and a flush would disturb the guest. Raises
    NoExtentsError where the file system has no FIEMAP, OSError for other failures.
    """
    parts: list[bytearray] = []
    start = 0
    while True:
        buffer = bytearray(FIEMAP.size + room * FIEMAP_EXTENT.size)
        FIEMAP.pack_into(buffer, 0, start, _WHOLE_FILE - start, 0, 0, room, 0)
        try:
            fcntl.ioctl(fd, FS_IOC_FIEMAP, buffer, True)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EBADR):
                raise NoExtentsError(
                    "the file system cannot tell a file's extents (it has no FIEMAP)"
                ) from None
            raise
        (count,) = _MAPPED_EXTENTS.unpack_from(buffer, _MAPPED_OFFSET)
        # What is cut off either end of a bytearray moves nothing: where one call does, nothing is copied.
        del buffer[FIEMAP.size + count * FIEMAP_EXTENT.size :]
        del buffer[: FIEMAP.size]
        parts.append(buffer)
        if not buffer:
            break
        logical, _, length, flags = FIEMAP_EXTENT.unpack(buffer[-FIEMAP_EXTENT.size :])
        if flags & ExtentFlag.LAST:
            break
        start, room = logical + length, max(room, min(8 * room, _MOST))
    return parts[0] if len(parts) == 1 else b"".join(parts)
