"""The ledger: retired counters, moves of groups, what groups were like, and the event log.

The kernel is the truth about groups. Without the ledger filemapd loses events and the entries of files that are not
followed just now, but continues. The entries of all followed files are also in memory: a sample needs no query, and
a failing disk is not read.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from dmstats.counters import Counters
from supervisor.ledger import entries, events
from supervisor.ledger.accounting import Account, add
from supervisor.ledger.checkpoint import Checkpoint
from supervisor.ledger.database import Database
from supervisor.ledger.entries import EMPTY, SHOWN_MOVES, Entry, Move, joined
from supervisor.ledger.events import Event
from supervisor.runtime.child_reaper import ChildReaper
from supervisor.text.printable import printable
from workers.messages import FileOpened

_SCHEMA: Final = f"{entries.SCHEMA}{events.SCHEMA}"
# Seconds until counters are written, all together: live counters can be read again.
_UNWRITTEN_SECONDS: Final = 10.0
MAINTENANCE_INTERVAL: Final = 30.0
"""Seconds between two calls of maintain()."""
_PRUNE_EVERY: Final = 256


class Ledger:
    """All entries and events. flush_due(), called in each turn of the event loop, writes what has changed."""

    schema = _SCHEMA
    version = entries.VERSION

    def __init__(self, folder: Path, reaper: ChildReaper) -> None:
        """Open or create the ledger in `folder`. `reaper` reaps the processes that write it to disk."""
        path = folder / "ledger.sqlite3"
        self._entries: dict[str, Entry] = {}
        self._written: dict[str, Entry] = {}
        self._changed: set[str] = set()
        self._events: list[Event] = []
        self._write_at: float | None = None
        self._since_pruned = 0
        self._database = Database(path, self)
        self._checkpoint = Checkpoint(path, reaper, self._checkpoint_failed, self._checkpoint_interrupted)
        self._last_event: int = self._database.rows(lambda db: [events.last_id(db)])[0]

    @property
    def problem(self) -> str | None:
        """Why the ledger is in memory only; None where it is on disk."""
        return self._database.problem

    def entry(self, path: str) -> Entry:
        """Return the entry of the file at `path`, an empty one for an unknown file."""
        if path not in self._entries:
            found = self._database.rows(lambda db: [entries.read(db, path)])[0]
            self._entries[path] = self._written[path] = found
        return self._entries[path]

    def with_group(self) -> set[str]:
        """Return the paths of the files that had a group when the ledger was last written."""
        return set(self._database.rows(entries.with_group))

    # Changes. Each is safe once it is flushed.

    def rename(self, old: str, new: str) -> None:
        """Move the entry and events of the file at `old` to path `new`."""
        self._entries[new], self._entries[old] = self.entry(old), EMPTY
        self._changed |= {old, new}
        self._schedule_write(0.0)
        self.flush()
        self._database.write(lambda db: events.rename(db, old, new))
        self.release(old)

    def release(self, path: str) -> None:
        """Drop a file's entry from memory: it is no longer followed."""
        self.flush()
        self._entries.pop(path, None)
        self._written.pop(path, None)

    def record_file(self, path: str, device: str, file: FileOpened) -> None:
        """Record the file that the group of `path` is for."""
        self._set(path, device=device, dev=file.dev, inode=file.inode, generation=file.generation)

    def record_group(self, path: str, group: dict[str, Any]) -> None:
        """Record the file's group; it stays recorded while the file is empty or missing."""
        self._set(path, group=group, moving_to=None, moving_why="")

    def record_intended_move(self, path: str, new: int, reason: str) -> None:
        """Record that the group may have id `new` from now on, and why."""
        self._set(path, moving_to=new, moving_why=reason)

    def record_move(self, path: str, name: str, device: str, old: int, new: int) -> Event:
        """Record that the group got another id, for the reason of record_intended_move(); return the event."""
        entry = self.entry(path)
        reason = entry.moving_why if entry.moving_to == new else "another program changed the group"
        group = {**entry.group, "group_id": new} if entry.group is not None else None
        event = self.add_event(events.MOVED, path, name, reason, {"from": old, "to": new, "device": device})
        self._set(
            path,
            group=group,
            moving_to=None,
            moving_why="",
            moves_total=entry.moves_total + 1,
            moves=(*entry.moves, Move(old, new, event.at, reason))[-SHOWN_MOVES:],
        )
        return event

    def add_event(
        self, kind: str, path: str, name: str, reason: str, details: dict[str, Any] | None = None
    ) -> Event:
        """Add an event to the event log, and return it."""
        self._last_event = max(self._last_event + 1, int(time.time()) if self._database.renewed else 0)
        event = Event(self._last_event, time.time(), kind, path, name, printable(reason), details or {})
        self._events.append(event)
        self._schedule_write(0.0)
        return event

    def add_pending(self, path: str, retired: Iterable[tuple[str, Counters]]) -> None:
        """Record counters that count once their regions have gone."""
        self._set(path, pending={**self.entry(path).pending, **dict(retired)})

    def record_counters(
        self, path: str, live: Counters, gone: Iterable[str] = (), cleared: Counters | None = None
    ) -> Account:
        """Record a sample, and count the pending counters under the keys `gone`; return the file's account.

        `live` is the sum over the present regions. `cleared` is what other programs set to zero.
        """
        entry, gone = self.entry(path), set(gone)
        if not gone:
            account = entry.account.counted(live, cleared)
            self._set(path, within=_UNWRITTEN_SECONDS if cleared is None else 0.0, account=account)
            return account
        account = entry.account.counted(live, _sum(entry.pending, gone))
        left = {key: counters for key, counters in entry.pending.items() if key not in gone}
        self._set(path, account=account, pending=left)
        return account

    def resolve_pending(self, path: str, still_there: Iterable[str]) -> Account:
        """Drop the pending counters under the keys `still_there`, and count the others; return the file's
        account."""
        entry = self.entry(path)
        account = entry.account.settled(_sum(entry.pending, entry.pending.keys() - set(still_there)))
        self._set(path, account=account, pending={})
        return account

    def _set(self, path: str, *, within: float = 0.0, **values: Any) -> None:
        entry = self.entry(path)
        changed = replace(entry, **values)
        if changed != entry:
            self._entries[path] = changed
            self._changed.add(path)
            self._schedule_write(within)

    def _schedule_write(self, within: float) -> None:
        when = time.monotonic() + within
        self._write_at = when if self._write_at is None else min(self._write_at, when)

    # Reading events.

    def events_after(self, last: int, limit: int, name: str | None) -> list[Event]:
        """Return the first `limit` events with ids above `last`, of the file with this name or path, or of all."""
        self.flush()
        return self._database.rows(lambda db: events.after(db, last, limit, name))

    def latest_events(self, limit: int, name: str | None) -> list[Event]:
        """Return the last `limit` events, oldest first, of the file with this name or path, or of all."""
        self.flush()
        return self._database.rows(lambda db: events.latest(db, limit, name))

    def last_state(self, path: str) -> str | None:
        """Return the state named by the last state event of the file at `path`, None where there is no such
        event."""
        self.flush()
        found = self._database.rows(lambda db: events.last_state(db, path))
        return found[0] if found else None

    @property
    def last_event(self) -> int:
        """The id of the last event, 0 before the first."""
        return self._last_event

    # Writing.

    def flush_due(self, now: float) -> None:
        """Write what is due at `now` (monotonic)."""
        if self._write_at is not None and self._write_at <= now:
            self.flush()

    def flush(self) -> None:
        """Write all changes in one transaction."""
        if self._write_at is None:
            return
        self._database.write(self._write)
        for path in self._changed:
            self._written[path] = self._entries[path]
        self._changed.clear()
        self._events.clear()
        self._write_at = None

    def maintain(self) -> None:
        """Start a checkpoint, and check that the file is still there. A ledger in memory is written to disk
        again, if possible."""
        self.flush()
        self._database.repair()
        if self._checkpoint.running:
            self._checkpoint.resume()
        elif self._database.written and self.problem is None:
            self._database.written = not self._checkpoint.start()

    def _checkpoint_failed(self) -> None:
        self._database.leave_disk("the disk did not take what was written")

    def _checkpoint_interrupted(self) -> None:
        self._database.written = True

    def refill(self, db: sqlite3.Connection) -> None:
        """Write the entries of all followed files (database.Contents)."""
        for path, entry in self._entries.items():
            entries.write(db, path, None, entry)

    def absorb(self, disk: sqlite3.Connection, db: sqlite3.Connection) -> None:
        """Merge a database that could not be read at the start (database.Contents)."""
        for (key,) in disk.execute("SELECT path FROM files").fetchall():
            path = events.path_of(key)
            now = self._entries[path] if path in self._entries else entries.read(db, path)
            entry = joined(entries.read(disk, path), now)
            entries.write(db, path, None, entry)
            if path in self._entries:
                self._entries[path] = self._written[path] = entry
        events.insert(db, events.latest(disk, events.MOST))

    def _write(self, db: sqlite3.Connection) -> None:
        for path in self._changed:
            entries.write(db, path, self._written.get(path), self._entries[path])
        if self._events:
            events.insert(db, self._events)
            self._since_pruned += len(self._events)
        if self._since_pruned >= _PRUNE_EVERY:
            events.prune(db)
            self._since_pruned = 0

    def close(self) -> None:
        """Write all changes and close the database."""
        self.flush()
        self._database.close()


def _sum(pending: Mapping[str, Counters], keys: Iterable[str]) -> Counters:
    total = Counters()
    for key in keys:
        total = add(total, pending.get(key, Counters()))
    return total
