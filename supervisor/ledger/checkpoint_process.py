"""python -I -S checkpoint_process.py DATABASE: writes a database's log into the database, on disk (checkpoint.py).

It is run as a script, without anything of ours: SQLite can't be used in a fork.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing


def checkpoint(path: str) -> None:
    """Bring the database's log of writes to disk and into the database. Raises sqlite3.Error."""
    with closing(sqlite3.connect(path)) as db:
        # Pages that a reader needs are left to the next checkpoint.
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def main() -> None:
    """Do so for the database that the command line names."""
    try:
        checkpoint(sys.argv[1])
    except sqlite3.Error:
        sys.exit(os.EX_IOERR)


if __name__ == "__main__":
    main()
