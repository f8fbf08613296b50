"""The life of a worker as a machine without I/O: (state, event) -> (state, actions), in one table.

Who drives it holds a Record a worker, calls advance() for everything that happens, and carries out the
actions it gets back. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto

from supervisor.config.restart_policy import RestartPolicy
from supervisor.config.units import format_duration
from supervisor.fleet import backoff


class State(StrEnum):
    """Where a worker stands."""

    STARTING = "STARTING"
    """Its process runs and has not reported yet."""
    RUNNING = "RUNNING"
    """It follows the file, and the file is mapped."""
    WAITING = "WAITING"
    """Its process runs; the file is missing or empty."""
    BACKOFF = "BACKOFF"
    """It crashed and starts again at `Record.retry_at`."""
    STOPPING = "STOPPING"
    """Its process has been asked to end."""
    STOPPED = "STOPPED"
    """It was stopped, or has finished; also before its first start."""
    FAILED = "FAILED"
    """It was given up, or its file can't be mapped."""


LIVE = frozenset({State.STARTING, State.RUNNING, State.WAITING, State.STOPPING})
"""The states in which there is a process."""


_REPORTED = frozenset({State.WAITING, State.STOPPED, State.FAILED})


class Event(Enum):
    """What can happen to a worker.

    CRASHED, UNABLE, ENDED and EXITED are reported once the process has been reaped, not before.
    """

    START = auto()
    """The configuration wants it to run. Nothing new for one that failed."""
    RESTART = auto()
    """The operator asks for a fresh start (`filemapd restart`, reload), whatever happened before."""
    READY = auto()
    """It says that it follows the file and that the file is mapped."""
    WAIT = auto()
    """It says that the file is missing or empty."""
    HEALTHY = auto()
    """A health check found it well; sent at each check, the machine knows when it is long enough."""
    CRASHED = auto()
    """Its process died unasked, or was killed because of its health."""
    UNABLE = auto()
    """Its process ended with the status that says trying again is no use (not on dm, btrfs)."""
    ENDED = auto()
    """Its process finished by itself: the file is unlinked and closed, or its group is gone."""
    EXITED = auto()
    """Its process is gone after STOP or RESTART."""
    TIMER = auto()
    """The time for which SCHEDULE asked has come."""
    LOOK_AGAIN = auto()
    """The file was replaced, moved or given other permissions, so what failed may work now.

    Not to be sent for each write: one that is unable would be started as often.
    """
    STOP = auto()
    """It shall not run any more."""
    KILL_TIMEOUT = auto()
    """It had its time to end after TERMINATE."""


class Action(Enum):
    """What the driver has to do, in the order given."""

    SPAWN = auto()
    """Start a process."""
    TERMINATE = auto()
    """Ask the process to end, and send KILL_TIMEOUT if it is still there after the grace time."""
    KILL = auto()
    """SIGKILL the process."""
    SCHEDULE = auto()
    """Send TIMER at `Record.retry_at`."""
    FORGET = auto()
    """Drop what SCHEDULE asked for."""


class Effect(Enum):
    """What a transition does beside changing the state; see _settle()."""

    NONE = auto()
    CRASH = auto()
    """Counts the crash; gives up where it is one too many."""
    UNABLE = auto()
    """Remembers that the file is at fault, so that LOOK_AGAIN tries again."""
    IF_UNABLE = auto()
    """Happens only if the file was at fault."""
    IF_DUE = auto()
    """Happens only when `retry_at` has come; a timer from before is told the new time."""
    WELL = auto()
    """Starts the backoff anew after a healthy while."""
    FRESH = auto()
    """Forgets all crashes."""
    AGAIN = auto()
    """Forgets all crashes; the process that ends now is followed by another."""
    START_AFTER = auto()
    """The process that ends now is followed by another."""
    NO_MORE = auto()
    """The process that ends now is the last."""
    GONE = auto()
    """The process is gone: another is started if one was asked for meanwhile."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One cell of the table."""

    to: State
    actions: tuple[Action, ...] = ()
    effect: Effect = Effect.NONE


