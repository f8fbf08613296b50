"""When a file is looked at: pure, with times passed in."""

from __future__ import annotations

from workers.pace import LANDING, LONGEST, QUIET, SHORTEST, Pace


def look(pace: Pace, now: float, *, changed: bool) -> None:
    """Have a look begin and end at `now`."""
    pace.start(now)
    pace.finished(now, changed=changed, landing=False, joinable=False)


def waits(pace: Pace) -> bool:
    """Return whether a look is due at some time."""
    return pace.due is not None


def test_at_once_after_a_quiet_time() -> None:
    """The first event is acted on at once, the next one half a second after."""
    pace = Pace()
    pace.mark_event(100.0)
    assert pace.due == 100.0
    look(pace, 100.0, changed=True)
    assert not waits(pace)
    pace.mark_event(100.1)
    assert pace.due == 100.0 + SHORTEST


def test_an_event_during_the_look_is_not_lost() -> None:
    """What happens between the look's begin and its end has its turn later."""
    pace = Pace()
    pace.mark_event(100.0)
    pace.start(100.0)
    pace.mark_event(100.01)
    pace.finished(100.02, changed=True, landing=False, joinable=False)
    assert pace.due == 100.0 + SHORTEST


def test_looks_that_come_to_nothing_grow_rare() -> None:
    """A file that is written all the time, with extents as they were, is looked at once in ten seconds at last;
    within a minute fifteen times at most."""
    pace, now, looks = Pace(), 100.0, []
    while now < 160.0:
        pace.mark_event(now)
        if pace.due is not None and pace.due <= now:
            look(pace, now, changed=False)
            looks.append(now)
        now += 0.05
    assert len(looks) <= 15
    assert looks[-1] - looks[-2] >= LONGEST
    assert pace.is_throttled(now)
    assert not pace.is_throttled(now + 3 * LONGEST), "busy no more when it is not written any more"


def test_a_known_change_does_not_wait_so_long() -> None:
    """What is known to have changed is looked at half a second after the last look, however rare those grew."""
    pace, now = Pace(), 100.0
    for _ in range(6):
        pace.mark_event(now)
        assert pace.due is not None
        now = pace.due
        look(pace, now, changed=False)
    pace.mark_changed(now + 2.0)
    assert pace.due == now + 2.0


def test_landing_and_joining_come_without_events() -> None:
    """Delayed allocation is looked for soon; regions are joined when the file has been quiet for a while."""
    pace = Pace()
    pace.mark_event(100.0)
    assert not pace.start(100.0)
    pace.finished(100.0, changed=True, landing=True, joinable=True)
    assert pace.due == 100.0 + LANDING
    assert not pace.start(100.5), "not joined before it is quiet"
    pace.finished(100.5, changed=False, landing=False, joinable=True)
    assert pace.due == 100.5 + QUIET
    assert pace.start(100.5 + QUIET)
