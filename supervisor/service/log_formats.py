"""The two formats of log lines: text for people, JSON for programs."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from supervisor.text.printable import printable


class TextFormatter(logging.Formatter):
    """Lines for people. Lines for the journal have no time and level: the journal stores these itself."""

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


class JsonFormatter(logging.Formatter):
    """Lines for programs."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        # The supervisor's own records about a file carry the labels in `about` (Filemap.log).
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
    """Return the prefix of sd-daemon(3): the syslog priority of the level."""
    for level, priority in (
        (logging.CRITICAL, 2),
        (logging.ERROR, 3),
        (logging.WARNING, 4),
        (logging.INFO, 6),
    ):
        if record.levelno >= level:
            return f"<{priority}>"
    return "<7>"
