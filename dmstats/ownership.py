"""Which of a device's regions are a file's own. Pure: from a listing to what may be touched."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from dmstats.files import FileIdentity
from dmstats.group import Group, Tag, groups_of
from dmstats.marker import Mark, file_mark, parse_mark
from dmstats.ranges import Range, joined, overlap
from dmstats.region import Region


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """What stays the same of a group while its regions change. `bounds` are the kernel's."""

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
        """Return the spec for another file: a mark in the userdata names that one, what a user wrote stays."""
        if parse_mark(self.userdata) is None:
            return self
        return replace(self, userdata=str(file_mark(file)))

    def describes(self, group: Group) -> bool:
        """Tell whether alias, userdata and program of `group` are these."""
        return (group.tag.alias, group.tag.userdata, group.leader.program) == (
            self.alias,
            self.userdata,
            self.program,
        )


def spec_of(group: Group) -> GroupSpec:
    """Return what `group` is like: its options are its leader's."""
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

    def members(self) -> frozenset[int]:
        """Return the ids that stand in the group's tag."""
        return frozenset(region.id for region in self.group.regions) if self.group else frozenset()


def find_own(
    regions: Sequence[Region],
    files: Collection[FileIdentity],
    *,
    known: Collection[int] = (),
    spec: GroupSpec | None = None,
    left_behind: Callable[[Mark], bool],
    remembered: Collection[tuple[int, int, int]] = (),
) -> Own:
    """Return what belongs to `files` (the file, and the one it replaces) among all `regions` of the device.

    A group is the file's own where its userdata is the file's mark, or where its id is in `known` and it is
    as `spec` says. `left_behind` tells whether the maker of a region that stands in no tag has gone; `remembered`
    are id, start and length of those that were the file's when it was last looked at, whatever their aux is now.
    """
    groups = groups_of(regions)
    ours = [group for group in groups.values() if _is_own(group, files, known, spec)]
    in_tags = {region.id for group in groups.values() for region in _spoken_for(group, files)}
    found = {region.id: region for group in ours for region in _own_members(group, files, groups)}
    for region in regions:
        if region.id in in_tags:
            continue
        if _is_orphan(region, files, left_behind) or _is_remembered(region, remembered, spec):
            found[region.id] = region
    # Two tags stand where a move was cut short; which of them is taken does not matter, as both lists are ours.
    group = ours[0] if ours else None
    if group is not None:
        group = Group(group.tag, tuple(region for region in group.regions if region.id in found))
    return Own(group, tuple(found[number] for number in sorted(found)))


def _names(mark: Mark | None, files: Collection[FileIdentity]) -> bool:
    return mark is not None and any(mark.names(file) for file in files)


def _is_own(
    group: Group, files: Collection[FileIdentity], known: Collection[int], spec: GroupSpec | None
) -> bool:
    mark = parse_mark(group.tag.userdata)
    if mark is not None:
        return _names(mark, files)
    return spec is not None and group.id in known and spec.describes(group)


def _spoken_for(group: Group, files: Collection[FileIdentity]) -> Iterable[Region]:
    """Walk the members that a region marked for `files` can be among: not those of another file's group, nor of
    another program's, whose tags can list ids that were given away since."""
    mark = parse_mark(group.tag.userdata)
    if mark is None or _names(mark, files):
        yield from (region for region in group.regions if region.program == group.leader.program)


def _own_members(group: Group, files: Collection[FileIdentity], groups: dict[int, Group]) -> Iterable[Region]:
    """Walk the members that are the file's: a tag can list an id that somebody else got since."""
    adopted = parse_mark(group.tag.userdata) is None
    for region in group.regions:
        mark = parse_mark(region.aux)
        plain = (
            adopted and mark is None and region.id not in groups and region.program == group.leader.program
        )
        if plain or region.id == group.id or _names(mark, files):
            yield region


def _is_remembered(
    region: Region, remembered: Collection[tuple[int, int, int]], spec: GroupSpec | None
) -> bool:
    """Tell whether a region in no tag is one of ours whose aux was overwritten: not with another file's mark."""
    return (
        spec is not None
        and (region.id, region.start, region.length) in remembered
        and region.program == spec.program
        and parse_mark(region.aux) is None
    )


def _is_orphan(region: Region, files: Collection[FileIdentity], left_behind: Callable[[Mark], bool]) -> bool:
    mark = parse_mark(region.aux)
    return mark is not None and _names(mark, files) and left_behind(mark)


def may_adopt(group: Group, file: FileIdentity, ranges: Sequence[Range], alias: str = "") -> bool:
    """Tell whether a group that was named by its id alone can be the file's: it bears the file's mark, or
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
