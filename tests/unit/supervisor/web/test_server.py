"""The web process over HTTP, and what a client can't have."""

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
    """A web process that was told nothing yet."""
    with serving() as one:
        yield one


def test_not_before_all_is_known(web: Serving) -> None:
    """Until the supervisor's first heartbeat, which comes after the files, it has nothing to tell."""
    status = recorded_status()
    web.tell("file", status["filemaps"][0])
    for path in ("/healthz", "/metrics"):
        assert web.get(path).status == 503
    web.tell_all(status)
    assert web.get("/healthz").body == b"ok\n"
    assert web.get("/metrics").status == 200


def test_only_reads(web: Serving) -> None:
    """HEAD is GET without its body; anything else is refused; what is not there is not found."""
    web.tell_all(recorded_status())
    whole, head = web.get("/metrics"), web.get("/metrics", "HEAD")
    assert (head.status, head.body, head.headers["content-type"]) == (200, b"", whole.headers["content-type"])
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        refused = web.get("/metrics", method)
        assert (refused.status, sorted(refused.headers["allow"].split(", "))) == (405, ["GET", "HEAD"])
    assert web.get("/nothing").status == 404
    assert web.records() == []


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/nothing"])
def test_headers_of_every_answer(web: Serving, path: str) -> None:
    """A browser is told to run and load nothing that is not from here; which server it is, nobody is told."""
    headers = web.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert set(policy.values()) == {"'none'", "'self'"}
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["date"].endswith("GMT")
    assert "server" not in headers


def test_compressed_if_asked(web: Serving) -> None:
    """Who takes gzip gets it, with what else would come; the format is told apart by Accept."""
    web.tell_all(recorded_status())
    plain, packed = web.get("/metrics"), web.get("/metrics", Accept_Encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) < len(plain.body) / 5
    assert gzip.decompress(packed.body).count(b"\n") == plain.body.count(b"\n")
    assert "openmetrics" not in plain.headers["content-type"]
    asked = web.get("/metrics", Accept="application/openmetrics-text;version=1.0.0")
    assert asked.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert asked.body.endswith(b"# EOF\n")


def test_a_head_that_is_too_large(web: Serving) -> None:
    """Headers without end are refused, and others are answered."""
    web.tell_all(recorded_status())
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
    "nonsense", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\r\n" * 50, b"GET / HTTP/9.9\r\n\r\n"]
)
def test_nonsense(web: Serving, nonsense: bytes) -> None:
    """What is no HTTP ends its connection and leaves no line in the log."""
    web.tell_all(recorded_status())
    with socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE) as one:
        one.sendall(nonsense)
        one.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while one.recv(1000):
                pass
    assert web.get("/healthz").status == 200
    assert web.records() == []


@pytest.mark.parametrize("answered_before", [False, True])
def test_nonsense_in_a_body(web: Serving, *, answered_before: bool) -> None:
    """It ends its connection, before the answer or behind it, and leaves no line in the log either."""
    web.tell_all(recorded_status())
    with socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE) as one:
        head = b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        one.sendall(head if answered_before else head + b"nonsense\r\n")
        expected = b"405" if answered_before else b"400"
        assert one.recv(1000).startswith(b"HTTP/1.1 " + expected)
        one.sendall(b"nonsense\r\n")
        with contextlib.suppress(ConnectionError):
            while one.recv(1000):
                pass
    assert web.get("/healthz").status == 200
    assert web.records() == []


def test_too_many_connections(web: Serving) -> None:
    """As many connections as there may be are kept, further ones closed at once; when one has gone there is room."""
    web.tell_all(recorded_status())
    with contextlib.ExitStack() as open_ones:
        kept = [
            open_ones.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE))
            for _ in range(MOST_CONNECTIONS)
        ]
        for _ in range(20):
            with (
                socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE) as refused,
                contextlib.suppress(ConnectionError),
            ):
                assert refused.recv(1) == b""
        kept.pop().close()

        def answered() -> bool:
            try:
                return web.get("/healthz").status == 200
            except (OSError, EOFError):
                return False

        deadline = time.monotonic() + DEADLINE
        while not answered():
            assert time.monotonic() < deadline


