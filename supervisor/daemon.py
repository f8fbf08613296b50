"""The supervisor process: puts the parts together and runs until it is told to stop."""

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
from supervisor.control.handlers import Answers
from supervisor.control.server import Control
from supervisor.control.status import Own, StatusSource
from supervisor.discovery.directories import Directories
from supervisor.fleet.fleet import Fleet
from supervisor.fleet.fork_server import ForkServer
from supervisor.fleet.health import HealthCheck
from supervisor.fleet.scheduler import TABLE_INTERVAL, Turns
from supervisor.fleet.state_machine import Event, State
from supervisor.ledger.events import Happening
from supervisor.ledger.ledger import MEND_INTERVAL, Ledger
from supervisor.runtime.child_reaper import Children
from supervisor.runtime.event_loop import Loop
from supervisor.service import logs
from supervisor.service.move_hook import OnMove
from supervisor.service.progress import Progress
from supervisor.service.systemd import Service
from supervisor.vms import watcher
from supervisor.vms.watcher import Vms
from supervisor.web.feed_messages import file_messages
from supervisor.web.feed_sender import Feed
from supervisor.web.process import WebProcess
from workers.watcher import SWEEP, Watch

_log = logging.getLogger("filemapd.supervisor")

# How often the web process is told how the supervisor is, if nothing else: then it knows it lives.
HEARTBEAT = 10.0
# So many of the events from before it started the web process gets to know.
_TOLD_EVENTS = 500


