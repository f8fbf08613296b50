"""The web process: an unprivileged program of its own, started and restarted like a worker.

The supervisor reads nothing from it. Failures (no port, no user, crashes) are logged, shown in the status and
retried. They don't affect the fleet.
"""

from __future__ import annotations

import logging
import os
import pwd
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import psutil

from supervisor.config.models import Config
from supervisor.config.web import TlsServerConfig, Web
from supervisor.fleet.state_machine import LIVE, Action, Event, Record, State, advance
from supervisor.runtime.child_reaper import ChildReaper
from supervisor.runtime.execute import start_module
from supervisor.runtime.timers import Timer, Timers
from supervisor.web.feed_sender import FeedSender
from supervisor.web.listener import Listener

_log = logging.getLogger("filemapd.supervisor")

_GRACE: Final = 5.0
# More than a worker may use: the process holds an hour of samples of every file.
_MAX_RSS: Final = 512 * 2**20


class WebProcess:
    """Its state machine and health.

    `log_end` is the descriptor for its log records. `begin` is called after each start, to send the whole status.
    """

    def __init__(
        self,
        feed: FeedSender,
        timers: Timers,
        reaper: ChildReaper,
        log_end: int,
        begin: Callable[[], None],
    ) -> None:
        self._feed = feed
        self._timers = timers
        self._reaper = reaper
        self._log_end = log_end
        self._begin = begin
        self._config: Config | None = None
        self._record = Record()
        self._pid: int | None = None
        self._rss_bytes: int | None = None
        self._reason = ""
        self._timer: Timer | None = None
        self._listener = Listener(timers, lambda: self._event(Event.RESTART), lambda: self.is_stopped)
        self._unread_since: float | None = None
        self._served: _Identities = []

    @property
    def is_stopped(self) -> bool:
        """Whether there is no process."""
        return self._pid is None

    def apply(self, config: Config) -> None:
        """Apply `config`. Retry after a failure, and restart the process if a TLS file was replaced."""
        before, self._config = self._config, config
        if before is None or before.web != config.web or self._listener.problem:
            self._listener.close()
            self._event(Event.STOP)
            self._listener.open(config)
        elif self._listener.socket is not None and (
            self._record.state is State.FAILED or self._served != _identities(config.web.tls_server_config)
        ):
            self._event(Event.RESTART)

    def stop(self) -> None:
        """Stop it. It is not restarted."""
        self._listener.close()
        self._event(Event.STOP)

    def status(self) -> dict[str, Any]:
        """Return its status, with the keys of a file's status."""
        config = self._config
        address = config.web.listen if config is not None else None
        reason = self._listener.problem or self._record.reason or ("" if address else "web.listen is off")
        return {
            "listen": str(address) if address else None,
            "state": (State.WAITING if self._listener.problem else self._record.state).value,
            "reason": reason or None,
            "pid": self._pid,
            "restarts": self._record.restarts,
            "last_crash": self._record.last_crash or None,
            "rss_bytes": self._rss_bytes,
        }

    # The process.

    def _event(self, event: Event, reason: str = "") -> None:
        if self._config is None:
            return
        policy = self._config.supervisor.restart.policy()
        before = self._record.state
        self._record, actions = advance(
            self._record, event, time.monotonic(), policy, jitter=random.uniform(0.5, 1.5), reason=reason
        )
        if self._record.state is not before and self._record.state in {State.BACKOFF, State.FAILED}:
            _log.warning("web: %s: %s", self._record.state, self._record.reason)
        for action in actions:
            self._do(action)

    def _do(self, action: Action) -> None:
        match action:
            case Action.SPAWN:
                self._spawn()
            case Action.TERMINATE:
                self._terminate()
            case Action.KILL:
                self._kill()
            case Action.SCHEDULE:
                when = self._record.retry_at or time.monotonic()
                self._timer = self._timers.at(when, partial(self._event, Event.TIMER))
            case Action.FORGET:
                if self._timer is not None:
                    self._timer.cancel()

    def _spawn(self) -> None:
        assert self._config is not None  # noqa: S101 - see _event()
        self._reason = ""
        self._unread_since = None
        # Before the process reads the files, so that the next reload detects a change in between.
        self._served = _identities(self._config.web.tls_server_config)
        try:
            with self._feed.open(["settings", _settings(self._config.web)]) as theirs:
                self._pid = self._start(theirs.fileno())
        except (OSError, LookupError) as error:
            self._feed.close()
            self._event(Event.CRASHED, str(error.args[-1]))
            return
        self._reaper.register(self._pid, self._ended)
        self._event(Event.READY)
        self._begin()

    def _start(self, feed: int) -> int:
        """Start the program with its sockets. Raises OSError, and LookupError if its user doesn't exist."""
        assert self._listener.socket is not None and self._config is not None  # noqa: S101, PT018 - see apply()
        sockets = {"feed": feed, "listening": self._listener.socket.fileno(), "log": self._log_end}
        given = {
            "level": logging.getLogger().level,
            "user": _user(self._config.web.user) if os.geteuid() == 0 else None,
        }
        return start_module("supervisor.web", given, sockets)

    def _terminate(self) -> None:
        self._feed.close()
        if self._pid is None:
            self._event(Event.EXITED)
            return
        os.kill(self._pid, signal.SIGTERM)
        self._timers.at(time.monotonic() + _GRACE, partial(self._grace_over, self._pid))

    def _grace_over(self, pid: int) -> None:
        if self._pid == pid:
            self._event(Event.KILL_TIMEOUT)

    def _kill(self) -> None:
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)

    def _ended(self, status: int) -> None:
        self._pid = self._rss_bytes = None
        self._feed.close()
        if self._record.state is State.STOPPING:
            self._event(Event.EXITED)
            return
        self._event(Event.CRASHED, self._reason or _exit_reason(status))

    # Its health.

    def check(self) -> None:
        """Check its health. An unhealthy process is killed, and its exit is a crash."""
        if self._pid is None or self._config is None or self._record.state not in LIVE:
            return
        now = time.monotonic()
        unread = self._feed.unread()
        self._unread_since = (self._unread_since or now) if unread else None
        trouble = self._unhealthy(now, self._config.supervisor.health.heartbeat)
        if trouble and not self._reason:
            _log.warning("web: process %d killed: %s", self._pid, trouble)
            self._reason = trouble
            self._kill()
        else:
            self._event(Event.HEALTHY)

    def _unhealthy(self, now: float, longest: float) -> str:
        try:
            self._rss_bytes = psutil.Process(self._pid).memory_info().rss
        except (psutil.Error, OSError):
            return ""  # it has ended and will be reaped, or no descriptor is available
        if self._rss_bytes > _MAX_RSS:
            return f"uses {self._rss_bytes >> 20} MiB, more than {_MAX_RSS >> 20} MiB"
        if self._unread_since is not None and now - self._unread_since > longest:
            return f"has not read its feed for {now - self._unread_since:.0f} s"
        return ""


_Identities = list[tuple[int, ...] | None]
"""Identities of files, to detect a replaced one; None for a missing file."""


def _identities(tls: TlsServerConfig | None) -> _Identities:
    """Return the identities of the TLS files."""
    files = () if tls is None else (tls.cert_file, tls.key_file, tls.client_ca_file)
    return [_identity(path) for path in files]


def _identity(path: str | None) -> tuple[int, ...] | None:
    try:
        found = os.stat(path or "")
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _settings(web: Web) -> dict[str, Any]:
    return web.model_dump(include={"tls_server_config", "basic_auth_users"})


def _exit_reason(status: int) -> str:
    """Return a process's exit status in words."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    if status == os.EX_CONFIG:
        return "web.tls_server_config is not usable: see the log for the error"
    return f"exit status {status}"


def _user(name: str) -> tuple[int, int]:
    """Return a user's ids. Raises LookupError."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise LookupError(f"user {name!r} does not exist: create it, or change web.user") from None
    return found.pw_uid, found.pw_gid