def test_a_body_without_end(web: Serving) -> None:
    """A body is thrown away as long as it is small, after which one may ask again; where it gets large the connection
    ends."""
    web.tell_all(recorded_status())
    connection = web.connection()
    for _ in range(2):
        connection.request("POST", "/metrics", body=b"x" * 10_000)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (405, b"Method Not Allowed")
    connection.close()
    with socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE) as one:
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        assert one.recv(100).startswith(b"HTTP/1.1 200 ")
        with pytest.raises(ConnectionError):
            one.sendall(b"x" * 100_000_000)
    assert web.get("/healthz").status == 200


def test_ten_thousand_requests(web: Serving) -> None:
    """All are answered, and the process is no larger afterwards by what would be 1 kB for each."""
    web.tell_all(recorded_status())
    request, count = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 100

    def rss() -> int:
        return psutil.Process(web.process.pid).memory_info().rss

    def ask(times: int) -> None:
        for _ in range(times):
            with socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE) as one:
                one.sendall(request * count)
                told = b""
                while told.count(b"HTTP/1.1 200 OK") < count or not told.endswith(b"\r\n\r\nok\n"):
                    told += one.recv(65536)

    ask(10)
    before = rss()
    ask(100)
    assert rss() < before + (10 << 20)
    assert web.records() == []


def test_ends_with_its_feed(web: Serving) -> None:
    """When the supervisor has gone so has the web process, with clients or without."""
    web.tell_all(recorded_status())
    with socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE):
        assert web.close() == (0, b"")


def loses_its_connection(app: Starlette, request: bytes) -> None:
    """Assert that a client that sends `request`, and takes no answer, is not held for ever."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as client:
            answering = HttpServer(app)
            answering.on(listening)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, listening.getsockname())
            await loop.sock_sendall(client, request)
            deadline = time.monotonic() + DEADLINE
            seen = False
            while not seen or answering._state.connections:
                assert time.monotonic() < deadline
                seen = seen or bool(answering._state.connections)
                # In each turn of the loop, so that however long one takes the connection is seen before its deadline.
                await asyncio.sleep(0)
            loop.remove_reader(listening)

    asyncio.run(run())


def test_no_descriptor_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has none for a client, the process waits a moment instead of trying without end, and answers
    the client once there is one."""
    monkeypatch.setattr(server, "_PAUSE", 0.05)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as client:
            loop, answering = asyncio.get_running_loop(), HttpServer(application(Store()))
            tries: list[socket.socket] = []
            real = answering._accept

            def accept(one: socket.socket) -> None:
                tries.append(one)
                real(one)

            monkeypatch.setattr(answering, "_accept", accept)
            client.setblocking(False)
            await loop.sock_connect(client, listening.getsockname())
            await loop.sock_sendall(client, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            highest = max(int(name) for name in os.listdir("/proc/self/fd"))
            spare = [os.dup(0) for _ in range(highest)]
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, limits[1]))
                began = loop.time()
                answering.on(listening)
                while len(tries) < 4:
                    assert loop.time() < began + DEADLINE
                    await asyncio.sleep(0.01)
                assert loop.time() - began > 3 * server._PAUSE - 0.01
                assert not answering._state.connections
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                for one in spare:
                    os.close(one)
            answer = await asyncio.wait_for(loop.sock_recv(client, 100), DEADLINE)
            assert answer.startswith(b"HTTP/1.1 503 ")
            loop.remove_reader(listening)

    asyncio.run(run())


@pytest.mark.parametrize(
    "request_", [b"", b"GET /healthz HTTP/1.1\r\nHost:", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"]
)
def test_who_says_nothing(monkeypatch: pytest.MonkeyPatch, request_: bytes) -> None:
    """Who doesn't say what he wants, or nothing after that, loses his connection at the deadline."""
    monkeypatch.setattr(server, "_DEADLINE", 0.2)
    loses_its_connection(application(Store()), request_)


def test_who_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for much and takes nothing of it loses his connection at the deadline."""
    monkeypatch.setattr(server, "_DEADLINE", 0.5)
    store, status = Store(), recorded_status()
    for number in range(1000):
        store.put(["file", {**status["filemaps"][0], "path": f"/{number}", "name": f"{number}"}])
    store.put(["supervisor", status])
    loses_its_connection(application(store), b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
