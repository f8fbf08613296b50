"""Decides which of a device's regions filemapd made and no process owns any more. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from dmstats.files import FileIdentity
from dmstats.group import Group, groups_of
from dmstats.marker import Mark, parse_mark
from dmstats.ownership import find_own
from dmstats.region import Region


@dataclass(frozen=True, slots=True)
class Owners:
    """The owners of regions on all devices.

    `files` are named in the configuration or the ledger; `inodes` are st_dev and inode of files whose generation is
    unknown; `aliases` are of configured files that are missing. `groups` (st_dev and id) are followed by a living
    process.
    """

    files: Collection[FileIdentity] = ()
    inodes: Collection[tuple[int, int]] = ()
    aliases: Collection[str] = ()
    groups: Collection[tuple[int, int]] = ()

    def name(self, file: FileIdentity) -> bool:
        """Return whether `file` is one of the owned files."""
        return file in self.files or (file.dev, file.inode) in self.inodes


@dataclass(frozen=True, slots=True)
class Leftover:
    """What is left of one file: its groups' ids, ascending (more than one where a move was cut short, none where no
    tag was set yet), the first one's alias, and the regions, by id."""

    file: FileIdentity
    groups: tuple[int, ...]
    alias: str
    regions: tuple[Region, ...]

    @property
    def makers(self) -> list[int]:
        """The pids of the processes that made the regions, as far as the marks have them."""
        marks = (parse_mark(region.aux) for region in self.regions)
        return sorted({mark.pid for mark in marks if mark is not None and mark.pid})


def find_leftovers(
    dev: int, regions: Sequence[Region], keepers: Owners, lives: Callable[[Mark], bool]
) -> list[Leftover]:
    """Return the leftovers among all `regions` (ids ascending) of the device with number `dev`, by file.

    `lives` returns whether a region's maker still runs. Regions in a group of another file or of another program are
    left out.
    """
    table = _Table(regions)
    found = []
    for key in sorted(table.ours):
        file = FileIdentity(dev, *key)
        if keepers.name(file):
            continue
        left = table.left_of(file, lives)
        if left.regions and not _is_kept(left, keepers, lives):
            found.append(left)
    return found


class _Table:
    """A device's regions, such that those that concern a file are at hand: a device can have thousands of either.
    `ours` are, by inode and generation, the regions that are marked for a file and the members of its groups."""

    def __init__(self, regions: Sequence[Region]) -> None:
        self._groups = groups_of(regions)
        self._listed_by: dict[int, list[Group]] = {}
        self.ours: dict[tuple[int, int], list[Region]] = {}
        for region in regions:
            self._mark(region.aux, [region])
        for group in self._groups.values():
            self._mark(group.tag.userdata, group.regions)
            for region in group.regions:
                self._listed_by.setdefault(region.id, []).append(group)

    def _mark(self, text: str, regions: Iterable[Region]) -> None:
        mark = parse_mark(text)
        if mark is not None:
            self.ours.setdefault((mark.inode, mark.generation), []).extend(regions)

    def left_of(self, file: FileIdentity, lives: Callable[[Mark], bool]) -> Leftover:
        """Return the regions of a file, without those that another's group lists, too."""
        near = {region.id: region for region in self.ours[file.inode, file.generation]}
        near |= {group.id: group.leader for number in tuple(near) for group in self._listed(number)}
        listing = [near[number] for number in sorted(near)]
        own = find_own(listing, [file], left_behind=lambda mark: not lives(mark))
        groups = tuple(region.id for region in own.regions if region.id in self._groups)
        regions = tuple(r for r in own.regions if all(group.id in groups for group in self._listed(r.id)))
        return Leftover(file, groups, self._groups[groups[0]].tag.alias if groups else "", regions)

    def _listed(self, number: int) -> Sequence[Group]:
        """Return the groups whose tags list a region."""
        return self._listed_by.get(number, ())


def _is_kept(left: Leftover, keepers: Owners, lives: Callable[[Mark], bool]) -> bool:
    marks = (parse_mark(region.aux) for region in left.regions)
    return (
        any((left.file.dev, number) in keepers.groups for number in left.groups)
        or (left.alias != "" and left.alias in keepers.aliases)
        or any(mark is not None and lives(mark) for mark in marks)
    )
