"""The ledger's entry of one file, and its rows in the database.

| Table | Columns |
| --- | --- |
| `files` | Path (bytes); device name and number, inode and generation of the file; the group as JSON (`grp`); |
| | the id it may be moving to, and why; the number of moves; retired and live counters as JSON. |
| `pending` | Counters of regions that are about to go, by path and key `ID:START+LENGTH`. |
| `events` | See events.py. |

A region's counters are written to `pending` before it is deleted, and added to the total once it has gone.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from dmstats.counters import Counters
from dmstats.files import FileIdentity
from supervisor.ledger import events
from supervisor.ledger.accounting import Account
from workers.totals import pack, unpack

VERSION: Final = 3
"""PRAGMA user_version; raised when the stored form changes."""
SCHEMA: Final = """
CREATE TABLE files (
    path BLOB PRIMARY KEY, device TEXT NOT NULL, dev INTEGER NOT NULL, inode INTEGER NOT NULL,
    generation INTEGER NOT NULL, grp TEXT, moving_to INTEGER, moving_why TEXT NOT NULL, moves INTEGER NOT NULL,
    retired TEXT NOT NULL, live TEXT NOT NULL
);
CREATE TABLE pending (
    path BLOB NOT NULL, key TEXT NOT NULL, counters TEXT NOT NULL, PRIMARY KEY (path, key)
);
"""
SHOWN_MOVES: Final = 20
"""Moves in memory for each file."""


@dataclass(frozen=True, slots=True)
class Move:
    """A group got another id; `at` is seconds since the epoch."""

    old: int
    new: int
    at: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """The entry of one file.

    `device` is the device's name, which survives a reboot. `group` is as in messages.Mapped. `moving_to` is an id
    that the group may have instead, for the reason `moving_why`.
    """

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
    """Counters of regions that are about to go, by key."""
    moves: tuple[Move, ...] = ()
    """The last SHOWN_MOVES."""

    @property
    def group_id(self) -> int | None:
        """The group's last reported id."""
        return self.group["group_id"] if self.group is not None else None


EMPTY: Final = Entry()


def joined(before: Entry, now: Entry) -> Entry:
    """Return the entry `now` merged with `before`, which was not known when `now` began. Pending counters of
    `before` count: their regions have been handled by now."""
    if now == EMPTY:
        return before
    return replace(
        now,
        account=now.account.after(before.account),
        moves_total=before.moves_total + now.moves_total,
        moves=(*before.moves, *now.moves)[-SHOWN_MOVES:],
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
    """Return a value as it is stored in a column."""
    if isinstance(value, Counters):
        return json.dumps(pack(value))
    return json.dumps(value) if isinstance(value, dict) else value


def write(db: sqlite3.Connection, path: str, before: Entry | None, now: Entry) -> None:
    """Write the differences between `before` and `now`, everything if `before` is None."""
    key = events.key(path)
    if now == EMPTY:
        db.execute("DELETE FROM files WHERE path = ?", (key,))
    elif before is None or before == EMPTY:
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


def read(db: sqlite3.Connection, path: str) -> Entry:
    """Return the entry of the file at `path`, an empty one for an unknown file."""
    key = (events.key(path),)
    row = db.execute(f"SELECT {', '.join(_COLUMNS)} FROM files WHERE path = ?", key).fetchone()  # noqa: S608
    if row is None:
        return EMPTY
    device, dev, inode, generation, group, moving_to, moving_why, moves_total, retired, live = row
    pending = db.execute("SELECT key, counters FROM pending WHERE path = ?", key).fetchall()
    moves = events.latest(db, SHOWN_MOVES, path, events.MOVED)
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


def with_group(db: sqlite3.Connection) -> list[str]:
    """Return the paths of the files that have a group."""
    return [events.path_of(key) for (key,) in db.execute("SELECT path FROM files WHERE grp IS NOT NULL")]


def _counters(text: str) -> Counters:
    return unpack(json.loads(text))


def known_files(path: Path) -> dict[str, FileIdentity]:
    """Return the file at each path in the ledger `path`, without opening it for writing.

    Raises sqlite3.Error where it can't be read, or is of another version.
    """
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            raise sqlite3.DatabaseError(f"it is of version {version}, this filemapd uses version {VERSION}")
        rows = db.execute("SELECT path, dev, inode, generation FROM files").fetchall()
    return {events.path_of(key): FileIdentity(*identity) for key, *identity in rows}
