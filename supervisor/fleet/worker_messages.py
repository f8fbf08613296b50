"""What workers report, taken into the fleet and the ledger."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from dmstats.device import Device
from supervisor.fleet.state_machine import Event
from workers import messages
from workers.totals import unpack

if TYPE_CHECKING:
    from supervisor.fleet.filemap import Filemap
    from supervisor.fleet.fleet import Fleet


def handle(fleet: Fleet, filemap: Filemap, message: messages.Message) -> None:
    """Take in one message of a filemap's worker."""
    if isinstance(
        message, messages.Moving | messages.Retiring | messages.Retired | messages.RetirementsResolved
    ):
        _account(fleet, filemap, message)
    else:
        _report(fleet, filemap, message)


def _report(fleet: Fleet, filemap: Filemap, message: messages.Message) -> None:
    match message:
        case messages.FileOpened():
            _holds(fleet, filemap, message)
        case messages.Mapped():
            _mapped(fleet, filemap, message)
        case messages.Unchanged():
            _unchanged(fleet, filemap)
        case messages.Waiting(reason):
            _waiting(fleet, filemap, reason)
        case messages.Placed(starts, lengths):
            filemap.placement.set_pieces(starts, lengths)
        case messages.Sampled():
            _sampled(fleet, filemap, message)
        case messages.ForeignChange(what, _):
            filemap.count_foreign_change(what)
        case messages.Exiting(_, reason):
            filemap.reason = filemap.reason or reason
        case other:
            filemap.log(
                logging.WARNING, "ignored a message that is not for a supervisor: %s", type(other).__name__
            )


def _sampled(fleet: Fleet, filemap: Filemap, message: messages.Sampled) -> None:
    filemap.sampled_since, filemap.sampled_at = filemap.sampled_at, message.at
    filemap.sampling = False
    cleared = unpack(message.cleared) if message.cleared is not None else None
    if cleared is not None:
        filemap.count_foreign_change("cleared")
    filemap.account = fleet.ledger.record_counters(filemap.path, unpack(message.live), cleared=cleared)
    filemap.placement.add_ios(message.ios)
    if message.unchanged:
        _unchanged(fleet, filemap)


def _account(
    fleet: Fleet,
    filemap: Filemap,
    message: messages.Moving | messages.Retiring | messages.Retired | messages.RetirementsResolved,
) -> None:
    """Keep what must not be lost; what wants an Ack gets it once it is safe."""
    match message:
        case messages.Moving(seq, old, new, reason):
            if old is not None:
                # A predecessor moved it, and was killed before it could tell.
                _note_move(fleet, filemap, old)
            fleet.ledger.record_intended_move(filemap.path, new, reason)
            _confirm(fleet, filemap, seq)
        case messages.Retiring(seq, retired):
            fleet.ledger.add_pending(filemap.path, [(key, unpack(values)) for key, values in retired])
            _confirm(fleet, filemap, seq)
        case messages.Retired(keys, live):
            filemap.account = fleet.ledger.record_counters(filemap.path, unpack(live), keys)
        case messages.RetirementsResolved(still_there):
            filemap.account = fleet.ledger.resolve_pending(filemap.path, still_there)


def _confirm(fleet: Fleet, filemap: Filemap, seq: int) -> None:
    fleet.ledger.flush()
    fleet.send(filemap, messages.Ack(seq))


def _holds(fleet: Fleet, filemap: Filemap, message: messages.FileOpened) -> None:
    if filemap.child is None:
        return
    device = Device(message.dev)
    filemap.device = device.name()
    # That file itself is not let go: where its worker has just died, there is no other way to it than ours.
    if filemap.file is None or replace(filemap.file, fd=message.fd) != message:
        fleet.release_file(filemap)
    filemap.file = message
    fleet.files_opened += 1
    watch_held(fleet, filemap)


