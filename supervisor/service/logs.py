"""The log of the supervisor and of all its processes: one stream, one record a line.

The records of the others come as packets (workers/log_records.py). As they don't wait for the supervisor, it doesn't
wait for the reader of its stderr.
"""

from __future__ import annotations

import json
import logging
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TextIO

from multiprocessing_logging import MultiProcessingHandler

if TYPE_CHECKING:
    from supervisor.config.models import Log
from supervisor.text.printable import printable
from workers.log_records import LARGEST, bad_call_record, decode

# As much as the kernel lets us have (net.core.wmem_max); its default holds some 200 records.
_BUFFER: Final = 4 * 2**20
# What is kept of each worker for the case that it ends: so many lines, so long at most.
_LAST_LINES: Final = 10
_LAST_LINE: Final = 500
# To the start of a terminal's line, and clear it (ECMA-48).
_CLEAR: Final = "\r\x1b[K"


class _Text(logging.Formatter):
    """Lines for people; for the journal without the time and the level, which it keeps itself."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if exception := _exception(self, record):
            text += f"\n{exception}"
        if dropped := getattr(record, "dropped", 0):
            text += f" (records dropped before this one: {dropped})"
        name = getattr(record, "filemap", None)
        if self._journal and name is None:
            return _priority(record) + printable(text)
        line = printable(f"{name or 'filemapd'}[{record.process}]: {text}")
        if self._journal:
            return _priority(record) + line
        return f"{_time(record, 'seconds')} {record.levelname:<5} {line}"


class _Json(logging.Formatter):
    """Lines for programs."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        # Of the supervisor's own records this is what it says of the file they are about (filemap.Filemap.log).
        about = getattr(record, "about", record.__dict__)
        fields = {
            "time": _time(record, "milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "exception": _exception(self, record),
            "file": about.get("filemap"),
            "device": about.get("device"),
            "group_id": about.get("group_id"),
            "pid": record.process,
            "dropped": getattr(record, "dropped", None) or None,
        }
        line = json.dumps({name: value for name, value in fields.items() if value is not None}, default=str)
        return _priority(record) + line if self._journal else line


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    if record.exc_info and not record.exc_text:
        record.exc_text = formatter.formatException(record.exc_info)
    return record.exc_text


def _time(record: logging.LogRecord, precision: str) -> str:
    return datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None).isoformat("T", precision) + "Z"


def _priority(record: logging.LogRecord) -> str:
    """Return what sd-daemon(3) has before a line: the level as syslog knows it."""
    for level, priority in (
        (logging.CRITICAL, 2),
        (logging.ERROR, 3),
        (logging.WARNING, 4),
        (logging.INFO, 6),
    ):
        if record.levelno >= level:
            return f"<{priority}>"
    return "<7>"


def _is_journal(fd: int) -> bool:
    """Tell whether `fd` is the connection to the journal that systemd made for this service."""
    about = os.fstat(fd)
    return os.environ.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"


class _Writer(logging.Handler):
    """Writes lines without waiting for who reads them; what finds no room is dropped and counted.

    The description behind stderr is shared with other processes, so it must not be made non-blocking. Where poll
    finds room in a pipe, there is room for PIPE_BUF bytes.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._fd = stream.fileno()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        self._rest = b""
        self._untold = 0
        self._foot = ""
        self.dropped = 0

    def fileno(self) -> int:
        """Return the descriptor that is written to."""
        return self._fd

    def set(self, config: Log) -> None:
        """Take over level and format."""
        self.setLevel(config.level.upper())
        formatter = _Json if config.format == "json" else _Text
        self.setFormatter(formatter(journal=_is_journal(self._fd)))

    def emit(self, record: logging.LogRecord) -> None:
        """Write `record`; what doesn't fit of its line is kept and comes first the next time."""
        if not self._push():
            self._drop()
            return
        if self._untold:
            record.dropped = getattr(record, "dropped", 0) + self._untold
        line = f"{_CLEAR}{self.format(record)}\n{self._foot}" if self._foot else f"{self.format(record)}\n"
        self._rest = line.encode("utf-8", "backslashreplace")
        self._untold = 0
        self._push()

    def show(self, foot: str) -> None:
        """Keep `foot` below the last line of a terminal; an empty one is none."""
        if self._push():
            self._foot = foot
            self._rest = f"{_CLEAR}{foot}".encode()
            self._push()

    def flush(self) -> None:
        """Write what was kept, as far as there is room."""
        self._push()

    def _push(self) -> bool:
        """Write what there is room for; True if nothing is left to write."""
        while self._rest:
            if not self._poll.poll(0):
                return False
            try:
                written = os.write(self._fd, self._rest[: select.PIPE_BUF])
            except BlockingIOError:
                return False
            except OSError:  # nobody reads it, or the disk is full
                self._rest = b""
                self._drop()
                return True
            self._rest = self._rest[written:]
        return True

    def _drop(self) -> None:
        self.dropped += 1
        self._untold += 1


