"""Handles the messages of workers: counters go into the ledger, mappings and states into the fleet."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from dmstats.device import Device
from supervisor.fleet.state_machine import Event
from workers import messages
from workers.totals import unpack

if TYPE_CHECKING:
    from supervisor.fleet.filemap import Filemap
    from supervisor.ledger import events
    from supervisor.ledger.ledger import Ledger
    from workers.watcher import FileWatcher

_Accounting = messages.Moving | messages.Retiring | messages.Retired | messages.RetirementsResolved


class FleetActions(Protocol):
    """What a message may make the fleet do."""

    ledger: Ledger
    watcher: FileWatcher
    mapping_changes: int

    def advance(self, filemap: Filemap, event: Event, reason: str = "") -> None:
        """Advance the state machine."""

    def emit(self, event: events.Event) -> None:
        """Pass an event of the event log to the listeners."""

    def send(self, filemap: Filemap, message: messages.Message) -> None:
        """Send the worker a message."""

    def reconcile(self, filemap: Filemap, *, verify: bool = False) -> None:
        """Request a reconcile."""

    def release_file(self, filemap: Filemap) -> None:
        """Close the filemap's file, and watch its path."""


class MessageHandler:
    """Handles one message at a time; `handle` may raise anything for a message of a compromised worker."""

    def __init__(self, fleet: FleetActions) -> None:
        self._fleet = fleet
        self.files_opened = 0
        """How many times a worker has opened its file."""

    def handle(self, filemap: Filemap, message: messages.Message) -> None:
        """Handle one message of a filemap's worker."""
        match message:
            case (
                messages.Moving() | messages.Retiring() | messages.Retired() | messages.RetirementsResolved()
            ):
                self._account(filemap, message)
            case messages.FileOpened():
                self._file_opened(filemap, message)
            case messages.Mapped():
                self._mapped(filemap, message)
            case messages.Unchanged():
                self._unchanged(filemap)
            case messages.Waiting(reason):
                self._waiting(filemap, reason)
            case messages.Placed(starts, lengths):
                filemap.placement.set_pieces(starts, lengths)
            case messages.Sampled():
                self._sampled(filemap, message)
            case messages.ForeignChange(kind, _):
                filemap.count_foreign_change(kind)
            case messages.Exiting(_, reason):
                filemap.reason = filemap.reason or reason
            case other:
                kind = type(other).__name__
                filemap.log(logging.WARNING, "ignored a message that is not for a supervisor: %s", kind)

    # Counters.

    def _sampled(self, filemap: Filemap, message: messages.Sampled) -> None:
        filemap.sampled_since, filemap.sampled_at = filemap.sampled_at, message.at
        filemap.sampling = False
        cleared = unpack(message.cleared) if message.cleared is not None else None
        if cleared is not None:
            filemap.count_foreign_change("cleared")
        live = unpack(message.live)
        filemap.account = self._fleet.ledger.record_counters(filemap.path, live, cleared=cleared)
        filemap.placement.add_ios(message.ios)
        if message.unchanged:
            self._unchanged(filemap)

    def _account(self, filemap: Filemap, message: _Accounting) -> None:
        """Record what must not be lost. A message that wants an Ack gets it once its contents are safe."""
        ledger = self._fleet.ledger
        match message:
            case messages.Moving(seq, old, new, reason):
                if old is not None:
                    # A predecessor moved the group, and was killed before it could report that.
                    self._record_move(filemap, old)
                ledger.record_intended_move(filemap.path, new, reason)
                self._acknowledge(filemap, seq)
            case messages.Retiring(seq, counters):
                ledger.add_pending(filemap.path, [(key, unpack(values)) for key, values in counters])
                self._acknowledge(filemap, seq)
            case messages.Retired(keys, live):
                filemap.account = ledger.record_counters(filemap.path, unpack(live), keys)
            case messages.RetirementsResolved(still_there):
                filemap.account = ledger.resolve_pending(filemap.path, still_there)

    def _acknowledge(self, filemap: Filemap, seq: int) -> None:
        self._fleet.ledger.flush()
        self._fleet.send(filemap, messages.Ack(seq))

    # The file.

    def _file_opened(self, filemap: Filemap, message: messages.FileOpened) -> None:
        if filemap.child is None:
            return
        filemap.device = Device(message.dev).name()
        # The same file stays open here: if its worker has just died, this descriptor is the only way to it.
        if filemap.file is None or replace(filemap.file, fd=message.fd) != message:
            self._fleet.release_file(filemap)
        filemap.file = message
        self.files_opened += 1
        self.watch_file(filemap)

    def watch_file(self, filemap: Filemap) -> None:
        """Open the file that the worker has open, by the worker's descriptor, and watch it under any name.

        Does nothing where no descriptor is available; the scheduler calls again.
        """
        if filemap.child is None or filemap.file is None:
            return
        if filemap.fd is None:
            path = f"/proc/{filemap.child.pid}/fd/{filemap.file.fd}"
            try:
                filemap.fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError as error:
                filemap.log(logging.DEBUG, "can't open the worker's file: %s", error)
                return
        # The name matters in mode path only.
        name = None if filemap.follows_inode else filemap.path
        self._fleet.watcher.add(filemap.path, filemap.fd, name)
        # The worker reads the extents before the watch is set: a change in between raises no event.
        self._fleet.watcher.mark_changed(filemap.path, time.monotonic())

    # The mapping.

    def _mapped(self, filemap: Filemap, message: messages.Mapped) -> None:
        now = time.monotonic()
        is_first, filemap.mapped = filemap.mapped is None, message
        self._fleet.mapping_changes += is_first or message.changed
        group_id = message.group["group_id"] if message.group is not None else None
        is_other, filemap.group_id = filemap.group_id != group_id, group_id
        if group_id is not None:
            self._record_move(filemap, group_id)
        self._record_mapping(filemap, message, is_other=is_other)
        if message.changed and not is_first and filemap.event_at is not None:
            filemap.follow_times.add((now - filemap.event_at) * 1000, time.time())
            filemap.log(logging.DEBUG, "%d extents, %d regions", message.extents, message.regions)
        filemap.event_at = None
        filemap.refused_creates += message.refused
        self._fleet.watcher.finished(
            filemap.path, now, changed=message.changed, landing=message.landing, joinable=message.joinable
        )
        if group_id is None and not message.landing:
            self._fleet.advance(filemap, Event.WAIT, "the file is empty")
        else:
            self._fleet.advance(filemap, Event.READY)

    def _unchanged(self, filemap: Filemap) -> None:
        mapped = filemap.mapped
        if mapped is None:
            self._fleet.reconcile(filemap, verify=True)
            return
        filemap.event_at = None
        self._fleet.watcher.finished(
            filemap.path, time.monotonic(), changed=False, landing=mapped.landing, joinable=mapped.joinable
        )

    def _record_mapping(self, filemap: Filemap, message: messages.Mapped, *, is_other: bool) -> None:
        """Record the group and its file, now that the group is in step with the file: until then, a successor must
        find the regions of the file recorded before. `is_other`: the group has another id than before."""
        if filemap.file is not None and filemap.recorded_file != filemap.file:
            self._fleet.ledger.record_file(filemap.path, filemap.device or "", filemap.file)
            filemap.recorded_file = filemap.file
        if message.group is not None and (message.changed or is_other):
            self._fleet.ledger.record_group(filemap.path, message.group)

    def _record_move(self, filemap: Filemap, group_id: int) -> None:
        """Record that the group's id has changed to `group_id`, if it has."""
        old, filemap.last_group_id = filemap.last_group_id, group_id
        if old is None or old == group_id:
            return
        device, ledger = filemap.device or "", self._fleet.ledger
        event = ledger.record_move(filemap.path, filemap.name, device, old, group_id)
        entry = ledger.entry(filemap.path)
        filemap.moves, filemap.moves_total = entry.moves, entry.moves_total
        text = "group_id changed from %d to %d on %s: %s"
        filemap.log(logging.INFO, text, old, group_id, device, event.reason)
        self._fleet.emit(event)

    def _waiting(self, filemap: Filemap, reason: str) -> None:
        self._fleet.release_file(filemap)
        filemap.forget_mapping()
        # A sample requested with the reconcile is not made.
        filemap.io_text, filemap.sampling = "", False
        self._fleet.advance(filemap, Event.WAIT, reason)
