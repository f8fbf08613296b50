"""What the kernel forgets: retired counters, group moves, what a group was like, what happened.

The kernel stays the truth about groups. A ledger that is lost or can't be written costs what is known of files that
are not followed just now, and events, never the service. All entries of followed files are kept here too, so that a
sample costs no query, and nothing is read back from a disk that fails.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from dmstats.counters import Counters
from dmstats.files import FileIdentity
from supervisor import events
from supervisor.accounts import Account, add
from supervisor.checkpoint import Checkpoint
from supervisor.children import Children
from supervisor.database import Database
from supervisor.events import Happening
from supervisor.printable import printable
from workers.channel import Holds
from workers.totals import pack, unpack

# PRAGMA user_version; raised when what is stored takes another form.
_VERSION: Final = 3
_SCHEMA: Final = f"""
CREATE TABLE files (
    path BLOB PRIMARY KEY, device TEXT NOT NULL, dev INTEGER NOT NULL, inode INTEGER NOT NULL,
    generation INTEGER NOT NULL, grp TEXT, moving_to INTEGER, moving_why TEXT NOT NULL, moves INTEGER NOT NULL,
    retired TEXT NOT NULL, live TEXT NOT NULL
);
CREATE TABLE pending (
    path BLOB NOT NULL, key TEXT NOT NULL, counters TEXT NOT NULL, PRIMARY KEY (path, key)
);
{events.SCHEMA}
"""
# Counters are written at the latest so long after they were read, all together: live ones can be read again.
_UNWRITTEN_SECONDS: Final = 10.0
MEND_INTERVAL: Final = 30.0
"""How often mend() is to be called."""
_SHOWN_MOVES: Final = 20
_PRUNE_EVERY: Final = 256


@dataclass(frozen=True, slots=True)
class Move:
    """A group got another id; `at` is seconds since the epoch."""

    old: int
    new: int
    at: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one file. `device` names the device it was on beyond a reboot, `group` is as the worker
    told it (channel.Mapped), `moving_to` an id that it may have instead, for the reason `moving_why`."""

    device: str = ""
    dev: int = 0
    inode: int = 0
    generation: int = 0
    group: dict[str, Any] | None = None
    moving_to: int | None = None
    moving_why: str = ""
    moves_total: int = 0
    account: Account = field(default_factory=Account)
    pending: Mapping[str, Counters] = field(default_factory=dict)
    """Counters of regions that were about to go, by key."""
    moves: tuple[Move, ...] = ()
    """The last ones."""

    @property
    def group_id(self) -> int | None:
        """The group's id as last told."""
        return self.group["group_id"] if self.group is not None else None


_EMPTY: Final = Entry()


