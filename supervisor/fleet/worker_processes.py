"""The worker processes: spawned, sent messages, listened to, terminated, and forgotten once reaped."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from supervisor.fleet import validation
from supervisor.fleet.filemap import Filemap, Health
from supervisor.fleet.fork_server import ForkServer
from supervisor.fleet.state_machine import Event
from supervisor.runtime.child_reaper import ChildReaper
from supervisor.runtime.timers import Timers
from workers import messages
from workers.exit_codes import Exit
from workers.job import Job

_log = logging.getLogger("filemapd.supervisor")

GRACE: Final = 5.0
"""Seconds between the request to stop, or SIGTERM, and SIGKILL."""
# A supervisor that is this late itself has kept workers waiting.
_LATE: Final = 1.0


class WorkerProcesses:
    """All live workers.

    `on_message` handles a valid message of a worker. `on_exit` is called with its exit status once it has been reaped
    and all its messages are handled. `on_kill_timeout` is called where a worker has not stopped within GRACE.
    """

    def __init__(
        self,
        fork_server: ForkServer,
        selector: selectors.BaseSelector,
        timers: Timers,
        reaper: ChildReaper,
        *,
        on_message: Callable[[Filemap, messages.Message], None],
        on_exit: Callable[[Filemap, int], None],
        on_kill_timeout: Callable[[Filemap], None],
        last_lines: Callable[[int], list[str]],
    ) -> None:
        self._fork_server = fork_server
        self._selector = selector
        self._timers = timers
        self._reaper = reaper
        self._on_message = on_message
        self._on_exit = on_exit
        self._on_kill_timeout = on_kill_timeout
        self._last_lines = last_lines
        self._by_pid: dict[int, Filemap] = {}
        # When each was sent SIGKILL.
        self._killed: dict[int, float] = {}

    @property
    def all_ended(self) -> bool:
        """Whether no worker is left. A killed worker that a disk keeps from ending for longer than GRACE doesn't
        count: it does nothing once the disk responds."""
        now = time.monotonic()
        return all(now - self._killed.get(pid, now) > GRACE for pid in self._by_pid)

    def labels_of(self, pid: int) -> dict[str, Any]:
        """Return the log labels of the file whose worker has the pid; none where there is no such worker."""
        filemap = self._by_pid.get(pid)
        return filemap.labels() if filemap is not None else {}

    def spawn(self, filemap: Filemap, job: Job) -> None:
        """Start a worker for `job`. Raises OSError where no process or socket is available."""
        filemap.reason = ""
        filemap.failed_state = None
        filemap.delete = False
        filemap.request_at = time.monotonic()
        child = self._fork_server.spawn(job, filemap.labels())
        filemap.child = child
        self._by_pid[child.pid] = filemap
        self._reaper.register(child.pid, partial(self._exited, filemap))
        self._selector.register(child.channel, selectors.EVENT_READ, partial(self._readable, filemap))

    # Messages.

    def send(self, filemap: Filemap, message: messages.Message) -> None:
        """Send a worker a message. A failure is only logged: the worker has exited, or health finds it silent."""
        if filemap.child is None:
            return
        if filemap.request_at is None and not isinstance(message, messages.Ack | messages.LogLevel):
            filemap.request_at = time.monotonic()
        try:
            filemap.child.channel.send(message)
        except OSError as error:
            filemap.log(logging.DEBUG, "message not sent: %s", error)

    def _readable(self, filemap: Filemap, _events: int) -> None:
        self._receive(filemap)

    def _receive(self, filemap: Filemap) -> bool:
        """Handle one message of a worker; return whether there may be more.

        The end of the channel means nothing by itself: the exit status follows when the process is reaped.
        """
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
            return True  # raised once, where a worker left messages unread; what it sent before comes next
        except ValueError as error:
            self.terminate_unhealthy(filemap, str(error))
            return False
        if message is None:
            self._selector.unregister(child.channel)
            return False
        filemap.request_at = None
        try:
            self._on_message(filemap, message)
        except Exception:  # noqa: BLE001 - no message of a worker may end the supervisor
            _log.exception("%s: this message can't be handled: %.200s", filemap.name, message)
            self.terminate_unhealthy(filemap, "sent a message that can't be handled")
            return False
        return True

    # The end of a worker.

    def stop(self, filemap: Filemap) -> bool:
        """Ask a worker to stop; return False where there is no process."""
        if filemap.child is None:
            return False
        self.send(filemap, messages.Stop(filemap.delete))
        self._start_grace(filemap, filemap.child.pid)
        return True

    def _start_grace(self, filemap: Filemap, pid: int) -> None:
        due = time.monotonic() + GRACE
        self._timers.at(due, partial(self._grace_over, filemap, pid, due))

    def _grace_over(self, filemap: Filemap, pid: int, due: float) -> None:
        if filemap.child is None or filemap.child.pid != pid:
            return
        if time.monotonic() > due + _LATE:
            self._start_grace(filemap, pid)
            return
        filemap.log(logging.WARNING, "worker %d did not stop within %g s: killed", pid, GRACE)
        self._on_kill_timeout(filemap)

    def kill(self, filemap: Filemap) -> None:
        """Send SIGKILL to a worker, if there is one."""
        if filemap.child is not None:
            os.kill(filemap.child.pid, signal.SIGKILL)
            self._killed.setdefault(filemap.child.pid, time.monotonic())

    def terminate_unhealthy(self, filemap: Filemap, reason: str) -> None:
        """Send SIGTERM to an unhealthy worker, and SIGKILL after GRACE. Its exit is then a crash for `reason`."""
        child = filemap.child
        if child is None or filemap.terminated_at is not None:
            return
        filemap.log(logging.WARNING, "worker %d is terminated: it %s", child.pid, reason)
        filemap.reason = reason
        filemap.terminated_at = time.monotonic()
        os.kill(child.pid, signal.SIGTERM)
        self._timers.at(filemap.terminated_at + GRACE, partial(self._kill_if_alive, filemap, child.pid))

    def _kill_if_alive(self, filemap: Filemap, pid: int) -> None:
        if filemap.child is not None and filemap.child.pid == pid:
            self.kill(filemap)

    def _exited(self, filemap: Filemap, status: int) -> None:
        child = filemap.child
        if child is None:
            return
        del self._by_pid[child.pid]
        self._killed.pop(child.pid, None)
        if child.channel.fileno() in self._selector.get_map():
            while self._receive(filemap):
                pass
        if child.channel.fileno() in self._selector.get_map():
            self._selector.unregister(child.channel)
        child.channel.close()
        filemap.log_lines = self._last_lines(child.pid) or filemap.log_lines
        filemap.child = filemap.request_at = filemap.terminated_at = None
        filemap.health = Health()
        filemap.io_text, filemap.sampling = "", False  # a sample that was requested may not have come
        self._on_exit(filemap, status)


def exit_event(status: int, reason: str) -> tuple[Event, str]:
    """Return the state machine's event for a worker's exit status, and its reason: `reason`, else the status."""
    if status == Exit.ENDED:
        return Event.ENDED, reason
    if status == Exit.UNABLE:
        return Event.UNABLE, reason
    if status < 0:
        return Event.CRASHED, reason or f"killed by {signal.Signals(-status).name}"
    return Event.CRASHED, reason or f"exit status {status}"
