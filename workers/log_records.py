"""Log records for the supervisor: one packet each, on a socket that all processes share.

A sender never waits: a record that finds no room is dropped, and the next one that is sent reports how many were. No
lock is shared, so a process that is killed while it sends loses no record of another process.
"""

from __future__ import annotations

import json
import logging
import math
import socket
import sys
from collections.abc import Mapping
from typing import Any, Final

_LONGEST: Final = 8192
LARGEST: Final = 256 * 1024
"""Bytes of a packet at most: the two long texts with each character escaped to twelve, and the short ones."""
_LARGEST_INT: Final = 2**63 - 1
_LAST_SECOND: Final = 253402300799.0

# What is in a packet, by the names that the attributes of a LogRecord have.
_FIELDS: Final[dict[str, type[int | float | str]]] = {
    "levelno": int,
    "created": float,
    "process": int,
    "msg": str,
    "exc_text": str,
    "filemap": str,
    "device": str,
    "group_id": int,
    "dropped": int,
}
_NEEDED: Final = frozenset({"levelno", "created", "process", "msg"})


class PacketHandler(logging.Handler):
    """Sends each record by `end`; `labels` are added to each. `dropped` is the number of records dropped since the
    last one that was sent."""

    def __init__(self, end: socket.socket, labels: Mapping[str, object]) -> None:
        super().__init__()
        self._end = end
        self._labels = labels
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Send `record` without waiting."""
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        try:
            packet = encode(record, self._labels, self.dropped)
        except Exception:  # noqa: BLE001 - a log call may be wrong in any way
            packet = encode(bad_call_record(record), self._labels, self.dropped)
        try:
            self._end.send(packet, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            self.dropped = 0
        except OSError:  # no room, or the supervisor has gone
            self.dropped += 1


def install(end: socket.socket, level: int, labels: Mapping[str, object]) -> None:
    """Have all of this process's records from `level` on go to the supervisor by its socket."""
    root = logging.getLogger()
    root.handlers[:] = [PacketHandler(end, labels)]
    root.setLevel(level)


def bad_call_record(record: logging.LogRecord) -> logging.LogRecord:
    """Return a record of the exception that `record` raised when it was formatted."""
    text = f"the log call at {record.pathname}:{record.lineno} is wrong: {sys.exc_info()[1]!r}"
    return logging.makeLogRecord({"msg": text, "levelno": logging.ERROR, "levelname": "ERROR"})


def encode(record: logging.LogRecord, labels: Mapping[str, object], dropped: int) -> bytes:
    """Return the packet for `record`; `dropped` is how many could not be sent before it."""
    have = {**labels, **record.__dict__, "msg": record.getMessage(), "dropped": dropped or None}
    fields: dict[str, Any] = {}
    for name, kind in _FIELDS.items():
        if have.get(name) is not None:
            value = kind(have[name])
            fields[name] = _cut(value) if isinstance(value, str) else value
    return json.dumps(fields, separators=(",", ":")).encode()


def decode(packet: bytes | bytearray) -> logging.LogRecord:
    """Return the record in `packet`, or raise ValueError: who sent it may have been taken over."""
    try:
        fields = json.loads(packet)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(fields, dict) or not fields.keys() >= _NEEDED:
        raise ValueError("no record")
    for name, value in fields.items():
        if type(value) is not _FIELDS.get(name):
            raise ValueError("a field that no record has")
        if isinstance(value, int) and not 0 <= value <= _LARGEST_INT:
            raise ValueError("a number out of range")
    if not (math.isfinite(fields["created"]) and 0 <= fields["created"] <= _LAST_SECOND):
        raise ValueError("no time")
    return logging.makeLogRecord({**fields, "levelname": logging.getLevelName(fields["levelno"])})


def _cut(text: str) -> str:
    """Return `text`, without its middle where it is long: the end of a traceback matters most."""
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2 - 8
    return f"{text[:half]} [...] {text[-half:]}"
