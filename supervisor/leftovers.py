"""Which of a device's regions filemapd made and nothing keeps any more. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from dmstats.files import FileIdentity
from dmstats.group import Group, groups_of
from dmstats.marker import Mark, parse_mark
from dmstats.ownership import find_own
from dmstats.region import Region


@dataclass(frozen=True, slots=True)
class Keepers:
    """What keeps regions, on all devices: the files that are named somewhere, by identity or, where their generation
    isn't known, by st_dev and inode; the aliases of those that can't be found just now; and the groups, by st_dev and
    id, that a living process keeps in step."""

    files: Collection[FileIdentity] = ()
    inodes: Collection[tuple[int, int]] = ()
    aliases: Collection[str] = ()
    groups: Collection[tuple[int, int]] = ()

    def name(self, file: FileIdentity) -> bool:
        """Tell whether `file` is one of those that are named."""
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
        """The pids of the processes that made the regions, as far as these tell."""
        marks = (parse_mark(region.aux) for region in self.regions)
        return sorted({mark.pid for mark in marks if mark is not None and mark.pid})


def left_over(
    dev: int, regions: Sequence[Region], keepers: Keepers, lives: Callable[[Mark], bool]
) -> list[Leftover]:
    """Return what is left over among all `regions` (ids ascending) of the device with number `dev`, by file.

    `lives` tells whether a region's maker is still there. Left out are regions that another file's or another
    program's group has taken in.
    """
    groups = groups_of(regions)
    files = {FileIdentity(dev, mark.inode, mark.generation) for mark in _marks(regions, groups.values())}
    found = []
    for file in sorted(files, key=lambda f: (f.inode, f.generation)):
        if keepers.name(file):
            continue
        left = _of(file, regions, groups, lives)
        if left.regions and not _is_kept(left, keepers, lives):
            found.append(left)
    return found


def _marks(regions: Iterable[Region], groups: Iterable[Group]) -> Iterable[Mark]:
    texts = [region.aux for region in regions] + [group.tag.userdata for group in groups]
    return filter(None, map(parse_mark, texts))


def _of(
    file: FileIdentity, regions: Sequence[Region], groups: dict[int, Group], lives: Callable[[Mark], bool]
) -> Leftover:
    own = find_own(regions, [file], left_behind=lambda mark: not lives(mark))
    ours = tuple(region.id for region in own.regions if region.id in groups)
    elsewhere = {region.id for group in groups.values() if group.id not in ours for region in group.regions}
    alias = groups[ours[0]].tag.alias if ours else ""
    return Leftover(file, ours, alias, tuple(r for r in own.regions if r.id not in elsewhere))


def _is_kept(left: Leftover, keepers: Keepers, lives: Callable[[Mark], bool]) -> bool:
    marks = (parse_mark(region.aux) for region in left.regions)
    return (
        any((left.file.dev, number) in keepers.groups for number in left.groups)
        or (left.alias != "" and left.alias in keepers.aliases)
        or any(mark is not None and lives(mark) for mark in marks)
    )
