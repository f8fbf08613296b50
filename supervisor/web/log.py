"""The web process's log, which is the supervisor's."""

from __future__ import annotations

import logging
import socket

from workers import log_records


def join(end: socket.socket, level: int) -> None:
    """Have all records from `level` on go to the supervisor by its socket."""
    log_records.install(end, level, {})
    # It has a line for every client that talks nonsense.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
