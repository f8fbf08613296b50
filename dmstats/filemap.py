"""The API after libdm's: regions for a file, kept in step, and the daemon that does so (libdevmapper.h)."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dmstats.bounds import to_kernel
from dmstats.device import Device
from dmstats.errors import GroupNotFoundError, NoExtentsError
from dmstats.fiemap import read_structs, unpack_extents
from dmstats.files import FileIdentity, check_mappable, identify
from dmstats.group import groups_of
from dmstats.marker import beginning, file_mark, maker_lives
from dmstats.mode import FilemapdMode
from dmstats.ownership import GroupSpec, Own, find_own, may_adopt, spec_of
from dmstats.ranges import Footprint, footprint
from dmstats.reconcile import Forget, Limits, reconcile

# libdm 1.02.185 ends an alias at a space, and then finds no group.
_UNSAFE_IN_ALIAS = dict.fromkeys([*map(ord, ' ":#\\'), *range(0x20), 0x7F], "_")


# Groups that an update found in order, oldest first: while neither the file's extents nor the device's regions are
# others, there is nothing to be done. Of both 64 bits of a keyed hash (SipHash) are kept.
_MOST_SEEN: Final = 8


@dataclass(frozen=True, slots=True)
class _Seen:
    state: tuple[int, int]
    ids: tuple[int, ...]


_in_order: dict[tuple[FileIdentity, int], _Seen] = {}


def safe_alias(name: str) -> str:
    """Return `name` as an alias that every libdm reads back: without quotes, separators, spaces, control bytes,
    and bytes that are no text."""
    return name.encode("utf-8", "replace").decode().translate(_UNSAFE_IN_ALIAS)


def default_alias(fd: int) -> str:
    """Return the alias that dmstats would give: the file's basename, that of before where it is unlinked."""
    name = Path(f"/proc/self/fd/{fd}").readlink().name
    return safe_alias(name if os.fstat(fd).st_nlink else name.removesuffix(" (deleted)"))


def new_spec(
    file: FileIdentity,
    *,
    alias: str,
    program: str = "dmstats",
    precise: bool = False,
    bounds_ns: Sequence[int] = (),
) -> GroupSpec:
    """Return what a group made for `file` is like. Raises ValueError for bounds that need `precise`."""
    return GroupSpec(
        alias, True, str(file_mark(file)), program, precise, to_kernel(bounds_ns, precise=precise)
    )


def create_regions_from_fd(
    fd: int,
    *,
    group: bool = True,
    alias: str | None = None,
    precise: bool = False,
    bounds: Sequence[int] | None = None,
    program_id: str = "dmstats",
) -> tuple[int, ...]:
    """Make regions that cover the extents of the file open at `fd` and return their ids, ascending.

    With `group` they are made one group, named `alias` or after the file; its id is the first of the result.
    `bounds` are those of a histogram, in ns. Raises DmStatsError of the kind that fits; where the kernel refuses a
    region, those made before are deleted again.
    """
    device, file, structs = _read(fd)
    where = _placed(structs)
    spec = new_spec(
        file, alias=alias or default_alias(fd), program=program_id, precise=precise, bounds_ns=bounds or ()
    )
    made: list[int] = []
    if not group:
        try:
            for start, end in where.ranges:
                made.append(
                    device.create(start, end - start, precise=precise, bounds=spec.bounds, program=program_id)
                )
        except BaseException:
            for number in made:
                device.delete(number)
            raise
        return tuple(sorted(made))
    outcome = reconcile(
        device,
        file,
        where,
        device.table(),
        Own(None, ()),
        spec,
        limits=Limits(),
        retirement=Forget(),
    )
    if outcome.failure is not None:
        for region in outcome.members:
            device.delete(region.id)
        raise outcome.failure
    return tuple(region.id for region in outcome.members)


def update_regions_from_fd(fd: int, group_id: int) -> tuple[int, ...]:
    """Bring a group in step with the extents of the file open at `fd` and return its ids, ascending: the first
    is the group's id from now on. None are left where the file has no extents. While neither extents nor regions are
    others than when all was found in order, nothing is taken apart.

    Raises GroupNotFoundError where there is no such group or it is another file's, DmError where the kernel refuses.
    """
    device, file, structs = _read(fd)
    table = device.table()
    state = (hash(structs), hash(table.text))
    seen = _in_order.get((file, group_id))
    if seen is not None and seen.state == state:
        return seen.ids
    where = _placed(structs)
    regions = table.regions()
    group = groups_of(regions).get(group_id)
    if group is None or not may_adopt(group, file, where.ranges):
        raise GroupNotFoundError(group_id, device.number)
    spec = spec_of(group)
    own = find_own(regions, [file], known=[group_id], spec=spec, left_behind=lambda m: not maker_lives(m))
    outcome = reconcile(device, file, where, table, own, spec, limits=Limits(), retirement=Forget())
    if outcome.failure is not None:
        raise outcome.failure
    ids = tuple(region.id for region in outcome.members)
    marked = sum(region.aux.startswith(beginning(file)) for region in outcome.members)
    # A region that somebody else is at work on is to be taken in once its maker has gone, which no list tells.
    if outcome.in_order and marked == table.text.count(f" {beginning(file)}".encode()):
        while len(_in_order) >= _MOST_SEEN:
            del _in_order[next(iter(_in_order))]
        _in_order[file, group_id] = _Seen(state, ids)
    return ids


def start_filemapd(
    fd: int, group_id: int, path: str, mode: FilemapdMode, foreground: bool = False, verbose: int = 0
) -> int:
    """Start `dmfilemapd` from PATH for the file open at `fd` and return the pid of the process started.

    Unless `foreground` is set the daemon leaves that process behind, which is waited for. Raises ValueError for
    arguments out of range, FileNotFoundError where there is no dmfilemapd, OSError where it ended with an error.
    """
    if not path.startswith("/"):
        raise ValueError(f"not an absolute path: {path!r}")
    if not 0 <= verbose <= 3:  # noqa: PLR2004 - dmfilemapd(8): log_level
        raise ValueError(f"verbose is 0 to 3, not {verbose}")
    program = shutil.which("dmfilemapd")
    if program is None:
        raise FileNotFoundError(errno.ENOENT, "no such command in PATH", "dmfilemapd")
    arguments = [program, str(fd), str(group_id), path, mode.value, str(int(foreground)), str(verbose)]
    daemon = subprocess.Popen(arguments, pass_fds=[fd])
    if foreground:
        daemon.returncode = (
            0  # it is the caller's to wait for: Popen, which ends here, must not do so behind its back
        )
    elif daemon.wait() != 0:
        raise OSError(errno.ECHILD, f"dmfilemapd ended with status {daemon.returncode}", path)
    return daemon.pid


def _read(fd: int) -> tuple[Device, FileIdentity, bytes]:
    check_mappable(fd)
    file = identify(fd)
    return Device(file.dev), file, read_structs(fd)


def _placed(structs: bytes) -> Footprint:
    where = footprint(unpack_extents(structs))
    if not where.ranges and where.unplaced_bytes and not where.landing:
        raise NoExtentsError("none of its extents has a place on the device (inline or encoded data)")
    return where
