"""The listening socket of the web process. The supervisor opens it, because the port may be privileged."""

from __future__ import annotations

import logging
import random
import socket
import time
from collections.abc import Callable

from supervisor.config.address import listening
from supervisor.config.models import Config
from supervisor.fleet.backoff import delay
from supervisor.runtime.timers import Timer, Timers

_log = logging.getLogger("filemapd.supervisor")


class Listener:
    """Opens the socket, and retries while the address is not available.

    `on_open` is called after each new socket. `is_port_free` returns whether the former process has ended; until then
    it may still hold the port, and failures are not reported.
    """

    def __init__(self, timers: Timers, on_open: Callable[[], None], is_port_free: Callable[[], bool]) -> None:
        self._timers = timers
        self._on_open = on_open
        self._is_port_free = is_port_free
        self.socket: socket.socket | None = None
        self.problem = ""
        """Why the socket could not be opened, else empty."""
        self._failures = 0
        self._retry: Timer | None = None

    def open(self, config: Config) -> None:
        """Listen at the configured address instead of the former one."""
        self._failures = 0
        self._try(config)

    def close(self) -> None:
        """Close the socket and stop retrying."""
        if self._retry is not None:
            self._retry.cancel()
        if self.socket is not None:
            self.socket.close()
        self.socket = self._retry = None
        self.problem = ""

    def _try(self, config: Config) -> None:
        problem = self.problem
        self.close()
        if config.web.listen is None:
            return
        try:
            self.socket = listening(config.web.listen)
        except OSError as error:
            if self._is_port_free():
                self.problem = error.strerror or str(error)
                if self.problem != problem:
                    _log.error("web: %s", self.problem)
            wait = delay(self._failures, config.supervisor.restart.policy(), random.uniform(0.5, 1.5))
            self._failures += 1
            self._retry = self._timers.at(time.monotonic() + wait, lambda: self._try(config))
            return
        self._failures = 0
        _log.info("web: listening on %s", config.web.listen)
        if config.web.for_anybody:
            _log.warning(
                "web: %s is readable by every host that reaches it: set web.tls_server_config and "
                "web.basic_auth_users, or set web.listen to 127.0.0.1:%d",
                config.web.listen,
                config.web.listen.port,
            )
        self._on_open()
