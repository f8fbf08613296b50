"""The workers' state machine."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.restart_policy import RestartPolicy
from supervisor.fleet import backoff
from supervisor.fleet.state_machine import LIVE, TABLE, Action, Event, Record, State, advance, is_reported

POLICY = RestartPolicy(initial=1.0, max=8.0, give_up=4, within=100.0, healthy=10.0)
GONE = {Event.CRASHED, Event.UNABLE, Event.ENDED, Event.EXITED}
STEPS = st.tuples(st.sampled_from(Event), st.floats(0, 30), st.floats(0.5, 1.5, exclude_max=True))


def run(*events: Event, record: Record | None = None, step: float = 0.0) -> tuple[Record, tuple[Action, ...]]:
    """Let `events` happen `step` seconds apart; return the record and the last one's actions."""
    actions: tuple[Action, ...] = ()
    record, now = record or Record(), 0.0
    for event in events:
        now += step
        record, actions = advance(record, event, now, POLICY, reason=event.name.lower())
    return record, actions


def crash(record: Record, now: float) -> Record:
    """Crash a live worker, and start it again if it is in BACKOFF."""
    record, _ = advance(record, Event.CRASHED, now, POLICY, reason="exit status 1")
    if record.retry_at is not None:
        record, _ = advance(record, Event.TIMER, record.retry_at, POLICY)
    return record


def test_table_is_complete() -> None:
    """There is a transition for each state and event, and no other."""
    assert set(TABLE) == set(product(State, Event))


@given(st.lists(STEPS, max_size=60))
def test_any_sequence_keeps_the_invariants(steps: list[tuple[Event, float, float]]) -> None:
    """In any sequence of events there is one process at most, and the record agrees with it."""
    record, now, alive = Record(), 0.0, False
    for event, pause, jitter in steps:
        now += pause
        before = record
        alive = alive and event not in GONE
        record, actions = advance(record, event, now, POLICY, jitter=jitter, reason="x")
        for action in actions:
            if action is Action.SPAWN:
                assert not alive, "started twice"
                alive = True
            elif action in {Action.TERMINATE, Action.KILL}:
                assert alive, "there is nobody to signal"
        assert (record.state in LIVE) == alive
        assert (record.retry_at is not None) == (record.state is State.BACKOFF)
        if Action.SCHEDULE in actions:
            assert record.retry_at is not None
            assert record.retry_at <= now + POLICY.max * 1.5
        if before.state is State.BACKOFF is not record.state and event is not Event.TIMER:
            assert actions[0] is Action.FORGET, "the timer would fire into another state"
        assert len(record.crashes) <= POLICY.give_up
        assert not record.again or record.state is State.STOPPING
        assert not record.unable or record.state is State.FAILED
        assert record.since == (now if record.state is not before.state else before.since)


@given(st.lists(STEPS, max_size=40))
def test_stop_always_leads_to_stopped(steps: list[tuple[Event, float, float]]) -> None:
    """From any state, a worker that is asked to stop is STOPPED once its process has ended."""
    record, now = Record(), 0.0
    for event, pause, jitter in steps:
        now += pause
        record, _ = advance(record, event, now, POLICY, jitter=jitter)
    record, _ = advance(record, Event.STOP, now, POLICY)
    if record.state is State.STOPPING:
        record, _ = advance(record, Event.EXITED, now, POLICY)
    assert record.state is State.STOPPED


def test_a_life_without_trouble() -> None:
    """Start, map, lose the file, map again, stop."""
    record, actions = run(Event.START)
    assert (record.state, actions) == (State.STARTING, (Action.SPAWN,))
    assert run(Event.READY, record=record)[0].state is State.RUNNING
    assert run(Event.READY, Event.WAIT, record=record)[0].state is State.WAITING
    assert run(Event.READY, Event.WAIT, Event.READY, record=record)[0].state is State.RUNNING
    record, actions = run(Event.READY, Event.STOP, record=record)
    assert (record.state, actions) == (State.STOPPING, (Action.TERMINATE,))
    assert run(Event.KILL_TIMEOUT, record=record)[1] == (Action.KILL,)
    record, actions = run(Event.EXITED, record=record)
    assert (record.state, actions, record.restarts) == (State.STOPPED, (), 0)


def test_reason_is_that_of_the_state() -> None:
    """The reason explains the state; the last crash stays on record while the worker runs again."""
    record, _ = run(Event.START, Event.READY)
    record = crash(record, 1.0)
    record, _ = advance(record, Event.READY, 3.0, POLICY)
    assert (record.reason, record.last_crash, record.restarts) == ("", "exit status 1", 1)
    record, _ = advance(record, Event.ENDED, 4.0, POLICY, reason="unlinked and closed")
    assert (record.state, record.reason) == (State.STOPPED, "unlinked and closed")


def test_waits_double_up_to_the_cap() -> None:
    """The wait doubles with each crash, stops at the cap, and jitter comes after it."""
    assert [backoff.delay(attempt, POLICY, 1.0) for attempt in range(6)] == [1, 2, 4, 8, 8, 8]
    assert backoff.delay(10**9, POLICY, 1.25) == 10.0