class Daemon:
    """The running supervisor. `load` reads the configuration anew; it raises ConfigError."""

    def __init__(self, config: Config, load: Callable[[], Config]) -> None:
        self._load = load
        self._log_pipe = logs.install(config.supervisor.log, sys.stderr)
        self._loop = Loop()
        self._watch = Watch()
        children = Children()
        self._ledger = Ledger(Path(config.state_dir), children)
        self._feed = Feed(
            self._loop.selector, self._loop.timers, lambda path: file_messages(self._status, path)
        )
        self._own = Own(time.time())
        self._fork_server = ForkServer(self._log_pipe.end)
        self._fleet = Fleet(
            config,
            self._ledger,
            self._watch,
            self._loop.selector,
            self._loop.timers,
            children,
            self._fork_server,
            self._feed.changed,
            self._log_pipe.last_lines,
        )
        self._log_pipe.about = self._fleet.labels_of
        self._fleet.listeners.append(self._tell_event)
        self._on_move = OnMove(
            self._loop.selector,
            self._loop.timers,
            children,
            lambda: self._fleet.config.supervisor.on_move,
        )
        self._fleet.listeners.append(self._on_move.tell)
        self._web = WebProcess(self._feed, self._loop.timers, children, self._log_pipe.end, self._tell_all)
        self._directories = Directories(self._fleet, self._loop.selector, self._loop.timers)
        self._turns = Turns(self._fleet)
        self._vms = Vms(self._fleet, self._loop.selector)
        self._status = StatusSource(self._fleet, self._vms.machine_of)
        self._health = HealthCheck(self._fleet, self._loop.timers)
        self._service = Service()
        self._progress = Progress(self._log_pipe.show)
        answers = Answers(
            self._fleet,
            self._status,
            self._health,
            self._turns,
            self._now,
            self._reload,
            self._stop_after_answer,
        )
        self._control = Control(
            Path(config.runtime_dir) / "control.sock", answers.routes(), config.supervisor.control_group
        )

    def run(self) -> None:
        """Run the fleet until SIGTERM, SIGINT or the control socket says stop, and all workers have ended."""
        self._connect()
        self._fork_server.start()
        _log.info("filemapd started, pid %d", os.getpid())
        self._changed(self._directories.apply(self._fleet.config))
        self._service.ready()
        self._web.apply(self._fleet.config)
        while not (self._fleet.stopping and self._fleet.over and self._web.over):
            now = self._loop.turn(self._watch.next_due())
            self._turns.looks(now)
            self._ledger.turn(now)
        _log.info("filemapd stopped")

    def close(self) -> None:
        """Give up what is open; the logs last."""
        self._control.close()
        self._directories.close()
        self._on_move.close()
        self._feed.close()
        self._watch.close()
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
                signal.SIGCHLD: self._fleet.children.reap,
            }
        )
        loop.selector.register(self._log_pipe, selectors.EVENT_READ, lambda _: self._log_pipe.drain())
        self._control.register(loop.clients)
        if self._watch.polling:
            _log.warning(
                "no inotify instance to be had (fs.inotify.max_user_instances): changes are polled for"
            )
        else:
            loop.selector.register(self._watch, selectors.EVENT_READ, self._watched)
        loop.every(SWEEP, self._sweep)
        self._sweep_busy()
        loop.every(TABLE_INTERVAL, self._turns.tables)
        loop.every(MEND_INTERVAL, self._ledger.mend)
        self._health.start()
        loop.every(HEARTBEAT, self._heartbeat)
        loop.every(watcher.INTERVAL, self._vms.tick)

    def _watched(self, _events: int) -> None:
        self._directories.changed(self._watch.read(time.monotonic()))

    def _sweep(self) -> None:
        now = time.monotonic()
        self._watch.sweep(now)
        self._turns.samples(now)
        self._directories.tick(now)
        self._control.tick(now)
        states = [filemap.record.state for filemap in self._fleet.filemaps.values()]
        self._progress.tick(now, states)
        self._service.tick(now, states, sound=self._health.sound(now))

    def _sweep_busy(self) -> None:
        now = time.monotonic()
        self._loop.timers.at(now + self._watch.sweep_busy(now), self._sweep_busy)

    def _stop(self) -> None:
        if not self._fleet.stopping:
            _log.info("stopping")
            self._service.stopping()
            self._fleet.stop()
            self._web.stop()

    # The web process.

    def _heartbeat(self) -> None:
        self._own.loop_lag_seconds = self._loop.timers.take_lag()
        self._web.check()
        self._feed.tell(["supervisor", self._status.supervisor(self._now())])

    def _tell_all(self) -> None:
        for path, filemap in self._fleet.filemaps.items():
            filemap.placed.anew()
            self._feed.changed(path)
        for happening in self._ledger.latest_events(_TOLD_EVENTS, None):
            self._tell_event(happening)
        self._feed.tell(["supervisor", self._status.supervisor(self._now())])

    def _tell_event(self, happening: Happening) -> None:
        self._feed.tell(["event", happening.as_json()])

    def _now(self) -> Own:
        self._own.log_records_dropped = self._log_pipe.dropped
        self._own.web = self._web.status()
        self._own.on_move = self._on_move.status()
        return self._own

    def _stop_after_answer(self) -> None:
        self._loop.timers.at(time.monotonic(), self._stop)

    # Reload.

    def _reload_for_signal(self) -> None:
        try:
            self._reload()
        except ConfigError as error:
            for line in str(error).splitlines():
                _log.error("not reloaded: %s", line)

    def _reload(self) -> dict[str, list[str]]:
        """Read the configuration and run what it wants; where it is wrong nothing changes.

        Raises ConfigError.
        """
        self._service.reloading()
        try:
            return self._take_over(self._load())
        finally:
            self._service.ready()

    def _take_over(self, config: Config) -> dict[str, list[str]]:
        running = self._fleet.config
        for key in ("state_dir", "runtime_dir"):
            if getattr(config, key) != getattr(running, key):
                _log.warning("%s takes effect at the next start", key)
        self._fleet.config = config
        self._ledger.mend()
        self._log_pipe.set(config.supervisor.log)
        self._fleet.set_log_level(logging.getLogger().level)
        self._control.set_group(config.supervisor.control_group)
        self._health.start()
        changes = self._directories.apply(config)
        for filemap in self._fleet.filemaps.values():
            if filemap.record.state is State.FAILED:
                self._fleet.event(filemap, Event.RESTART, "reload")
        self._changed(changes)
        self._web.apply(config)
        return changes

    @staticmethod
    def _changed(changes: dict[str, list[str]]) -> None:
        for what, names in changes.items():
            if names:
                _log.info("%s: %s", what, ", ".join(names))
