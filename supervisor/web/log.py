"""Sends the web process's log records to the supervisor."""

from __future__ import annotations

import logging
import socket

from workers import log_records


def join(end: socket.socket, level: int) -> None:
    """Send all records from `level` upwards to the supervisor through the socket `end`."""
    log_records.install(end, level, {})
    # Below ERROR, uvicorn logs every invalid request.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
