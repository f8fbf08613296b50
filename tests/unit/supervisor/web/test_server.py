"""The web process over HTTP, and the limits for clients."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import resource
import socket
import time
from collections.abc import Iterator

import psutil
import pytest
from starlette.applications import Starlette

from supervisor.web import server
from supervisor.web.app import application
from supervisor.web.server import MOST_CONNECTIONS, HttpServer
from supervisor.web.state.store import Store
from tests.unit.serving import Serving, recorded_status, serving

DEADLINE = 60.0


@pytest.fixture
def web() -> Iterator[Serving]:
    """A web process without a status."""
    with serving() as one:
        yield one


def test_unavailable_before_the_first_heartbeat(web: Serving) -> None:
    """Until the supervisor's first heartbeat, which follows the files, requests get 503."""
    status = recorded_status()
    web.send("file", status["filemaps"][0])
    for path in ("/healthz", "/metrics"):
        assert web.get(path).status == 503
    web.send_all(status)
    assert web.get("/healthz").body == b"ok\n"
    assert web.get("/metrics").status == 200


def test_is_read_only(web: Serving) -> None:
    """GET and HEAD are allowed, other methods get 405, unknown paths 404."""
    web.send_all(recorded_status())
    whole, head = web.get("/metrics"), web.get("/metrics", "HEAD")
    assert (head.status, head.body, head.headers["content-type"]) == (200, b"", whole.headers["content-type"])
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        refused = web.get("/metrics", method)
        assert (refused.status, sorted(refused.headers["allow"].split(", "))) == (405, ["GET", "HEAD"])
    assert web.get("/nothing").status == 404
    assert web.records() == []


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/nothing"])
def test_headers_of_every_response(web: Serving, path: str) -> None:
    """The policy allows scripts and resources of this server only. No header names the server."""
    headers = web.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert set(policy.values()) == {"'none'", "'self'"}
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["date"].endswith("GMT")
    assert "server" not in headers


def test_gzip(web: Serving) -> None:
    """The response is compressed if the client accepts gzip. The format depends on Accept."""
    web.send_all(recorded_status())
    plain, packed = web.get("/metrics"), web.get("/metrics", Accept_Encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) < len(plain.body) / 5
    assert gzip.decompress(packed.body).count(b"\n") == plain.body.count(b"\n")
    assert "openmetrics" not in plain.headers["content-type"]
    openmetrics = web.get("/metrics", Accept="application/openmetrics-text;version=1.0.0")
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert openmetrics.body.endswith(b"# EOF\n")


def test_a_head_that_is_too_large(web: Serving) -> None:
    """Too large headers get 400, and other clients are served."""
    web.send_all(recorded_status())
    with socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE) as one:
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                one.sendall(b"X-More: " + b"x" * 1000 + b"\r\n")
        with contextlib.suppress(ConnectionError):
            assert one.recv(100).startswith(b"HTTP/1.1 400 ")
    assert web.get("/healthz").status == 200
    assert web.records() == []


@pytest.mark.parametrize(
    "invalid", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\r\n" * 50, b"GET / HTTP/9.9\r\n\r\n"]
)
def test_invalid_http(web: Serving, invalid: bytes) -> None:
    """Invalid HTTP ends the connection and is not logged."""
    web.send_all(recorded_status())
    with socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE) as one:
        one.sendall(invalid)
        one.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while one.recv(1000):
                pass
    assert web.get("/healthz").status == 200
    assert web.records() == []


@pytest.mark.parametrize("responded_before", [False, True])
def test_invalid_body(web: Serving, *, responded_before: bool) -> None:
    """An invalid body ends the connection, before or after the response, and is not logged."""
    web.send_all(recorded_status())
    with socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE) as one:
        head = b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        one.sendall(head if responded_before else head + b"invalid\r\n")
        expected = b"405" if responded_before else b"400"
        assert one.recv(1000).startswith(b"HTTP/1.1 " + expected)
        one.sendall(b"invalid\r\n")
        with contextlib.suppress(ConnectionError):
            while one.recv(1000):
                pass
    assert web.get("/healthz").status == 200
    assert web.records() == []


def test_too_many_connections(web: Serving) -> None:
    """Connections above the limit are closed at once, until another connection ends."""
    web.send_all(recorded_status())
    with contextlib.ExitStack() as open_ones:
        connections = [
            open_ones.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE))
            for _ in range(MOST_CONNECTIONS)
        ]
        for _ in range(20):
            with (
                socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE) as refused,
                contextlib.suppress(ConnectionError),
            ):
                assert refused.recv(1) == b""
        connections.pop().close()

        def is_served() -> bool:
            try:
                return web.get("/healthz").status == 200
            except (OSError, EOFError):
                return False

        deadline = time.monotonic() + DEADLINE
        while not is_served():
            assert time.monotonic() < deadline


