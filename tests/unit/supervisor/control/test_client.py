"""Requests and responses over the control socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.control.client import ControlError
from tests.unit.controlling import Loop, ask, connect, raw, running


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    """A loop with its socket at control.sock in tmp_path."""
    with running(tmp_path / "control.sock") as one:
        yield one


def test_requests_and_responses(loop: Loop, tmp_path: Path) -> None:
    """JSON goes both ways, also a body that must be sent in pieces."""
    assert ask(loop, tmp_path, "GET", "/v1/status") == {"filemaps": []}
    assert ask(loop, tmp_path, "POST", "/v1/echo", {"name": "\udcff"}) == {"name": "\udcff"}
    assert ask(loop, tmp_path, "POST", "/v1/echo") == {}
    assert len(ask(loop, tmp_path, "GET", "/v1/large")) == 2_000_000


def test_a_response_in_pieces(loop: Loop, tmp_path: Path) -> None:
    """A response made in pieces lets the loop run in between, and arrives complete, over HTTP/1.0 too."""
    assert ask(loop, tmp_path, "GET", "/v1/pieces") == [*range(50), "x" * 500_000]
    with connect(loop, tmp_path) as client:
        client.sendall(b"GET /v1/pieces HTTP/1.1\r\nHost: x\r\n\r\n")
        turns = 0
        while loop.turn():
            turns += 1
            if len(client.recv(65536)) > 10_000:
                break
        assert turns > 50
    loop.settle()
    old = raw(loop, tmp_path, b"GET /v1/pieces HTTP/1.0\r\n\r\n")
    assert old.startswith(b"HTTP/1.1 200 ")
    assert old.endswith(b'x"]')


def test_an_incomplete_response(loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An error in the middle is logged, and the client sees that the response is incomplete."""
    error = ask(loop, tmp_path, "GET", "/v1/breaks")
    assert isinstance(error, ControlError)
    assert "broke" in str(error)
    assert "broken in the middle" in caplog.text
    assert ask(loop, tmp_path, "GET", "/v1/status") == {"filemaps": []}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "name: is missing, and has no default"),
        ({"name": 7}, "name: must be text, not 7: put it in quotes"),
        ({"nane": "a"}, "name: is missing, and has no default; nane: unknown key; did you mean 'name'?"),
        ({"name": "a", "count": "2"}, "count: must be a whole number, not '2'"),
        (["a"], "the request must be a mapping (`key: value`), not ['a']"),
        ("a", "the request must be a mapping (`key: value`), not 'a'"),
    ],
)
def test_bodies_are_validated(loop: Loop, tmp_path: Path, body: object, text: str) -> None:
    """An error in a body names the key and what would be valid."""
    error = ask(loop, tmp_path, "POST", "/v1/particular", body)
    assert isinstance(error, ControlError)
    assert (error.status, str(error)) == (400, text)
    assert ask(loop, tmp_path, "POST", "/v1/particular", {"name": "a", "count": 2}) == ["a", 2]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "name: is missing, and has no default"),
        ("?name=a&count=many", "count: must be a whole number, not 'many'"),
        ("?name=a&size=1", "size: unknown key; the keys here are name, count"),
        ("?name=a&name=b", "name: is given twice"),
    ],
)
def test_queries_are_validated(loop: Loop, tmp_path: Path, query: str, text: str) -> None:
    """An error in a query names the key and what would be valid."""
    error = ask(loop, tmp_path, "GET", f"/v1/particular{query}")
    assert isinstance(error, ControlError)
    assert (error.status, str(error)) == (400, text)
    assert ask(loop, tmp_path, "GET", "/v1/particular?count=3&name=%C3%BC+x") == ["ü x", 3]


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/v1/none", 404, "there is no /v1/none"),
        ("DELETE", "/v1/status", 405, "/v1/status takes GET, not DELETE"),
        ("POST", "/v1/refuse", 409, "not now"),
        ("POST", "/v1/fail", 500, "a fault in filemapd: RuntimeError: broken"),
        ("POST", "/v1/object", 500, "a fault in filemapd: Object of type object is not JSON serializable"),
        ("POST", "/v1/odd", 500, "a fault in filemapd: 799 is not a valid HTTPStatus"),
    ],
)
def test_errors_are_reported(
    loop: Loop, tmp_path: Path, method: str, path: str, status: int, text: str
) -> None:
    """The client gets the status and the text, and the supervisor goes on, for any exception of a route."""
    error = ask(loop, tmp_path, method, path)
    assert isinstance(error, ControlError)
    assert (error.status, str(error)) == (status, text)
    assert ask(loop, tmp_path, "GET", "/v1/status") == {"filemaps": []}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /v1/status HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000, 431),
        (b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{x}", 400),
        (b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"[" * 60_000, 400),
        (b"POST /v1/refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nnull", 400),
        (b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", 413),
        (
            b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n"
            + b" " * 70_000,
            413,
        ),
        (b"HEAD /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    ],
)
def test_bad_requests(loop: Loop, tmp_path: Path, request_: bytes, status: int) -> None:
    """Invalid or too large requests get an error response, and the connection is closed."""
    assert raw(loop, tmp_path, request_).startswith(b"HTTP/1.1 %d " % status)


def test_allowed_methods(loop: Loop, tmp_path: Path) -> None:
    """A wrong method gets a response with the allowed ones (RFC 9110, 15.5.6)."""
    response = raw(loop, tmp_path, b"PUT /v1/particular HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"\r\nallow: get, post\r\n" in response.lower()