class Ledger:
    """All entries and events. What is changed is written by flush(), which each turn of the main loop calls."""

    schema = _SCHEMA
    version = _VERSION

    def __init__(self, folder: Path, children: Children) -> None:
        """Open or make the ledger in `folder`; `children` are told of the processes that write it to disk."""
        path = folder / "ledger.sqlite3"
        self._entries: dict[str, Entry] = {}
        self._written: dict[str, Entry] = {}
        self._changed: set[str] = set()
        self._events: list[Happening] = []
        self._write_at: float | None = None
        self._since_pruned = 0
        self._database = Database(path, self)
        self._checkpoint = Checkpoint(path, children, self._not_on_disk)
        self._last_event: int = self._database.rows(lambda db: [events.last_id(db)])[0]

    @property
    def problem(self) -> str | None:
        """Why what is new is kept in memory only; None where it isn't."""
        return self._database.problem

    def entry(self, path: str) -> Entry:
        """Return what is known of the file at `path`."""
        if path not in self._entries:
            found = self._database.rows(lambda db: [_read(db, path)])[0]
            self._entries[path] = self._written[path] = found
        return self._entries[path]

    # Changes. Each is in the ledger once it was flushed.

    def rename(self, old: str, new: str) -> None:
        """Keep under path `new` what is known of the file that was at `old`."""
        self._entries[new], self._entries[old] = self.entry(old), _EMPTY
        self._changed |= {old, new}
        self._due(0.0)
        self.flush()
        self._database.write(lambda db: events.rename(db, old, new))
        self.let_go(old)

    def let_go(self, path: str) -> None:
        """Hold no longer here what is known of a file: it is not followed any more."""
        self.flush()
        self._entries.pop(path, None)
        self._written.pop(path, None)

    def holds(self, path: str, device: str, file: Holds) -> None:
        """Keep which file the group of `path` is for."""
        self._set(path, device=device, dev=file.dev, inode=file.inode, generation=file.generation)

    def group(self, path: str, group: dict[str, Any]) -> None:
        """Keep what the file's group is now; it is kept while the file is empty or missing, too."""
        self._set(path, group=group, moving_to=None, moving_why="")

    def moving(self, path: str, new: int, reason: str) -> None:
        """Keep that the group may have id `new` from now on."""
        self._set(path, moving_to=new, moving_why=reason)

    def moved(self, path: str, name: str, device: str, old: int, new: int) -> Happening:
        """Keep that the group got another id, for the reason that moving() gave for it."""
        entry = self.entry(path)
        reason = entry.moving_why if entry.moving_to == new else "somebody else changed the group"
        group = {**entry.group, "group_id": new} if entry.group is not None else None
        happening = self.happened(
            events.MOVED, path, name, reason, {"from": old, "to": new, "device": device}
        )
        self._set(
            path,
            group=group,
            moving_to=None,
            moving_why="",
            moves_total=entry.moves_total + 1,
            moves=(*entry.moves, Move(old, new, happening.at, reason))[-_SHOWN_MOVES:],
        )
        return happening

    def happened(
        self, kind: str, path: str, name: str, reason: str, details: dict[str, Any] | None = None
    ) -> Happening:
        """Keep an event, and return it."""
        self._last_event = max(self._last_event + 1, int(time.time()) if self._database.renewed else 0)
        happening = Happening(
            self._last_event, time.time(), kind, path, name, printable(reason), details or {}
        )
        self._events.append(happening)
        self._due(0.0)
        return happening

    def retiring(self, path: str, retired: Iterable[tuple[str, Counters]]) -> None:
        """Keep counters that count once their regions have gone."""
        self._set(path, pending={**self.entry(path).pending, **dict(retired)})

    def counted(
        self, path: str, live: Counters, gone: Iterable[str] = (), cleared: Counters | None = None
    ) -> Account:
        """Have the counters under the keys `gone` count from now on, and keep that the regions that are there have
        counted `live`, after others had set to zero what was `cleared`; return the file's account."""
        entry, gone = self.entry(path), set(gone)
        if not gone:
            account = entry.account.counted(live, cleared)
            self._set(path, within=_UNWRITTEN_SECONDS if cleared is None else 0.0, account=account)
            return account
        account = entry.account.counted(live, _sum(entry.pending, gone))
        left = {key: counters for key, counters in entry.pending.items() if key not in gone}
        self._set(path, account=account, pending=left)
        return account

    def settle(self, path: str, still_there: Iterable[str]) -> Account:
        """Forget what was to be retired under the keys `still_there`; the rest did go, and counts, no more as live.
        Return the file's account."""
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
            self._due(within)

    def _due(self, within: float) -> None:
        when = time.monotonic() + within
        self._write_at = when if self._write_at is None else min(self._write_at, when)

    # Reading events.

    def events_after(self, last: int, limit: int, name: str | None) -> list[Happening]:
        """Return the first `limit` events after the one with id `last`, of the file with this name or path."""
        self.flush()
        return self._database.rows(lambda db: events.after(db, last, limit, name))

    def latest_events(self, limit: int, name: str | None) -> list[Happening]:
        """Return the last `limit` events, the oldest first, of the file with this name or path."""
        self.flush()
        return self._database.rows(lambda db: events.latest(db, limit, name))

    @property
    def last_event(self) -> int:
        """The id of the last event, 0 where there was none yet."""
        return self._last_event

    # Writing.

    def turn(self, now: float) -> None:
        """Write what is due at `now` (monotonic)."""
        if self._write_at is not None and self._write_at <= now:
            self.flush()

    def flush(self) -> None:
        """Write all that has changed, in one transaction."""
        if self._write_at is None:
            return
        self._database.write(self._write)
        for path in self._changed:
            self._written[path] = self._entries[path]
        self._changed.clear()
        self._events.clear()
        self._write_at = None

    def mend(self) -> None:
        """Have what was written brought to disk, and find out whether the file was lost; where the disk was given up,
        write all to it again."""
        self.flush()
        self._database.mend()
        if self._database.written and self.problem is None:
            self._database.written = False
            self._checkpoint.start()

    def _not_on_disk(self) -> None:
        self._database.give_up("the disk did not take what was written")

    def refill(self, db: sqlite3.Connection) -> None:
        """Write what is known of all files, whatever of it stands there already (database.Contents)."""
        for path, entry in self._entries.items():
            _write_entry(db, path, None, entry)

    def absorb(self, disk: sqlite3.Connection, db: sqlite3.Connection) -> None:
        """Take in what stands in a database that could not be read when this one began (database.Contents)."""
        for (key,) in disk.execute("SELECT path FROM files").fetchall():
            path = events.path_of(key)
            entry = _joined(_read(disk, path), self._entries.get(path, _EMPTY))
            _write_entry(db, path, None, entry)
            if path in self._entries:
                self._entries[path] = self._written[path] = entry
        events.insert(db, events.latest(disk, events.MOST))

    def _write(self, db: sqlite3.Connection) -> None:
        for path in self._changed:
            _write_entry(db, path, self._written.get(path), self._entries[path])
        if self._events:
            events.insert(db, self._events)
            self._since_pruned += len(self._events)
        if self._since_pruned >= _PRUNE_EVERY:
            events.prune(db)
            self._since_pruned = 0

    def close(self) -> None:
        """Write what has changed and close the database."""
        self.flush()
        self._database.close()


