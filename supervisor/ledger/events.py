"""The event log: a bounded table of the ledger."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from supervisor.text.times import rfc3339

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL, path BLOB NOT NULL,
    name TEXT NOT NULL, reason TEXT NOT NULL, details TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_path ON events (path, id);
"""

MOVED: Final = "moved"
RESTARTED: Final = "restarted"
STATE: Final = "state"

# A file whose state changes all the time must not displace the events of others.
_MOST_OF_A_FILE: Final = 200
MOST: Final = 20_000
_COLUMNS: Final = "id, at, kind, path, name, reason, details"


@dataclass(frozen=True, slots=True)
class Event:
    """One event. Ids grow, with gaps; `at` is seconds since the epoch; what `details` holds depends on `kind`.

    | kind | details |
    | --- | --- |
    | moved | from, to: the group's ids; device |
    | restarted | restarts: how often by now |
    | state | from, to |
    """

    id: int
    at: float
    kind: str
    path: str
    name: str
    reason: str
    details: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the event as JSON, for the control socket and the feed; the time is RFC 3339."""
        return {
            "id": self.id,
            "at": rfc3339(self.at),
            "kind": self.kind,
            "path": self.path,
            "name": self.name,
            "reason": self.reason,
            "details": self.details,
        }


def key(path: str) -> bytes:
    """Return `path` as the database stores it: SQLite has no text with undecodable bytes."""
    return path.encode("utf-8", "surrogatepass")


def path_of(key: bytes) -> str:
    """Return the path of a key()."""
    return key.decode("utf-8", "surrogatepass")


def insert(db: sqlite3.Connection, events: Sequence[Event]) -> None:
    """Insert events, and delete the oldest ones of their files above the limit."""
    db.executemany(
        f"INSERT OR REPLACE INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - our names
        [(h.id, h.at, h.kind, key(h.path), h.name, h.reason, json.dumps(h.details)) for h in events],
    )
    db.executemany(
        "DELETE FROM events WHERE path = ?1 AND id <= "
        "(SELECT id FROM events WHERE path = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        [(key(path), _MOST_OF_A_FILE) for path in {h.path for h in events}],
    )


def rename(db: sqlite3.Connection, old: str, new: str) -> None:
    """Move the events of the file at `old` to the file at `new`."""
    db.execute("UPDATE events SET path = ? WHERE path = ?", (key(new), key(old)))


def prune(db: sqlite3.Connection) -> None:
    """Delete the oldest events of all files above the limit."""
    db.execute(
        "DELETE FROM events WHERE id <= (SELECT id FROM events ORDER BY id DESC LIMIT 1 OFFSET ?)", (MOST,)
    )


def last_id(db: sqlite3.Connection) -> int:
    """Return the highest id that an event ever had, 0 before the first."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return int(row[0]) if row is not None else 0


def last_state(db: sqlite3.Connection, path: str) -> list[str]:
    """Return the state that the last state event of the file at `path` names, an empty list where there is none.

    Another version may have written it, so it can be a state that this version doesn't have.
    """
    rows = db.execute(
        "SELECT details FROM events WHERE path = ? AND kind = ? ORDER BY id DESC LIMIT 1", (key(path), STATE)
    )
    with contextlib.suppress(ValueError, KeyError):  # written by another version
        return [str(json.loads(details)["to"]) for (details,) in rows]
    return []


def after(db: sqlite3.Connection, last: int, limit: int, name: str | None = None) -> list[Event]:
    """Return the first `limit` events with an id above `last`, of the file with this name or path."""
    return _select(db, "id > ?", (last,), "ASC", limit, name)


def latest(
    db: sqlite3.Connection, limit: int, name: str | None = None, kind: str | None = None
) -> list[Event]:
    """Return the last `limit` events, the oldest first, of the file with this name or path."""
    where, values = ("kind = ?", (kind,)) if kind is not None else ("1", ())
    return _select(db, where, values, "DESC", limit, name)[::-1]


def _select(
    db: sqlite3.Connection, where: str, values: tuple[object, ...], order: str, limit: int, name: str | None
) -> list[Event]:
    if name is not None:
        where, values = (
            f"{where} AND (name = ? OR path = ?)",
            (*values, name.encode("utf-8", "replace").decode(), key(name)),
        )
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM events WHERE {where} ORDER BY id {order} LIMIT ?",  # noqa: S608 - our words
        (*values, limit),
    )
    return [
        Event(number, at, kind, path_of(path), name_then, reason, json.loads(details))
        for number, at, kind, path, name_then, reason, details in rows
    ]