def test_restart_waits_for_its_time() -> None:
    """A crash schedules the restart; an earlier timer is scheduled again."""
    record, actions = run(Event.START, Event.READY, Event.CRASHED)
    assert (record.state, record.retry_at, actions) == (State.BACKOFF, 1.0, (Action.SCHEDULE,))
    assert advance(record, Event.TIMER, 0.9, POLICY) == (record, (Action.SCHEDULE,))
    record, actions = advance(record, Event.TIMER, 1.0, POLICY)
    assert (record.state, actions, record.restarts) == (State.STARTING, (Action.SPAWN,), 1)


def test_fails_after_crashes_within_the_window() -> None:
    """As many crashes as the policy allows, close together, end in FAILED with the reason."""
    record, _ = run(Event.START)
    for _ in range(POLICY.give_up):
        assert record.state is State.STARTING
        record = crash(record, record.since + 1)
    assert record.state is State.FAILED
    assert record.reason == "crashed 4 times within 100s: exit status 1"
    for event in (Event.START, Event.LOOK_AGAIN, Event.TIMER):
        assert advance(record, event, 99.0, POLICY) == (record, ())


def test_rare_crashes_are_forgiven() -> None:
    """Crashes further apart than the window never end in FAILED."""
    record, _ = run(Event.START)
    for number in range(1, 20):
        record = crash(record, number * 50.0)
        assert record.state is State.STARTING


def test_healthy_while_resets_the_wait() -> None:
    """A worker that ran long enough waits the initial time again; another waits longer."""
    first = crash(run(Event.START)[0], 0.0)
    soon, _ = run(Event.READY, Event.HEALTHY, record=first, step=1.0)
    late, _ = run(Event.READY, Event.HEALTHY, record=first, step=20.0)
    assert (soon.attempt, late.attempt) == (1, 0)
    assert late.crashes, "giving up still counts what a healthy while lies between"


def test_a_healthy_worker_restarts_at_once() -> None:
    """The first crash after a healthy time has no wait, the next one the initial wait."""
    record, actions = run(Event.START, Event.READY)
    record, actions = advance(record, Event.CRASHED, POLICY.healthy, POLICY, reason="killed")
    assert (record.state, record.retry_at, actions) == (State.BACKOFF, POLICY.healthy, (Action.SCHEDULE,))
    record, actions = advance(record, Event.TIMER, POLICY.healthy, POLICY)
    assert actions == (Action.SPAWN,)
    record, _ = advance(record, Event.CRASHED, POLICY.healthy + 0.5, POLICY, reason="killed")
    assert record.retry_at == POLICY.healthy + 0.5 + POLICY.initial


def test_a_worker_that_never_reported_waits() -> None:
    """A worker that has reported nothing is not healthy, however long it ran."""
    record, _ = run(Event.START)
    record, _ = advance(record, Event.CRASHED, 2 * POLICY.healthy, POLICY, reason="killed")
    assert record.retry_at == 2 * POLICY.healthy + POLICY.initial


def test_unable_waits_for_the_file_to_change() -> None:
    """A file that can't be mapped is tried again once it has changed."""
    record, actions = run(Event.START, Event.UNABLE)
    assert (record.state, record.reason, actions) == (State.FAILED, "unable", ())
    assert run(Event.START, record=record)[0].state is State.FAILED
    record, actions = run(Event.LOOK_AGAIN, record=record)
    assert (record.state, actions, record.crashes) == (State.STARTING, (Action.SPAWN,), ())


@pytest.mark.parametrize("before", [(), (Event.START, Event.UNABLE), (Event.START, Event.CRASHED)])
def test_restart_without_a_process(before: tuple[Event, ...]) -> None:
    """The operator's restart works from STOPPED, FAILED and BACKOFF, at once and with a clean slate."""
    record, actions = run(*before, Event.RESTART)
    assert record.state is State.STARTING
    assert actions[-1] is Action.SPAWN
    assert (record.attempt, record.crashes) == (0, ())


def test_restart_of_a_running_worker() -> None:
    """It stops first, and starts once its process has ended; a STOP in between cancels that."""
    record, actions = run(Event.START, Event.READY, Event.RESTART)
    assert (record.state, record.again, actions) == (State.STOPPING, True, (Action.TERMINATE,))
    assert run(Event.EXITED, record=record)[1] == (Action.SPAWN,)
    assert run(Event.STOP, Event.EXITED, record=record)[0].state is State.STOPPED
    assert run(Event.STOP, Event.START, Event.CRASHED, record=record)[0].state is State.STARTING


def test_recent_crashes_are_bounded() -> None:
    """Old crashes are dropped, and only as many are retained as matter."""
    crashes = backoff.recent(tuple(float(second) for second in range(90, 200)), 200.0, POLICY)
    assert crashes == (196.0, 197.0, 198.0, 199.0)
    assert all(earlier < later for earlier, later in pairwise(crashes))


def test_which_states_are_reported() -> None:
    """Those in which a file isn't followed, once, and RUNNING after one of them."""
    reported = [(before, state) for before in (None, *State) for state in State if is_reported(before, state)]
    quiet = {State.WAITING, State.STOPPED, State.FAILED}
    assert set(reported) == {
        *((before, state) for before in (None, *State) for state in quiet if before is not state),
        *((before, State.RUNNING) for before in quiet),
    }
