"""The supervisor process: puts the parts together and runs until it is stopped."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from supervisor.config.load import ConfigError
from supervisor.config.models import Config
from supervisor.control.handlers import Handlers
from supervisor.control.server import ControlServer
from supervisor.control.status import StatusSource, SupervisorInfo
from supervisor.discovery.directories import Directories
from supervisor.fleet.fleet import Fleet
from supervisor.fleet.fork_server import ForkServer
from supervisor.fleet.grants import GRANT_INTERVAL, Grants
from supervisor.fleet.health import HealthCheck
from supervisor.fleet.scheduler import TABLE_INTERVAL, Scheduler
from supervisor.fleet.state_machine import Event, State
from supervisor.ledger import events
from supervisor.ledger.ledger import MAINTENANCE_INTERVAL, Ledger
from supervisor.runtime.child_reaper import ChildReaper
from supervisor.runtime.event_loop import EventLoop
from supervisor.service.log_pipe import LogPipe
from supervisor.service.move_hook import MoveHook
from supervisor.service.progress import Progress
from supervisor.service.systemd import SystemdNotifier
from supervisor.vms import watcher
from supervisor.vms.watcher import VmWatcher
from supervisor.web.feed_messages import file_messages
from supervisor.web.feed_sender import FeedSender
from supervisor.web.process import WebProcess
from workers.watcher import SWEEP, FileWatcher

_log = logging.getLogger("filemapd.supervisor")

# Seconds between messages about the supervisor to the web process.
HEARTBEAT = 10.0
# A new web process gets this many past events.
_PAST_EVENTS = 500


class Daemon:
    """The running supervisor. `load` reads the configuration; it raises ConfigError."""

    def __init__(self, config: Config, load: Callable[[], Config]) -> None:
        self._load = load
        self._log_pipe = LogPipe(config.supervisor.log, sys.stderr)
        self._loop = EventLoop()
        self._watcher = FileWatcher()
        reaper = ChildReaper()
        self._ledger = Ledger(Path(config.state_dir), reaper)
        self._feed = FeedSender(
            self._loop.selector, self._loop.timers, lambda path: file_messages(self._status, path)
        )
        self._info = SupervisorInfo(time.time())
        self._fork_server = ForkServer(self._log_pipe.sender_fd)
        self._fleet = Fleet(
            config,
            self._ledger,
            self._watcher,
            self._loop.selector,
            self._loop.timers,
            reaper,
            self._fork_server,
            self._feed.changed,
            self._log_pipe.last_lines,
        )
        self._log_pipe.labels_of = self._fleet.processes.labels_of
        self._fleet.listeners.append(self._send_event)
        self._on_move = MoveHook(
            self._loop.selector,
            self._loop.timers,
            reaper,
            lambda: self._fleet.config.supervisor.on_move,
        )
        self._fleet.listeners.append(self._on_move.handle_event)
        self._web = WebProcess(
            self._feed, self._loop.timers, reaper, self._log_pipe.sender_fd, self._send_all
        )
        self._directories = Directories(self._fleet, self._loop.selector, self._loop.timers)
        self._scheduler = Scheduler(self._fleet)
        self._grants = Grants(self._fleet)
        self._vms = VmWatcher(self._fleet, self._loop.selector)
        self._status = StatusSource(self._fleet, self._vms.machine_of)
        self._health = HealthCheck(self._fleet, self._loop.timers)
        self._service = SystemdNotifier()
        self._progress = Progress(self._log_pipe.show)
        handlers = Handlers(
            self._fleet,
            self._status,
            self._health,
            self._scheduler,
            self._current_info,
            self._reload,
            self._stop_after_response,
        )
        self._control = ControlServer(
            Path(config.runtime_dir) / "control.sock", handlers.routes(), config.supervisor.control_group
        )

    def run(self) -> None:
        """Run until SIGTERM, SIGINT or a stop request, and until all workers have ended."""
        self._connect()
        self._fork_server.start()
        _log.info("filemapd started, pid %d", os.getpid())
        self._log_changes(self._directories.apply(self._fleet.config))
        self._service.ready()
        self._web.apply(self._fleet.config)
        while not (self._fleet.stopping and self._fleet.processes.all_ended and self._web.is_stopped):
            now = self._loop.turn(self._watcher.next_due())
            self._scheduler.reconcile_due(now)
            self._ledger.flush_due(now)
        _log.info("filemapd stopped")

    def close(self) -> None:
        """Close everything, the log last."""
        self._control.close()
        self._directories.close()
        self._on_move.close()
        self._feed.close()
        self._watcher.watches.close()
        self._fleet.close()
        self._ledger.close()
        self._loop.close()
        self._log_pipe.close()

    def _connect(self) -> None:
        loop = self._loop
        loop.on_signals(
            {
                signal.SIGTERM: self._stop,
                signal.SIGINT: self._stop,
                signal.SIGHUP: self._reload_for_signal,
                signal.SIGCHLD: self._fleet.reaper.reap,
            }
        )
        loop.selector.register(self._log_pipe, selectors.EVENT_READ, lambda _: self._log_pipe.drain())
        self._control.register(loop.clients)
        if self._watcher.watches.missing:
            _log.warning(
                "no inotify instance is available (fs.inotify.max_user_instances): polling for changes"
            )
        else:
            loop.selector.register(self._watcher.watches, selectors.EVENT_READ, self._inotify_readable)
        loop.every(SWEEP, self._sweep)
        self._sweep_busy()
        loop.every(TABLE_INTERVAL, self._scheduler.check_regions)
        loop.every(GRANT_INTERVAL, lambda: self._grants.tick(time.monotonic()))
        loop.every(MAINTENANCE_INTERVAL, self._ledger.maintain)
        self._health.start()
        loop.every(HEARTBEAT, self._heartbeat)
        loop.every(watcher.INTERVAL, self._vms.tick)

    def _inotify_readable(self, _events: int) -> None:
        self._directories.handle_events(self._watcher.read_events(time.monotonic()))

    def _sweep(self) -> None:
        now = time.monotonic()
        self._watcher.sweep(now)
        self._scheduler.sample_due(now)
        self._directories.tick(now)
        self._control.tick(now)
        states = [filemap.record.state for filemap in self._fleet.filemaps.values()]
        self._progress.tick(now, states)
        self._service.tick(now, states, sound=self._health.is_healthy(now))

    def _sweep_busy(self) -> None:
        now = time.monotonic()
        self._loop.timers.at(now + self._watcher.sweep_busy(now), self._sweep_busy)

    def _stop(self) -> None:
        if not self._fleet.stopping:
            _log.info("stopping")
            self._service.stopping()
            self._fleet.stop()
            self._web.stop()

    # The web process.

    def _heartbeat(self) -> None:
        self._info.loop_lag_seconds = self._loop.timers.take_lag()
        self._web.check()
        self._feed.send(["supervisor", self._status.supervisor(self._current_info())])

    def _send_all(self) -> None:
        for path, filemap in self._fleet.filemaps.items():
            filemap.placement.resend()
            self._feed.changed(path)
        for event in self._ledger.latest_events(_PAST_EVENTS, None):
            self._send_event(event)
        self._feed.send(["supervisor", self._status.supervisor(self._current_info())])

    def _send_event(self, event: events.Event) -> None:
        self._feed.send(["event", event.as_json()])

    def _current_info(self) -> SupervisorInfo:
        self._info.log_records_dropped = self._log_pipe.dropped
        self._info.web = self._web.status()
        self._info.on_move = self._on_move.status()
        return self._info

    def _stop_after_response(self) -> None:
        self._loop.timers.at(time.monotonic(), self._stop)

    # Reload.

    def _reload_for_signal(self) -> None:
        try:
            self._reload()
        except ConfigError as error:
            for line in str(error).splitlines():
                _log.error("not reloaded: %s", line)

    def _reload(self) -> dict[str, list[str]]:
        """Read the configuration and apply it. Raises ConfigError for an invalid one, which changes nothing."""
        self._service.reloading()
        try:
            return self._apply(self._load())
        finally:
            self._service.ready()

    def _apply(self, config: Config) -> dict[str, list[str]]:
        running = self._fleet.config
        for key in ("state_dir", "runtime_dir"):
            if getattr(config, key) != getattr(running, key):
                _log.warning("%s takes effect at the next start", key)
        self._fleet.config = config
        self._ledger.maintain()
        self._log_pipe.configure(config.supervisor.log)
        self._fleet.set_log_level(logging.getLogger().level)
        self._control.set_group(config.supervisor.control_group)
        self._health.start()
        changes = self._directories.apply(config)
        for filemap in self._fleet.filemaps.values():
            if filemap.record.state is State.FAILED:
                self._fleet.advance(filemap, Event.RESTART, "reload")
        self._log_changes(changes)
        self._web.apply(config)
        return changes

    @staticmethod
    def _log_changes(changes: dict[str, list[str]]) -> None:
        for what, names in changes.items():
            if names:
                _log.info("%s: %s", what, ", ".join(names))
