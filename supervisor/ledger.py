"""What the kernel forgets, in SQLite: retired counters, group moves, what a group was like.

The kernel stays the truth about groups. A ledger that is lost or can't be written costs the retired totals, never
the service.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dmstats.counters import Counters
from workers.channel import Holds
from workers.totals import pack, unpack

_log = logging.getLogger("filemapd.supervisor")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, dev INTEGER, device TEXT, inode INTEGER, generation INTEGER,
    grp TEXT, moving_to INTEGER, retired TEXT, live TEXT
);
CREATE TABLE IF NOT EXISTS pending (
    path TEXT NOT NULL, key TEXT NOT NULL, counters TEXT NOT NULL, PRIMARY KEY (path, key)
);
CREATE TABLE IF NOT EXISTS moves (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL, old INTEGER NOT NULL, new INTEGER NOT NULL, at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS moves_by_path ON moves (path);
"""
KEPT_MOVES = 100
# PRAGMA user_version; raised when what is stored takes another form.
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Move:
    """A group got another id; `at` is seconds since the epoch."""

    old: int
    new: int
    at: float


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one file. `device` names the device it was on beyond a reboot, `group` is as the worker
    told it (channel.Mapped), `moving_to` an id that it may have instead."""

    device: str = ""
    dev: int = 0
    inode: int = 0
    generation: int = 0
    group: dict[str, Any] | None = None
    moving_to: int | None = None
    retired: Counters = field(default_factory=Counters)
    live: Counters = field(default_factory=Counters)
    """What its regions were last seen to have counted."""
    pending: tuple[str, ...] = ()
    moves: tuple[Move, ...] = ()
    """The last ones."""
    moves_total: int = 0


class _OtherVersionError(sqlite3.DatabaseError):
    """The database was written by a filemapd that stores things in another form."""


class Ledger:
    """The database, or one in memory where that can't be used: `problem` then says why."""

    def __init__(self, folder: Path) -> None:
        self.problem: str | None = None
        self._path = folder / "ledger.sqlite3"
        self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            return _connect(str(self._path))
        except sqlite3.DatabaseError as error:
            return self._set_aside(error)
        except OSError as error:
            return self._in_memory(error)

    def _set_aside(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        """A database that is none, or not of this version, is kept for whoever wants to look, and a new one begun."""
        if isinstance(error, sqlite3.OperationalError):
            return self._in_memory(error)
        other = isinstance(error, _OtherVersionError)
        what, kind = ("of another version", "version") if other else ("damaged", "corrupt")
        aside = self._path.with_suffix(f".{kind}-{int(time.time())}")
        _log.error(
            "%s is %s (%s): it is set aside as %s, totals begin anew", self._path, what, error, aside.name
        )
        try:
            self._path.rename(aside)
            return _connect(str(self._path))
        except (OSError, sqlite3.Error) as again:
            return self._in_memory(again)

    def _in_memory(self, error: Exception) -> sqlite3.Connection:
        self.problem = f"{self._path}: {error}"
        _log.error("the ledger can't be written (%s): totals are kept in memory only", self.problem)
        return _connect(":memory:")

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Write in one transaction; where the disk won't have it, what can be read goes on in memory."""
        try:
            with self._db as db:
                yield db
        except sqlite3.Error as error:
            if self.problem is not None:
                raise
            before, self._db = self._db, self._in_memory(error)
            try:
                before.backup(self._db)
            except sqlite3.Error:
                _log.error("nor read: totals begin anew")
            before.close()

    def entry(self, path: str) -> Entry:
        """Return what is known of the file at `path`."""
        row = self._db.execute(
            "SELECT device, dev, inode, generation, grp, moving_to, retired, live FROM files WHERE path = ?",
            (path,),
        ).fetchone()
        if row is None:
            return Entry()
        device, dev, inode, generation, group, moving_to, retired, live = row
        pending = self._db.execute("SELECT key FROM pending WHERE path = ?", (path,)).fetchall()
        moves = self._db.execute(
            "SELECT old, new, at FROM moves WHERE path = ? ORDER BY id DESC LIMIT ?", (path, KEPT_MOVES)
        ).fetchall()
        (count,) = self._db.execute("SELECT count(*) FROM moves WHERE path = ?", (path,)).fetchone()
        return Entry(
            device or "",
            dev or 0,
            inode or 0,
            generation or 0,
            json.loads(group) if group else None,
            moving_to,
            unpack(json.loads(retired)) if retired else Counters(),
            unpack(json.loads(live)) if live else Counters(),
            tuple(key for (key,) in pending),
            tuple(Move(*move) for move in reversed(moves)),
            count,
        )

    def rename(self, old: str, new: str) -> None:
        """Keep under path `new` what is known of the file that was at `old`."""
        with self._writing() as db:
            for name in ("files", "pending", "moves"):
                db.execute(f"DELETE FROM {name} WHERE path = ?", (new,))  # noqa: S608 - our names
                db.execute(f"UPDATE {name} SET path = ? WHERE path = ?", (new, old))  # noqa: S608 - likewise

    def holds(self, path: str, device: str, file: Holds) -> None:
        """Keep which file the group of `path` is for."""
        self._set(path, device=device, dev=file.dev, inode=file.inode, generation=file.generation)

    def group(self, path: str, group: dict[str, Any]) -> None:
        """Keep what the file's group is now; it is kept while the file is empty or missing, too."""
        self._set(path, grp=json.dumps(group), moving_to=None)

    def moving(self, path: str, new: int) -> None:
        """Keep that the group may have id `new` from now on."""
        self._set(path, moving_to=new)

    def moved(self, path: str, move: Move) -> None:
        """Keep that the group got another id."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO moves (path, old, new, at) VALUES (?, ?, ?, ?)",
                (path, move.old, move.new, move.at),
            )

    def retiring(self, path: str, retired: Iterable[tuple[str, Counters]]) -> None:
        """Keep counters that count once their regions have gone."""
        rows = [(path, key, json.dumps(pack(counters))) for key, counters in retired]
        with self._writing() as db:
            db.execute("INSERT OR IGNORE INTO files (path) VALUES (?)", (path,))
            db.executemany("INSERT OR REPLACE INTO pending VALUES (?, ?, ?)", rows)

    def counted(self, path: str, live: Counters, gone: Iterable[str] = ()) -> tuple[Counters, Counters]:
        """Have the counters under the keys `gone` count from now on, and keep that the regions that are there have
        counted `live`; return the file's retired total and `live`.

        A total never goes back: what it then lacks was cleared by somebody else, or deleted while nobody looked;
        as last seen it goes into the retired total.
        """
        entry = self.entry(path)
        retired = add(entry.retired, self._pending(path, gone))
        lost, _ = add(entry.retired, entry.live).take(add(retired, live))
        return self._total(path, add(retired, lost.settled()), live, gone)

    def settle(self, path: str, still_there: Iterable[str]) -> tuple[Counters, Counters]:
        """Forget what was to be retired under the keys `still_there`; the rest did go, and counts, no more as live.
        Return the file's retired total and what is live."""
        with self._writing() as db:
            db.executemany(
                "DELETE FROM pending WHERE path = ? AND key = ?", [(path, key) for key in still_there]
            )
        entry = self.entry(path)
        counters = self._pending(path, entry.pending)
        live, _ = entry.live.take(counters)
        return self._total(path, add(entry.retired, counters), live, entry.pending)

    def _pending(self, path: str, keys: Iterable[str]) -> Counters:
        total = Counters()
        for key in keys:
            row = self._db.execute(
                "SELECT counters FROM pending WHERE path = ? AND key = ?", (path, key)
            ).fetchone()
            if row is not None:
                total = add(total, unpack(json.loads(row[0])))
        return total

    def _total(
        self, path: str, retired: Counters, live: Counters, gone: Iterable[str]
    ) -> tuple[Counters, Counters]:
        """Keep both at once, and that nothing is pending under the keys `gone`."""
        with self._writing() as db:
            db.execute("INSERT OR IGNORE INTO files (path) VALUES (?)", (path,))
            db.execute(
                "UPDATE files SET retired = ?, live = ? WHERE path = ?",
                (json.dumps(pack(retired)), json.dumps(pack(live)), path),
            )
            db.executemany("DELETE FROM pending WHERE path = ? AND key = ?", [(path, key) for key in gone])
        return retired, live

    def _set(self, path: str, **values: object) -> None:
        columns = ", ".join(values)
        update = ", ".join(f"{column} = excluded.{column}" for column in values)
        with self._writing() as db:
            db.execute(
                f"INSERT INTO files (path, {columns}) VALUES (?{', ?' * len(values)}) "  # noqa: S608 - our names
                f"ON CONFLICT (path) DO UPDATE SET {update}",
                (path, *values.values()),
            )

    def close(self) -> None:
        """Close the database."""
        self._db.close()


def _connect(name: str) -> sqlite3.Connection:
    """Open a database. WAL without a flush each time: what is written outlives our death, and a machine that
    goes down takes the regions along anyway."""
    db = sqlite3.connect(name)
    try:
        _check_version(db)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.executescript(_SCHEMA)
        db.execute(f"PRAGMA user_version = {_VERSION}")
    except BaseException:
        db.close()
        raise
    return db


def _check_version(db: sqlite3.Connection) -> None:
    """Raise _OtherVersionError for a database that has something in it, but not in our form."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and version != _VERSION:
        raise _OtherVersionError(f"it has version {version}, this filemapd writes version {_VERSION}")


def add(one: Counters, other: Counters) -> Counters:
    """Return the sum; where the bounds were changed in between, the earlier histogram is left out."""
    if one.histogram and other.histogram and one.bounds_ns != other.bounds_ns:
        one = replace(one, histogram=(), histogram_ns=0, bounds_ns=())
    return one + other
