"""The state machine of a worker, without I/O: (state, event) -> (state, actions), in one table.

The caller holds a Record for each worker, calls advance() for each event, and carries out the returned actions. Times
are seconds of one monotonic clock. Pairs that are not listed here change nothing:

| State | Event | Next state | Actions |
| --- | --- | --- | --- |
| STARTING, RUNNING, WAITING | READY | RUNNING | |
| | WAIT | WAITING | |
| | HEALTHY (not in STARTING) | unchanged | After 10 s the backoff starts again. |
| | CRASHED, EXITED | BACKOFF, or FAILED after `give_up` | Schedule a restart: at once where it was healthy. |
| | UNABLE | FAILED | Remember that the file is at fault. |
| | ENDED | STOPPED | |
| | STOP | STOPPING | Terminate. |
| | RESTART | STOPPING | Terminate; a successor follows. Crashes are forgotten. |
| BACKOFF | TIMER | STARTING | Spawn, if it is due. |
| | RESTART | STARTING | Spawn. Crashes are forgotten. |
| | STOP | STOPPED | |
| STOPPING | START, RESTART | STOPPING | A successor follows. |
| | STOP | STOPPING | No successor follows. |
| | KILL_TIMEOUT | STOPPING | Kill. |
| | CRASHED, UNABLE, ENDED, EXITED | STOPPED, or STARTING | Spawn the successor, if one follows. |
| STOPPED | START, RESTART | STARTING | Spawn. |
| FAILED | RESTART | STARTING | Spawn. Crashes are forgotten. |
| | LOOK_AGAIN | STARTING | Spawn, if the file was at fault. |
| | STOP | STOPPED | |
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto

from supervisor.config.restart_policy import RestartPolicy
from supervisor.config.units import format_duration
from supervisor.fleet import backoff


class State(StrEnum):
    """The state of a worker."""

    STARTING = "STARTING"
    """Its process runs and has reported nothing yet."""
    RUNNING = "RUNNING"
    """It follows the file, and the file is mapped."""
    WAITING = "WAITING"
    """Its process runs; the file is missing or empty."""
    BACKOFF = "BACKOFF"
    """It crashed and starts again at `Record.retry_at`."""
    STOPPING = "STOPPING"
    """Its process has been asked to end."""
    STOPPED = "STOPPED"
    """It was stopped or has ended by itself; also before its first start."""
    FAILED = "FAILED"
    """It crashed too often, or its file can't be mapped."""


LIVE = frozenset({State.STARTING, State.RUNNING, State.WAITING, State.STOPPING})
"""The states in which there is a process."""


_REPORTED = frozenset({State.WAITING, State.STOPPED, State.FAILED})


class Event(Enum):
    """The events of a worker.

    CRASHED, UNABLE, ENDED and EXITED are sent once the process has been reaped, not before.
    """

    START = auto()
    """The file is selected. Doesn't start a worker that FAILED."""
    RESTART = auto()
    """The operator requested a restart (`filemapd restart`, reload)."""
    READY = auto()
    """It reported that the file is mapped."""
    WAIT = auto()
    """It reported that the file is missing or empty."""
    HEALTHY = auto()
    """A health check found it healthy. Sent at each check; the machine decides when it was healthy long enough."""
    CRASHED = auto()
    """Its process ended without a request, or was killed because it was unhealthy."""
    UNABLE = auto()
    """Its process ended with the status for files that can't be mapped (not on dm, btrfs)."""
    ENDED = auto()
    """Its process ended by itself: the file is unlinked and closed, or its group is gone."""
    EXITED = auto()
    """Its process has ended after STOP or RESTART."""
    TIMER = auto()
    """The time of SCHEDULE has come."""
    LOOK_AGAIN = auto()
    """The file was replaced, moved or got other permissions, so mapping may work now.

    Not sent for writes: a worker that can't map the file would be started as often.
    """
    STOP = auto()
    """It is to stop for good."""
    KILL_TIMEOUT = auto()
    """It has not ended within the grace period after TERMINATE."""


class Action(Enum):
    """What the caller does, in the order given."""

    SPAWN = auto()
    """Start a process."""
    TERMINATE = auto()
    """Ask the process to stop. Send KILL_TIMEOUT if it is alive after the grace period."""
    KILL = auto()
    """Send SIGKILL to the process."""
    SCHEDULE = auto()
    """Send TIMER at `Record.retry_at`."""
    FORGET = auto()
    """Cancel the timer of SCHEDULE."""


