"""What the ledger keeps: counters added up once and never going back, moves, and events."""

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
    """An empty one."""
    made = Ledger(tmp_path, ChildReaper())
    yield made
    made.close()


def test_retired_counts_once_its_region_has_gone(ledger: Ledger) -> None:
    """What is pending does not count; said to be gone, it does, and only once."""
    ledger.record_counters(PATH, reads(10))
    ledger.add_pending(PATH, [("1:0+8", reads(6)), ("2:8+8", reads(5))])
    assert ledger.entry(PATH).account.retired == Counters()
    assert ledger.record_counters(PATH, reads(5), ["1:0+8"]) == Account(reads(6), reads(5))
    assert ledger.record_counters(PATH, reads(5), ["1:0+8"]) == Account(reads(6), reads(5))
    assert list(ledger.entry(PATH).pending) == ["2:8+8"]


def test_unfinished_retirements_are_settled(ledger: Ledger) -> None:
    """Of what a killed worker was to retire, that whose region is still there is forgotten, the rest counts."""
    ledger.record_counters(PATH, reads(10))
    ledger.add_pending(PATH, [("1:0+8", reads(6)), ("2:8+8", reads(4))])
    account = ledger.resolve_pending(PATH, ["2:8+8"])
    assert (account.retired.reads, account.live.reads) == (6, 4)
    assert ledger.entry(PATH).pending == {}


def test_a_total_never_goes_back(ledger: Ledger) -> None:
    """Counters that somebody cleared, or took along with a region, count on as they were last seen."""
    ledger.record_counters(PATH, reads(10))
    account = ledger.record_counters(PATH, reads(3))
    assert (account.retired.reads, account.live.reads) == (7, 3)
    account = ledger.record_counters(PATH, reads(4))
    assert (account.retired.reads, account.live.reads) == (7, 4)


def test_changed_bounds_begin_a_histogram_anew(ledger: Ledger) -> None:
    """What was counted with other bounds stays in the totals but not in the histogram, nor in its sum."""
    ledger.record_counters(PATH, reads(10))
    ledger.add_pending(PATH, [("1:0+8", reads(12))])
    fresh = Counters(reads=2, histogram=(1, 1), histogram_ns=50, bounds_ns=(2_000,))
    total = ledger.record_counters(PATH, fresh, ["1:0+8"]).total()
    assert (total.reads, total.histogram, total.histogram_ns, total.bounds_ns) == (14, (1, 1), 50, (2_000,))


def test_outlives_its_process_and_a_rename(tmp_path: Path) -> None:
    """All is there when it is opened again, under the name that the file has now."""
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
    """Counters are written together, at the latest 10 s after they were read; what else happens is written at the
    end of the turn, and takes them along."""
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


def test_a_sample_of_what_did_nothing_costs_nothing(ledger: Ledger) -> None:
    """Counters that are what they were are not written again."""
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


def test_moves_get_the_reason_that_was_given_for_them(ledger: Ledger) -> None:
    """A move that nobody announced was somebody else's."""
    ledger.record_group(PATH, {"group_id": 1})
    ledger.record_intended_move(PATH, 2, "ours")
    assert ledger.record_move(PATH, "a", "lv", 1, 2).reason == "ours"
    ledger.record_intended_move(PATH, 3, "ours")
    assert ledger.record_move(PATH, "a", "lv", 2, 9).reason == "another program changed the group"
    entry = ledger.entry(PATH)
    assert (entry.group_id, entry.moving_to, entry.moves_total) == (9, None, 2)


def test_events_are_numbered_and_bounded(ledger: Ledger) -> None:
    """Ids only grow, a file that has many events loses its oldest, and no other file's."""
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


def test_the_last_state_that_was_told(ledger: Ledger) -> None:
    """The last state event names it, also a state of another version's; one without a state names none."""
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


def test_event_ids_are_not_given_twice(tmp_path: Path) -> None:
    """A ledger that is opened again, or begins anew after a loss, goes on above the ids of before."""
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
    """The entry has the last twenty, and how many there were."""
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
    """Files whose names are not text are kept like any others, and found again; so is what happened to them."""
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
    """Counters that a worker saw set to zero are retired as they were, and what came after is added; at once, as
    nobody can read them again."""
    ledger.record_counters(PATH, reads(10))
    ledger.flush()
    account = ledger.record_counters(PATH, reads(4), cleared=reads(10))
    ledger.flush_due(time.monotonic())
    assert account == Account(reads(10), reads(4))
    assert stored(tmp_path, "SELECT retired ->> 0, live ->> 0 FROM files") == [(10, 4)]


def test_changed_bounds_retire_no_histogram(ledger: Ledger) -> None:
    """A histogram that begins anew is not taken for one that somebody cleared."""
    ledger.record_counters(PATH, reads(10))
    fresh = Counters(reads=12, histogram=(12, 0), histogram_ns=50, bounds_ns=(2_000,))
    assert ledger.record_counters(PATH, fresh).retired == Counters()
