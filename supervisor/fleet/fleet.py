"""The fleet: one filemap a file, each with a worker; events go in, the state machine's actions come out."""

from __future__ import annotations

import logging
import os
import random
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from supervisor.config.models import Config
from supervisor.fleet import validation, worker_messages
from supervisor.fleet.filemap import Filemap, Health, path_state
from supervisor.fleet.fork_server import ForkServer
from supervisor.fleet.job import job_for
from supervisor.fleet.state_machine import LIVE, Action, Event, Record, State, advance, is_reported
from supervisor.ledger import events
from supervisor.ledger.ledger import Ledger
from supervisor.runtime.child_reaper import ChildReaper
from supervisor.runtime.file_closer import FileCloser
from supervisor.runtime.rlimits import advice
from supervisor.runtime.timers import Timers
from workers import messages
from workers.exit_codes import Exit
from workers.watcher import FileWatcher

_log = logging.getLogger("filemapd.supervisor")

GRACE: Final = 5.0
# A supervisor that is so late itself has kept workers waiting.
_LATE: Final = 1.0
# So many workers map their files for the first time at once: each create drains the device.
_STARTING_AT_ONCE: Final = 16
# A turn of the loop in which workers are started takes about so long: whoever asks for the status has a turn too.
_LONGEST_TURN: Final = 0.05


