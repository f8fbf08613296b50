"""A SQLite database that moves to memory where its file can't be used, and back to the file later.

The owner's knowledge of the contents is the truth while the process lives: a lost file is written again.

| Fault | Consequence |
| --- | --- |
| The file is damaged, or of another version. | It is set aside as `ledger.set-aside-TIME`. |
| It can't be written, or a checkpoint fails. | The database is copied into memory, and used there. |
| It can't be read either. | A database in memory gets what the owner knows. |
| It was deleted or replaced. | Like a failed write; the contents are written to a new file. |

repair() tries to write everything to disk again. A database that could not be read at the start is merged then.
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
# Seconds. Another program's write to the database blocks the event loop this long at most.
_PATIENCE: Final = 0.5


class Contents(Protocol):
    """The owner. `schema` has the statements that create the tables, `version` is the schema's."""

    schema: str
    version: int

    def refill(self, db: sqlite3.Connection) -> None:
        """Write all contents that the owner knows, over those in the database."""

    def absorb(self, disk: sqlite3.Connection, db: sqlite3.Connection) -> None:
        """Merge `disk`, a database that could not be read until now, into `db`."""


class Database:
    """The database at `path`. `problem` is why it is in memory only, None on disk. `renewed`: it started empty
    although there was, or may have been, one before."""

    def __init__(self, path: Path, contents: Contents) -> None:
        """Open or create it, or start in memory."""
        self.problem: str | None = None
        self.renewed = False
        self.written = False
        """Whether something was written since the owner set this to False."""
        self._path = path
        self._contents = contents
        self._unread = False
        self._files: tuple[object, ...] = ()
        self._db = self._open()

    def rows(self, read: Callable[[sqlite3.Connection], list[Any]]) -> list[Any]:
        """Return the result of `read`."""
        try:
            return read(self._db)
        except sqlite3.Error as error:
            self._move_to_memory(error)
            return read(self._db)

    def write(self, change: Callable[[sqlite3.Connection], None]) -> None:
        """Run `change` in one transaction, in memory if the disk fails."""
        try:
            with self._db as db:
                change(db)
            self.written = True
        except sqlite3.Error as error:
            self._move_to_memory(error)
            with self._db as db:
                change(db)

    def repair(self) -> None:
        """Check that the file is there, ours and writable, which writes to an open file don't always show. If it
        isn't, or the database is in memory, try to write everything to it."""
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
        """Move to memory, for this reason, until repair() can write everything to the file."""
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
        """Open the file. One that is not a database of ours is set aside, for the operator to inspect."""
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
        """Return a copy in memory of a file that can't be written, None if it can't be read either."""
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
        """Move to memory. Raises `error` if the database is there already."""
        if self.problem is not None:
            raise error
        self._set_problem(error)
        before = self._db
        try:
            before.rollback()
            self._db = _copy(before, self._contents)
        except sqlite3.Error as again:
            _log.error(
                "it can't be read either (%s): the ledger is rebuilt from the supervisor's memory", again
            )
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
        # Only this shows whether the disk works.
        disk.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _file_problem(self) -> str | None:
        if self._files != self._file_identities():
            return "deleted or replaced while filemapd was running"
        return None if os.access(self._path, os.W_OK) else "read-only"

    def _file_identities(self) -> tuple[object, ...]:
        """Return the identities of the files at the path, to compare with those that are open."""
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
    """Open a database for writing. WAL without a sync at each commit: commits survive the process, and if the
    machine goes down the regions are lost anyway."""
    db = sqlite3.connect(name, timeout=_PATIENCE)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        # It would wait for the disk, and hide its errors: see checkpoint.py.
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
    """Return a copy in memory. Raises sqlite3.Error for a damaged database."""
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
