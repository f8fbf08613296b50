"""What the ledger keeps of counters: added up once, never going back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from dmstats.counters import Counters
from supervisor.ledger import Entry, Ledger, Move, add
from workers.channel import Holds

PATH = "/images/a.img"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty one."""
    made = Ledger(tmp_path)
    yield made
    made.close()


def reads(count: int) -> Counters:
    """Return counters of so many reads."""
    return Counters(reads=count, histogram=(count, 0), histogram_ns=7 * count, bounds_ns=(1_000,))


def test_retired_counts_once_its_region_has_gone(ledger: Ledger) -> None:
    """What is pending does not count; said to be gone, it does, and only once."""
    ledger.counted(PATH, reads(10))
    ledger.retiring(PATH, [("1:0+8", reads(6)), ("2:8+8", reads(5))])
    assert ledger.entry(PATH).retired == Counters()
    assert ledger.counted(PATH, reads(5), ["1:0+8"]) == (reads(6), reads(5))
    assert ledger.counted(PATH, reads(5), ["1:0+8"]) == (reads(6), reads(5))
    assert ledger.entry(PATH).pending == ("2:8+8",)


def test_unfinished_retirements_are_settled(ledger: Ledger) -> None:
    """Of what a killed worker was to retire, that whose region is still there is forgotten, the rest counts."""
    ledger.counted(PATH, reads(10))
    ledger.retiring(PATH, [("1:0+8", reads(6)), ("2:8+8", reads(4))])
    retired, live = ledger.settle(PATH, ["2:8+8"])
    assert (retired.reads, live.reads) == (6, 4)
    assert ledger.entry(PATH).pending == ()


def test_a_total_never_goes_back(ledger: Ledger) -> None:
    """Counters that somebody cleared, or took along with a region, count on as they were last seen."""
    ledger.counted(PATH, reads(10))
    retired, live = ledger.counted(PATH, reads(3))
    assert (retired.reads, live.reads) == (7, 3)
    retired, live = ledger.counted(PATH, reads(4))
    assert (retired.reads, live.reads) == (7, 4)


def test_outlives_its_process_and_a_rename(tmp_path: Path) -> None:
    """All is there when it is opened again, under the name that the file has now."""
    first = Ledger(tmp_path)
    first.holds(PATH, "vg-lv", Holds(1, 12, 34, 5))
    first.group(PATH, {"group_id": 4})
    first.moving(PATH, 7)
    first.moved(PATH, Move(0, 4, 1.5))
    first.retiring(PATH, [("1:0+8", reads(6))])
    first.counted(PATH, reads(2))
    first.rename(PATH, "/images/b.img")
    first.close()
    second = Ledger(tmp_path)
    assert second.entry(PATH) == Entry()
    assert second.entry("/images/b.img") == Entry(
        "vg-lv", 1, 12, 34, {"group_id": 4}, 7, Counters(), reads(2), ("1:0+8",), (Move(0, 4, 1.5),), 1
    )
    assert second.problem is None
    second.close()


def test_changed_bounds_begin_a_histogram_anew(ledger: Ledger) -> None:
    """What was counted with other bounds stays in the totals but not in the histogram, nor in its sum."""
    ledger.counted(PATH, reads(10))
    ledger.retiring(PATH, [("1:0+8", reads(12))])
    fresh = Counters(reads=2, histogram=(1, 1), histogram_ns=50, bounds_ns=(2_000,))
    retired, live = ledger.counted(PATH, fresh, ["1:0+8"])
    total = add(retired, live)
    assert (total.reads, total.histogram, total.histogram_ns, total.bounds_ns) == (14, (1, 1), 50, (2_000,))


def test_another_version_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A ledger in another form is kept under another name, the log says so, and a new one is begun."""
    old = sqlite3.connect(tmp_path / "ledger.sqlite3")
    old.execute("CREATE TABLE files (path TEXT PRIMARY KEY, retired TEXT)")
    old.execute("INSERT INTO files VALUES (?, '[]')", (PATH,))
    old.commit()
    old.close()
    ledger = Ledger(tmp_path)
    assert ledger.problem is None
    assert ledger.entry(PATH) == Entry()
    (aside,) = tmp_path.glob("ledger.version-*")
    kept = sqlite3.connect(aside)
    assert kept.execute("SELECT path FROM files").fetchall() == [(PATH,)]
    kept.close()
    assert (
        f"is of another version (it has version 0, this filemapd writes version 1): it is set aside as {aside.name}"
        in caplog.text
    )
    ledger.counted(PATH, reads(2))
    ledger.close()
    again = Ledger(tmp_path)
    assert again.entry(PATH).live == reads(2)
    again.close()


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    """It says what is wrong and goes on in memory."""
    (tmp_path / "file").write_text("no folder")
    ledger = Ledger(tmp_path / "file" / "state")
    assert ledger.problem is not None
    assert str(tmp_path) in ledger.problem
    ledger.counted(PATH, reads(2))
    assert ledger.entry(PATH).live == reads(2)
    ledger.close()