class Fleet:
    """All filemaps, by path."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        watch: FileWatcher,
        selector: selectors.BaseSelector,
        timers: Timers,
        children: ChildReaper,
        fork_server: ForkServer,
        changed: Callable[[str], None],
        last_lines: Callable[[int], list[str]],
    ) -> None:
        self.config = config
        self.filemaps: dict[str, Filemap] = {}
        self.device_regions: dict[int, int] = {}
        """How many regions each device had when they were last listed, all programs'; by device number."""
        self.files_opened = 0
        """How many times a worker has taken hold of its file."""
        self.ledger = ledger
        self.watcher = watch
        self.stopping = False
        self.reaper = children
        self.listeners: list[Callable[[events.Event], None]] = []
        self._selector = selector
        self._timers = timers
        self._fork_server = fork_server
        self._closer = FileCloser(timers, children)
        self.status_changed = changed
        """Called with the path of a file whose status is another now, or which has gone."""
        self._last_lines = last_lines
        self._by_pid: dict[int, Filemap] = {}
        # When each was sent SIGKILL.
        self._killed: dict[int, float] = {}
        self._queue: deque[Filemap] = deque()
        self._starting: set[Filemap] = set()
        self._start_is_due = False

    # Events.

    def advance(self, filemap: Filemap, event: Event, reason: str = "") -> None:
        """Advance a filemap's state and do what follows from it."""
        past = filemap.record
        filemap.record, actions = advance(
            filemap.record,
            event,
            time.monotonic(),
            self.config.supervisor.restart.policy(),
            jitter=random.uniform(0.5, 1.5),
            reason=reason,
        )
        self._note(filemap, past, reason)
        if filemap.record.state is not past.state:
            self._entered(filemap, past.state)
        if filemap.record != past:
            self.status_changed(filemap.path)
        for action in actions:
            self._do(filemap, action)

    def _entered(self, filemap: Filemap, before: State) -> None:
        record = filemap.record
        if record.state in {State.FAILED, State.BACKOFF}:
            level = logging.WARNING
        elif record.state is State.STARTING and not record.restarts:
            level = logging.DEBUG
        else:
            level = logging.INFO
        text = f": {record.reason}" if record.reason else ""
        filemap.log(level, "%s%s", record.state, text)
        if before is State.STARTING:
            self._starting.discard(filemap)
            self.start_soon()

    def _note(self, filemap: Filemap, past: Record, reason: str) -> None:
        """Keep what of the step from `past` to the record is an event."""
        record = filemap.record
        if record.restarts > past.restarts:
            details = {"restarts": record.restarts}
            self.add_event(filemap, events.RESTARTED, reason or past.reason, details)
        if record.state is past.state or self.stopping:
            return
        if is_reported(filemap.reported, record.state):
            before, filemap.reported = filemap.reported or past.state, record.state
            self.add_event(filemap, events.STATE, record.reason, {"from": before, "to": record.state})

    def add_event(self, filemap: Filemap, kind: str, reason: str, details: dict[str, Any]) -> None:
        """Keep that something happened to a file, and tell whoever listens."""
        self.emit(self.ledger.add_event(kind, filemap.path, filemap.name, reason, details))

    def emit(self, event: events.Event) -> None:
        """Pass an event to the listeners."""
        for listener in self.listeners:
            listener(event)

    def _do(self, filemap: Filemap, action: Action) -> None:
        match action:
            case Action.SPAWN:
                self._queue.append(filemap)
                self.start_soon()
            case Action.TERMINATE:
                self._terminate(filemap)
            case Action.KILL:
                self._kill(filemap)
            case Action.SCHEDULE:
                when = filemap.record.retry_at or time.monotonic()
                filemap.timer = self._timers.at(when, partial(self._timer, filemap))
            case Action.FORGET:
                if filemap.timer is not None:
                    filemap.timer.cancel()

    def _timer(self, filemap: Filemap) -> None:
        filemap.timer = None
        self.advance(filemap, Event.TIMER)

    def _terminate(self, filemap: Filemap) -> None:
        if filemap.child is None:
            if filemap in self._queue:
                self._queue.remove(filemap)
            self.advance(filemap, Event.EXITED)
            return
        self.send(filemap, messages.Stop(filemap.delete))
        self._wait_for_end(filemap, filemap.child.pid)

    def _wait_for_end(self, filemap: Filemap, pid: int) -> None:
        due = time.monotonic() + GRACE
        self._timers.at(due, partial(self._grace_over, filemap, pid, due))

    def _grace_over(self, filemap: Filemap, pid: int, due: float) -> None:
        if filemap.child is None or filemap.child.pid != pid:
            return
        if time.monotonic() > due + _LATE:
            self._wait_for_end(filemap, pid)
            return
        filemap.log(logging.WARNING, "worker %d did not stop within %g s: killed", pid, GRACE)
        self.advance(filemap, Event.KILL_TIMEOUT)

    def _kill(self, filemap: Filemap) -> None:
        if filemap.child is not None:
            os.kill(filemap.child.pid, signal.SIGKILL)
            self._killed.setdefault(filemap.child.pid, time.monotonic())

    def terminate_unhealthy(self, filemap: Filemap, reason: str) -> None:
        """End a worker that is not well: SIGTERM, SIGKILL after a grace; its end is then a crash, for this reason."""
        child = filemap.child
        if child is None or filemap.terminated_at is not None:
            return
        filemap.log(logging.WARNING, "worker %d is ended: it %s", child.pid, reason)
        filemap.reason = reason
        filemap.terminated_at = time.monotonic()
        os.kill(child.pid, signal.SIGTERM)
        self._timers.at(filemap.terminated_at + GRACE, partial(self._kill_if_there, filemap, child.pid))

    def _kill_if_there(self, filemap: Filemap, pid: int) -> None:
        if filemap.child is not None and filemap.child.pid == pid:
            self._kill(filemap)

    # Processes.

    def start_soon(self) -> None:
        """Have workers started in the next turn of the loop, so that all else there is to do has its turn too."""
        if not self._start_is_due:
            self._start_is_due = True
            self._timers.at(time.monotonic(), self._start_some)

    def _start_some(self) -> None:
        """Start workers from the queue, as long as not too many are mapping their file for the first time."""
        self._start_is_due = False
        until = time.monotonic() + _LONGEST_TURN
        while self._queue and len(self._starting) < _STARTING_AT_ONCE:
            filemap = self._queue.popleft()
            if filemap.record.state is not State.STARTING or filemap.child is not None:
                continue
            if not self._start(filemap):
                return
            self._starting.add(filemap)
            if time.monotonic() > until:
                self.start_soon()
                return

    def _start(self, filemap: Filemap) -> bool:
        filemap.reason = ""
        filemap.failed_state = None
        filemap.delete = False
        filemap.request_at = time.monotonic()
        try:
            child = self._fork_server.spawn(
                job_for(filemap, self.ledger.entry(filemap.path)),
                filemap.labels(),
            )
        except OSError as error:
            self.advance(filemap, Event.CRASHED, f"no process to be had: {error.strerror}{advice(error)}")
            return False
        filemap.child = child
        self._by_pid[child.pid] = filemap
        self.reaper.register(child.pid, partial(self._exited, filemap))
        self._selector.register(child.channel, selectors.EVENT_READ, partial(self._readable, filemap))
        return True

    def _readable(self, filemap: Filemap, _events: int) -> None:
        self._hear(filemap)

    def _hear(self, filemap: Filemap) -> bool:
        """Take in a message of a worker's; tell whether there may be another. Its end is told by its exit, as what it
        said before counts first."""
        child = filemap.child
        if child is None:
            return False
        try:
            message = child.channel.receive()
            if message is not None:
                validation.check(message)
        except BlockingIOError:
            return False
        except ConnectionError:
            return (
                True  # said once, by a worker that left messages unread; what it had sent before comes next
            )
        except ValueError as error:
            self.terminate_unhealthy(filemap, str(error))
            return False
        if message is None:
            self._selector.unregister(child.channel)
            return False
        filemap.request_at = None
        try:
            worker_messages.handle(self, filemap, message)
        except Exception:  # noqa: BLE001 - nothing that a worker says may end the supervisor
            _log.exception("%s: this can't be taken in: %.200s", filemap.name, message)
            self.terminate_unhealthy(filemap, "said what can't be taken in")
            return False
        self.status_changed(filemap.path)
        return True

    def send(self, filemap: Filemap, message: messages.Message) -> None:
        """Send a worker a message; one that can't take it is told by its exit, or found stuck."""
        if filemap.child is None:
            return
        if filemap.request_at is None and not isinstance(message, messages.Ack | messages.LogLevel):
            filemap.request_at = time.monotonic()
        try:
            filemap.child.channel.send(message)
        except OSError as error:
            filemap.log(logging.DEBUG, "message not sent: %s", error)

    def labels_of(self, pid: int) -> dict[str, Any]:
        """Return the labels of the file whose worker has the pid; none where there is no such worker."""
        filemap = self._by_pid.get(pid)
        return filemap.labels() if filemap is not None else {}

    def remove_if_ended(self, filemap: Filemap) -> None:
        """Drop a filemap that nobody wants any more, once its worker has ended."""
        if filemap.removed and filemap.record.state not in LIVE:
            self.watcher.remove(filemap.path)
            self.ledger.release(filemap.path)
            self._close(filemap)
            self.filemaps.pop(filemap.path, None)
            self.status_changed(filemap.path)

    def _exited(self, filemap: Filemap, status: int) -> None:
        child = filemap.child
        if child is None:
            return
        del self._by_pid[child.pid]
        self._killed.pop(child.pid, None)
        registered = child.channel.fileno() in self._selector.get_map()
        if registered:
            while self._hear(filemap):
                pass
        if child.channel.fileno() in self._selector.get_map():
            self._selector.unregister(child.channel)
        child.channel.close()
        filemap.log_lines = self._last_lines(child.pid) or filemap.log_lines
        filemap.child = filemap.request_at = filemap.terminated_at = None
        filemap.health = Health()
        filemap.io_text, filemap.sampling = "", False  # what it was asked for it may not have told
        event, reason = exit_event(status, filemap.reason)
        restarted = filemap.record.again and not filemap.delete
        if filemap.record.again:
            reason = ""  # why the former ended is no reason of its successor's
        if event is Event.UNABLE:
            filemap.failed_state = path_state(filemap.path)
        # A successor that was asked for has the file from us, whatever its name is by now.
        if event is Event.UNABLE or (event is Event.ENDED and not restarted):
            self.release_file(filemap)
            worker_messages.forget_mapping(filemap)
        self.advance(filemap, event, reason)
        if filemap.record.state is State.STOPPED and not self.stopping:
            self.remove_if_ended(filemap)

    def release_file(self, filemap: Filemap) -> None:
        """Hold a filemap's file open no longer, and wait for what comes to stand at its path."""
        self.watcher.add(filemap.path, None, filemap.path)
        self._close(filemap)

    def _close(self, filemap: Filemap) -> None:
        fd = filemap.release()
        if fd is not None:
            self._closer.close(fd)

    def close(self) -> None:
        """Hold no file open any more, whatever their disks do."""
        for filemap in self.filemaps.values():
            self._close(filemap)
        self._closer.close_all()

    # Turns.

    def reconcile(
        self, filemap: Filemap, *, verify: bool = False, join: bool = False, sample: bool = False
    ) -> None:
        """Have a file looked at: by its worker, which may read the counters then, too, or, where it has none, by
        whether it is another now."""
        if filemap.child is not None:
            self.send(filemap, messages.Reconcile(verify, join, sample))
        elif filemap.record.state is State.STOPPED and not self.stopping and not filemap.removed:
            if path_state(filemap.path):
                self.advance(filemap, Event.START, "a file came to the path")
        elif filemap.record.state is State.FAILED and path_state(filemap.path) != filemap.failed_state:
            self.advance(filemap, Event.LOOK_AGAIN, "the file at the path is another")

    def set_log_level(self, level: int) -> None:
        """Have all workers log from `level` on."""
        for filemap in self.filemaps.values():
            self.send(filemap, messages.LogLevel(level))

    def stop(self) -> None:
        """Stop all workers for good."""
        self.stopping = True
        for filemap in list(self.filemaps.values()):
            filemap.delete = self.config.supervisor.on_stop == "delete"
            self.advance(filemap, Event.STOP)

    @property
    def is_stopped(self) -> bool:
        """Tell whether no worker is left but such as a disk keeps from ending, which do nothing any more once it
        doesn't."""
        now = time.monotonic()
        return all(now - self._killed.get(pid, now) > GRACE for pid in self._by_pid)


def exit_event(status: int, reason: str) -> tuple[Event, str]:
    """Return what a worker's exit status means."""
    if status == Exit.ENDED:
        return Event.ENDED, reason
    if status == Exit.UNABLE:
        return Event.UNABLE, reason
    if status < 0:
        return Event.CRASHED, reason or f"killed by {signal.Signals(-status).name}"
    return Event.CRASHED, reason or f"exit status {status}"
