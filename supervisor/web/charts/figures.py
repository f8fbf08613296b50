"""Formats numbers and times for a page: short, with a unit. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from supervisor.rates import Rates

UNKNOWN: Final = "-"
TOO_FEW: Final = "too few I/Os"
_BINARY: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_AGO: Final = ((172_800, 86_400, "days"), (7200, 3600, "h"), (120, 60, "min"), (1, 1, "s"))
# Smaller numbers have decimals.
_FEW: Final = 10


def count(value: float | None) -> str:
    """Return a whole number with thousands separators."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def rate(value: float | None) -> str:
    """Return a rate per second, with a decimal below ten."""
    if value is None:
        return UNKNOWN
    if value < 0.05:  # noqa: PLR2004 - rounds to 0.0
        return "0" if value == 0 else "<0.1"
    return f"{value:.1f}" if value < _FEW else f"{value:,.0f}"


def size(value: float | None) -> str:
    """Return bytes with a binary unit."""
    if value is None:
        return UNKNOWN
    for unit in _BINARY:
        if value < 1023.5 or unit == _BINARY[-1]:  # noqa: PLR2004 - the last value that rounds to 1023
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= _FEW else f"{value:.1f} {unit}"


def speed(value: float | None) -> str:
    """Return bytes a second with a binary unit."""
    return UNKNOWN if value is None else f"{size(value)}/s"


def latency(nanoseconds: float | None) -> str:
    """Return a time in ns to s, with three digits.

    0 comes from a kernel that counts in milliseconds, so it is shown as less than that.
    """
    if nanoseconds is None:
        return UNKNOWN
    if nanoseconds == 0:
        return "under 1 ms"
    value = float(nanoseconds)
    for unit in ("ns", "µs", "ms", "s"):
        if value < 999.5 or unit == "s":  # noqa: PLR2004 - the last value that rounds to 999
            break
        value /= 1000
    return f"{value:.3g} {unit}" if value < 999.5 else f"{value:,.0f} {unit}"  # noqa: PLR2004 - likewise


def percentile(found: Rates | None, q: float) -> str:
    """Return the quantile `q` of the latency. Outside the histogram's bounds only "under" or "over" the bound is
    known. Without a histogram or I/Os it is unknown."""
    if found is None or not found.bounds_ns or not found.ios_per_s:
        return UNKNOWN
    nanoseconds = found.quantile_ns(q)
    if nanoseconds is None:
        return TOO_FEW
    if math.isinf(nanoseconds):
        return f"over {latency(found.bounds_ns[-1])}"
    if nanoseconds <= found.bounds_ns[0]:
        return f"under {latency(found.bounds_ns[0])}"
    # The bins are coarse: a third digit would be false precision.
    return latency(float(f"{nanoseconds:.2g}"))


def bins(bounds_ns: Sequence[int]) -> list[str]:
    """Return the names of a histogram's bins, the fastest first."""
    if not bounds_ns:
        return []
    bounds = [latency(bound) for bound in bounds_ns]
    between = [f"{low} to {high}" for low, high in pairwise(bounds)]
    return [f"under {bounds[0]}", *between, f"over {bounds[-1]}"]


def ago(seconds: float) -> str:
    """Return a duration as a time in the past."""
    for least, unit_s, unit in _AGO:
        if seconds >= least:
            return f"{seconds / unit_s:.0f} {unit} ago"
    return "now"


def clock(at: float) -> str:
    """Return seconds since the epoch as a time of day in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")


def moment(text: str) -> str:
    """Return an RFC 3339 time as date and time in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def cut(text: str, most: int) -> str:
    """Return text with at most `most` characters, with its end cut off if it is longer."""
    return text if len(text) <= most else text[: most - 1] + "…"


def place(offset: int) -> str:
    """Return an offset on a device in its largest binary unit, with up to three decimals."""
    value, unit = float(offset), "B"
    for larger in _BINARY[1:]:
        if value < 1024:  # noqa: PLR2004 - the next unit
            break
        value, unit = value / 1024, larger
    return f"{value:.3f}".rstrip("0").rstrip(".") + f" {unit}"
