"""A control socket in a minimal main loop, and clients for it."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import RootModel

from supervisor.control.client import ControlError, call
from supervisor.control.requests import Request
from supervisor.control.routes import Response, Route, StreamedResponse
from supervisor.control.server import ControlServer


def _fail(_body: Any) -> Response:
    raise RuntimeError("broken")


class Anything(RootModel[Any]):
    """Any body."""


class Particular(Request):
    """A body and a query with specific keys."""

    name: str
    count: int = 1


def _breaks_off() -> Iterator[str]:
    yield "[1"
    raise RuntimeError("broken in the middle")


ROUTES = {
    ("GET", "/v1/status"): Route(Request, lambda _: Response(200, {"filemaps": []})),
    ("POST", "/v1/echo"): Route(Anything, lambda body: Response(200, body.root)),
    ("POST", "/v1/particular"): Route(Particular, lambda body: Response(200, [body.name, body.count])),
    ("GET", "/v1/particular"): Route(Particular, lambda query: Response(200, [query.name, query.count])),
    ("POST", "/v1/refuse"): Route(Request, lambda _: Response(409, {"error": "not now"})),
    ("POST", "/v1/fail"): Route(Request, _fail),
    ("POST", "/v1/object"): Route(Request, lambda _: Response(200, object())),
    ("POST", "/v1/odd"): Route(Request, lambda _: Response(799, None)),
    ("GET", "/v1/large"): Route(Request, lambda _: Response(200, "x" * 2_000_000)),
    ("GET", "/v1/pieces"): Route(
        Request,
        lambda _: StreamedResponse(iter(["[", *(f"{n}, " for n in range(50)), '"' + "x" * 500_000 + '"]'])),
    ),
    ("GET", "/v1/breaks"): Route(Request, lambda _: StreamedResponse(_breaks_off())),
}


class Loop:
    """A minimal main loop with callbacks in key.data, driven by the test."""

    def __init__(self, path: Path) -> None:
        self.selector = selectors.DefaultSelector()
        self.control = ControlServer(path, ROUTES)
        self.control.register(self.selector)

    def turn(self, timeout: float = 0.0) -> int:
        """Handle ready descriptors, and return how many there were."""
        ready = self.selector.select(timeout)
        for key, mask in ready:
            key.data(mask)
        return len(ready)

    def until(self, done: Callable[[], bool]) -> None:
        """Run until `done`."""
        deadline = time.monotonic() + 60
        while not done():
            assert time.monotonic() < deadline
            self.turn(0.01)

    def settle(self) -> None:
        """Run until nothing is ready."""
        while self.turn():
            pass


@contextmanager
def running(path: Path) -> Iterator[Loop]:
    """Provide a loop while the context lasts."""
    one = Loop(path)
    try:
        yield one
    finally:
        one.control.close()
        assert not one.selector.get_map()
        one.selector.close()


def ask(loop: Loop, directory: Path, method: str, path: str, body: object = None) -> Any:
    """Return the result of call(), or raise its error. It runs in a thread while the loop runs."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(call(directory, method, path, body))
        except ControlError as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    loop.until(lambda: bool(result))
    thread.join()
    return result[0]


def connect(loop: Loop, directory: Path) -> socket.socket:
    """Return a raw connection that the loop has accepted."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(directory / "control.sock"))
    loop.settle()
    return client


def raw(loop: Loop, directory: Path, request: bytes, *, end: bool = False) -> bytes:
    """Return all that the server sends in response to `request`, with EOF after it if `end`."""
    with connect(loop, directory) as client:
        client.sendall(request)
        if end:
            client.shutdown(socket.SHUT_WR)
        loop.settle()
        response = b""
        try:
            while data := client.recv(65536):
                response += data
                loop.settle()
        except ConnectionResetError:  # it left some of the request unread
            pass
        return response