def test_a_body_without_end(web: Serving) -> None:
    """A small body is discarded, and the connection can be used again. With a large one the connection is aborted."""
    web.send_all(recorded_status())
    connection = web.connection()
    for _ in range(2):
        connection.request("POST", "/metrics", body=b"x" * 10_000)
        response = connection.getresponse()
        assert (response.status, response.read()) == (405, b"Method Not Allowed")
    connection.close()
    with socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE) as one:
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        assert one.recv(100).startswith(b"HTTP/1.1 200 ")
        with pytest.raises(ConnectionError):
            one.sendall(b"x" * 100_000_000)
    assert web.get("/healthz").status == 200


def test_ten_thousand_requests(web: Serving) -> None:
    """All succeed, and the process grows by less than 1 kB for each request."""
    web.send_all(recorded_status())
    request, count = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 100

    def rss() -> int:
        return psutil.Process(web.process.pid).memory_info().rss

    def request_many(times: int) -> None:
        for _ in range(times):
            with socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE) as one:
                one.sendall(request * count)
                received = b""
                while received.count(b"HTTP/1.1 200 OK") < count or not received.endswith(b"\r\n\r\nok\n"):
                    received += one.recv(65536)

    request_many(10)
    before = rss()
    request_many(100)
    assert rss() < before + (10 << 20)
    assert web.records() == []


def test_ends_with_its_feed(web: Serving) -> None:
    """The web process ends when the feed is closed, also with connected clients."""
    web.send_all(recorded_status())
    with socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE):
        assert web.close() == (0, b"")


def loses_its_connection(app: Starlette, request: bytes) -> None:
    """Assert that a client that sends `request` and reads no response is disconnected."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as client:
            http_server = HttpServer(app)
            http_server.start(listening)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, listening.getsockname())
            await loop.sock_sendall(client, request)
            deadline = time.monotonic() + DEADLINE
            seen = False
            while not seen or http_server._state.connections:
                assert time.monotonic() < deadline
                seen = seen or bool(http_server._state.connections)
                # Check in each turn of the loop, so that even a slow machine sees the connection before its deadline.
                await asyncio.sleep(0)
            loop.remove_reader(listening)

    asyncio.run(run())


def test_no_free_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a free descriptor the process pauses instead of retrying in a busy loop. Later it serves the client."""
    monkeypatch.setattr(server, "_PAUSE", 0.05)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as client:
            loop, http_server = asyncio.get_running_loop(), HttpServer(application(Store()))
            tries: list[socket.socket] = []
            real = http_server._accept

            def accept(one: socket.socket) -> None:
                tries.append(one)
                real(one)

            monkeypatch.setattr(http_server, "_accept", accept)
            client.setblocking(False)
            await loop.sock_connect(client, listening.getsockname())
            await loop.sock_sendall(client, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            highest = max(int(name) for name in os.listdir("/proc/self/fd"))
            spare = [os.dup(0) for _ in range(highest)]
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, limits[1]))
                began = loop.time()
                http_server.start(listening)
                while len(tries) < 4:
                    assert loop.time() < began + DEADLINE
                    await asyncio.sleep(0.01)
                assert loop.time() - began > 3 * server._PAUSE - 0.01
                assert not http_server._state.connections
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                for one in spare:
                    os.close(one)
            response = await asyncio.wait_for(loop.sock_recv(client, 100), DEADLINE)
            assert response.startswith(b"HTTP/1.1 503 ")
            loop.remove_reader(listening)

    asyncio.run(run())


@pytest.mark.parametrize(
    "request_", [b"", b"GET /healthz HTTP/1.1\r\nHost:", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"]
)
def test_clients_without_a_request_time_out(monkeypatch: pytest.MonkeyPatch, request_: bytes) -> None:
    """A client without a complete request, or without a further one, is disconnected at the deadline."""
    monkeypatch.setattr(server, "_DEADLINE", 0.2)
    loses_its_connection(application(Store()), request_)


def test_clients_that_do_not_read_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that requests much and reads nothing is disconnected at the deadline."""
    monkeypatch.setattr(server, "_DEADLINE", 0.5)
    store, status = Store(), recorded_status()
    for number in range(1000):
        store.put(["file", {**status["filemaps"][0], "path": f"/{number}", "name": f"{number}"}])
    store.put(["supervisor", status])
    loses_its_connection(application(store), b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