class Effect(Enum):
    """What a transition does besides changing the state; see _apply_effect()."""

    NONE = auto()
    CRASH = auto()
    """Counts the crash; FAILED after too many."""
    UNABLE = auto()
    """Remembers that the file is at fault, so that LOOK_AGAIN starts a worker."""
    IF_UNABLE = auto()
    """Happens only if the file was at fault."""
    IF_DUE = auto()
    """Happens only when `retry_at` has come; an earlier timer is scheduled again."""
    WELL = auto()
    """Restarts the backoff after a healthy time."""
    FRESH = auto()
    """Forgets all crashes."""
    AGAIN = auto()
    """Forgets all crashes; a successor follows the process that ends now."""
    START_AFTER = auto()
    """A successor follows the process that ends now."""
    NO_MORE = auto()
    """No successor follows the process that ends now."""
    GONE = auto()
    """The process has ended: a successor is started if one was requested."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One cell of the table."""

    to: State
    actions: tuple[Action, ...] = ()
    effect: Effect = Effect.NONE


@dataclass(frozen=True, slots=True)
class Record:
    """The state of one worker, and what the next transition depends on."""

    state: State = State.STOPPED
    since: float = 0.0
    """When it entered `state`."""
    reason: str = ""
    """Why it is in `state`; may be empty."""
    started_at: float | None = None
    """When its last process started; None before the first."""
    restarts: int = 0
    """How many processes followed the first."""
    attempt: int = 0
    """Number of waits since it was last healthy: how often the next one is doubled."""
    crashes: tuple[float, ...] = ()
    """The times of the crashes that still count."""
    last_crash: str = ""
    """Why it crashed last; retained while it runs again."""
    retry_at: float | None = None
    """In BACKOFF: when it starts again."""
    again: bool = False
    """In STOPPING: a successor follows."""
    unable: bool = False
    """In FAILED: the file is at fault, not the worker."""


def _table() -> dict[tuple[State, Event], Transition]:
    spawn = Transition(State.STARTING, (Action.SPAWN,))
    fresh = Transition(State.STARTING, (Action.SPAWN,), Effect.FRESH)
    # Other pairs change nothing: the event is out of date, or the state is already right.
    table = {(state, event): Transition(state) for state in State for event in Event}

    crashed = Transition(State.BACKOFF, (Action.SCHEDULE,), Effect.CRASH)
    for state in (State.STARTING, State.RUNNING, State.WAITING):
        table |= {
            (state, Event.READY): Transition(State.RUNNING),
            (state, Event.WAIT): Transition(State.WAITING),
            (state, Event.HEALTHY): Transition(state, effect=Effect.WELL),
            (state, Event.CRASHED): crashed,
            # It was not asked to stop, so this is a crash with any exit status.
            (state, Event.EXITED): crashed,
            (state, Event.UNABLE): Transition(State.FAILED, effect=Effect.UNABLE),
            (state, Event.ENDED): Transition(State.STOPPED),
            (state, Event.STOP): Transition(State.STOPPING, (Action.TERMINATE,), Effect.NO_MORE),
            (state, Event.RESTART): Transition(State.STOPPING, (Action.TERMINATE,), Effect.AGAIN),
        }
    # A worker that has reported nothing is not healthy, however long it runs.
    table[State.STARTING, Event.HEALTHY] = Transition(State.STARTING)

    gone = Transition(State.STOPPED, effect=Effect.GONE)
    table |= {
        (State.BACKOFF, Event.TIMER): replace(spawn, effect=Effect.IF_DUE),
        (State.BACKOFF, Event.RESTART): replace(fresh, actions=(Action.FORGET, Action.SPAWN)),
        (State.BACKOFF, Event.STOP): Transition(State.STOPPED, (Action.FORGET,)),
        (State.STOPPING, Event.START): Transition(State.STOPPING, effect=Effect.START_AFTER),
        (State.STOPPING, Event.RESTART): Transition(State.STOPPING, effect=Effect.AGAIN),
        (State.STOPPING, Event.STOP): Transition(State.STOPPING, effect=Effect.NO_MORE),
        (State.STOPPING, Event.KILL_TIMEOUT): Transition(State.STOPPING, (Action.KILL,)),
        (State.STOPPING, Event.CRASHED): gone,
        (State.STOPPING, Event.UNABLE): gone,
        (State.STOPPING, Event.ENDED): gone,
        (State.STOPPING, Event.EXITED): gone,
        (State.STOPPED, Event.START): spawn,
        (State.STOPPED, Event.RESTART): fresh,
        (State.FAILED, Event.RESTART): fresh,
        (State.FAILED, Event.LOOK_AGAIN): replace(spawn, effect=Effect.IF_UNABLE),
        (State.FAILED, Event.STOP): Transition(State.STOPPED),
    }
    return table


