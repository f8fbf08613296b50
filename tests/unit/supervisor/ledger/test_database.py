"""The ledger when its files can't be written, are damaged, or vanish."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from dmstats.counters import Counters
from supervisor.ledger.accounting import Account
from supervisor.ledger.entries import Entry
from supervisor.ledger.ledger import Ledger
from supervisor.runtime.child_reaper import ChildReaper
from tests.unit.ledgers import PATH, assert_full, fill, reads, stored


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    """The ledger reports the error, continues in memory, and writes everything to disk once it can."""
    (tmp_path / "file").write_text("no folder")
    ledger = Ledger(tmp_path / "file" / "state", ChildReaper())
    assert str(tmp_path) in str(ledger.problem)
    fill(ledger)
    ledger.maintain()
    assert ledger.problem
    (tmp_path / "file").unlink()
    ledger.maintain()
    assert not ledger.problem
    ledger.close()
    again = Ledger(tmp_path / "file" / "state", ChildReaper())
    assert_full(again.entry(PATH))
    again.close()


def test_what_could_not_be_read_at_the_start_is_added(tmp_path: Path) -> None:
    """Earlier totals and events are merged with those of a supervisor that started without them."""
    folder = tmp_path / "state"
    first = Ledger(folder, ChildReaper())
    first.record_counters(PATH, reads(5))
    first.add_pending(PATH, [("0:0+8", reads(10))])
    first.record_counters(PATH, reads(5), ["0:0+8"])
    first.record_counters("/images/other.img", reads(1))
    first.add_event("state", PATH, "a.img", "early")
    first.close()
    folder.rename(tmp_path / "away")
    folder.write_text("nothing here")
    second = Ledger(folder, ChildReaper())
    assert second.record_counters(PATH, reads(6)) == Account(Counters(), reads(6))
    second.add_event("state", PATH, "a.img", "late")
    folder.unlink()
    (tmp_path / "away").rename(folder)
    second.maintain()
    assert second.problem is None
    assert second.entry(PATH).account.total() == reads(16)
    assert second.record_counters(PATH, reads(7)).total() == reads(17)
    assert second.entry("/images/other.img").account.total() == reads(1)
    assert [event.reason for event in second.events_after(0, 9, None)] == ["early", "late"]
    second.close()


def test_what_was_dropped_meanwhile_is_added_too(tmp_path: Path) -> None:
    """A file dropped before the ledger could be read retains its counts."""
    folder = tmp_path / "state"
    first = Ledger(folder, ChildReaper())
    first.record_counters(PATH, reads(5))
    first.close()
    folder.rename(tmp_path / "away")
    folder.write_text("nothing here")
    second = Ledger(folder, ChildReaper())
    second.record_counters(PATH, reads(8))
    second.release(PATH)
    folder.unlink()
    (tmp_path / "away").rename(folder)
    second.maintain()
    assert second.problem is None
    assert second.entry(PATH).account.total() == reads(8)
    second.close()


@pytest.mark.parametrize("what", ["ledger.sqlite3*", "ledger.sqlite3", "ledger.sqlite3-wal"])
def test_deleted_while_in_use(tmp_path: Path, what: str) -> None:
    """A ledger whose files are deleted while in use is rewritten completely."""
    ledger = Ledger(tmp_path, ChildReaper())
    fill(ledger)
    for file in tmp_path.glob(what):
        file.unlink()
    ledger.maintain()
    assert ledger.problem is None
    ledger.record_counters(PATH, reads(3))
    ledger.close()
    again = Ledger(tmp_path, ChildReaper())
    assert again.entry(PATH).account.live == reads(3)
    assert again.events_after(0, 9, None)[0].kind == "moved"
    again.close()


def test_repairing_an_intact_ledger_changes_nothing(tmp_path: Path) -> None:
    """Checking an intact ledger doesn't change its files."""
    ledger = Ledger(tmp_path, ChildReaper())
    fill(ledger)
    files = {file.name: file.stat().st_ino for file in tmp_path.iterdir()}
    ledger.maintain()
    assert {file.name: file.stat().st_ino for file in tmp_path.iterdir()} == files
    ledger.close()


