"""The web process's log, which is the supervisor's."""

from __future__ import annotations

import logging
import socket
from logging import Formatter

from supervisor.logs import send


class _ToSupervisor(logging.Handler):
    """Sends each record as a packet and never waits; what finds no room is counted and told with the next."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__()
        self._end = end
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and not record.exc_text:
            record.exc_text = Formatter().formatException(record.exc_info)
        self._dropped = send(self._end, record, {}, self._dropped)


def join(end: socket.socket, level: int) -> None:
    """Have all records from `level` on go to the supervisor by its socket."""
    root = logging.getLogger()
    root.handlers[:] = [_ToSupervisor(end)]
    root.setLevel(level)
    # It has a line for every client that talks nonsense.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
