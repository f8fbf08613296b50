"""The ledger's content: counters that add up once and never decrease, moves, and events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dmstats.counters import Counters
from supervisor.ledger import events
from supervisor.ledger.accounting import Account
from supervisor.ledger.entries import Entry, Move
from supervisor.ledger.ledger import Ledger
from supervisor.runtime.child_reaper import ChildReaper
from tests.unit.ledgers import PATH, assert_full, fill, reads, stored


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    made = Ledger(tmp_path, ChildReaper())
    yield made
    made.close()


def test_retired_counts_once_its_region_has_gone(ledger: Ledger) -> None:
    """Pending counters don't count; once their region is gone they count exactly once."""
    ledger.record_counters(PATH, reads(10))
    ledger.add_pending(PATH, [("1:0+8", reads(6)), ("2:8+8", reads(5))])
    assert ledger.entry(PATH).account.retired == Counters()
    assert ledger.record_counters(PATH, reads(5), ["1:0+8"]) == Account(reads(6), reads(5))
    assert ledger.record_counters(PATH, reads(5), ["1:0+8"]) == Account(reads(6), reads(5))
    assert list(ledger.entry(PATH).pending) == ["2:8+8"]


def test_unfinished_retirements_are_settled(ledger: Ledger) -> None:
    """After a worker was killed pending counters of existing regions are discarded, the rest count."""
    ledger.record_counters(PATH, reads(10))
    ledger.add_pending(PATH, [("1:0+8", reads(6)), ("2:8+8", reads(4))])
    account = ledger.resolve_pending(PATH, ["2:8+8"])
    assert (account.retired.reads, account.live.reads) == (6, 4)
    assert ledger.entry(PATH).pending == {}


def test_a_total_never_goes_back(ledger: Ledger) -> None:
    """Counters that were cleared, or lost with a region, continue from their last sample."""
    ledger.record_counters(PATH, reads(10))
    account = ledger.record_counters(PATH, reads(3))
    assert (account.retired.reads, account.live.reads) == (7, 3)
    account = ledger.record_counters(PATH, reads(4))
    assert (account.retired.reads, account.live.reads) == (7, 4)


def test_changed_bounds_reset_the_histogram(ledger: Ledger) -> None:
    """Counts with other bounds stay in the totals but not in the histogram or its sum."""
    ledger.record_counters(PATH, reads(10))
    ledger.add_pending(PATH, [("1:0+8", reads(12))])
    fresh = Counters(reads=2, histogram=(1, 1), histogram_ns=50, bounds_ns=(2_000,))
    total = ledger.record_counters(PATH, fresh, ["1:0+8"]).total()
    assert (total.reads, total.histogram, total.histogram_ns, total.bounds_ns) == (14, (1, 1), 50, (2_000,))


def test_outlives_its_process_and_a_rename(tmp_path: Path) -> None:
    """A reopened ledger is complete, under the file's current name."""
    first = Ledger(tmp_path, ChildReaper())
    fill(first)
    first.rename(PATH, "/images/b.img")
    first.close()
    second = Ledger(tmp_path, ChildReaper())
    assert second.entry(PATH) == Entry()
    assert_full(second.entry("/images/b.img"))
    assert second.problem is None
    second.close()


def test_samples_wait_for_each_other(ledger: Ledger, tmp_path: Path) -> None:
    """Samples are written together, at most 10 s after they were read. Other changes are written at the end
    of the event loop's turn, and samples with them."""
    fill(ledger)
    before = stored(tmp_path, "SELECT live FROM files")
    ledger.record_counters(PATH, reads(20))
    ledger.flush_due(time.monotonic())
    assert stored(tmp_path, "SELECT live FROM files") == before
    ledger.flush_due(time.monotonic() + 10)
    assert stored(tmp_path, "SELECT live ->> 0 FROM files") == [(20,)]
    ledger.record_counters(PATH, reads(30))
    ledger.record_intended_move(PATH, 8, "")
    ledger.flush_due(time.monotonic())
    assert stored(tmp_path, "SELECT live ->> 0, moving_to FROM files") == [(30, 8)]


def test_an_unchanged_sample_costs_nothing(ledger: Ledger) -> None:
    """Unchanged counters are not written again."""
    fill(ledger)
    statements: list[str] = []
    ledger._database._db.set_trace_callback(statements.append)
    for _ in range(3):
        ledger.record_counters(PATH, reads(2))
        ledger.flush_due(time.monotonic() + 10)
    assert statements == []
    ledger.record_counters(PATH, reads(3))
    ledger.flush_due(time.monotonic() + 10)
    assert [statement.split(" ")[0] for statement in statements] == ["BEGIN", "UPDATE", "COMMIT"]


def test_moves_get_their_announced_reason(ledger: Ledger) -> None:
    """A move without an announced reason is attributed to another program."""
    ledger.record_group(PATH, {"group_id": 1})
    ledger.record_intended_move(PATH, 2, "ours")
    assert ledger.record_move(PATH, "a", "lv", 1, 2).reason == "ours"
    ledger.record_intended_move(PATH, 3, "ours")
    assert ledger.record_move(PATH, "a", "lv", 2, 9).reason == "another program changed the group"
    entry = ledger.entry(PATH)
    assert (entry.group_id, entry.moving_to, entry.moves_total) == (9, None, 2)


