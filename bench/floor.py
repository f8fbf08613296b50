"""The kernel's floor: the bare ioctls that a piece of work needs, in a small loop, with none of our code between.

Python adds little to an ioctl: the same calls from C take as long to within a few percent.
"""

from __future__ import annotations

import fcntl  # noqa: TID251 - what is measured here is the ioctls without the modules that are for them
import struct
from collections.abc import Iterable, Sequence
from typing import Final

from dmstats.fiemap import FIEMAP, FIEMAP_EXTENT, FS_IOC_FIEMAP
from dmstats.ioctl import DM_BUFFER_FULL_FLAG, DM_IOCTL, DM_TARGET_MESSAGE, DM_TARGET_MSG, control
from dmstats.ranges import Range

_TEXT_AT: Final = DM_IOCTL.size + DM_TARGET_MESSAGE.size
# The kernel copies as much as the message declares room for.
_SMALL: Final = 2 << 10
_FLAGS: Final = struct.Struct("=I")
_FLAGS_AT: Final = 28
_WHOLE_FILE: Final = 2**64 - 1


class Bare:
    """Sends messages to one device. Replies stay in the buffer, unread."""

    def __init__(self, dev: int) -> None:
        self._node = control()
        self._dev = dev
        self._small = self._large = bytearray(_SMALL)

    def send(self, message: bytes) -> None:
        """Send a message that has a short reply."""
        self._send(self._small, message)

    def list(self) -> None:
        """Request all regions, in one call unless their number grew much."""
        while self._send(self._large, b"@stats_list") & DM_BUFFER_FULL_FLAG:
            self._large = bytearray(2 * len(self._large))

    def create(self, ranges: Iterable[Range], options: bytes = b"0 dmstats -") -> None:
        """Create a region for each of the ranges."""
        for start, end in ranges:
            self.send(b"@stats_create %d+%d /1 %s" % (start, end - start, options))

    def print(self, ids: Iterable[int]) -> None:
        """Request the counters of each region."""
        for number in ids:
            self.send(b"@stats_print %d" % number)

    def delete(self, ids: Iterable[int]) -> None:
        """Delete each region."""
        for number in ids:
            self.send(b"@stats_delete %d" % number)

    def set_aux(self, number: int, text: bytes = b"x" * 64) -> None:
        """Set a region's aux data."""
        self.send(b"@stats_set_aux %d %s" % (number, text))

    def replay(self, messages: Sequence[bytes]) -> None:
        """Send what was sent before."""
        for message in messages:
            if message == b"@stats_list":
                self.list()
            else:
                self.send(message)

    def _send(self, buffer: bytearray, message: bytes) -> int:
        DM_IOCTL.pack_into(buffer, 0, 4, 0, 0, len(buffer), DM_IOCTL.size, 0, 0, 0, 0, 0, self._dev, b"", b"")
        DM_TARGET_MESSAGE.pack_into(buffer, DM_IOCTL.size, 0)
        buffer[_TEXT_AT : _TEXT_AT + len(message) + 1] = message + b"\0"
        fcntl.ioctl(self._node, DM_TARGET_MSG, buffer, True)
        flags: int = _FLAGS.unpack_from(buffer, _FLAGS_AT)[0]
        return flags


def fiemap(fd: int, room: int) -> None:
    """Request a file's extents in one call, with room for `room` of them."""
    buffer = bytearray(FIEMAP.size + room * FIEMAP_EXTENT.size)
    FIEMAP.pack_into(buffer, 0, 0, _WHOLE_FILE, 0, 0, room, 0)
    fcntl.ioctl(fd, FS_IOC_FIEMAP, buffer, True)
