"""The log of all processes: one stream, one record a line.

Other processes send their records as packets (workers/log_records.py), without waiting for the supervisor. The
supervisor writes without waiting for the reader of its stderr.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TextIO

from multiprocessing_logging import MultiProcessingHandler

from supervisor.service.log_writer import LogWriter
from supervisor.text.printable import printable
from workers.log_records import LARGEST, bad_call_record, decode

if TYPE_CHECKING:
    from supervisor.config.models import Log

# As much as the kernel allows (net.core.wmem_max); its default holds some 200 records.
_BUFFER: Final = 4 * 2**20
# Retained of each worker for its exit: this many lines, of this length at most.
_LAST_LINES: Final = 10
_LAST_LINE: Final = 500


class _Handler(MultiProcessingHandler):  # type: ignore[misc] # it comes without types
    """The handler of multiprocessing-logging, with packets in place of its queue.

    Its constructor is not called. It would make a queue, whose lock a killed worker may hold for ever, and a
    thread, which a forking process must not have.
    """

    def __init__(self, writer: LogWriter) -> None:
        logging.Handler.__init__(self)
        self.sub_handler = writer
        self.receiver, self.sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.receiver.setblocking(False)
        self.sender.setblocking(False)
        # Packets of a Unix socket are charged to the sender's buffer.
        self.sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)

    def _send(self, record: logging.LogRecord) -> None:
        self.write(record)

    def write(self, record: logging.LogRecord) -> None:
        """Write `record` if its level is high enough: a worker may not have got a changed level yet."""
        if record.levelno >= self.sub_handler.level:
            self.sub_handler.handle(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Log an invalid log call. logging itself would write it to stderr, and might block."""
        self.write(bad_call_record(record))

    def close(self) -> None:
        """Close the sockets."""
        self.receiver.close()
        self.sender.close()
        logging.Handler.close(self)


def _short(record: logging.LogRecord) -> str:
    """Return a record as one line; of a traceback, the last line, which has the error."""
    text = record.getMessage()
    if record.exc_text:
        text += f": {record.exc_text.rstrip().rpartition(chr(10))[2]}"
    return printable(text)[:_LAST_LINE]


class LogPipe:
    """Receives the records of other processes, and makes the root logger write to `stream` and nothing else."""

    def __init__(self, config: Log, stream: TextIO) -> None:
        self._writer = LogWriter(stream)
        self._handler = _Handler(self._writer)
        self._lost = 0
        self._buffer = bytearray(LARGEST)
        self._last: dict[int, deque[str]] = {}
        self.labels_of: Callable[[int], Mapping[str, object]] = lambda _pid: {}
        """Returns the labels of a worker's file, by the worker's pid; its records get them as attributes."""
        self._root = logging.getLogger()
        self._before = (self._root.level, self._root.handlers[:])
        self.configure(config)
        self._root.handlers[:] = [self._handler]

    @property
    def sender_fd(self) -> int:
        """The descriptor by which other processes send their records."""
        descriptor: int = self._handler.sender.fileno()
        return descriptor

    @property
    def dropped(self) -> int:
        """Number of records known to be lost, here and in the workers."""
        return self._writer.dropped + self._lost

    def fileno(self) -> int:
        """Return the descriptor that is readable when drain() has something to do."""
        descriptor: int = self._handler.receiver.fileno()
        return descriptor

    def configure(self, config: Log) -> None:
        """Apply `config`. The fleet sends the level to running workers."""
        self._writer.configure(config)
        self._root.setLevel(config.level.upper())

    @property
    def show(self) -> Callable[[str], None] | None:
        """Shows a line at the foot of the terminal; None where stderr is not a terminal."""
        return self._writer.show if os.isatty(self._writer.fileno()) else None

    def drain(self, limit: int = 1000) -> int:
        """Write the records that have arrived, up to `limit`, without waiting; return their number."""
        self._writer.flush()
        for count in range(limit):
            try:
                size = self._handler.receiver.recv_into(self._buffer)
            except BlockingIOError:
                return count
            self._write(self._buffer[:size])
        return limit

    def _write(self, packet: bytearray) -> None:
        try:
            record = decode(packet)
        except ValueError:
            self._lost += 1
            return
        self._lost += getattr(record, "dropped", 0)
        if record.process is not None and hasattr(record, "filemap"):
            lines = self._last.setdefault(record.process, deque(maxlen=_LAST_LINES))
            lines.append(_short(record))
            record.__dict__.update(self.labels_of(record.process))
        self._handler.write(record)

    def last_lines(self, pid: int) -> list[str]:
        """Return the last log lines of worker `pid`, and forget them."""
        self.drain()
        return list(self._last.pop(pid, ()))

    def close(self) -> None:
        """Write what has arrived, and restore the root logger."""
        self.drain(limit=100_000)
        level, self._root.handlers[:] = self._before
        self._root.setLevel(level)
        self._handler.close()
        self._writer.close()
