"""One SQLite database that goes on in memory where its file can't be used, and comes back to the file.

What its owner knows of the contents is the truth while the process lives: a file that was lost is written anew.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Protocol

_log = logging.getLogger("filemapd.supervisor")

_MEMORY: Final = ":memory:"
# Somebody else's write to the database is waited for no longer: the main loop stands still meanwhile.
_PATIENCE: Final = 0.5


class Contents(Protocol):
    """Who knows what is in the database. `schema` are the statements that make its tables, `version` is theirs."""

    schema: str
    version: int

    def refill(self, db: sqlite3.Connection) -> None:
        """Write all that is known, whatever of it stands there already."""

    def absorb(self, disk: sqlite3.Connection, db: sqlite3.Connection) -> None:
        """Take what stands in a database that could not be read until now into `db`."""


class Database:
    """The database at `path`. `problem` says why it is in memory only, None where it isn't; `renewed` that it began
    anew though there was, or may have been, one before."""

    def __init__(self, path: Path, contents: Contents) -> None:
        """Open or make it, or begin in memory."""
        self.problem: str | None = None
        self.renewed = False
        self.written = False
        """Whether something was written since somebody last set this to False."""
        self._path = path
        self._contents = contents
        self._unread = False
        self._files: tuple[object, ...] = ()
        self._db = self._open()

    def rows(self, read: Callable[[sqlite3.Connection], list[Any]]) -> list[Any]:
        """Return what `read` gives."""
        try:
            return read(self._db)
        except sqlite3.Error as error:
            self._move_to_memory(error)
            return read(self._db)

    def write(self, change: Callable[[sqlite3.Connection], None]) -> None:
        """Have `change` written in one transaction, in memory where the disk won't have it."""
        try:
            with self._db as db:
                change(db)
            self.written = True
        except sqlite3.Error as error:
            self._move_to_memory(error)
            with self._db as db:
                change(db)

    def repair(self) -> None:
        """See that the file is there, ours, and not read-only, which writes to an open file don't always tell. Where
        it is not, or was given up, try to write all to it."""
        if self.problem is None:
            trouble = self._file_problem()
            if trouble is None:
                return
            self.leave_disk(trouble)
        try:
            disk = self._on_disk()
            try:
                self._copy_to_disk(disk)
            except BaseException:
                disk.close()
                raise
        except (OSError, sqlite3.Error) as error:
            self._set_problem(error)
            return
        self._db.close()
        self._db, self._files, self.problem = disk, self._file_identities(), None
        _log.warning("the ledger is written to %s again", self._path)

    def leave_disk(self, reason: str) -> None:
        """Go on in memory, for this reason, until mend() can write all to the file."""
        if self.problem is None:
            self._move_to_memory(OSError(reason))

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _open(self) -> sqlite3.Connection:
        try:
            disk = self._on_disk()
        except (OSError, sqlite3.Error) as error:
            self._set_problem(error)
            copy = self._copy_into_memory()
            self._unread = copy is None
            self.renewed = self.renewed or self._unread
            return copy or _connect(_MEMORY, self._contents)
        self._files = self._file_identities()
        return disk

    def _on_disk(self) -> sqlite3.Connection:
        """Open the file to be written. One that is no database of ours is set aside for whoever wants to look."""
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        try:
            return _connect(str(self._path), self._contents)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            aside = self._path.with_suffix(f".set-aside-{int(time.time())}")
            self._path.rename(aside)
            for end in ("-wal", "-shm"):
                beside = _with(self._path, end)
                if beside.exists():
                    beside.rename(_with(aside, end))
            _log.error("%s can't be used (%s): it is set aside as %s", self._path, error, aside.name)
            self.renewed = True
            return _connect(str(self._path), self._contents)

    def _copy_into_memory(self) -> sqlite3.Connection | None:
        """Return a copy in memory of a file that can't be written, None where it can't be read either."""
        for options in ("mode=ro", "mode=ro&immutable=1"):
            try:
                with closing(
                    sqlite3.connect(f"{self._path.absolute().as_uri()}?{options}", uri=True)
                ) as disk:
                    return _copy(disk, self._contents)
            except sqlite3.Error:
                continue
        return None

    def _move_to_memory(self, error: Exception) -> None:
        """Give the file up. Raises `error` where there is none."""
        if self.problem is not None:
            raise error
        self._set_problem(error)
        before = self._db
        try:
            before.rollback()
            self._db = _copy(before, self._contents)
        except sqlite3.Error as again:
            _log.error("nor can it be read (%s): it begins anew with what is known of the files here", again)
            self._db = _connect(_MEMORY, self._contents)
            self.renewed = True
        before.close()
        with self._db as db:
            self._contents.refill(db)

    def _copy_to_disk(self, disk: sqlite3.Connection) -> None:
        if self._unread:
            with self._db as db:
                self._contents.absorb(disk, db)
            self._unread = False
        self._db.backup(disk)
        # Only this finds out whether the disk takes it.
        disk.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _file_problem(self) -> str | None:
        if self._files != self._file_identities():
            return "deleted or replaced while filemapd was running"
        return None if os.access(self._path, os.W_OK) else "read-only"

    def _file_identities(self) -> tuple[object, ...]:
        """Return what tells whether the files at the path are still those that are open."""
        return tuple(_identity(_with(self._path, end)) for end in ("", "-wal"))

    def _set_problem(self, error: Exception) -> None:
        problem = f"{self._path}: {error}"
        if self.problem != problem:
            _log.error("the ledger can't be written (%s): it is kept in memory only", problem)
        self.problem = problem


def _with(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _connect(name: str, contents: Contents) -> sqlite3.Connection:
    """Open a database that can be written. WAL without a flush each time: what is written outlives our death, and a
    machine that goes down takes the regions along anyway."""
    db = sqlite3.connect(name, timeout=_PATIENCE)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        # It waits for the disk, and keeps its errors to itself: see checkpoint.py.
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("BEGIN IMMEDIATE")
        if db.execute("SELECT 1 FROM sqlite_schema").fetchone() is None:
            db.executescript(f"{contents.schema} PRAGMA user_version = {contents.version};")
        db.commit()
        _check(db, contents.version)
    except BaseException:
        db.close()
        raise
    return db


def _copy(source: sqlite3.Connection, contents: Contents) -> sqlite3.Connection:
    """Return a copy in memory. Raises sqlite3.Error where it is none of a sound database."""
    copy = sqlite3.connect(_MEMORY)
    try:
        source.backup(copy)
        _check(copy, contents.version)
    except BaseException:
        copy.close()
        raise
    return copy


def _check(db: sqlite3.Connection, version: int) -> None:
    """Raise sqlite3.DatabaseError for a database that is damaged or of another version."""
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found != version:
        raise sqlite3.DatabaseError(f"it is of version {found}, this filemapd uses version {version}")
    (sound,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if sound != "ok":
        raise sqlite3.DatabaseError(sound)
