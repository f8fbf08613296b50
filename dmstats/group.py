"""Groups of regions: a tag in the aux of the lowest member (libdm: libdm-stats.c, _parse_aux_data_group)."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from dmstats.region import Region

# libdm shows longer tags, but fails to edit them.
MAX_TAG_BYTES: Final = 1023

# Any program may write a tag: int() refuses a number of thousands of digits.
_ID = r"\d{1,20}"
_MEMBERS = rf"{_ID}(?:-{_ID})?(?:,{_ID}(?:-{_ID})?)*"
_QUOTED = re.compile(rf'DMS_GROUP="(.*?)":({_MEMBERS})(?:#(.*))?', re.ASCII | re.DOTALL)
_PLAIN = re.compile(rf"DMS_GROUP=(.*?):({_MEMBERS})(?:#(.*))?", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Tag:
    """A group's tag. `quoted`: the alias is in quotes, as libdm writes it from 1.02.197 on. Earlier versions write it
    without, and each misreads the other's form, so a tag keeps its form."""

    alias: str
    quoted: bool
    members: tuple[range, ...]
    userdata: str

    def __str__(self) -> str:
        alias = f'"{self.alias}"' if self.quoted and self.alias else self.alias
        return f"DMS_GROUP={alias}:{members_text(self.members)}#{self.userdata or '-'}"

    def length(self) -> int:
        """Return how many bytes the tag takes in the aux."""
        return len(str(self).encode("utf-8", "surrogateescape"))


@dataclass(frozen=True, slots=True)
class Group:
    """A tag and those of its members that are there; the first is the leader, whose id is the group's."""

    tag: Tag
    regions: tuple[Region, ...]

    @property
    def id(self) -> int:
        """The group_id: the lowest member."""
        return self.regions[0].id

    @property
    def leader(self) -> Region:
        """The region that bears the tag."""
        return self.regions[0]


def as_ranges(ids: Iterable[int]) -> tuple[range, ...]:
    """Return ids as ranges of neighbours, ascending."""
    ordered = sorted(ids)
    # Nearly always they are one run.
    if ordered and ordered == list(range(ordered[0], ordered[0] + len(ordered))):
        return (range(ordered[0], ordered[-1] + 1),)
    ranges: list[range] = []
    start = end = ordered[0] if ordered else 0
    for number in ordered:
        if number > end:
            ranges.append(range(start, end))
            start = number
        end = number + 1
    if ordered:
        ranges.append(range(start, end))
    return tuple(ranges)


def members_text(members: Iterable[range]) -> str:
    """Return members as a tag lists them, "0-3,7"."""
    return ",".join(f"{r.start}-{r.stop - 1}" if r.stop - r.start > 1 else str(r.start) for r in members)


def _parse_members(text: str) -> tuple[range, ...]:
    """Return the ranges of a list such as "0-3,7", ascending, those that touch or overlap made one; none where a
    range runs backwards."""
    spans = []
    for item in text.split(","):
        first, _, last = item.partition("-")
        if int(last or first) < int(first):
            return ()
        spans.append((int(first), int(last or first) + 1))
    ranges: list[range] = []
    for start, stop in sorted(spans):
        if ranges and start <= ranges[-1].stop:
            ranges[-1] = range(ranges[-1].start, max(stop, ranges[-1].stop))
        else:
            ranges.append(range(start, stop))
    return tuple(ranges)


def parse_tag(aux: str, region_id: int) -> Tag | None:
    """Return the tag in the aux of region `region_id`, or None where there is none that stands for it:
    the region must be the lowest member."""
    for form, quoted in ((_QUOTED, True), (_PLAIN, False)):
        match = form.fullmatch(aux)
        if match is None:
            continue
        members = _parse_members(match[2])
        if members and members[0].start == region_id:
            userdata = match[3] or ""
            return Tag(match[1], quoted, members, "" if userdata == "-" else userdata)
    return None


def places(members: Sequence[range], ids: Sequence[int]) -> list[range]:
    """Return where among `ids` (ascending) the members are that are there, not those that a tag claims: it may claim
    any number."""
    return [range(bisect_left(ids, span.start), bisect_left(ids, span.stop)) for span in members]


def groups_of(regions: Sequence[Region]) -> dict[int, Group]:
    """Return the groups among `regions` (ids ascending), by id. Members that have gone are left out."""
    leaders = [region for region in regions if region.aux.startswith("DMS_GROUP=")]
    ids = [region.id for region in regions] if leaders else []
    found = {}
    for leader in leaders:
        tag = parse_tag(leader.aux, leader.id)
        if tag is not None:
            present = [regions[at.start : at.stop] for at in places(tag.members, ids)]
            found[leader.id] = Group(tag, tuple(chain.from_iterable(present)))
    return found
