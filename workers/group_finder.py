"""Finds the group and the regions of a file on its device, and adopts the configured group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dmstats.apply import Retirement
from dmstats.device import Device
from dmstats.errors import GroupNotFoundError, NotOurGroupError
from dmstats.filemap import safe_alias
from dmstats.files import FileIdentity
from dmstats.group import Group, groups_of
from dmstats.ioctl import device_text
from dmstats.marker import Mark, maker_lives, parse_mark, process_mark
from dmstats.ownership import GroupSpec, Own, candidates, find_own, lost_regions, may_adopt, spec_of
from dmstats.ranges import Footprint
from dmstats.reconcile import Limits
from dmstats.region import Region, Table
from workers.last_id import LastId


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """The configured properties of a file's group. `adopt` is the id of a group to adopt; `bounds_ns` are a
    histogram's bounds."""

    program: str = "dmstats"
    alias: str | None = None
    precise: bool = True
    bounds_ns: tuple[int, ...] = ()
    limits: Limits = field(default_factory=Limits)
    adopt: int | None = None
    recreate: bool = True
    """Whether a group that is missing is created."""


@dataclass(frozen=True, slots=True)
class KnownGroup:
    """What a predecessor left: possible ids of the group, its properties, and its file."""

    ids: tuple[int, ...] = ()
    spec: GroupSpec | None = None
    file: FileIdentity | None = None


class GroupFinder:
    """`spec` and `ids` are the known properties of the group, and the ids that it can have."""

    def __init__(
        self,
        path: str,
        settings: GroupSettings,
        known: KnownGroup,
        retirement: Retirement,
        notice: Callable[[str, str], None],
        last_id: LastId,
    ) -> None:
        self.spec = known.spec
        self.ids = set(known.ids)
        self._path = path
        self._settings = settings
        self._retirement = retirement
        self._report_foreign_change = notice
        self._last_id = last_id
        self._adoption_open = settings.adopt is not None

    def find(
        self,
        device: Device,
        table: Table,
        files: Sequence[FileIdentity],
        where: Footprint,
        members: Sequence[Region],
    ) -> Own:
        """Return the group and regions of the file, `files[0]`, and of the one it replaced, if any.

        `where` has the file's ranges, `members` the group's regions after the last reconcile. Raises
        GroupNotFoundError where the group was deleted and settings forbid another, NotOurGroupError where the group
        to adopt is another file's.
        """
        file = files[0]
        own = self._find(table, files, members)
        if self._adoption_open and not (self.ids and (own.regions or members)):
            self._adopt(table.regions(), file, where)
            own = self._find(table, files, members)
        if own.group is not None and self._is_foreign(own.group, file, where, members):
            self._report_foreign_change(
                "reused", f"group {own.group.id} on {device.number} is of another file now"
            )
            self._last_id.lost("another file's group has the id now")
            mine = {r.id for r in own.regions} - {r.id for r in own.group.regions}
            own = Own(None, tuple(r for r in own.regions if r.id in mine))
        if own.group is None and members and not self._settings.recreate:
            raise GroupNotFoundError(members[0].id, device.number)
        return own

    def _find(self, table: Table, files: Sequence[FileIdentity], members: Sequence[Region]) -> Own:
        """Return the regions of `files`, found by their marks or by the known ids."""
        if self.spec is not None and parse_mark(self.spec.userdata) is None:
            regions: Sequence[Region] = table.regions()
        else:
            regions = candidates(table, files, members)
        return find_own(
            regions,
            files,
            known=self.ids,
            spec=self.spec,
            left_behind=_is_abandoned,
            remembered=members,
        )

    def _adopt(self, regions: Sequence[Region], file: FileIdentity, where: Footprint) -> None:
        """Adopt the group that the configuration names, once, unless it is another file's."""
        alias = safe_alias(self._path.rpartition("/")[2])
        self._adoption_open = False
        wanted = self._settings.adopt
        assert wanted is not None  # noqa: S101 - see _adoption_open
        group = groups_of(regions).get(wanted)
        if group is not None and may_adopt(group, file, where.ranges, alias):
            if self.ids:
                # As in Reconciler.reconcile(): the counters of the gone regions are retired first.
                self._retirement.after_delete(())
            self.spec = spec_of(group)
            self.ids = {wanted}
        elif self.ids:
            return  # its own group has gone; it gets another
        elif group is None:
            if not self._settings.recreate:
                raise GroupNotFoundError(wanted, device_text(file.dev))
            self._last_id.lost(f"there was no group {wanted}")
            self._report_foreign_change("absent", f"there is no group {wanted}: the file gets a new group")
        else:
            if not self._settings.recreate:
                raise NotOurGroupError(f"group {wanted} is not of {self._path}")
            self._last_id.lost(f"group {wanted} is of another file")
            self._report_foreign_change(
                "foreign", f"group {wanted} is of another file: the file gets a new group"
            )

    @staticmethod
    def _is_foreign(group: Group, file: FileIdentity, where: Footprint, members: Sequence[Region]) -> bool:
        """Return whether a group without a mark, which has our id and alias, is not ours.

        Then it has none of our regions or, where these are not known yet, is not on the file's extents.
        """
        if parse_mark(group.tag.userdata) is not None:
            return False
        if not members:
            return not may_adopt(group, file, where.ranges)
        return len(lost_regions(members, group.regions)) == len(members)


def _is_abandoned(mark: Mark) -> bool:
    """Return whether a marked region in no tag is free to take: its maker has ended, or is this process."""
    own = process_mark(FileIdentity(0, mark.inode, mark.generation))
    return mark == own or not maker_lives(mark)