def watch_held(fleet: Fleet, filemap: Filemap) -> None:
    """Open just what the worker holds, by way of its descriptor, so as to watch it whatever its name is.

    Where there is no descriptor to be had, nothing is done: it is to be tried again.
    """
    if filemap.child is None or filemap.file is None:
        return
    if filemap.fd is None:
        try:
            filemap.fd = os.open(f"/proc/{filemap.child.pid}/fd/{filemap.file.fd}", os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            filemap.log(logging.DEBUG, "the worker's file can't be opened: %s", error)
            return
    fleet.watcher.add(filemap.path, filemap.fd, _watched_name(filemap))
    # The worker reads the extents without waiting for the watch: what came in between nobody tells of.
    fleet.watcher.mark_changed(filemap.path, time.monotonic())


def _watched_name(filemap: Filemap) -> str | None:
    """Return the path where what happens to the name matters: in mode path."""
    return None if filemap.follows_inode else filemap.path


def _mapped(fleet: Fleet, filemap: Filemap, message: messages.Mapped) -> None:
    now = time.monotonic()
    first, filemap.mapped = filemap.mapped is None, message
    group_id = message.group["group_id"] if message.group is not None else None
    other, filemap.group_id = filemap.group_id != group_id, group_id
    if group_id is not None:
        _note_move(fleet, filemap, group_id)
    _keep(fleet, filemap, message, other=other)
    if message.changed and not first:
        since = filemap.event_at if filemap.event_at is not None else now
        filemap.follow_times.add((now - since) * 1000, time.time())
        filemap.log(
            logging.DEBUG,
            "%d extents, %d regions",
            message.extents,
            message.regions,
        )
    filemap.event_at = None
    filemap.refused_creates += message.refused
    fleet.watcher.finished(
        filemap.path, now, changed=message.changed, landing=message.landing, joinable=message.joinable
    )
    if group_id is None and not message.landing:
        fleet.advance(filemap, Event.WAIT, "the file is empty")
    else:
        fleet.advance(filemap, Event.READY)


def _unchanged(fleet: Fleet, filemap: Filemap) -> None:
    mapped = filemap.mapped
    if mapped is None:
        fleet.reconcile(filemap, verify=True)
        return
    filemap.event_at = None
    fleet.watcher.finished(
        filemap.path, time.monotonic(), changed=False, landing=mapped.landing, joinable=mapped.joinable
    )


def _keep(fleet: Fleet, filemap: Filemap, message: messages.Mapped, *, other: bool) -> None:
    """Write down which file the group is for, now that it is; before, its predecessor's regions must be found.

    `other` is whether it is another group than before.
    """
    if filemap.file is not None and filemap.recorded_file != filemap.file:
        fleet.ledger.record_file(filemap.path, filemap.device or "", filemap.file)
        filemap.recorded_file = filemap.file
    if message.group is not None and (message.changed or other):
        fleet.ledger.record_group(filemap.path, message.group)


def _note_move(fleet: Fleet, filemap: Filemap, group_id: int) -> None:
    old, filemap.last_group_id = filemap.last_group_id, group_id
    if old is None or old == group_id:
        return
    device = filemap.device or ""
    happening = fleet.ledger.record_move(filemap.path, filemap.name, device, old, group_id)
    entry = fleet.ledger.entry(filemap.path)
    filemap.moves, filemap.moves_total = entry.moves, entry.moves_total
    filemap.log(
        logging.INFO, "group_id changed from %d to %d on %s: %s", old, group_id, device, happening.reason
    )
    fleet.emit(happening)


def _waiting(fleet: Fleet, filemap: Filemap, reason: str) -> None:
    fleet.release_file(filemap)
    forget_mapping(filemap)
    # A sample that was asked for along with the look is not made.
    filemap.io_text, filemap.sampling = "", False
    fleet.advance(filemap, Event.WAIT, reason)


def forget_mapping(filemap: Filemap) -> None:
    """Have nothing be told any more of where the file lies, and of its group."""
    filemap.mapped = filemap.group_id = filemap.event_at = None
    filemap.placement.set_pieces((), ())
