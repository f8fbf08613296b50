"""The feed to the web process: one JSON message in each packet, one way. The supervisor never waits for the reader.

A changed file is sent at most once a second, with its current status. So the number of files bounds the queue.

| Message | Contents |
| --- | --- |
| `["settings", {...}]` | `web.tls_server_config` and `web.basic_auth_users`: the first message. |
| `["file", STATUS]` | The status of a changed file, as in `status --json`. |
| `["gone", PATH]` | The file is no longer followed. |
| `["regions", PATH, [[START, LENGTH, IOS]...]]` | The file's regions in sectors, and their new I/Os. |
| `["supervisor", {...}]` | The status without the files, every 10 s. |
| `["event", {...}]` | An event of the ledger's event log. |
"""

from __future__ import annotations

import errno
import fcntl  # noqa: TID251 - the only way to get a socket's unread bytes
import json
import logging
import selectors
import socket
import struct
import termios
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from supervisor.runtime.timers import Timer, Timers

_log = logging.getLogger("filemapd.supervisor")

_INTERVAL: Final = 1.0
# A packet must fit into it. The kernel doubles it.
_BUFFER: Final = 512 * 1024
# Packets in one turn of the event loop.
_AT_ONCE: Final = 50
_EVENTS_WAITING: Final = 1000

Message = list[Any]
"""The kind and the contents: see above."""


class FeedSender:
    """The supervisor's end of the socket. `file_messages` returns the messages about the file at a path."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        timers: Timers,
        file_messages: Callable[[str], Iterable[Message]],
    ) -> None:
        self._selector = selector
        self._timers = timers
        self._file_messages = file_messages
        self._end: socket.socket | None = None
        self._reset()

    def _reset(self) -> None:
        self._changed: dict[str, None] = {}
        self._others: deque[Message] = deque(maxlen=_EVENTS_WAITING)
        self._timer: Timer | None = None
        self._not_before = 0.0
        self._packets: Iterator[bytes] | None = None
        self._unsent = b""

    def open(self, first: Message) -> socket.socket:
        """Return the other end of a new socket, and send `first`. Unsent messages for the former socket are dropped.

        Raises OSError.
        """
        self.close()
        self._end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._end.setblocking(False)
        self._end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self._end.send(_packet(first))
        return theirs

    def close(self) -> None:
        """Close the socket. The web process ends when it reads end of file."""
        if self._end is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._packets is not None:
            self._selector.unregister(self._end)
        self._end.close()
        self._end = None
        self._reset()

    def changed(self, path: str) -> None:
        """Send the messages about the file at `path`. It may have been removed."""
        if self._end is not None:
            self._changed[path] = None
            self._schedule()

    def send(self, message: Message) -> None:
        """Send `message` after the changed files. If too many wait, the oldest are dropped."""
        if self._end is not None:
            self._others.append(message)
            self._schedule()

    def unread(self) -> bool:
        """Return whether the web process has unread messages."""
        if self._end is None:
            return False
        (size,) = struct.unpack("i", fcntl.ioctl(self._end, termios.TIOCOUTQ, bytes(4)))
        return bool(size)

    def _schedule(self) -> None:
        if self._timer is None and self._packets is None:
            self._timer = self._timers.at(max(time.monotonic(), self._not_before), self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._not_before = time.monotonic() + _INTERVAL
        if self._end is not None:
            self._packets = self._encoded(self._changed, list(self._others))
            self._changed = {}
            self._others.clear()
            self._selector.register(self._end, selectors.EVENT_WRITE, self._writable)

    def _encoded(self, paths: Iterable[str], others: Iterable[Message]) -> Iterator[bytes]:
        for path in paths:
            for message in self._file_messages(path):
                yield _packet(message)
        for message in others:
            yield _packet(message)

    def _writable(self, _events: int) -> None:
        """Send some packets while there is room."""
        for _ in range(_AT_ONCE):
            packet = self._unsent or next(self._packets or iter(()), b"")
            if not packet or self._end is None:
                self._finish()
                return
            try:
                self._end.send(packet, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self._unsent = packet
                return
            except OSError as error:
                if error.errno != errno.EMSGSIZE:  # the process has ended and will be reaped
                    self._packets = iter(())
                else:
                    _log.warning("a message of %d bytes is too large for the web process", len(packet))
            self._unsent = b""

    def _finish(self) -> None:
        if self._end is not None:
            self._selector.unregister(self._end)
        self._packets = None
        if self._changed or self._others:
            self._schedule()


def _packet(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()
