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
_ROW = re.compile(
    r"(\d{1,20}): (\d{1,20})\+(\d{1,20}) (\d{1,20}) (\S+) (.*?)"
    r"( precise_timestamps)?(?: histogram:(\d{1,20}(?:,\d{1,20})*))?",
    re.ASCII,
)


def parse_list(text: str) -> Listing:
    """Return the regions in a reply to @stats_list; a row of another form is set aside, never the list."""
    regions: list[Region] = []
    unread: list[str] = []
    for line in text.split("\n"):
        if not line:
            continue
        row = _ROW.fullmatch(line)
        if row is None:
            unread.append(line)
            continue
        number, start, length, step, program, aux, precise, bounds = row.groups()
        regions.append(
            Region(
                int(number),
                int(start),
                int(length),
                int(step),
                program,
                aux,
                precise is not None,
                tuple(int(bound) for bound in bounds.split(",")) if bounds else (),
            )
        )
    return Listing(tuple(regions), tuple(unread))
