"""The control socket: HTTP/1.1 with JSON on a Unix socket, driven by the supervisor's main loop.

One request a connection: a connection costs little here, and its end is simple. No client can hold up the loop: the
time for a request and its response is limited, and so is the number of clients.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import stat
import time
from pathlib import Path
from typing import Final

from supervisor.control.connection import Connection
from supervisor.control.routes import Routes

_log = logging.getLogger("filemapd.control")

_MAX_CLIENTS: Final = 32
_PAUSE: Final = 1.0


class AlreadyRunning(Exception):  # noqa: N818 - the name states the condition
    """Another filemapd listens on the control socket."""


def _listen(path: Path, group: int | None) -> socket.socket:
    """Return a socket that listens on `path`, for its owner and group, or raise AlreadyRunning."""
    _clear(path)
    listener = socket.socket(socket.AF_UNIX)
    # By umask, so that there is no moment at which others may connect. This process has no threads.
    umask = os.umask(0o177)
    try:
        listener.bind(str(path))
        _open_for(path, group)
        listener.listen(_MAX_CLIENTS)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise OSError(f"the control socket {path} can't be had: {error.strerror or error}") from error
    finally:
        os.umask(umask)
    return listener


def _open_for(path: Path, group: int | None) -> None:
    os.chown(path, -1, os.getegid() if group is None else group)
    path.chmod(0o660)


def _clear(path: Path) -> None:
    """Remove the socket of a supervisor that has died, or raise AlreadyRunning."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(f"{path} is in the way: it is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        # A full backlog is a listener too.
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
    raise AlreadyRunning(f"another filemapd listens on {path}")


class ControlServer:
    """The listening socket and its clients."""

    def __init__(self, path: Path, routes: Routes, group: int | None = None) -> None:
        """Listen on `path`, for root and a group, by default the process's own. Raises AlreadyRunning where another
        does, OSError where the socket can't be had or given to the group."""
        self._path = path
        self._routes = routes
        self._listener = _listen(path, group)
        self._inode = path.stat().st_ino
        self._selector: selectors.BaseSelector | None = None
        self._clients: set[Connection] = set()
        self._paused_until: float | None = None

    def register(self, selector: selectors.BaseSelector) -> None:
        """Register the socket, and all later clients, with `selector`."""
        self._selector = selector
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def set_group(self, group: int | None) -> None:
        """Give the socket to another group."""
        try:
            _open_for(self._path, group)
        except OSError as error:
            _log.warning("the control socket can't be given to group %s: %s", group, error)

    def tick(self, now: float) -> float | None:
        """Close the clients whose time was up by `now` (monotonic); return when to be called next, None for never."""
        for client in [client for client in self._clients if client.deadline <= now]:
            client.overdue()
        if self._paused_until is not None and self._paused_until <= now:
            self._paused_until = None
            self._listen_again()
        times = [client.deadline for client in self._clients]
        if self._paused_until is not None:
            times.append(self._paused_until)
        return min(times, default=None)

    def close(self) -> None:
        """Close all, and remove the socket's file if it is still ours."""
        for client in list(self._clients):
            client.close()
        self._listen_no_more()
        self._selector = None
        self._listener.close()
        try:
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        except FileNotFoundError:
            pass

    def _accept(self, _mask: int) -> None:
        assert self._selector is not None  # noqa: S101 - only the selector calls this
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # it has gone again
            return
        except OSError as error:
            _log.warning("no client of the control socket is served for a moment: %s", error)
            # It stays in the backlog, and would wake the loop at once.
            self._paused_until = time.monotonic() + _PAUSE
            self._listen_no_more()
            return
        self._clients.add(Connection(connection, self._selector, self._routes, self._gone))
        if len(self._clients) >= _MAX_CLIENTS:
            # The others wait in the backlog; it must not wake the loop meanwhile.
            self._listen_no_more()

    def _gone(self, client: Connection) -> None:
        self._clients.discard(client)
        if self._paused_until is None:
            self._listen_again()

    def _listen_again(self) -> None:
        if self._selector is not None and self._listener not in self._selector.get_map():
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _listen_no_more(self) -> None:
        if self._selector is not None and self._listener in self._selector.get_map():
            self._selector.unregister(self._listener)