@dataclass(frozen=True, slots=True)
class Record:
    """All that is known of one worker's life."""

    state: State = State.STOPPED
    since: float = 0.0
    """When it came into `state`."""
    reason: str = ""
    """Why it is in `state`; empty where there is nothing to explain."""
    started_at: float | None = None
    """When its last process was started; None before the first."""
    restarts: int = 0
    """How many processes followed the first."""
    attempt: int = 0
    """Waits since it was last well: how often the next one has doubled."""
    crashes: tuple[float, ...] = ()
    """When it crashed, as far as that counts against it."""
    last_crash: str = ""
    """Why it crashed the last time; kept while it runs again."""
    retry_at: float | None = None
    """In BACKOFF: when it starts again."""
    again: bool = False
    """In STOPPING: another process follows."""
    unable: bool = False
    """In FAILED: the file is at fault, not the worker."""


def _table() -> dict[tuple[State, Event], Transition]:
    spawn = Transition(State.STARTING, (Action.SPAWN,))
    fresh = Transition(State.STARTING, (Action.SPAWN,), Effect.FRESH)
    # What is not named below changes nothing: a message from before, or a wish already met.
    table = {(state, event): Transition(state) for state in State for event in Event}

    crashed = Transition(State.BACKOFF, (Action.SCHEDULE,), Effect.CRASH)
    for state in (State.STARTING, State.RUNNING, State.WAITING):
        table |= {
            (state, Event.READY): Transition(State.RUNNING),
            (state, Event.WAIT): Transition(State.WAITING),
            (state, Event.HEALTHY): Transition(state, effect=Effect.WELL),
            (state, Event.CRASHED): crashed,
            # Nobody asked it to end, so it is a crash, whatever its status says.
            (state, Event.EXITED): crashed,
            (state, Event.UNABLE): Transition(State.FAILED, effect=Effect.UNABLE),
            (state, Event.ENDED): Transition(State.STOPPED),
            (state, Event.STOP): Transition(State.STOPPING, (Action.TERMINATE,), Effect.NO_MORE),
            (state, Event.RESTART): Transition(State.STOPPING, (Action.TERMINATE,), Effect.AGAIN),
        }
    # One that has not reported yet is not well, however long it takes.
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
    """Tell whether entering `state` is an event of the event log; `before` is the last state that one reported.

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
    """Return what becomes of `record` when `event` happens at `now`, and what is to be done.

    `jitter` is a factor from [0.5, 1.5) for the wait after a crash. `reason` says why the event happened
    and is kept in the record.
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
            reason = (
                f"gave up after {policy.give_up} crashes within {format_duration(policy.within)}: {reason}"
            )

    record = _settle(record, effect, now, policy)
    return _enter(record, target, now, reason, spawned=Action.SPAWN in actions), actions


def _crashed(record: Record, now: float, policy: RestartPolicy, jitter: float, reason: str) -> Record:
    """Count a crash; `retry_at` is None where it was one too many. Who was well starts again at once."""
    crashes = (*backoff.recent(record.crashes, now, policy), now)
    record = replace(record, crashes=crashes, last_crash=reason)
    if backoff.gives_up(crashes, policy):
        return replace(record, retry_at=None)
    if record.attempt == 0 and record.state is not State.STARTING and _lived(record, now) >= policy.healthy:
        return replace(record, retry_at=now)
    wait = backoff.delay(record.attempt, policy, jitter)
    return replace(record, attempt=record.attempt + 1, retry_at=now + wait)


def _lived(record: Record, now: float) -> float:
    """Return for how many seconds its last process has run; 0 before the first."""
    return 0.0 if record.started_at is None else now - record.started_at


def _settle(record: Record, effect: Effect, now: float, policy: RestartPolicy) -> Record:
    """Return `record` with what `effect` says of the past and of the intent."""
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
    """Return `record` in `state`, without what belongs to other states."""
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
