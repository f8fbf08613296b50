"""Durations, sizes and shares as the configuration writes them: a number with its unit."""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
# So many digits and no more: what is longer is a slip of the finger, and would overflow further on.
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ms|s|m|h)")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?) ?%")
_SIZE = re.compile(r"([0-9]{1,9}) ?(B|kB|MB|GB|KiB|MiB|GiB)")


def parse_duration(value: object) -> float:
    """Return the duration `value` ("500ms", "1.5s", "10m", "1h") in seconds.

    Raises ValueError for a number without a unit, for zero, and for anything else.
    """
    _refuse_bare_number(value, "10s or 500ms")
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if seconds <= 0:
        raise ValueError(
            f"{_shown(value)} is no duration: a number above 0 and ms, s, m or h, as in 500ms or 10m"
        )
    return seconds


def parse_size(value: object) -> int:
    """Return the size `value` ("128MiB", "64kB") in bytes.

    Raises ValueError for a number without a unit, for zero, and for anything else.
    """
    _refuse_bare_number(value, "128MiB")
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    size = int(match[1]) * _BYTES[match[2]] if match else 0
    if size <= 0:
        units = ", ".join(_BYTES)
        raise ValueError(
            f"{_shown(value)} is no size: a whole number above 0 and one of {units}, as in 128MiB"
        )
    return size


def parse_percent(value: object) -> float:
    """Return the share `value` ("90%") in percent, up to 100.

    Raises ValueError for a number without a sign, for zero, and for anything else.
    """
    _refuse_bare_number(value, "90%")
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    percent = float(match[1]) if match else 0.0
    if not 0 < percent <= 100:  # noqa: PLR2004 - the whole
        raise ValueError(f"{_shown(value)} is no share: a number above 0, up to 100, and %, as in 90%")
    return percent


def format_duration(seconds: float) -> str:
    """Return `seconds` with the largest unit that leaves a whole number, as in 10m."""
    milliseconds = round(seconds * 1000)
    for unit in ("h", "m", "s"):
        if milliseconds % round(_SECONDS[unit] * 1000) == 0:
            return f"{milliseconds // round(_SECONDS[unit] * 1000)}{unit}"
    return f"{milliseconds}ms"


def _refuse_bare_number(value: object, example: str) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number or (isinstance(value, str) and value.strip().isdecimal()):
        raise ValueError(f"{_shown(value)} has no unit: write it with one, as in {example}")


def _shown(value: object) -> str:
    """Return `value` for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."  # noqa: PLR2004 -- the width of a readable message
