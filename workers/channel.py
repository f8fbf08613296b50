"""The socketpair between a worker and its supervisor.

Packets (SOCK_SEQPACKET) arrive whole and in order, also those of a worker that has died.
"""

from __future__ import annotations

import socket
from typing import Final

from workers.messages import LARGEST, Message, decode, encode

# The kernel doubles it; a packet must fit in.
_BUFFER: Final = LARGEST
# Reused: half a megabyte for each packet would be mapped and unmapped each time.
_room = bytearray(LARGEST)


class Channel:
    """One end of the socketpair."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self.socket.fileno()

    def send(self, message: Message) -> None:
        """Send `message`; waits for room where the socket blocks. Raises OSError where the other end is gone."""
        self.socket.send(encode(message), socket.MSG_NOSIGNAL)

    def receive(self) -> Message | None:
        """Return the next message, or None where the other end is gone. Raises ValueError for another's packet,
        BlockingIOError where there is none yet and the socket doesn't block."""
        size = self.socket.recv_into(_room)
        return decode(_room[:size]) if size else None

    def close(self) -> None:
        """Close this end."""
        self.socket.close()


def pair() -> tuple[Channel, Channel]:
    """Return the supervisor's end, which doesn't block, and the worker's."""
    upper, lower = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    upper.setblocking(False)
    return Channel(upper), Channel(lower)
