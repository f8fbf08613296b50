"""No bytes on the control socket or the port cause a fault, and the next client gets a response."""

from __future__ import annotations

import contextlib
import re
import socket
from pathlib import Path

from hypothesis import given, settings

from tests.unit.controlling import Loop, connect, raw, running
from tests.unit.rawhttp import streams
from tests.unit.serving import DEADLINE, Serving, recorded_status, serving

_RESPONSE = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
_PAGES = (
    b"/",
    b"/metrics",
    b"/healthz",
    b"/image?name=%ff",
    b"/device?name=x&name=y",
    b"/static/live.js",
    b"/no",
)


def test_control_socket(tmp_path: Path) -> None:
    """A connection gets one response at most, however many requests it sends."""
    with running(tmp_path / "control.sock") as loop:

        @settings(deadline=None)
        @given(streams(b"/v1/status", b"/v1/particular?name=x", b"/v1/particular", b"/v1/none"))
        def send(pieces: list[bytes]) -> None:
            response = exchanged(loop, tmp_path, pieces)
            found = _RESPONSE.match(response)
            assert found or not response
            assert found is None or found[1] in {b"200", b"400", b"404", b"405", b"413", b"431", b"501"}
            assert raw(loop, tmp_path, b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n").endswith(
                b'{"filemaps": []}'
            )
            assert len(loop.selector.get_map()) == 1, "a connection was left over"

        send()


def exchanged(loop: Loop, folder: Path, pieces: list[bytes]) -> bytes:
    """Send the pieces, each after the previous one was received; return the whole response."""
    response = b""
    with connect(loop, folder) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                client.sendall(piece)
                loop.settle()
            client.shutdown(socket.SHUT_WR)
        loop.settle()
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(65536):
                response += data
                loop.settle()
    loop.settle()
    return response


def test_port() -> None:
    """Nothing is logged, as clients could fill the log."""
    with serving() as web:
        web.send_all(recorded_status())

        @settings(deadline=None, max_examples=60)
        @given(streams(*_PAGES))
        def send(pieces: list[bytes]) -> None:
            found = set(response_statuses(web, pieces))
            assert found <= {b"100", b"200", b"400", b"404", b"405"}

        send()
        assert web.get("/healthz").body == b"ok\n"
        assert web.records() == []


def response_statuses(web: Serving, pieces: list[bytes]) -> list[bytes]:
    """Send the pieces, and return the status of each response."""
    received = b""
    with (
        socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE) as one,
        contextlib.suppress(OSError),
    ):
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            one.sendall(piece)
        one.shutdown(socket.SHUT_WR)
        while data := one.recv(65536):
            received += data
    return _RESPONSE.findall(received)