def test_events_are_numbered_and_bounded(ledger: Ledger) -> None:
    """Ids only grow. A file with many events loses its oldest, other files lose none."""
    first = ledger.add_event("state", "/images/quiet.img", "quiet.img", "once")
    for i in range(300):
        ledger.add_event("state", PATH, "a.img", str(i))
    found = ledger.events_after(0, 1000, None)
    assert found[0] == first
    assert [event.reason for event in found[1:]] == [str(i) for i in range(100, 300)]
    assert [event.id for event in found] == [1, *range(102, 302)]
    assert ledger.events_after(299, 1000, None) == found[-2:]
    assert ledger.events_after(0, 2, "a.img") == found[1:3]
    assert ledger.latest_events(2, PATH) == found[-2:]
    assert ledger.last_event == 301


def test_the_last_reported_state(ledger: Ledger) -> None:
    """It is that of the last state event, also a state of another version; without such an event there is
    none."""
    assert ledger.last_state("/a") is None
    for state in ("FAILED", "RUNNING"):
        ledger.add_event(events.STATE, "/a", "a", "why", details={"from": "STARTING", "to": state})
    ledger.add_event(events.RESTARTED, "/a", "a", "why", details={"restarts": 1})
    assert ledger.last_state("/a") == "RUNNING"
    ledger.add_event(events.STATE, "/a", "a", "why", details={"to": "ASLEEP"})
    assert ledger.last_state("/a") == "ASLEEP"
    ledger.add_event(events.STATE, "/a", "a", "why", details={})
    assert ledger.last_state("/a") is None
    assert ledger.last_state("/b") is None


def test_event_ids_are_not_reused(tmp_path: Path) -> None:
    """A ledger that is reopened, or restarted after a loss, continues above its earlier ids."""
    first = Ledger(tmp_path, ChildReaper())
    last = first.add_event("state", PATH, "a.img", "").id
    first.close()
    second = Ledger(tmp_path, ChildReaper())
    last_of_second = second.add_event("state", PATH, "a.img", "").id
    assert last_of_second > last
    second.close()
    (tmp_path / "ledger.sqlite3").write_bytes(b"no database " * 1000)
    third = Ledger(tmp_path, ChildReaper())
    assert third.add_event("state", PATH, "a.img", "").id > last_of_second
    third.close()


def test_moves_are_bounded(ledger: Ledger) -> None:
    """The entry has the last twenty moves and their total."""
    ledger.record_group(PATH, {"group_id": 0})
    for new in range(1, 31):
        ledger.record_move(PATH, "a.img", "lv", new - 1, new)
    moves = ledger.entry(PATH).moves
    assert [(move.old, move.new) for move in moves] == [(n, n + 1) for n in range(10, 30)]
    assert ledger.entry(PATH).moves_total == 30
    assert isinstance(moves[0], Move)


@pytest.mark.parametrize(
    "path", ["/images/\udcff.img", "/images/\ud800", "/images/a\nb\\udcff", "/images/\u00fc"]
)
def test_awkward_paths(tmp_path: Path, path: str) -> None:
    """Files whose names are not text are stored like others, and found again; so are their events."""
    first = Ledger(tmp_path, ChildReaper())
    first.record_counters(path, reads(3))
    first.add_pending(path, [("1:0+8", reads(6))])
    first.add_event("state", path, "name", f"there is no file at {path}")
    first.rename(path, f"{path}2")
    first.close()
    second = Ledger(tmp_path, ChildReaper())
    entry = second.entry(f"{path}2")
    assert (entry.account.live, entry.pending) == (reads(3), {"1:0+8": reads(6)})
    (event,) = second.latest_events(5, f"{path}2")
    assert event.path == f"{path}2"
    assert event.reason.isprintable()
    assert second.latest_events(5, path) == []
    assert second.problem is None
    second.close()


def test_what_others_cleared_counts(ledger: Ledger, tmp_path: Path) -> None:
    """Counters that a worker found reset are retired at their last values, and later counts are added. This
    is written at once, as the old values can't be read again."""
    ledger.record_counters(PATH, reads(10))
    ledger.flush()
    account = ledger.record_counters(PATH, reads(4), cleared=reads(10))
    ledger.flush_due(time.monotonic())
    assert account == Account(reads(10), reads(4))
    assert stored(tmp_path, "SELECT retired ->> 0, live ->> 0 FROM files") == [(10, 4)]


def test_changed_bounds_retire_no_histogram(ledger: Ledger) -> None:
    """A histogram reset by new bounds is not taken for a cleared one."""
    ledger.record_counters(PATH, reads(10))
    fresh = Counters(reads=12, histogram=(12, 0), histogram_ns=50, bounds_ns=(2_000,))
    assert ledger.record_counters(PATH, fresh).retired == Counters()
