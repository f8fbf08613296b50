"""Histogram bounds: text with units on our side, integers on the kernel's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

_UNIT_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_BOUND = re.compile(r"(\d+)\s*(ns|us|ms|s)")
_NS_PER_MS = _UNIT_NS["ms"]


def parse_bound(text: str) -> int:
    """Return the bound `text` ("100us", "1ms", "2 s") in nanoseconds.

    Raises ValueError where there is no whole number, no unit, or the bound is zero.
    """
    match = _BOUND.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise ValueError(
            f"{text!r} is no histogram bound: a whole number above 0 and ns, us, ms or s, as in 100us"
        )
    return int(match[1]) * _UNIT_NS[match[2]]


def parse_bounds(texts: Iterable[str]) -> tuple[int, ...]:
    """Return the bounds in nanoseconds, or raise ValueError where they are not strictly increasing."""
    bounds = tuple(parse_bound(text) for text in texts)
    for lower, upper in pairwise(bounds):
        if lower >= upper:
            raise ValueError(
                f"histogram bounds must increase: {format_bound(lower)} stands before {format_bound(upper)}"
            )
    return bounds


def format_bound(ns: int) -> str:
    """Return `ns` with the largest unit that divides it."""
    for unit in ("s", "ms", "us"):
        if ns % _UNIT_NS[unit] == 0:
            return f"{ns // _UNIT_NS[unit]}{unit}"
    return f"{ns}ns"


def to_kernel(bounds_ns: Sequence[int], *, precise: bool) -> tuple[int, ...]:
    """Return the bounds as the kernel takes them: ns with precise_timestamps, else ms.

    Raises ValueError for a bound that is no whole number of milliseconds where precise is off.
    """
    if precise:
        return tuple(bounds_ns)
    for bound in bounds_ns:
        if bound % _NS_PER_MS:
            raise ValueError(
                f"the bound {format_bound(bound)} needs precise timestamps: without, bounds are whole ms"
            )
    return tuple(bound // _NS_PER_MS for bound in bounds_ns)


def from_kernel(bounds: Sequence[int], *, precise: bool) -> tuple[int, ...]:
    """Return the kernel's bounds in nanoseconds."""
    return tuple(bounds) if precise else tuple(bound * _NS_PER_MS for bound in bounds)
