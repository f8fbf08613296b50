"""Whatever bytes come on the control socket and the port, nothing of it is a fault, and the next one is answered."""

from __future__ import annotations

import contextlib
import re
import socket
from pathlib import Path

from hypothesis import given, settings

from tests.unit.controlling import Loop, connect, raw, running
from tests.unit.rawhttp import streams
from tests.unit.serving import DEADLINE, Serving, recorded_status, serving

_ANSWER = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
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
    """One answer to a connection at most, however many requests come."""
    with running(tmp_path / "control.sock") as loop:

        @settings(deadline=None)
        @given(streams(b"/v1/status", b"/v1/particular?name=x", b"/v1/particular", b"/v1/none"))
        def send(pieces: list[bytes]) -> None:
            answer = exchanged(loop, tmp_path, pieces)
            found = _ANSWER.match(answer)
            assert found or not answer
            assert found is None or found[1] in {b"200", b"400", b"404", b"405", b"413", b"431", b"501"}
            assert raw(loop, tmp_path, b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n").endswith(
                b'{"filemaps": []}'
            )
            assert len(loop.selector.get_map()) == 1, "a connection was left over"

        send()


def exchanged(loop: Loop, folder: Path, pieces: list[bytes]) -> bytes:
    """Send pieces, each of which is taken before the next is sent; return all that comes back."""
    answer = b""
    with connect(loop, folder) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                client.sendall(piece)
                loop.settle()
            client.shutdown(socket.SHUT_WR)
        loop.settle()
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(65536):
                answer += data
                loop.settle()
    loop.settle()
    return answer


def test_port() -> None:
    """Nothing is logged either: who sends it could fill the log."""
    with serving() as web:
        web.send_all(recorded_status())

        @settings(deadline=None, max_examples=60)
        @given(streams(*_PAGES))
        def send(pieces: list[bytes]) -> None:
            statuses = set(answered(web, pieces))
            assert statuses <= {b"100", b"200", b"400", b"404", b"405"}

        send()
        assert web.get("/healthz").body == b"ok\n"
        assert web.records() == []


def answered(web: Serving, pieces: list[bytes]) -> list[bytes]:
    """Send pieces, and return the statuses of all answers, of which each may have any body."""
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
    return _ANSWER.findall(received)