def test_overwritten_while_in_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An overwritten ledger is set aside, and the entries of followed files are written to a new one."""
    ledger = Ledger(tmp_path, ChildReaper())
    fill(ledger)
    file = tmp_path / "ledger.sqlite3"
    for name in ("ledger.sqlite3", "ledger.sqlite3-wal"):
        with (tmp_path / name).open("r+b") as damaged:
            damaged.write(b"\xff" * (tmp_path / name).stat().st_size)
    with pytest.raises(sqlite3.DatabaseError):
        stored(tmp_path, "SELECT * FROM files")
    # SQLite's cached pages would hide it for a while.
    ledger._database._db.execute("PRAGMA shrink_memory")
    ledger.record_intended_move(PATH, 9, "later")
    ledger.flush()
    ledger.maintain()
    assert ledger.problem is None, caplog.text
    assert list(tmp_path.glob("*.set-aside-*"))
    ledger.close()
    again = Ledger(tmp_path, ChildReaper())
    entry = again.entry(PATH)
    assert (entry.moving_to, entry.account.live, entry.moves_total) == (9, reads(2), 1)
    again.close()
    assert sqlite3.connect(file).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_of_another_version(tmp_path: Path) -> None:
    """A ledger of another version is set aside, not misread."""
    db = sqlite3.connect(tmp_path / "ledger.sqlite3")
    db.executescript("CREATE TABLE files (path TEXT PRIMARY KEY, what TEXT); PRAGMA user_version = 99")
    db.close()
    ledger = Ledger(tmp_path, ChildReaper())
    assert ledger.problem is None
    fill(ledger)
    ledger.close()
    (aside,) = tmp_path.glob("*.set-aside-*")
    assert sqlite3.connect(aside).execute("PRAGMA user_version").fetchone() == (99,)


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    """A path that can't be opened is left alone and reported; the ledger is in memory until it can."""
    (tmp_path / "ledger.sqlite3").mkdir()
    ledger = Ledger(tmp_path, ChildReaper())
    assert "unable to open" in str(ledger.problem)
    fill(ledger)
    (tmp_path / "ledger.sqlite3").rmdir()
    ledger.maintain()
    assert not ledger.problem
    ledger.close()
    again = Ledger(tmp_path, ChildReaper())
    assert_full(again.entry(PATH))
    again.close()


def test_damaged_in_the_middle(tmp_path: Path) -> None:
    """A ledger with a corrupt page is set aside with its companion files."""
    ledger = Ledger(tmp_path, ChildReaper())
    fill(ledger)
    ledger.close()
    file = tmp_path / "ledger.sqlite3"
    with file.open("r+b") as damaged:
        size = sqlite3.connect(file).execute("PRAGMA page_size").fetchone()[0]
        damaged.seek(size)
        damaged.write(b"\xff" * size)
    (tmp_path / "ledger.sqlite3-wal").touch()
    again = Ledger(tmp_path, ChildReaper())
    assert again.problem is None
    assert again.entry(PATH) == Entry()
    again.close()
    assert list(tmp_path.glob("*.set-aside-*"))


def test_a_copy_of_the_folder_is_whole_after_any_write(tmp_path: Path) -> None:
    """A copy of the files, as after a machine's crash, is an intact ledger."""
    ledger = Ledger(tmp_path / "one", ChildReaper())
    for count in range(1, 20):
        ledger.record_counters(PATH, reads(count))
        ledger.add_event("state", PATH, "a.img", str(count))
        ledger.flush()
        shutil.copytree(tmp_path / "one", tmp_path / "copy")
        copy = Ledger(tmp_path / "copy", ChildReaper())
        assert copy.problem is None
        assert copy.entry(PATH).account.live == reads(count)
        copy.close()
        shutil.rmtree(tmp_path / "copy")
    ledger.close()
