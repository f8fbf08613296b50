"""Writes log lines to stderr without waiting for its reader."""

from __future__ import annotations

import logging
import os
import select
from typing import TYPE_CHECKING, Final, TextIO

from supervisor.service.log_formats import JsonFormatter, TextFormatter

if TYPE_CHECKING:
    from supervisor.config.models import Log

# To the start of a terminal's line, and clear it (ECMA-48).
_CLEAR: Final = "\r\x1b[K"


class LogWriter(logging.Handler):
    """Writes lines without blocking. Records that find no room are dropped and counted.

    The open file description of stderr is shared with other processes, so it must stay blocking. Where poll(2)
    finds room in a pipe, there is room for PIPE_BUF bytes.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._fd = stream.fileno()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        self._rest = b""
        self._unreported = 0
        self._foot = ""
        self.dropped = 0

    def fileno(self) -> int:
        """Return the descriptor of the stream."""
        return self._fd

    def configure(self, config: Log) -> None:
        """Apply level and format."""
        self.setLevel(config.level.upper())
        formatter = JsonFormatter if config.format == "json" else TextFormatter
        self.setFormatter(formatter(journal=_is_journal(self._fd)))

    def emit(self, record: logging.LogRecord) -> None:
        """Write `record`. The rest of a line that finds no room comes first next time."""
        if not self._push():
            self._drop()
            return
        if self._unreported:
            record.dropped = getattr(record, "dropped", 0) + self._unreported
        line = f"{_CLEAR}{self.format(record)}\n{self._foot}" if self._foot else f"{self.format(record)}\n"
        self._rest = line.encode("utf-8", "backslashreplace")
        self._unreported = 0
        self._push()

    def show(self, foot: str) -> None:
        """Show `foot` below the last line of a terminal; an empty string removes it."""
        if self._push():
            self._foot = foot
            self._rest = f"{_CLEAR}{foot}".encode()
            self._push()

    def flush(self) -> None:
        """Write the rest of the last line, as far as there is room."""
        self._push()

    def _push(self) -> bool:
        """Write as much of the rest as finds room; return whether nothing is left."""
        while self._rest:
            if not self._poll.poll(0):
                return False
            try:
                written = os.write(self._fd, self._rest[: select.PIPE_BUF])
            except BlockingIOError:
                return False
            except OSError:  # no reader, or a full disk
                self._rest = b""
                self._drop()
                return True
            self._rest = self._rest[written:]
        return True

    def _drop(self) -> None:
        self.dropped += 1
        self._unreported += 1


def _is_journal(fd: int) -> bool:
    """Return whether `fd` is the journal connection that systemd made for this service."""
    about = os.fstat(fd)
    return os.environ.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"