def known_files(path: Path) -> dict[str, FileIdentity]:
    """Return which file the ledger in the file `path` knows at each path, without opening it to be written.

    Raises sqlite3.Error where it can't be read, or is of another version.
    """
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version != _VERSION:
            raise sqlite3.DatabaseError(f"it is of version {version}, this filemapd uses version {_VERSION}")
        rows = db.execute("SELECT path, dev, inode, generation FROM files").fetchall()
    return {events.path_of(key): FileIdentity(*identity) for key, *identity in rows}


def _sum(pending: Mapping[str, Counters], keys: Iterable[str]) -> Counters:
    total = Counters()
    for key in keys:
        total = add(total, pending.get(key, Counters()))
    return total


def _joined(before: Entry, now: Entry) -> Entry:
    """Return what is known of a file of which `before` was not known when `now` began. What was to be retired then
    has been seen to by now, and counts as it was last seen."""
    if now == _EMPTY:
        return before
    return replace(
        now,
        account=now.account.after(before.account),
        moves_total=before.moves_total + now.moves_total,
        moves=(*before.moves, *now.moves)[-_SHOWN_MOVES:],
    )


# The columns of the table `files`, and how they are read off an entry.
_COLUMNS: Final[dict[str, Callable[[Entry], object]]] = {
    "device": lambda e: e.device,
    "dev": lambda e: e.dev,
    "inode": lambda e: e.inode,
    "generation": lambda e: e.generation,
    "grp": lambda e: e.group,
    "moving_to": lambda e: e.moving_to,
    "moving_why": lambda e: e.moving_why,
    "moves": lambda e: e.moves_total,
    "retired": lambda e: e.account.retired,
    "live": lambda e: e.account.live,
}


def _text(value: object) -> object:
    """Return a value as it stands in a column."""
    if isinstance(value, Counters):
        return json.dumps(pack(value))
    return json.dumps(value) if isinstance(value, dict) else value


def _write_entry(db: sqlite3.Connection, path: str, before: Entry | None, now: Entry) -> None:
    """Write what is another in `now` than it was in `before`, all where that is None."""
    key = events.key(path)
    if now == _EMPTY:
        db.execute("DELETE FROM files WHERE path = ?", (key,))
    elif before is None or before == _EMPTY:
        values = [_text(get(now)) for get in _COLUMNS.values()]
        db.execute(
            f"INSERT OR REPLACE INTO files (path, {', '.join(_COLUMNS)}) "  # noqa: S608 - our names
            f"VALUES (?{', ?' * len(values)})",
            (key, *values),
        )
    else:
        changed = {name: get(now) for name, get in _COLUMNS.items() if get(now) != get(before)}
        if changed:
            update = ", ".join(f"{name} = ?" for name in changed)
            db.execute(
                f"UPDATE files SET {update} WHERE path = ?",  # noqa: S608 - our names
                (*map(_text, changed.values()), key),
            )
    if before is None or now.pending is not before.pending:
        db.execute("DELETE FROM pending WHERE path = ?", (key,))
        db.executemany(
            "INSERT INTO pending VALUES (?, ?, ?)",
            [(key, region, _text(counters)) for region, counters in now.pending.items()],
        )


def _read(db: sqlite3.Connection, path: str) -> Entry:
    """Return what a database knows of the file at `path`."""
    key = (events.key(path),)
    row = db.execute(f"SELECT {', '.join(_COLUMNS)} FROM files WHERE path = ?", key).fetchone()  # noqa: S608
    if row is None:
        return _EMPTY
    device, dev, inode, generation, group, moving_to, moving_why, moves_total, retired, live = row
    pending = db.execute("SELECT key, counters FROM pending WHERE path = ?", key).fetchall()
    moves = events.latest(db, _SHOWN_MOVES, path, events.MOVED)
    return Entry(
        device,
        dev,
        inode,
        generation,
        json.loads(group) if group else None,
        moving_to,
        moving_why,
        moves_total,
        Account(_counters(retired), _counters(live)),
        {key: _counters(counters) for key, counters in pending},
        tuple(Move(m.details["from"], m.details["to"], m.at, m.reason) for m in moves),
    )


def _counters(text: str) -> Counters:
    return unpack(json.loads(text))