class _Handler(MultiProcessingHandler):  # type: ignore[misc] # it comes without types
    """multiprocessing-logging's handler with packets for its queue.

    Its constructor is not called: it would make a queue, whose lock a killed worker may hold for ever, and a
    thread, which a process that forks must not have.
    """

    def __init__(self, writer: _Writer) -> None:
        logging.Handler.__init__(self)
        self.sub_handler = writer
        self.receiver, self.sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.receiver.setblocking(False)
        self.sender.setblocking(False)
        # The sender's memory is what counts for a Unix socket, on either side.
        self.sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)

    def _send(self, record: logging.LogRecord) -> None:
        self.write(record)

    def write(self, record: logging.LogRecord) -> None:
        """Write `record` where its level is high enough; a worker may not know yet that it has changed."""
        if record.levelno >= self.sub_handler.level:
            self.sub_handler.handle(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Log that a log call is wrong; logging itself would write it to stderr, and might wait there."""
        self.write(bad_call_record(record))

    def close(self) -> None:
        """Close the sockets."""
        self.receiver.close()
        self.sender.close()
        logging.Handler.close(self)


def _short(record: logging.LogRecord) -> str:
    """Return a record as one line; of a traceback the end, which says what went wrong."""
    text = record.getMessage()
    if record.exc_text:
        text += f": {record.exc_text.rstrip().rpartition(chr(10))[2]}"
    return printable(text)[:_LAST_LINE]


class LogPipe:
    """The supervisor's hold on the log; made by install()."""

    def __init__(self, config: Log, stream: TextIO) -> None:
        self._writer = _Writer(stream)
        self._handler = _Handler(self._writer)
        self._lost = 0
        self._buffer = bytearray(LARGEST)
        self._last: dict[int, deque[str]] = {}
        self.labels_of: Callable[[int], Mapping[str, object]] = lambda _pid: {}
        """Tells what is known of a worker's file now, by the worker's pid: attributes for its records."""
        self._root = logging.getLogger()
        self._before = (self._root.level, self._root.handlers[:])
        self.configure(config)
        self._root.handlers[:] = [self._handler]

    @property
    def sender_fd(self) -> int:
        """The descriptor that others send their records by."""
        descriptor: int = self._handler.sender.fileno()
        return descriptor

    @property
    def dropped(self) -> int:
        """How many records are known to be lost, here and in the workers."""
        return self._writer.dropped + self._lost

    def fileno(self) -> int:
        """Return the descriptor that can be read when drain() has something to do."""
        descriptor: int = self._handler.receiver.fileno()
        return descriptor

    def configure(self, config: Log) -> None:
        """Take over `config`. Workers that run are told their level by the fleet."""
        self._writer.set(config)
        self._root.setLevel(config.level.upper())

    @property
    def show(self) -> Callable[[str], None] | None:
        """What puts a line at the foot of the terminal, None where stderr is none."""
        return self._writer.show if os.isatty(self._writer.fileno()) else None

    def drain(self, limit: int = 1000) -> int:
        """Write what the workers have sent, up to `limit` records, without waiting; return how many there were."""
        self._writer.flush()
        for count in range(limit):
            try:
                size = self._handler.receiver.recv_into(self._buffer)
            except BlockingIOError:
                return count
            self._take(self._buffer[:size])
        return limit

    def _take(self, packet: bytearray) -> None:
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
        """Return what the worker `pid` logged last before it ended, and forget it."""
        self.drain()
        return list(self._last.pop(pid, ()))

    def close(self) -> None:
        """Write what is there, and leave the root logger as it was before install()."""
        self.drain(limit=100_000)
        level, self._root.handlers[:] = self._before
        self._root.setLevel(level)
        self._handler.close()
        self._writer.close()


def install(config: Log, stream: TextIO) -> LogPipe:
    """Make the root logger write to `stream`, and to nothing else."""
    return LogPipe(config, stream)
