"""Decides which of a device's regions are a file's own, and may be changed. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, compress
from operator import attrgetter

from dmstats.files import FileIdentity
from dmstats.group import Group, Tag, as_ranges, groups_of, places
from dmstats.marker import Mark, beginning, file_mark, parse_mark
from dmstats.ranges import Range, joined, overlap
from dmstats.region import Region, Table


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """The properties of a group that stay while its regions change. `bounds` are the kernel's."""

    alias: str
    quoted: bool
    userdata: str
    program: str
    precise: bool
    bounds: tuple[int, ...]

    def tag(self, members: tuple[range, ...]) -> Tag:
        """Return the group's tag for `members`."""
        return Tag(self.alias, self.quoted, members, self.userdata)

    def for_file(self, file: FileIdentity) -> GroupSpec:
        """Return the spec for another file: a mark in the userdata is replaced, a user's text stays."""
        if parse_mark(self.userdata) is None:
            return self
        return replace(self, userdata=str(file_mark(file)))

    def describes(self, group: Group) -> bool:
        """Return whether `group` has this alias, userdata and program."""
        return (group.tag.alias, group.tag.userdata, group.leader.program) == (
            self.alias,
            self.userdata,
            self.program,
        )


def spec_of(group: Group) -> GroupSpec:
    """Return the spec of `group`; its options are the leader's."""
    leader = group.leader
    return GroupSpec(
        group.tag.alias,
        group.tag.quoted,
        group.tag.userdata,
        leader.program,
        leader.precise,
        leader.bounds,
    )


@dataclass(frozen=True, slots=True)
class Own:
    """A file's own on its device: `group` is None where there is none; `regions` are its members and those
    left behind by a process that was killed, all of which may be kept or deleted."""

    group: Group | None
    regions: tuple[Region, ...]

    def members(self) -> Collection[int]:
        """Return the ids that stand in the group's tag."""
        if self.group is None:
            return ()
        runs = as_ranges([region.id for region in self.group.regions])
        # Most groups are one run, which takes no memory.
        return runs[0] if len(runs) == 1 else frozenset(chain.from_iterable(runs))


def find_own(
    regions: Sequence[Region],
    files: Collection[FileIdentity],
    *,
    known: Collection[int] = (),
    spec: GroupSpec | None = None,
    left_behind: Callable[[Mark], bool],
    remembered: Sequence[Region] = (),
) -> Own:
    """Return what belongs to `files` (the file, and the one it replaces) among all `regions` of the device.

    A group is the file's own where its userdata is the file's mark, or where its id is in `known` and it has the
    properties `spec`. `left_behind` returns whether the maker of a region in no tag has ended. `remembered` are the
    file's regions after the last reconcile, ids ascending; their aux may have changed since.
    """
    groups = groups_of(regions)
    ids = [region.id for region in regions]
    marked = {aux for aux in {region.aux for region in regions} if _names(parse_mark(aux), files)}
    ours: list[Group] = []
    # By place in `regions`: sets of ids take half a megabyte where there are thousands.
    spoken_for, found = bytearray(len(regions)), bytearray(len(regions))
    for group in groups.values():
        is_own = _is_own(group, files, known, spec)
        if is_own:
            ours.append(group)
        for place in chain.from_iterable(places(_listed(group, files), ids)):
            region = regions[place]
            if region.program == group.leader.program:
                spoken_for[place] = True
            if is_own and (region.aux in marked or _is_plain(region, group, groups)):
                found[place] = True
    loose = [place for place, in_tag in enumerate(spoken_for) if not in_tag]
    orphans = {aux for aux in {regions[place].aux for place in loose} & marked if _left(aux, left_behind)}
    for place in loose:
        if regions[place].aux in orphans or _is_remembered(regions[place], remembered, spec):
            found[place] = True
    own = tuple(compress(regions, found))
    # Two tags stand where a move was cut short; which of them is taken does not matter, as both lists are ours.
    if not ours:
        return Own(None, own)
    tag = ours[0].tag
    members = [
        compress(regions[at.start : at.stop], found[at.start : at.stop]) for at in places(tag.members, ids)
    ]
    return Own(Group(tag, tuple(chain.from_iterable(members))), own)


def _names(mark: Mark | None, files: Collection[FileIdentity]) -> bool:
    return mark is not None and any(mark.names(file) for file in files)


def _is_own(
    group: Group, files: Collection[FileIdentity], known: Collection[int], spec: GroupSpec | None
) -> bool:
    mark = parse_mark(group.tag.userdata)
    if mark is not None:
        return _names(mark, files)
    return spec is not None and group.id in known and spec.describes(group)


def _listed(group: Group, files: Collection[FileIdentity]) -> tuple[range, ...]:
    """Return the ids in a tag that a region marked for `files` can be among: not those of another file's group."""
    mark = parse_mark(group.tag.userdata)
    return group.tag.members if mark is None or _names(mark, files) else ()


def _is_plain(region: Region, group: Group, groups: Mapping[int, Group]) -> bool:
    """Return whether a member of an own group is the file's though it doesn't have its mark: another program may have
    got an id that the tag lists."""
    if region.id == group.id:
        return True
    return (
        parse_mark(group.tag.userdata) is None
        and region.id not in groups
        and region.program == group.leader.program
        and parse_mark(region.aux) is None
    )


def _is_remembered(region: Region, remembered: Sequence[Region], spec: GroupSpec | None) -> bool:
    """Return whether a region in no tag is ours, its aux overwritten with anything but another file's mark."""
    at = bisect_left(remembered, region.id, key=_id)
    return (
        spec is not None
        and at < len(remembered)
        and _same(remembered[at], region)
        and region.program == spec.program
        and parse_mark(region.aux) is None
    )


_id = attrgetter("id")


def _same(one: Region, other: Region) -> bool:
    """Return whether the fixed properties of a region are unchanged."""
    return one.id == other.id and one.start == other.start and one.length == other.length


def lost_regions(regions: Iterable[Region], there: Sequence[Region]) -> list[Region]:
    """Return those of `regions` that are not there any more, though another may have the id. Ids ascend in both."""
    gone = []
    at = 0
    for region in regions:
        while at < len(there) and there[at].id < region.id:
            at += 1
        if at == len(there) or not _same(there[at], region):
            gone.append(region)
    return gone


def candidates(
    table: Table, files: Collection[FileIdentity], remembered: Sequence[Region]
) -> Sequence[Region]:
    """Return the regions with a tag or a mark of `files`: find_own() finds the same among them as in the whole table,
    as long as no group is the file's by its id. Where a remembered region is not among them, as another program
    changed its aux, all regions are returned."""
    regions = table.having([b" DMS_GROUP=", *(f" {beginning(file)}".encode() for file in files)])
    return table.regions() if lost_regions(remembered, regions) else regions


def _left(aux: str, left_behind: Callable[[Mark], bool]) -> bool:
    mark = parse_mark(aux)
    return mark is not None and left_behind(mark)


def may_adopt(group: Group, file: FileIdentity, ranges: Sequence[Range], alias: str = "") -> bool:
    """Return whether a group that was named by its id alone can be the file's: it bears the file's mark, or
    none and lies at least in part where the file does. Of a file that lies nowhere just now, the group bears the
    name, `alias`."""
    mark = parse_mark(group.tag.userdata)
    if mark is not None:
        return mark.names(file)
    if any(
        member_mark is not None and not member_mark.names(file)
        for member_mark in (parse_mark(region.aux) for region in group.regions)
    ):
        return False
    if not ranges and alias:
        return group.tag.alias == alias
    return overlap(joined((region.start, region.end) for region in group.regions), ranges) > 0
