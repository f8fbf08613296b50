"""A ledger with an entry, and what another program reads from it on disk."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from dmstats.counters import Counters
from supervisor.ledger.accounting import Account
from supervisor.ledger.entries import Entry
from supervisor.ledger.ledger import Ledger
from workers.messages import FileOpened

PATH = "/images/a.img"


def reads(count: int) -> Counters:
    """Return counters with `count` reads."""
    return Counters(reads=count, histogram=(count, 0), histogram_ns=7 * count, bounds_ns=(1_000,))


def stored(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """Return what another program reads from the ledger on disk."""
    db = sqlite3.connect(folder / "ledger.sqlite3")
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def fill(ledger: Ledger) -> None:
    """Fill the ledger with an entry."""
    ledger.record_file(PATH, "vg-lv", FileOpened(1, 12, 34, 5))
    ledger.record_group(PATH, {"group_id": 0})
    ledger.record_intended_move(PATH, 4, "because")
    ledger.record_move(PATH, "a.img", "vg-lv", 0, 4)
    ledger.record_intended_move(PATH, 7, "of this")
    ledger.add_pending(PATH, [("1:0+8", reads(6))])
    ledger.record_counters(PATH, reads(2))
    ledger.flush()


def assert_full(entry: Entry) -> None:
    """Fail unless the entry is the one from fill()."""
    (move,) = entry.moves
    assert (move.old, move.new, move.reason) == (0, 4, "because")
    assert abs(move.at - time.time()) < 60
    assert entry == Entry(
        "vg-lv",
        1,
        12,
        34,
        {"group_id": 4},
        7,
        "of this",
        1,
        Account(Counters(), reads(2)),
        {"1:0+8": reads(6)},
        (move,),
    )
