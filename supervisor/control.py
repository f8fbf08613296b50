"""The control socket: HTTP/1.1 with JSON on a Unix socket, driven by the supervisor's main loop.

One request a connection: a connection costs next to nothing here, and the end of each is plain. No client can
hold up the loop: each has so much time for its request and answer, and only so many are served at once.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import socket
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import h11

_log = logging.getLogger("filemapd.control")

_MAX_CLIENTS: Final = 32
_MAX_HEAD: Final = 16 * 1024
_MAX_BODY: Final = 64 * 1024
_READ: Final = 16 * 1024
_PATIENCE: Final = 10.0
_PAUSE: Final = 1.0


class AlreadyRunning(Exception):  # noqa: N818 - the name says what is the case
    """Another filemapd listens on the control socket."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; `body` is what JSON can hold."""

    status: int
    body: object


Routes = Mapping[tuple[str, str], Callable[[Any], Response]]
"""(method, path) -> what answers it; called with the request's JSON, None where there is none."""


class _BadRequest(Exception):  # noqa: N818 - it becomes an answer
    """The request is refused with this answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.response = _error(status, message)


def _error(status: int, message: str) -> Response:
    return Response(status, {"error": message})


def _encoded(response: Response) -> tuple[HTTPStatus, bytes]:
    try:
        return HTTPStatus(response.status), json.dumps(response.body, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        _log.exception("an answer that can't be sent")
        body = json.dumps({"error": f"a fault in filemapd: {error}"}).encode()
        return HTTPStatus.INTERNAL_SERVER_ERROR, body


def _listen(path: Path) -> socket.socket:
    """Return a socket that listens on `path` with mode 0660, or raise AlreadyRunning."""
    _clear(path)
    listener = socket.socket(socket.AF_UNIX)
    # By umask, so that there is no moment at which others may connect. This process has no threads.
    umask = os.umask(0o117)
    try:
        listener.bind(str(path))
        listener.listen(_MAX_CLIENTS)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(umask)
    return listener


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


class Control:
    """The listening socket and its clients."""

    def __init__(self, path: Path, routes: Routes) -> None:
        """Listen on `path`. Raises AlreadyRunning where another does."""
        self._path = path
        self._routes = routes
        self._listener = _listen(path)
        self._inode = path.stat().st_ino
        self._selector: selectors.BaseSelector | None = None
        self._clients: set[_Client] = set()
        self._paused_until: float | None = None

    def register(self, selector: selectors.BaseSelector) -> None:
        """Have `selector` watch the socket and all clients to come."""
        self._selector = selector
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def tick(self, now: float) -> float | None:
        """Close the clients whose time was up by `now` (monotonic); return when to be called next, None for never."""
        for client in [client for client in self._clients if client.deadline <= now]:
            client.close()
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
        self._clients.add(_Client(connection, self._selector, self._routes, self._gone))
        if len(self._clients) >= _MAX_CLIENTS:
            # The others wait in the backlog; it must not wake the loop meanwhile.
            self._listen_no_more()

    def _gone(self, client: _Client) -> None:
        self._clients.discard(client)
        if self._paused_until is None:
            self._listen_again()

    def _listen_again(self) -> None:
        if self._selector is not None and self._listener not in self._selector.get_map():
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _listen_no_more(self) -> None:
        if self._selector is not None and self._listener in self._selector.get_map():
            self._selector.unregister(self._listener)


class _Client:
    """One connection: reads a request, answers it, ends."""

    def __init__(
        self,
        connection: socket.socket,
        selector: selectors.BaseSelector,
        routes: Routes,
        gone: Callable[[_Client], None],
    ) -> None:
        self.deadline = time.monotonic() + _PATIENCE
        self._socket = connection
        self._selector = selector
        self._routes = routes
        self._gone = gone
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._output = b""
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ, self._ready)

    def close(self) -> None:
        """End the connection, whatever its state."""
        self._selector.unregister(self._socket)
        self._socket.close()
        self._gone(self)

    def _ready(self, _mask: int) -> None:
        try:
            if self._output:
                self._write()
            else:
                self._read()
        except BlockingIOError:
            pass
        except OSError:  # the client has gone
            self.close()

    def _read(self) -> None:
        data = self._socket.recv(_READ)
        try:
            self._http.receive_data(data)
            if self._whole():
                self._answer(self._route())
                return
        except h11.RemoteProtocolError as error:
            self._answer(_error(error.error_status_hint, str(error)))
            return
        except _BadRequest as refusal:
            self._answer(refusal.response)
            return
        if not data:
            self.close()

    def _whole(self) -> bool:
        """Take what has arrived; True when that is the whole request."""
        while True:
            event = self._http.next_event()
            match event:
                case h11.Request():
                    self._request = event
                    self._expect(dict(event.headers).get(b"content-length", b"0"))
                case h11.Data():
                    self._body += event.data
                    self._expect(len(self._body))
                case h11.EndOfMessage():
                    return True
                case _:
                    return False

    def _expect(self, size: bytes | int) -> None:
        if int(size) > _MAX_BODY:
            raise _BadRequest(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body must not be larger than {_MAX_BODY} bytes"
            )

    def _route(self) -> Response:
        """Return what the route for the request answers."""
        assert self._request is not None  # noqa: S101 - there is no end of a request without one
        method, path = self._request.method.decode(), self._request.target.decode().partition("?")[0]
        handler = self._routes.get((method, path))
        if handler is None:
            allowed = sorted(known for known, where in self._routes if where == path)
            if allowed:
                raise _BadRequest(
                    HTTPStatus.METHOD_NOT_ALLOWED, f"{path} takes {', '.join(allowed)}, not {method}"
                )
            raise _BadRequest(HTTPStatus.NOT_FOUND, f"there is no {path}")
        try:
            body = json.loads(self._body) if self._body else None
        except (ValueError, RecursionError) as error:
            raise _BadRequest(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from None
        try:
            return handler(body)
        except Exception as error:  # noqa: BLE001 - the client is told, and the supervisor goes on
            _log.exception("a fault in the answer to %s %s", method, path)
            return _error(
                HTTPStatus.INTERNAL_SERVER_ERROR, f"a fault in filemapd: {type(error).__name__}: {error}"
            )

    def _answer(self, response: Response) -> None:
        """Put the answer into the socket at once, so that it is out even if filemapd ends next."""
        status, body = _encoded(response)
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        events: list[h11.Event] = [
            h11.Response(status_code=status, headers=headers, reason=status.phrase.encode())
        ]
        # HTTP has it that the answer to HEAD is all but the body.
        if self._request is None or self._request.method != b"HEAD":
            events.append(h11.Data(data=body))
        for event in (*events, h11.EndOfMessage()):
            self._output += self._http.send(event) or b""
        self._selector.modify(self._socket, selectors.EVENT_WRITE, self._ready)
        self._write()

    def _write(self) -> None:
        sent = self._socket.send(self._output, socket.MSG_NOSIGNAL)
        self._output = self._output[sent:]
        if sent:  # whoever reads on has its time anew: a long answer takes many turns of a busy loop
            self.deadline = time.monotonic() + _PATIENCE
        if not self._output:
            self.close()
