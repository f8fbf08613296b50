"""The one device-mapper ioctl: a target message to a device, by device number.

Layout and flags are those of linux/dm-ioctl.h; that an empty name and uuid select by `dev` is
find_device() in drivers/md/dm-ioctl.c.
"""

from __future__ import annotations

import errno
import fcntl  # noqa: TID251 - the module's one ioctl
import functools
import os
import struct
from typing import Final

from dmstats.errors import DmError, NoDeviceMapperError, NoPermissionError

CONTROL_NODE: Final = "/dev/mapper/control"
DM_TARGET_MSG: Final = 0xC138FD0E
DM_BUFFER_FULL_FLAG: Final = 1 << 8
DM_DATA_OUT_FLAG: Final = 1 << 16

# The fields: version (3), data_size, data_start, target_count, open_count, flags, event_nr, padding, dev, name, uuid.
DM_IOCTL: Final = struct.Struct("=6Ii3IQ128s129s7x")
DM_TARGET_MESSAGE: Final = struct.Struct("=Q")  # sector, followed by the text
_TEXT_AT: Final = DM_IOCTL.size + DM_TARGET_MESSAGE.size
_DATA_START_FLAGS: Final = struct.Struct("=I8xI")
_DATA_START_OFFSET: Final = 16
_VERSION: Final = (4, 0, 0)
_FIRST_BUFFER: Final = 16 * 1024
_FIRST_ROOM: Final = 2 * 1024

# Reused: for a long table, growing a new buffer takes five calls instead of one.
_buffer = bytearray(_FIRST_BUFFER)
# The bytes of it that a command needs, if not few. The kernel allocates and copies the whole size that a command
# states: with a buffer that holds a table of 10,000 regions that takes milliseconds for each create.
_rooms: dict[bytes, int] = {b"@stats_list": _FIRST_BUFFER}


@functools.cache
def control() -> int:
    """Return the descriptor of the control node, opened once a process and inherited by its forks.

    Raises NoDeviceMapperError and NoPermissionError.
    """
    try:
        return os.open(CONTROL_NODE, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:
        raise NoPermissionError(
            f"no permission to open {CONTROL_NODE}: run as root (CAP_SYS_ADMIN)"
        ) from None
    except OSError as error:
        raise NoDeviceMapperError(
            f"this kernel has no device-mapper ({CONTROL_NODE}: {error.strerror}): try modprobe dm-mod"
        ) from None


def device_text(dev: int) -> str:
    """Return a device number as the kernel writes it, MAJOR:MINOR."""
    return f"{os.major(dev)}:{os.minor(dev)}"


def target_message(dev: int, message: bytes) -> memoryview:
    """Send `message` to the device with number `dev` and return the reply, empty where there is none: a view of
    the buffer, which holds until the next message.

    A reply that overflows the buffer is asked for again with twice the room; the kernel checks for that before it
    acts, for @stats_create and @stats_print_clear too.

    Raises DmError, NoPermissionError and NoDeviceMapperError.
    """
    global _buffer  # noqa: PLW0603 - one buffer a process is the point
    node = control()
    command = message.partition(b" ")[0]
    room = _rooms.get(command, _FIRST_ROOM)
    while _TEXT_AT + len(message) + 1 > room:
        room *= 2
    while True:
        if room > len(_buffer):
            _buffer = bytearray(room)
        sent = b"%b%b\0" % (_head(dev, room), message)
        _buffer[: len(sent)] = sent
        try:
            fcntl.ioctl(node, DM_TARGET_MSG, _buffer, True)
        except OSError as error:
            raise _refused(error, dev, message) from None
        data_start, flags = _DATA_START_FLAGS.unpack_from(_buffer, _DATA_START_OFFSET)
        if not flags & DM_BUFFER_FULL_FLAG:
            break
        room *= 2
        _rooms[command] = room
    if not flags & DM_DATA_OUT_FLAG:
        return memoryview(b"")
    return memoryview(_buffer)[data_start : _buffer.index(0, data_start)]


# Of thousands of messages to a device all begin alike.
@functools.lru_cache(maxsize=8)
def _head(dev: int, room: int) -> bytes:
    """Return the structs before the text of a message to a device."""
    head = DM_IOCTL.pack(*_VERSION, room, DM_IOCTL.size, 0, 0, 0, 0, 0, dev, b"", b"")
    return head + DM_TARGET_MESSAGE.pack(0)


def release_buffer() -> None:
    """Give back what a long table took: a megabyte for 10,000 regions, of every process that reads it now and then.
    The next one takes no more calls for that, as the room it needs is remembered."""
    global _buffer  # noqa: PLW0603 - see above
    if len(_buffer) > _FIRST_BUFFER:
        _buffer = bytearray(_FIRST_BUFFER)


def _refused(error: OSError, dev: int, message: bytes) -> DmError | NoPermissionError:
    number = error.errno or errno.EIO
    if number in (errno.EPERM, errno.EACCES):
        return NoPermissionError("device-mapper refused: it asks for CAP_SYS_ADMIN, run as root")
    return DmError(number, message[:60].decode("utf-8", "replace"), device_text(dev))
