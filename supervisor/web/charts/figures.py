"""Figures and times as a page tells them: short, with a unit, and in words where there is nothing to tell. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from supervisor.rates import Rates

UNKNOWN: Final = "-"
TOO_FEW: Final = "too little I/O to tell"
_BINARY: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_AGO: Final = ((172_800, 86_400, "days"), (7200, 3600, "h"), (120, 60, "min"), (1, 1, "s"))
# Below it a figure has decimals.
_FEW: Final = 10


def count(value: float | None) -> str:
    """Return a whole number with its thousands apart."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def rate(value: float | None) -> str:
    """Return how often something is done a second; what is less than ten with a decimal."""
    if value is None:
        return UNKNOWN
    if value < 0.05:  # noqa: PLR2004 - it would come out as 0.0
        return "0" if value == 0 else "<0.1"
    return f"{value:.1f}" if value < _FEW else f"{value:,.0f}"


def size(value: float | None) -> str:
    """Return bytes with a binary unit."""
    if value is None:
        return UNKNOWN
    for unit in _BINARY:
        if value < 1023.5 or unit == _BINARY[-1]:  # noqa: PLR2004 - what still rounds to 1023
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= _FEW else f"{value:.1f} {unit}"


def speed(value: float | None) -> str:
    """Return bytes a second with a binary unit."""
    return UNKNOWN if value is None else f"{size(value)}/s"


def latency(nanoseconds: float | None) -> str:
    """Return a time between nanoseconds and seconds in three digits.

    Nothing takes no time at all: where the kernel counts in milliseconds it may come out so.
    """
    if nanoseconds is None:
        return UNKNOWN
    if nanoseconds == 0:
        return "under 1 ms"
    value = float(nanoseconds)
    for unit in ("ns", "µs", "ms", "s"):
        if value < 999.5 or unit == "s":  # noqa: PLR2004 - what still rounds to three digits
            break
        value /= 1000
    return f"{value:.3g} {unit}" if value < 999.5 else f"{value:,.0f} {unit}"  # noqa: PLR2004 - likewise


def percentile(found: Rates | None, q: float) -> str:
    """Return the latency that the share `q` of the I/Os did not exceed. What lies below the first bound of the
    histogram or beyond the last is not known better than that; without a histogram or I/Os there is none."""
    if found is None or not found.bounds_ns or not found.ios_per_s:
        return UNKNOWN
    nanoseconds = found.quantile_ns(q)
    if nanoseconds is None:
        return TOO_FEW
    if math.isinf(nanoseconds):
        return f"over {latency(found.bounds_ns[-1])}"
    if nanoseconds <= found.bounds_ns[0]:
        return f"under {latency(found.bounds_ns[0])}"
    # The bins are coarse: a third digit would not be so.
    return latency(float(f"{nanoseconds:.2g}"))


def bins(bounds_ns: Sequence[int]) -> list[str]:
    """Return the names of a histogram's bins, from the fastest."""
    if not bounds_ns:
        return []
    told = [latency(bound) for bound in bounds_ns]
    between = [f"{low} to {high}" for low, high in pairwise(told)]
    return [f"under {told[0]}", *between, f"over {told[-1]}"]


def ago(seconds: float) -> str:
    """Return how long ago something was."""
    for least, unit_s, unit in _AGO:
        if seconds >= least:
            return f"{seconds / unit_s:.0f} {unit} ago"
    return "now"


def clock(at: float) -> str:
    """Return seconds since the epoch as a time of the day in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")


def moment(text: str) -> str:
    """Return RFC 3339 as a day and a time in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def cut(text: str, most: int) -> str:
    """Return text in at most so many letters, its end cut where it is longer."""
    return text if len(text) <= most else text[: most - 1] + "…"


def place(offset: int) -> str:
    """Return a place on a device, in the largest unit that tells it to a thousandth."""
    value, unit = float(offset), "B"
    for larger in _BINARY[1:]:
        if value < 1024:  # noqa: PLR2004 - the next unit
            break
        value, unit = value / 1024, larger
    return f"{value:.3f}".rstrip("0").rstrip(".") + f" {unit}"
