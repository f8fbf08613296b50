"""An update: a group that is known by its id is brought in step with its file, by no more work than what changed asks
for."""

from __future__ import annotations

from dmstats.device import Device
from dmstats.errors import GroupNotFoundError, NoExtentsError
from dmstats.fiemap import unpack_extents
from dmstats.files import FileIdentity
from dmstats.group import groups_of
from dmstats.marker import maker_lives
from dmstats.ownership import find_own, may_adopt, spec_of
from dmstats.ranges import Footprint, footprint
from dmstats.reconcile import DiscardCounters, Limits, reconcile
from dmstats.update_cache import DeviceCache, cached_group


def update(
    seen: DeviceCache, device: Device, file: FileIdentity, extents: bytes | bytearray, group_id: int
) -> tuple[int, ...]:
    """Bring a group in step with what read_structs() gave of a file, and return its ids, ascending. `seen` is what
    earlier updates left on the device: it makes this one quicker, and no other.

    Raises GroupNotFoundError where there is no such group or it is another file's, DmError where the kernel refuses.
    """
    seen.read(device.list_view())
    last = seen.pop(file, group_id)
    now = last.extended(device, extents, len(seen.table)) if last is not None else None
    if now is not None:
        seen.put(now)
        return now.ids
    where = placed(extents)
    regions = seen.table.regions()
    group = groups_of(regions).get(group_id)
    if group is None or not may_adopt(group, file, where.ranges):
        raise GroupNotFoundError(group_id, device.number)
    spec = spec_of(group)
    own = find_own(regions, [file], known=[group_id], spec=spec, left_behind=lambda m: not maker_lives(m))
    outcome = reconcile(
        device, file, where, seen.table, own, spec, limits=Limits(), retirement=DiscardCounters()
    )
    if outcome.failure is not None:
        raise outcome.failure
    now = cached_group(file, spec, extents, seen.table, own, outcome)
    if now is not None:
        seen.put(now)
    return tuple(region.id for region in outcome.members)


def placed(extents: bytes | bytearray) -> Footprint:
    """Return the footprint of read_structs()'s extents. Raises NoExtentsError if none has a place on the device."""
    where = footprint(unpack_extents(extents))
    if not where.ranges and where.unplaced_bytes and not where.landing:
        raise NoExtentsError("none of its extents has a place on the device (inline or encoded data)")
    return where
