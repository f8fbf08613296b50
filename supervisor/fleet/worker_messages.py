"""What workers report, taken into the fleet and the ledger."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from dmstats.device import Device
from supervisor.fleet.state_machine import Event
from workers import channel as say
from workers.totals import unpack

if TYPE_CHECKING:
    from supervisor.fleet.filemap import Filemap
    from supervisor.fleet.fleet import Fleet


def take(fleet: Fleet, filemap: Filemap, message: say.Message) -> None:
    """Take in one message of a filemap's worker."""
    if isinstance(message, say.Moving | say.Retiring | say.Retired | say.Settled):
        _account(fleet, filemap, message)
    else:
        _report(fleet, filemap, message)


def _report(fleet: Fleet, filemap: Filemap, message: say.Message) -> None:
    match message:
        case say.Holds():
            _holds(fleet, filemap, message)
        case say.Mapped():
            _mapped(fleet, filemap, message)
        case say.Unchanged():
            _unchanged(fleet, filemap)
        case say.Waiting(reason):
            _waiting(fleet, filemap, reason)
        case say.Placed(starts, lengths):
            filemap.placed.moved(starts, lengths)
        case say.Sampled():
            _sampled(fleet, filemap, message)
        case say.Noticed(what, _):
            filemap.notice(what)
        case say.Ending(_, reason):
            filemap.reason = filemap.reason or reason
        case other:
            filemap.log(
                logging.WARNING, "ignored a message that is not for a supervisor: %s", type(other).__name__
            )


def _sampled(fleet: Fleet, filemap: Filemap, message: say.Sampled) -> None:
    filemap.sampled_since, filemap.sampled_at = filemap.sampled_at, message.at
    filemap.sampling = False
    cleared = unpack(message.cleared) if message.cleared is not None else None
    if cleared is not None:
        filemap.notice("cleared")
    filemap.account = fleet.ledger.counted(filemap.path, unpack(message.live), cleared=cleared)
    filemap.placed.counted(message.ios)
    if message.unchanged:
        _unchanged(fleet, filemap)


def _account(
    fleet: Fleet, filemap: Filemap, message: say.Moving | say.Retiring | say.Retired | say.Settled
) -> None:
    """Keep what must not be lost; what wants an Ack gets it once it is safe."""
    match message:
        case say.Moving(seq, old, new, reason):
            if old is not None:
                # A predecessor moved it, and was killed before it could tell.
                _note_move(fleet, filemap, old)
            fleet.ledger.moving(filemap.path, new, reason)
            _confirm(fleet, filemap, seq)
        case say.Retiring(seq, retired):
            fleet.ledger.retiring(filemap.path, [(key, unpack(values)) for key, values in retired])
            _confirm(fleet, filemap, seq)
        case say.Retired(keys, live):
            filemap.account = fleet.ledger.counted(filemap.path, unpack(live), keys)
        case say.Settled(still_there):
            filemap.account = fleet.ledger.settle(filemap.path, still_there)


def _confirm(fleet: Fleet, filemap: Filemap, seq: int) -> None:
    fleet.ledger.flush()
    fleet.send(filemap, say.Ack(seq))


def _holds(fleet: Fleet, filemap: Filemap, message: say.Holds) -> None:
    if filemap.child is None:
        return
    device = Device(message.dev)
    filemap.device = device.name()
    # That file itself is not let go: where its worker has just died, there is no other way to it than ours.
    if filemap.holds is None or replace(filemap.holds, fd=message.fd) != message:
        fleet.let_go(filemap)
    filemap.holds = message
    fleet.held += 1
    watch_held(fleet, filemap)


def watch_held(fleet: Fleet, filemap: Filemap) -> None:
    """Open just what the worker holds, by way of its descriptor, so as to watch it whatever its name is.

    Where there is no descriptor to be had, nothing is done: it is to be tried again.
    """
    if filemap.child is None or filemap.holds is None:
        return
    if filemap.fd is None:
        try:
            filemap.fd = os.open(f"/proc/{filemap.child.pid}/fd/{filemap.holds.fd}", os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            filemap.log(logging.DEBUG, "the worker's file can't be opened: %s", error)
            return
    fleet.watch.add(filemap.path, filemap.fd, _watched_name(filemap))
    # The worker reads the extents without waiting for the watch: what came in between nobody tells of.
    fleet.watch.urgent(filemap.path, time.monotonic())


def _watched_name(filemap: Filemap) -> str | None:
    """Return the path where what happens to the name matters: in mode path."""
    return None if filemap.follows_inode else filemap.path


def _mapped(fleet: Fleet, filemap: Filemap, message: say.Mapped) -> None:
    now = time.monotonic()
    first, filemap.mapped = filemap.mapped is None, message
    group_id = message.group["group_id"] if message.group is not None else None
    other, filemap.group_id = filemap.group_id != group_id, group_id
    if group_id is not None:
        _note_move(fleet, filemap, group_id)
    _keep(fleet, filemap, message, other=other)
    if message.changed and not first:
        since = filemap.happened_at if filemap.happened_at is not None else now
        filemap.followed.add((now - since) * 1000, time.time())
        filemap.log(
            logging.DEBUG,
            "%d extents, %d regions",
            message.extents,
            message.regions,
        )
    filemap.happened_at = None
    filemap.refused_creates += message.refused
    fleet.watch.looked(
        filemap.path, now, changed=message.changed, landing=message.landing, joinable=message.joinable
    )
    if group_id is None and not message.landing:
        fleet.event(filemap, Event.WAIT, "the file is empty")
    else:
        fleet.event(filemap, Event.READY)


def _unchanged(fleet: Fleet, filemap: Filemap) -> None:
    mapped = filemap.mapped
    if mapped is None:
        fleet.look(filemap, doubt=True)
        return
    filemap.happened_at = None
    fleet.watch.looked(
        filemap.path, time.monotonic(), changed=False, landing=mapped.landing, joinable=mapped.joinable
    )


def _keep(fleet: Fleet, filemap: Filemap, message: say.Mapped, *, other: bool) -> None:
    """Write down which file the group is for, now that it is; before, its predecessor's regions must be found.

    `other` is whether it is another group than before.
    """
    if filemap.holds is not None and filemap.kept != filemap.holds:
        fleet.ledger.holds(filemap.path, filemap.device or "", filemap.holds)
        filemap.kept = filemap.holds
    if message.group is not None and (message.changed or other):
        fleet.ledger.group(filemap.path, message.group)


def _note_move(fleet: Fleet, filemap: Filemap, group_id: int) -> None:
    old, filemap.last_group_id = filemap.last_group_id, group_id
    if old is None or old == group_id:
        return
    device = filemap.device or ""
    happening = fleet.ledger.moved(filemap.path, filemap.name, device, old, group_id)
    entry = fleet.ledger.entry(filemap.path)
    filemap.moves, filemap.moves_total = entry.moves, entry.moves_total
    filemap.log(
        logging.INFO, "group_id changed from %d to %d on %s: %s", old, group_id, device, happening.reason
    )
    fleet.tell(happening)


def _waiting(fleet: Fleet, filemap: Filemap, reason: str) -> None:
    fleet.let_go(filemap)
    forget_mapping(filemap)
    # A sample that was asked for along with the look is not made.
    filemap.io_text, filemap.sampling = "", False
    fleet.event(filemap, Event.WAIT, reason)


def forget_mapping(filemap: Filemap) -> None:
    """Have nothing be told any more of where the file lies, and of its group."""
    filemap.mapped = filemap.group_id = filemap.happened_at = None
    filemap.placed.moved((), ())
