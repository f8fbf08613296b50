"""Groups as the last update left them, and how little is to be done while they stand so.

Of a device the list is kept as it was last read. Of the next one only the rows that differ are taken apart: where
none of them is of a group, or each is as the last update left it, the group is what it was. Where its file has only
grown since, the plan is made for what came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

from dmstats.apply import apply
from dmstats.compaction import tag_surely_fits
from dmstats.device import Device
from dmstats.diff import Rows, differing
from dmstats.fiemap import FIEMAP_EXTENT
from dmstats.files import FileIdentity
from dmstats.group import Group, parse_tag
from dmstats.marker import beginning, process_mark
from dmstats.ownership import GroupSpec, Own
from dmstats.plan import decide_growth
from dmstats.ranges import growth
from dmstats.reconcile import UNLIMITED, DiscardCounters, Outcome
from dmstats.region import Region, Table, parse_list

_MOST_GROUPS: Final = 8
_SPARE_EXTENTS: Final = 32
_ROWS: Final = Rows()
_AT_ONCE: Final = 64

_Pairs = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class CachedGroup:
    """A group that an update left in step with its file: its regions cover just where `extents` (see
    read_structs()) lie, once each, and no other region bears a mark of the file. `unlisted` are those of its
    regions, by id, that are not as in the device's list when that was last read, None where one has gone. `ids`
    are the regions'."""

    file: FileIdentity
    spec: GroupSpec
    group: Group
    extents: bytes | bytearray
    ids: tuple[int, ...]
    unlisted: dict[int, Region | None]

    def is_unchanged(self, rows: _Pairs) -> bool:
        """Return whether the group is as it was left, where just these rows of the list differ, as pairs of the
        old and the new one: each that is the group's or might be must be as it was left."""
        unlisted = dict(self.unlisted)
        for pair in rows:
            number = max(map(_ROWS.key, pair))
            if number in unlisted:
                region = unlisted.pop(number)
                if parse_list(pair[1]).regions != (() if region is None else (region,)):
                    return False
            elif self._concerns(number, pair):
                return False
        return not unlisted

    def _concerns(self, number: int, pair: Sequence[bytes]) -> bool:
        words = (b" DMS_GROUP=", f" {beginning(self.file)}".encode())
        return any(number in span for span in self.group.tag.members) or any(
            word in row for word in words for row in pair
        )

    def extended(self, device: Device, extents: bytes | bytearray, listed: int) -> CachedGroup | None:
        """Bring the group, which stands as it was left, in step with a file that has grown; `listed` is the
        number of regions on the device. Return how it is now; None, and do nothing, where the file has not only
        grown, or the tag might get too long.

        Raises DmError where the kernel refuses.
        """
        added = growth(self.extents, extents)
        if added is None:
            return None
        if not added:
            return replace(self, extents=extents, unlisted={})
        before = self.group.regions
        plan = decide_growth(
            sorted(before, key=attrgetter("start")), added, most=UNLIMITED, leader=self.group.id
        )
        if plan is None or not tag_surely_fits(plan, listed, self.spec.tag(()).length()):
            return None
        mark = str(process_mark(self.file))
        own = Own(self.group, before)
        applied = apply(device, plan, own, self.spec, mark, DiscardCounters(), lambda _move: None)
        if applied.failure is not None:
            raise applied.failure
        return _cached(self.file, self.spec, extents, before, applied.members)


def cached_group(
    file: FileIdentity,
    spec: GroupSpec,
    extents: bytes | bytearray,
    table: Table,
    own: Own,
    outcome: Outcome,
) -> CachedGroup | None:
    """Return the group after a reconcile that found `own` in `table`; None where it can't be cached."""
    if not outcome.members or outcome.failure is not None or outcome.limit is not None:
        return None
    # A region that another process just made is taken over once that process has ended, which no table shows.
    marked = sum(region.aux.startswith(beginning(file)) for region in own.regions)
    if marked != table.text.count(f" {beginning(file)}".encode()):
        return None
    return _cached(file, spec, extents, own.regions, outcome.members)


def _cached(
    file: FileIdentity,
    spec: GroupSpec,
    extents: bytes | bytearray,
    before: tuple[Region, ...],
    after: tuple[Region, ...],
) -> CachedGroup | None:
    leader = after[0]
    tag = parse_tag(leader.aux, leader.id)
    if tag is None:
        return None
    ids = tuple(map(attrgetter("id"), after))
    return CachedGroup(file, spec, Group(tag, after), extents, ids, _changed(before, after))


def _changed(before: tuple[Region, ...], after: tuple[Region, ...]) -> dict[int, Region | None]:
    """Return the changed regions by id, None for one that has gone. Ids ascend in both."""
    changed: dict[int, Region | None] = {}
    at = there = 0
    while there < len(after):
        # Nearly all are the very same, which takes no time to see of many at once.
        if before[at : at + _AT_ONCE] == after[there : there + _AT_ONCE]:
            at, there = at + _AT_ONCE, there + _AT_ONCE
            continue
        old, region = before[at] if at < len(before) else None, after[there]
        if old is not None and old.id < region.id:
            changed[old.id] = None
            at += 1
            continue
        if old is not None and old.id == region.id:
            at += 1
        if old != region:
            changed[region.id] = region
        there += 1
    return changed | dict.fromkeys(region.id for region in before[at:])


class DeviceCache:
    """The cache of a device: its list, and groups on it."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._groups: dict[tuple[FileIdentity, int], CachedGroup] = {}

    @property
    def table(self) -> Table:
        """The list as last read, until it is read again."""
        return Table(self._text)

    def read(self, reply: memoryview) -> None:
        """Take in a reply to @stats_list, and forget each group that does not stand as it was left."""
        rows = differing(self._text, reply, _ROWS)
        stood = self._groups if rows is not None else {}
        self._groups = {
            key: replace(s, unlisted={}) for key, s in stood.items() if s.is_unchanged(rows or ())
        }
        if rows != []:
            # In place: a text of a megabyte that is new each time has new pages each time.
            del self._text[len(reply) :]
            self._text += bytes(len(reply) - len(self._text))
            with memoryview(self._text) as text:
                text[:] = reply

    def pop(self, file: FileIdentity, group_id: int) -> CachedGroup | None:
        """Remove and return a group, if it is unchanged. The caller puts it back once it is in step again."""
        return self._groups.pop((file, group_id), None)

    def put(self, seen: CachedGroup) -> None:
        """Remember a group; of many the one that was seen first is forgotten."""
        while len(self._groups) >= _MOST_GROUPS:
            del self._groups[next(iter(self._groups))]
        self._groups[seen.file, seen.group.id] = seen

    def spare_extents(self, file: FileIdentity, group_id: int) -> int:
        """Return for how many extents of a file there should be room, so that they are read in one call."""
        seen = self._groups.get((file, group_id))
        return _SPARE_EXTENTS + (len(seen.extents) // FIEMAP_EXTENT.size if seen is not None else 0)
