"""Formats cells of tables on a terminal: short numbers, names without control characters."""

from __future__ import annotations

import os
from typing import Final

from rich.console import Console
from rich.text import Text

from supervisor.text.printable import printable

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB")
_FEW: Final = 10
_WIDE: Final = 1000


def text(value: object) -> Text:
    """Return `value` without markup and terminal control characters: a guest may choose a file's name."""
    return Text(printable(str(value)))


def standard_output() -> Console:
    """Return the standard output, as wide as its terminal or COLUMNS.

    Otherwise it is as wide as any table, so that `grep` finds names unbroken.
    """
    out = Console()
    if not out.is_terminal and "COLUMNS" not in os.environ:
        out.width = _WIDE
    return out


def count(value: int | None) -> str:
    """Return an integer, "-" for None."""
    return "-" if value is None else str(value)


def size(value: float | None) -> str:
    """Return a number of bytes with a unit, in seven characters at most; "-" for None."""
    if value is None:
        return "-"
    if value < 1024:  # noqa: PLR2004 - below the first unit
        return f"{value:.0f}B"
    for unit in _UNITS:
        value /= 1024
        if value < 1023.5 or unit == _UNITS[-1]:  # noqa: PLR2004 - still rounds to four digits
            break
    return f"{value:.1f}{unit}" if value < _FEW else f"{value:.0f}{unit}"


def many(number: int, noun: str) -> str:
    """Return "1 file", "2 files"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def percent(value: float | None) -> str:
    """Return percent with a sign, "-" for None."""
    return "-" if value is None else f"{value:.1f}%"