TABLE = _table()


def is_reported(before: State | None, state: State) -> bool:
    """Return whether entering `state` is an event of the event log; `before` is the last state that one reported.

    A crash is not: the restart that follows it is an event of its own.
    """
    return (state in _REPORTED and state is not before) or (state is State.RUNNING and before in _REPORTED)


def advance(
    record: Record,
    event: Event,
    now: float,
    policy: RestartPolicy,
    *,
    jitter: float = 1.0,
    reason: str = "",
) -> tuple[Record, tuple[Action, ...]]:
    """Return the record after `event` at `now`, and the actions to carry out.

    `jitter` is a factor from [0.5, 1.5) for the wait after a crash. `reason` is the cause of the event; the record
    retains it.
    """
    cell = TABLE[record.state, event]
    effect, target, actions = cell.effect, cell.to, cell.actions

    if effect is Effect.IF_UNABLE and not record.unable:
        return record, ()
    if effect is Effect.IF_DUE and record.retry_at is not None and now < record.retry_at:
        return record, (Action.SCHEDULE,)
    if effect is Effect.GONE and record.again:
        target, actions = State.STARTING, (Action.SPAWN,)
    if effect is Effect.CRASH:
        record = _crashed(record, now, policy, jitter, reason)
        if record.retry_at is None:
            target, actions = State.FAILED, ()
            reason = f"crashed {policy.give_up} times within {format_duration(policy.within)}: {reason}"

    record = _apply_effect(record, effect, now, policy)
    return _enter(record, target, now, reason, spawned=Action.SPAWN in actions), actions


def _crashed(record: Record, now: float, policy: RestartPolicy, jitter: float, reason: str) -> Record:
    """Count a crash. `retry_at` is None after too many crashes, and `now` where the worker was healthy."""
    crashes = (*backoff.recent(record.crashes, now, policy), now)
    record = replace(record, crashes=crashes, last_crash=reason)
    if backoff.gives_up(crashes, policy):
        return replace(record, retry_at=None)
    if record.attempt == 0 and record.state is not State.STARTING and _lived(record, now) >= policy.healthy:
        return replace(record, retry_at=now)
    wait = backoff.delay(record.attempt, policy, jitter)
    return replace(record, attempt=record.attempt + 1, retry_at=now + wait)


def _lived(record: Record, now: float) -> float:
    """Return how many seconds its last process has run; 0 before the first."""
    return 0.0 if record.started_at is None else now - record.started_at


def _apply_effect(record: Record, effect: Effect, now: float, policy: RestartPolicy) -> Record:
    """Return `record` after the effect on its crashes and on whether a successor follows."""
    if effect in {Effect.FRESH, Effect.AGAIN}:
        record = replace(record, attempt=0, crashes=(), last_crash="")
    if effect is Effect.WELL and _lived(record, now) >= policy.healthy:
        record = replace(record, attempt=0)
    if effect is Effect.UNABLE:
        record = replace(record, unable=True)
    if effect in {Effect.AGAIN, Effect.START_AFTER, Effect.NO_MORE}:
        record = replace(record, again=effect is not Effect.NO_MORE)
    return record


def _enter(record: Record, state: State, now: float, reason: str, *, spawned: bool) -> Record:
    """Return `record` in `state`, without the values that belong to other states."""
    if state is record.state:
        return replace(record, reason=reason or record.reason)
    return replace(
        record,
        state=state,
        since=now,
        reason=reason,
        started_at=now if spawned else record.started_at,
        restarts=record.restarts + (spawned and record.started_at is not None),
        retry_at=record.retry_at if state is State.BACKOFF else None,
        again=record.again and state is State.STOPPING,
        unable=record.unable and state is State.FAILED,
    )
