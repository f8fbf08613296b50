"""One connection to the control socket: HTTP/1.1 with JSON, one request, one response, without blocking."""

from __future__ import annotations

import json
import logging
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Final

import h11
from pydantic import BaseModel

from supervisor.control.requests import RequestError, from_body, from_query
from supervisor.control.routes import Response, Routes, StreamedResponse

_log = logging.getLogger("filemapd.control")

_MAX_HEAD: Final = 16 * 1024
_MAX_BODY: Final = 64 * 1024
_READ: Final = 16 * 1024
_PATIENCE: Final = 10.0


class _BadRequest(Exception):  # noqa: N818 - it becomes a response
    """The request is refused with this response."""

    def __init__(self, status: int, message: str, allow: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.response = _error(status, message, allow)


def _error(status: int, message: str, allow: Sequence[str] = ()) -> Response:
    return Response(status, {"error": message}, allow)


def _encoded(response: Response) -> tuple[HTTPStatus, bytes]:
    try:
        return HTTPStatus(response.status), json.dumps(response.body, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        _log.exception("a response that can't be encoded")
        body = json.dumps({"error": f"a fault in filemapd: {error}"}).encode()
        return HTTPStatus.INTERNAL_SERVER_ERROR, body


def _head(status: HTTPStatus, length: int | None = None, allow: Sequence[str] = ()) -> h11.Response:
    """Return the head of a response of `length` bytes; None for an unknown length."""
    headers = [("Content-Type", "application/json"), ("Connection", "close")]
    if length is not None:
        headers.append(("Content-Length", str(length)))
    if allow:
        headers.append(("Allow", ", ".join(allow)))
    return h11.Response(status_code=status, headers=headers, reason=status.phrase.encode())


class Connection:
    """Reads one request, sends the response, and closes."""

    def __init__(
        self,
        connection: socket.socket,
        selector: selectors.BaseSelector,
        routes: Routes,
        gone: Callable[[Connection], None],
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
        self._pieces: Iterator[str] = iter(())
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ, self._ready)

    def close(self) -> None:
        """Close the connection in any state."""
        self._selector.unregister(self._socket)
        self._socket.close()
        self._gone(self)

    def overdue(self) -> None:
        """Close the connection if the client is late. If the event loop itself was late, the client has more time."""
        deadline = self.deadline
        self._ready(0)
        if self.deadline == deadline and self._socket.fileno() >= 0:
            self.close()

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
                self._respond(self._route())
                return
        except h11.RemoteProtocolError as error:
            self._respond(_error(error.error_status_hint, str(error)))
            return
        except _BadRequest as refusal:
            self._respond(refusal.response)
            return
        if not data:
            self.close()

    def _whole(self) -> bool:
        """Read what has arrived; return whether the request is complete."""
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

    def _route(self) -> Response | StreamedResponse:
        """Return the response of the request's route."""
        assert self._request is not None  # noqa: S101 - there is no end of a request without one
        method, target = self._request.method.decode(), self._request.target.decode()
        path, _, query = target.partition("?")
        route = self._routes.get((method, path))
        if route is None:
            allowed = sorted(known for known, where in self._routes if where == path)
            if allowed:
                raise _BadRequest(
                    HTTPStatus.METHOD_NOT_ALLOWED, f"{path} takes {', '.join(allowed)}, not {method}", allowed
                )
            raise _BadRequest(HTTPStatus.NOT_FOUND, f"there is no {path}")
        try:
            question = from_query(route.request, query) if method == "GET" else self._from_body(route.request)
        except RequestError as error:
            raise _BadRequest(HTTPStatus.BAD_REQUEST, str(error)) from None
        try:
            return route.handler(question)
        except Exception as error:  # noqa: BLE001 - the client gets the error, and the supervisor goes on
            _log.exception("a fault in the response to %s %s", method, path)
            return _error(
                HTTPStatus.INTERNAL_SERVER_ERROR, f"a fault in filemapd: {type(error).__name__}: {error}"
            )

    def _from_body(self, model: type[BaseModel]) -> BaseModel:
        try:
            body = json.loads(self._body) if self._body else {}
        except (ValueError, RecursionError) as error:
            raise RequestError(f"the body is not JSON: {error}") from None
        return from_body(model, body)

    def _respond(self, response: Response | StreamedResponse) -> None:
        """Send the response, or its beginning, at once, so that it is sent even if filemapd ends next."""
        if isinstance(response, StreamedResponse):
            self._send(_head(HTTPStatus.OK))
            self._pieces = response.pieces
        else:
            status, body = _encoded(response)
            self._send(_head(status, len(body), response.allow))
            # In HTTP the response to HEAD is all but the body.
            if self._request is None or self._request.method != b"HEAD":
                self._send(h11.Data(data=body))
            self._send(h11.EndOfMessage())
        self._selector.modify(self._socket, selectors.EVENT_WRITE, self._ready)
        self._write()

    def _send(self, event: h11.Event) -> None:
        self._output += self._http.send(event) or b""

    def _write(self) -> None:
        sent = self._socket.send(self._output, socket.MSG_NOSIGNAL)
        self._output = self._output[sent:]
        if sent:  # a long response takes many turns of a busy loop: each part that is read extends the time
            self.deadline = time.monotonic() + _PATIENCE
        if not self._output:
            self._go_on()

    def _go_on(self) -> None:
        """Make the next piece of the response, for the next turn; close after the last one."""
        try:
            piece = next(self._pieces, None)
        except Exception:  # noqa: BLE001 - the client sees that the response ends early, and the supervisor goes on
            _log.exception("a fault in the middle of a response")
            self.close()
            return
        if piece is not None:
            self._send(h11.Data(data=piece.encode()))
            return
        if self._http.our_state is h11.SEND_BODY:
            self._send(h11.EndOfMessage())
        if not self._output:
            self.close()
