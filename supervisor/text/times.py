"""Converts times from and to RFC 3339."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import overload


@overload
def rfc3339(seconds: float) -> str: ...
@overload
def rfc3339(seconds: None) -> None: ...
def rfc3339(seconds: float | None) -> str | None:
    """Return seconds since the epoch as RFC 3339 in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_of(time: str) -> float:
    """Return a time of the status (RFC 3339) as seconds since the epoch."""
    return datetime.fromisoformat(time).timestamp()
