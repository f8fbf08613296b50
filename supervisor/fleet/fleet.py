"""The fleet: one filemap a file, each with a worker. Drives the state machine and carries out its actions."""

from __future__ import annotations

import logging
import random
import selectors
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from supervisor.config.models import Config
from supervisor.fleet.budget import UNMEASURED
from supervisor.fleet.filemap import Filemap, path_state
from supervisor.fleet.fork_server import ForkServer
from supervisor.fleet.job import job_for
from supervisor.fleet.start_queue import StartQueue
from supervisor.fleet.state_machine import LIVE, Action, Event, Record, State, advance, is_reported
from supervisor.fleet.worker_messages import MessageHandler
from supervisor.fleet.worker_processes import WorkerProcesses, exit_event
from supervisor.ledger import events
from supervisor.ledger.ledger import Ledger
from supervisor.runtime.child_reaper import ChildReaper
from supervisor.runtime.file_closer import FileCloser
from supervisor.runtime.rlimits import advice
from supervisor.runtime.timers import Timers
from workers import messages
from workers.watcher import FileWatcher


class Fleet:
    """All filemaps, by path.

    `status_changed` is called with the path of a file whose status has changed, or which was removed. `last_lines`
    returns, and forgets, what the worker with a pid logged last.
    """

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        watcher: FileWatcher,
        selector: selectors.BaseSelector,
        timers: Timers,
        reaper: ChildReaper,
        fork_server: ForkServer,
        status_changed: Callable[[str], None],
        last_lines: Callable[[int], list[str]],
    ) -> None:
        self.config = config
        self.filemaps: dict[str, Filemap] = {}
        self.device_regions: dict[int, int] = {}
        """Regions on each device when they were last listed, all programs'; by device number."""
        self.mapping_changes = 0
        """How many reconciles have changed a group, or mapped a file for the first time."""
        self.budgets: dict[int, int] = {}
        """The maximum number of regions of each device, by device number."""
        self.grants_changed: dict[int, int] = {}
        """How many grants were sent to the workers of each device, by device number."""
        self.free_regions: int | None = None
        """What is left of the budget of the fullest device; None before the first grants."""
        self.ledger = ledger
        self.watcher = watcher
        self.stopping = False
        self.reaper = reaper
        self.status_changed = status_changed
        self.listeners: list[Callable[[events.Event], None]] = []
        """Each is called with every event of the event log."""
        self._timers = timers
        self._closer = FileCloser(timers, reaper)
        self._queue = StartQueue(timers, self._start)
        self._messages = MessageHandler(self)
        self.processes = WorkerProcesses(
            fork_server,
            selector,
            timers,
            reaper,
            on_message=self._handle_message,
            on_exit=self._worker_exited,
            on_kill_timeout=partial(self.advance, event=Event.KILL_TIMEOUT),
            last_lines=last_lines,
        )

    # The state machine.

    def advance(self, filemap: Filemap, event: Event, reason: str = "") -> None:
        """Advance a filemap's state and carry out the actions that follow."""
        past = filemap.record
        filemap.record, actions = advance(
            filemap.record,
            event,
            time.monotonic(),
            self.config.supervisor.restart.policy(),
            jitter=random.uniform(0.5, 1.5),
            reason=reason,
        )
        self._add_events(filemap, past, reason)
        if filemap.record.state is not past.state:
            self._log_state(filemap)
            if past.state is State.STARTING:
                self._queue.started(filemap)
        if filemap.record != past:
            self.status_changed(filemap.path)
        for action in actions:
            self._carry_out(filemap, action)

    def _log_state(self, filemap: Filemap) -> None:
        record = filemap.record
        if record.state in {State.FAILED, State.BACKOFF}:
            level = logging.WARNING
        elif record.state is State.STARTING and not record.restarts:
            level = logging.DEBUG
        else:
            level = logging.INFO
        filemap.log(level, "%s%s", record.state, f": {record.reason}" if record.reason else "")

    def _carry_out(self, filemap: Filemap, action: Action) -> None:
        match action:
            case Action.SPAWN:
                self._queue.add(filemap)
            case Action.TERMINATE:
                if not self.processes.stop(filemap):
                    self._queue.remove(filemap)
                    self.advance(filemap, Event.EXITED)
            case Action.KILL:
                self.processes.kill(filemap)
            case Action.SCHEDULE:
                when = filemap.record.retry_at or time.monotonic()
                filemap.timer = self._timers.at(when, partial(self._retry, filemap))
            case Action.FORGET:
                if filemap.timer is not None:
                    filemap.timer.cancel()

    def _retry(self, filemap: Filemap) -> None:
        filemap.timer = None
        self.advance(filemap, Event.TIMER)

    # Events of the event log.

    def _add_events(self, filemap: Filemap, past: Record, reason: str) -> None:
        """Add the events of the step from `past` to the present record."""
        record = filemap.record
        if record.restarts > past.restarts:
            self._add_event(filemap, events.RESTARTED, reason or past.reason, {"restarts": record.restarts})
        if record.state is past.state or self.stopping:
            return
        if is_reported(filemap.reported, record.state):
            before, filemap.reported = filemap.reported or past.state, record.state
            self._add_event(filemap, events.STATE, record.reason, {"from": before, "to": record.state})

    def _add_event(self, filemap: Filemap, kind: str, reason: str, details: dict[str, Any]) -> None:
        self.emit(self.ledger.add_event(kind, filemap.path, filemap.name, reason, details))

    def emit(self, event: events.Event) -> None:
        """Pass an event of the event log to the listeners."""
        for listener in self.listeners:
            listener(event)

    # Workers.

    def _start(self, filemap: Filemap) -> bool:
        if filemap.grant is None:
            filemap.grant = self._first_grant()
        try:
            self.processes.spawn(
                filemap, job_for(filemap, self.ledger.entry(filemap.path), self.first_budget)
            )
        except OSError as error:
            self.advance(filemap, Event.CRASHED, f"can't start a process: {error.strerror}{advice(error)}")
            return False
        return True

    @property
    def first_budget(self) -> int:
        """The budget of a device before it is measured."""
        return self.config.devices.max_regions or UNMEASURED

    def _first_grant(self) -> int:
        """Return the grant of a file whose device is not known yet: an equal part, as far as it is free."""
        grant = max(1, self.first_budget // max(1, len(self.filemaps)))
        if self.free_regions is not None:
            grant = max(1, min(grant, self.free_regions))
            self.free_regions -= grant
        return grant

    def _handle_message(self, filemap: Filemap, message: messages.Message) -> None:
        self._messages.handle(filemap, message)
        self.status_changed(filemap.path)

    def _worker_exited(self, filemap: Filemap, status: int) -> None:
        event, reason = exit_event(status, filemap.reason)
        restarted = filemap.record.again and not filemap.delete
        if filemap.record.again:
            reason = ""  # the reason of this exit is not one of its successor
        elif filemap.record.state is State.STOPPING and event is Event.ENDED:
            reason = filemap.record.reason or reason  # why it was asked to stop
        if event is Event.UNABLE:
            filemap.failed_state = path_state(filemap.path)
        # A requested successor gets the file from the supervisor: its name may have changed.
        if event is Event.UNABLE or (event is Event.ENDED and not restarted):
            self.release_file(filemap)
            filemap.forget_mapping()
        self.advance(filemap, event, reason)
        if filemap.record.state is State.STOPPED and not self.stopping:
            self.remove_if_ended(filemap)

    def send(self, filemap: Filemap, message: messages.Message) -> None:
        """Send a worker a message; see WorkerProcesses.send()."""
        self.processes.send(filemap, message)

    def reconcile(
        self, filemap: Filemap, *, verify: bool = False, join: bool = False, sample: bool = False
    ) -> None:
        """Request a reconcile from a file's worker, or, where there is none, start one if the file at the path has
        changed. The arguments are those of messages.Reconcile."""
        if filemap.child is not None:
            self.send(filemap, messages.Reconcile(verify, join, sample))
        elif filemap.record.state is State.STOPPED and not self.stopping and not filemap.removed:
            if path_state(filemap.path):
                self.advance(filemap, Event.START, "a file came to the path")
        elif filemap.record.state is State.FAILED and path_state(filemap.path) != filemap.failed_state:
            self.advance(filemap, Event.LOOK_AGAIN, "the file at the path is another")

    # Files.

    @property
    def files_opened(self) -> int:
        """How many times a worker has opened its file."""
        return self._messages.files_opened

    def watch_file(self, filemap: Filemap) -> None:
        """Watch the file that a worker has open; see MessageHandler.watch_file()."""
        self._messages.watch_file(filemap)

    def release_file(self, filemap: Filemap) -> None:
        """Close a filemap's file, and watch its path for another one."""
        self.watcher.add(filemap.path, None, filemap.path)
        self._close_file(filemap)

    def remove_if_ended(self, filemap: Filemap) -> None:
        """Forget a filemap that was removed, once its worker has ended."""
        if filemap.removed and filemap.record.state not in LIVE:
            self.watcher.remove(filemap.path)
            self.ledger.release(filemap.path)
            self._close_file(filemap)
            self.filemaps.pop(filemap.path, None)
            self.status_changed(filemap.path)

    def _close_file(self, filemap: Filemap) -> None:
        fd = filemap.release()
        if fd is not None:
            self._closer.close(fd)

    # All of them.

    def set_log_level(self, level: int) -> None:
        """Set the log level of all workers (logging's numbers)."""
        for filemap in self.filemaps.values():
            self.send(filemap, messages.LogLevel(level))

    def stop(self) -> None:
        """Stop all workers for good."""
        self.stopping = True
        for filemap in list(self.filemaps.values()):
            filemap.delete = self.config.supervisor.on_stop == "delete"
            self.advance(filemap, Event.STOP)

    def close(self) -> None:
        """Close all files, without waiting for their disks."""
        for filemap in self.filemaps.values():
            self._close_file(filemap)
        self._closer.close_all()
