"""When a file is reconciled: pure code, with times passed in."""

from __future__ import annotations

from workers.pace import LANDING, LONGEST, QUIET, SHORTEST, Pace


def reconcile(pace: Pace, now: float, *, changed: bool) -> None:
    """Begin and end a reconcile at `now`."""
    pace.start(now)
    pace.finished(now, changed=changed, landing=False, joinable=False)


def waits(pace: Pace) -> bool:
    """Return whether a reconcile is scheduled."""
    return pace.due is not None


def test_at_once_after_a_quiet_time() -> None:
    """The first event is handled at once, the next one half a second later."""
    pace = Pace()
    pace.mark_event(100.0)
    assert pace.due == 100.0
    reconcile(pace, 100.0, changed=True)
    assert not waits(pace)
    pace.mark_event(100.1)
    assert pace.due == 100.0 + SHORTEST


def test_an_event_during_a_reconcile_is_not_lost() -> None:
    """An event between a reconcile's begin and end is handled later."""
    pace = Pace()
    pace.mark_event(100.0)
    pace.start(100.0)
    pace.mark_event(100.01)
    pace.finished(100.02, changed=True, landing=False, joinable=False)
    assert pace.due == 100.0 + SHORTEST


def test_reconciles_without_changes_grow_rare() -> None:
    """A file under constant writes with unchanged extents is reconciled more and more rarely, down to once in
    ten seconds, and at most fifteen times in the first minute."""
    pace, now, looks = Pace(), 100.0, []
    while now < 160.0:
        pace.mark_event(now)
        if pace.due is not None and pace.due <= now:
            reconcile(pace, now, changed=False)
            looks.append(now)
        now += 0.05
    assert len(looks) <= 15
    assert looks[-1] - looks[-2] >= LONGEST
    assert pace.is_throttled(now)
    assert not pace.is_throttled(now + 3 * LONGEST), "not busy once the writes have stopped"


def test_a_known_change_does_not_wait_so_long() -> None:
    """A known change is reconciled half a second after the last reconcile, however rare they have become."""
    pace, now = Pace(), 100.0
    for _ in range(6):
        pace.mark_event(now)
        assert pace.due is not None
        now = pace.due
        reconcile(pace, now, changed=False)
    pace.mark_changed(now + 2.0)
    assert pace.due == now + 2.0


def test_landing_and_joining_come_without_events() -> None:
    """Delayed allocation is checked soon; regions are joined after a quiet time."""
    pace = Pace()
    pace.mark_event(100.0)
    assert not pace.start(100.0)
    pace.finished(100.0, changed=True, landing=True, joinable=True)
    assert pace.due == 100.0 + LANDING
    assert not pace.start(100.5), "not joined before a quiet time"
    pace.finished(100.5, changed=False, landing=False, joinable=True)
    assert pace.due == 100.5 + QUIET
    assert pace.start(100.5 + QUIET)
