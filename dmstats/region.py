"""The regions of a device, as @stats_list shows them."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Region:
    """One row of @stats_list. `start`, `length` and `step` are sectors of 512 bytes; `bounds` are the
    kernel's: ns with precise timestamps, else ms."""

    id: int
    start: int
    length: int
    step: int
    program: str
    aux: str
    precise: bool = False
    bounds: tuple[int, ...] = ()

    @property
    def end(self) -> int:
        """The first sector behind the region."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Listing:
    """A reply to @stats_list: the regions, ids ascending, and the rows that could not be read."""

    regions: tuple[Region, ...]
    unread: tuple[str, ...] = ()


# The aux comes unescaped, with whatever its owner put there; only what follows it has a fixed form.
# ASCII, as the kernel knows no other white space that could end the program's name here. No number of the kernel's
# has more than 20 digits; int() would refuse a very long one, and with it the whole list.
_ROW = re.compile(r"(\d{1,20}): (\d{1,20})\+(\d{1,20}) (\d{1,20}) (\S+) (.*)", re.ASCII)
_BOUNDS = re.compile(r"\d{1,20}(?:,\d{1,20})*", re.ASCII)
_PRECISE = " precise_timestamps"
_HISTOGRAM = " histogram:"


def parse_list(text: str) -> Listing:
    """Return the regions in a reply to @stats_list; a row of another form is set aside, never the list."""
    regions: list[Region] = []
    unread: list[str] = []
    # Most rows end like many others: these are taken apart once, and share what they have in common.
    ends: dict[tuple[str, str], tuple[str, str, bool, tuple[int, ...]]] = {}
    for line in text.split("\n"):
        if not line:
            continue
        row = _ROW.fullmatch(line)
        if row is None:
            unread.append(line)
            continue
        number, start, length, step, program, rest = row.groups()
        known = ends.get((program, rest))
        if known is None:
            known = ends[program, rest] = (program, *_parse_end(rest))
        regions.append(Region(int(number), int(start), int(length), int(step), *known))
    return Listing(tuple(regions), tuple(unread))


def _parse_end(rest: str) -> tuple[str, bool, tuple[int, ...]]:
    """Return what stands behind the program: the aux, whether timestamps are precise, and the histogram's bounds."""
    bounds: tuple[int, ...] = ()
    before, found, listed = rest.rpartition(_HISTOGRAM)
    if found and _BOUNDS.fullmatch(listed):
        rest, bounds = before, tuple(map(int, listed.split(",")))
    aux = rest.removesuffix(_PRECISE)
    return aux, aux != rest, bounds
