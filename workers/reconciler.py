"""Brings one file's group in step with its extents."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dmstats.apply import Retired, Retirement, region_key
from dmstats.counters import Counters
from dmstats.device import Device
from dmstats.errors import DmError, NotOurGroupError
from dmstats.fiemap import FIEMAP_EXTENT, read_structs, unpack_extents
from dmstats.filemap import default_alias, new_spec
from dmstats.files import FileIdentity
from dmstats.ioctl import release_buffer
from dmstats.marker import parse_mark
from dmstats.moves import Move
from dmstats.ownership import GroupSpec, Own, lost_regions, spec_of
from dmstats.ranges import Footprint, footprint
from dmstats.reconcile import UNLIMITED, Outcome, reconcile
from dmstats.region import Region, Table
from workers.followed_file import FollowedFile
from workers.group_finder import GroupFinder, GroupSettings, KnownGroup
from workers.group_lock import GroupLock
from workers.last_id import LastId
from workers.totals import Totals

_NOWHERE = Footprint((), 0, 0, landing=False)
_SPARE_EXTENTS = 32


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a reconcile. `outcome` is None where nothing had to be done. `landing`: some extents wait for
    delayed allocation."""

    landing: bool
    outcome: Outcome | None


class Reconciler:
    """Brings the group of one followed file in step. `notice` reports changes that other programs made to it, as a
    kind and a text; `moving` is called before the group gets another id."""

    def __init__(
        self,
        file: FollowedFile,
        settings: GroupSettings,
        known: KnownGroup,
        retirement: Retirement,
        notice: Callable[[str, str], None],
        moving: Callable[[Move], None],
    ) -> None:
        self.file = file
        self.totals = Totals()
        self.members: tuple[Region, ...] = ()
        self._settings = settings
        self._limits = settings.limits
        self._last_file = known.file
        self._retirement = retirement
        self._report_foreign_change = notice
        self._announce_move = moving
        self._last_id = LastId(known.ids[0] if known.ids else settings.adopt)
        self._extents: int | None = None
        self._extent_room = _SPARE_EXTENTS
        self._landing = False
        self._joinable = False
        self._lock = GroupLock()
        self._replaced = False
        self._finder = GroupFinder(file.path, settings, known, retirement, notice, self._last_id)

    @property
    def group_id(self) -> int | None:
        """The group's id, None where there is no group."""
        return self.members[0].id if self.members else None

    @property
    def tag(self) -> str:
        """What the leader's aux is, empty without a group."""
        return self.members[0].aux if self.members else ""

    @property
    def spec(self) -> GroupSpec | None:
        """The properties of the group; None where there never was one."""
        return self._finder.spec

    def set_grant(self, regions: int) -> None:
        """Set the file's part of the device's budget of regions; the next reconcile with `verify` applies it."""
        self._limits = replace(self._limits, grant=regions, device=UNLIMITED, retain=False)

    @property
    def joinable(self) -> bool:
        """Whether some regions could be joined: there are more of them than ranges."""
        return self._extents is not None and self._joinable

    def reconcile(self, *, verify: bool = False, join: bool = False) -> Result:
        """Read the extents and, where they changed or `verify` or `join` ask for it, bring the group in step.

        Raises GroupNotFoundError where the group was deleted and must not be created again, NotOurGroupError where
        another process follows it, other DmStatsErrors as they come.
        """
        fd, file = self.file.opened()
        structs = read_structs(fd, self._extent_room)
        # 64 bits of a keyed hash (SipHash) rather than the extents, which take a megabyte where there are thousands.
        extents = hash(bytes(structs))
        if extents == self._extents and file == self._last_file and not verify and not join:
            return Result(self._landing, None)
        where = footprint(unpack_extents(structs))
        device = Device(file.dev)
        self._leave_other_device(file)
        self._replaced = self._last_file not in (None, file)
        table = device.table()
        own = self._own(device, table, file, where)
        if own.group is not None:
            self._lock.acquire(file.dev, own.group.id)
            self._announce(self._last_id.found(own.group.id, self._finder.ids))
        if not self.members:
            self.totals.sample(device, own.regions)
            if not own.regions:
                # A predecessor's regions may have been deleted unseen. With this report, their counters are not
                # taken for those of the regions that are created next.
                self._retirement.after_delete(())
        spec = self._spec(fd, file, own)
        outcome = reconcile(
            device,
            file,
            where,
            table,
            own,
            spec,
            limits=self._limits,
            retirement=_DropRetired(self._retirement, self.totals),
            join=join,
            before_move=self._before_move,
        )
        release_buffer()
        self._remember(file, spec, outcome, extents)
        self._extent_room = _SPARE_EXTENTS + len(structs) // FIEMAP_EXTENT.size * 9 // 8
        self._landing = where.landing
        return Result(where.landing, outcome)

    def release(self) -> None:
        """Retire the counters and delete the group: its file was deleted, or is no longer selected."""
        former = self._last_file
        if former is None:
            return
        device = Device(former.dev)
        table = device.table()
        own = self._own(device, table, former, _NOWHERE)
        if own.regions:
            spec = self.spec or (spec_of(own.group) if own.group else new_spec(former, alias=""))
            reconcile(
                device,
                former,
                _NOWHERE,
                table,
                own,
                spec,
                limits=self._limits,
                retirement=_DropRetired(self._retirement, self.totals),
            )
        self.members, self._extents = (), None
        self._last_id.lost("the file was missing")
        self._lock.release()

    def sample(self) -> Counters:
        """Read and return the sum of the group's counters. Raises DmError, ENOENT where a region has gone."""
        if self._last_file is not None:
            self.totals.sample(Device(self._last_file.dev), self.members)
        return self.totals.sum()

    def _before_move(self, move: Move) -> None:
        if self._last_file is not None and move.old is not None:
            self._lock.acquire(self._last_file.dev, move.new)
        self._announce(self._last_id.explain(move, replaced=self._replaced))

    def _announce(self, move: Move | None) -> None:
        if move is not None:
            self._announce_move(move)

    def _leave_other_device(self, file: FileIdentity) -> None:
        """Delete the group on the former device where another file system is at the path now.

        The device may have gone, and after a reboot it has another number.
        """
        if self._last_file is None or self._last_file.dev == file.dev:
            return
        try:
            self.release()
            self._last_id.lost("the file is on another device")
        except DmError as error:
            if error.errno not in (errno.ENXIO, errno.ENODEV, errno.ENOTTY):
                raise
            self._last_id.lost("the device of the group was removed")
            self.members, self._extents = (), None
            self._lock.release()
        self._last_file = None
        self._finder.ids.clear()

    def _own(self, device: Device, table: Table, file: FileIdentity, where: Footprint) -> Own:
        files = [file] if self._last_file in (None, file) else [file, self._last_file]
        own = self._finder.find(device, table, files, where, self.members)
        self._account_for_lost(own)
        return own

    def _account_for_lost(self, own: Own) -> None:
        """Retire the regions that another program deleted, with the counters that were last read."""
        gone = lost_regions(self.members, own.regions)
        if gone:
            self._last_id.lost("another program deleted regions of the group")
            self._report_foreign_change(
                "lost",
                f"another program deleted regions of group {self.group_id}, or grouped them elsewhere: {len(gone)}",
            )
            read = self.totals.remove({r.id for r in gone})
            last = [Retired(region_key(r), read.get(r.id, Counters()).settled()) for r in gone]
            self._retirement.before_delete(last)
            self._retirement.after_delete(last)
        elif self.members and own.group is None:
            self._last_id.lost("another program removed the tag of the group")
            self._report_foreign_change(
                "ungrouped", f"another program removed the tag of group {self.group_id}: it is restored"
            )
        elif own.group is not None and self.members and own.group.leader.aux != self.tag:
            self._report_foreign_change(
                "retagged", f"another program changed the tag of group {own.group.id}"
            )

    def _spec(self, fd: int, file: FileIdentity, own: Own) -> GroupSpec:
        """Return the properties of the group: the configured ones where filemapd made it, else those it has."""
        there = spec_of(own.group) if own.group is not None else self.spec
        if there is None or parse_mark(there.userdata) is not None:
            return self._own_spec(fd, file, there)
        if self.spec is not None and own.group is not None:
            # These options are read from the leader, which may be new; the group's own are those at its adoption.
            there = replace(there, precise=self.spec.precise, bounds=self.spec.bounds)
        return there

    def _own_spec(self, fd: int, file: FileIdentity, there: GroupSpec | None) -> GroupSpec:
        """Return the properties of a group that filemapd made. Its alias stays when the file is renamed."""
        wanted = self._settings
        if there is not None and not self._settings.recreate:
            return there.for_file(file)
        spec = new_spec(
            file,
            alias=wanted.alias or (there.alias if there is not None else default_alias(fd)),
            program=wanted.program,
            precise=wanted.precise,
            bounds_ns=wanted.bounds_ns,
        )
        return replace(spec, quoted=there.quoted) if there is not None else spec

    def _remember(self, file: FileIdentity, spec: GroupSpec, outcome: Outcome, extents: int) -> None:
        self.members = outcome.members
        self._last_id.update(outcome.group_id)
        self._finder.spec = spec
        self._last_file = file
        self._finder.ids = {outcome.group_id} if outcome.group_id is not None else set()
        self._lock_group(file)
        self._extents = None if outcome.failure is not None else extents
        self._joinable = outcome.joinable

    def _lock_group(self, file: FileIdentity) -> None:
        """Hold the lock of the group's present id. A group with a new id is ours, even where another process has the
        lock of that id: the group was just made, or moved."""
        if self.group_id is None:
            self._lock.release()
            return
        try:
            self._lock.acquire(file.dev, self.group_id)
        except NotOurGroupError as error:
            self._lock.release()
            self._report_foreign_change("unlocked", str(error))


class _DropRetired:
    """Passes retirements on, and removes the deleted regions from the live totals."""

    def __init__(self, retirement: Retirement, totals: Totals) -> None:
        self._retirement = retirement
        self._totals = totals

    def before_delete(self, retired: Sequence[Retired]) -> None:
        self._retirement.before_delete(retired)

    def after_delete(self, retired: Sequence[Retired]) -> None:
        self._totals.remove({int(one.key.partition(":")[0]) for one in retired})
        self._retirement.after_delete(retired)
