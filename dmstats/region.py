"""The regions of a device, as @stats_list shows them."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple


class Region(NamedTuple):
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


# The aux is unescaped and may contain anything; only what follows it has a fixed form.
# ASCII, as the kernel knows no other white space that could end the program's name here. No number of the kernel's
# has more than 20 digits; int() would refuse a very long one, and with it the whole list.
_ROW = re.compile(rb"^(\d{1,20}): (\d{1,20})\+(\d{1,20}) (\d{1,20}) (\S+ .*)$", re.MULTILINE)
_BOUNDS = re.compile(r"\d{1,20}(?:,\d{1,20})*", re.ASCII)
_PRECISE = " precise_timestamps"
_HISTOGRAM = " histogram:"
_ID = re.compile(rb"^\d{1,20}(?=: )", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Table:
    """A reply to @stats_list, `text`. Rows are parsed on demand: most rows of a device with many files are of other
    files."""

    text: bytes | bytearray

    def __len__(self) -> int:
        return self.text.count(b"\n")

    def regions(self) -> tuple[Region, ...]:
        """Return all regions, ids ascending."""
        return parse_list(self.text).regions

    def ids(self) -> frozenset[int]:
        """Return the ids that are taken."""
        return frozenset(map(int, _ID.findall(self.text)))

    def having(self, words: Collection[bytes]) -> tuple[Region, ...]:
        """Return the regions whose rows contain one of `words`, and maybe others, ids ascending."""
        if 2 * sum(map(self.text.count, words)) > len(self):
            return self.regions()
        rows = {}
        for word in words:
            at = self.text.find(word)
            while at >= 0:
                start = self.text.rfind(b"\n", 0, at) + 1
                end = self.text.index(b"\n", at)
                rows[start] = self.text[start:end]
                at = self.text.find(word, end)
        return parse_list(b"\n".join(rows[start] for start in sorted(rows))).regions


def parse_list(text: bytes | bytearray) -> Listing:
    """Return the regions in a reply to @stats_list; a row of another form is set aside, never the list. Words are
    decoded as UTF-8 with surrogateescape, so that nothing of them is lost."""
    regions = []
    # Most rows end like many others: equal ends are parsed once, and shared.
    ends: dict[bytes, tuple[str, str, bool, tuple[int, ...]]] = {}
    for row in _ROW.finditer(text):
        number, start, length, step, end = row.groups()
        known = ends.get(end)
        if known is None:
            known = ends[end] = _parse_end(_decoded(end))
        regions.append(Region._make((int(number), int(start), int(length), int(step), *known)))
    if any(region.id >= after.id for region, after in pairwise(regions)):
        regions = _ascending(regions)
    if len(regions) == text.count(b"\n") + (not text.endswith(b"\n")):
        return Listing(tuple(regions))
    unread = (_decoded(line) for line in text.split(b"\n") if line and not _ROW.fullmatch(line))
    return Listing(tuple(regions), tuple(unread))


def _ascending(regions: Sequence[Region]) -> list[Region]:
    """Return the longest run of regions, in their order, whose ids ascend; of several the one with the lowest ids.

    The ids in a reply ascend and occur once. A newline in an aux forges rows, of any id: those that break the order
    are not regions. A forged row that keeps the order can't be distinguished from a region.
    """
    # Patience sorting: for each length the run with the lowest last id, and for each region the one before it.
    last_ids: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for at, region in enumerate(regions):
        length = bisect_left(last_ids, region.id)
        before.append(last[length - 1] if length else -1)
        last_ids[length : length + 1] = [region.id]
        last[length : length + 1] = [at]
    found = []
    at = last[-1]
    while at >= 0:
        found.append(regions[at])
        at = before[at]
    return found[::-1]


def _decoded(text: bytes | bytearray) -> str:
    return text.decode("utf-8", "surrogateescape")


def _parse_end(end: str) -> tuple[str, str, bool, tuple[int, ...]]:
    """Return the program and what stands behind it: the aux, whether timestamps are precise, the histogram's
    bounds."""
    program, _, rest = end.partition(" ")
    bounds: tuple[int, ...] = ()
    before, found, listed = rest.rpartition(_HISTOGRAM)
    if found and _BOUNDS.fullmatch(listed):
        rest, bounds = before, tuple(map(int, listed.split(",")))
    aux = rest.removesuffix(_PRECISE)
    return program, aux, aux != rest, bounds
