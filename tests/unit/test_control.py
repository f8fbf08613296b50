"""The control socket, its client, and sd_notify, each over real sockets."""

from __future__ import annotations

import os
import resource
import selectors
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import RootModel

from supervisor.client import ControlError, NotRunning, call
from supervisor.control import AlreadyRunning, Control
from supervisor.notify import notify
from supervisor.requests import Request
from supervisor.routes import Response, Route, Streamed


def _fail(_body: Any) -> Response:
    raise RuntimeError("broken")


class Anything(RootModel[Any]):
    """Any body."""


class Particular(Request):
    """A body and a query with keys."""

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
        Request, lambda _: Streamed(iter(["[", *(f"{n}, " for n in range(50)), '"' + "x" * 500_000 + '"]']))
    ),
    ("GET", "/v1/breaks"): Route(Request, lambda _: Streamed(_breaks_off())),
}


class Loop:
    """A main loop in small: callbacks in key.data, driven by the test."""

    def __init__(self, path: Path) -> None:
        self.selector = selectors.DefaultSelector()
        self.control = Control(path, ROUTES)
        self.control.register(self.selector)

    def turn(self, timeout: float = 0.0) -> int:
        """Handle what is ready, and return how much that was."""
        ready = self.selector.select(timeout)
        for key, mask in ready:
            key.data(mask)
        return len(ready)

    def until(self, done: Callable[[], bool]) -> None:
        """Run until `done`."""
        deadline = time.monotonic() + 10
        while not done():
            assert time.monotonic() < deadline
            self.turn(0.01)

    def settle(self) -> None:
        """Run until nothing is ready."""
        while self.turn():
            pass


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    """A loop whose socket is control.sock in tmp_path."""
    with running(tmp_path / "control.sock") as one:
        yield one


@contextmanager
def running(path: Path) -> Iterator[Loop]:
    """Have a loop for a while."""
    one = Loop(path)
    try:
        yield one
    finally:
        one.control.close()
        assert not one.selector.get_map()
        one.selector.close()


def ask(loop: Loop, directory: Path, method: str, path: str, body: object = None) -> Any:
    """Return what call() returns or raises, in a thread of its own while the loop runs."""
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
    """Return all that the server sends to `request`, which ends with EOF where `end`."""
    with connect(loop, directory) as client:
        client.sendall(request)
        if end:
            client.shutdown(socket.SHUT_WR)
        loop.settle()
        answer = b""
        try:
            while data := client.recv(65536):
                answer += data
                loop.settle()
        except ConnectionResetError:  # it left some of the request unread
            pass
        return answer


def test_questions_and_answers(loop: Loop, tmp_path: Path) -> None:
    """JSON goes both ways, also a body that has to be sent in pieces."""
    assert ask(loop, tmp_path, "GET", "/v1/status") == {"filemaps": []}
    assert ask(loop, tmp_path, "POST", "/v1/echo", {"name": "\udcff"}) == {"name": "\udcff"}
    assert ask(loop, tmp_path, "POST", "/v1/echo") == {}
    assert len(ask(loop, tmp_path, "GET", "/v1/large")) == 2_000_000


def test_an_answer_in_pieces(loop: Loop, tmp_path: Path) -> None:
    """One that is made piece by piece leaves the loop its turns in between, and arrives whole, by HTTP/1.0 too."""
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


def test_an_answer_that_breaks_off(loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A fault in the middle is logged, and the client sees that the end is missing."""
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
    """What is wrong in a body is told by its key, with what would be right."""
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
    """So is a query."""
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
def test_errors_are_told(loop: Loop, tmp_path: Path, method: str, path: str, status: int, text: str) -> None:
    """The client gets the status and the text, and the supervisor goes on, whatever a route does."""
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
    """What is no request, or too large, is answered as such, and the connection ends."""
    assert raw(loop, tmp_path, request_).startswith(b"HTTP/1.1 %d " % status)


def test_clients_that_leave(loop: Loop, tmp_path: Path) -> None:
    """A client that says nothing, half a request, or doesn't take its answer leaves nothing behind."""
    assert raw(loop, tmp_path, b"", end=True) == b""
    half = b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n[1"
    assert raw(loop, tmp_path, half, end=True).startswith(b"HTTP/1.1 400 ")
    with connect(loop, tmp_path) as client:
        client.sendall(b"GET /v1/large HTTP/1.1\r\nHost: x\r\n\r\n")
        loop.settle()
    loop.settle()
    assert list(loop.selector.get_map().values())[1:] == []


def test_slow_clients_are_closed(loop: Loop, tmp_path: Path) -> None:
    """A client has ten seconds for all of its request; tick() says when it has to be called."""
    assert loop.control.tick(time.monotonic()) is None
    with connect(loop, tmp_path) as client:
        now = time.monotonic()
        client.sendall(b"GET /v1/st")
        loop.settle()
        due = loop.control.tick(now)
        assert due is not None
        assert 5 < due - now <= 10
        assert loop.control.tick(due) is None
        assert client.recv(1) == b""


def test_a_crowd_waits(loop: Loop, tmp_path: Path) -> None:
    """More than 32 clients wait for their turn, and don't keep the loop busy meanwhile."""
    clients = [connect(loop, tmp_path) for _ in range(32)]
    with connect(loop, tmp_path) as late:
        late.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert loop.turn() == 0
        clients[0].close()
        loop.settle()
        assert late.recv(65536).startswith(b"HTTP/1.1 200 ")
    for client in clients:
        client.close()
    loop.settle()


def test_out_of_descriptors(loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a descriptor for a client the loop isn't kept busy; tick() has it tried again."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        lowest = os.dup(client.fileno())
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
        try:
            client.connect(str(tmp_path / "control.sock"))
            loop.settle()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert "Too many open files" in caplog.text
        due = loop.control.tick(time.monotonic())
        assert due is not None
        loop.control.tick(due)
        client.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        loop.settle()
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_the_socket_is_for_owner_and_group(loop: Loop, tmp_path: Path) -> None:
    """Others may not connect; the file goes when the supervisor does."""
    path = tmp_path / "control.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert path.stat().st_gid == os.getegid()
    loop.control.close()
    assert not path.exists()


def test_the_socket_is_for_a_group(tmp_path: Path) -> None:
    """One of the process's own groups can be given without privileges; any other takes root."""
    path, groups = tmp_path / "control.sock", [*os.getgroups(), os.getegid()]
    control = Control(path, ROUTES, groups[0])
    assert path.stat().st_gid == groups[0]
    control.set_group(groups[-1])
    assert path.stat().st_gid == groups[-1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    control.close()


def test_one_supervisor_at_a_time(loop: Loop, tmp_path: Path) -> None:
    """A second supervisor on the same socket is an error, also while nobody has the time to accept."""
    with pytest.raises(AlreadyRunning, match="another filemapd listens on"):
        Control(tmp_path / "control.sock", ROUTES)
    crowd = [socket.socket(socket.AF_UNIX) for _ in range(40)]
    for client in crowd:
        client.setblocking(False)
        client.connect_ex(str(tmp_path / "control.sock"))
    with pytest.raises(AlreadyRunning):
        Control(tmp_path / "control.sock", ROUTES)
    for client in crowd:
        client.close()
    loop.settle()


def test_a_dead_supervisors_socket_is_replaced(tmp_path: Path) -> None:
    """The socket file of a supervisor that was killed is in nobody's way."""
    path = tmp_path / "control.sock"
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        Control(path, ROUTES)
        os.write(tell, b"x")
        signal.pause()
        os._exit(0)
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with pytest.raises(NotRunning, match="nobody listens"):
        call(tmp_path, "GET", "/v1/status")
    with running(path) as loop:
        assert ask(loop, tmp_path, "GET", "/v1/status") == {"filemaps": []}


def test_what_is_no_socket_stays(tmp_path: Path) -> None:
    """A file at the socket's place is not removed."""
    path = tmp_path / "control.sock"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="not a socket"):
        Control(path, ROUTES)
    assert path.read_text() == "mine"


def test_a_successors_socket_stays(tmp_path: Path) -> None:
    """A supervisor that ends late doesn't remove the socket of the one that replaced it."""
    path = tmp_path / "control.sock"
    first = Control(path, ROUTES)
    path.rename(tmp_path / "old.sock")
    with running(path):
        first.close()
        assert path.exists()


def test_not_running(tmp_path: Path) -> None:
    """Where nobody is, the client says so, and where it looked."""
    with pytest.raises(NotRunning) as caught:
        call(tmp_path, "GET", "/v1/status")
    assert (
        str(caught.value) == f"filemapd is not running: there is no control socket at {tmp_path}/control.sock"
    )


def test_no_answer(loop: Loop, tmp_path: Path) -> None:
    """A supervisor that doesn't answer is waited for so long and no longer."""
    with pytest.raises(ControlError, match=r"did not answer on .* within 0\.05 s"):
        call(tmp_path, "GET", "/v1/status", timeout=0.05)
    loop.settle()


def test_no_permission(loop: Loop, tmp_path: Path) -> None:
    """Who is neither root nor in the group is told so."""
    assert loop.control is not None
    for directory in [tmp_path, *tmp_path.parents][:3]:
        directory.chmod(directory.stat().st_mode | 0o011)
    pid = os.fork()
    if pid == 0:
        try:
            if os.geteuid() == 0:
                os.setresgid(65534, 65534, 65534)
                os.setgroups([])
                os.setresuid(65534, 65534, 65534)
            else:
                (tmp_path / "control.sock").chmod(0)
            call(tmp_path, "GET", "/v1/status")
        except ControlError as error:
            os._exit(0 if "no permission" in str(error) else 2)
        finally:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message arrives at the manager's socket, be it a file or an abstract name."""
    name = f"filemapd-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.settimeout(10)
        manager.bind("\0" + name if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        assert notify("READY=1\nSTATUS=3 files")
        assert manager.recv(100) == b"READY=1\nSTATUS=3 files"
    assert not notify("STOPPING=1")


def test_without_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by hand there is nobody to tell, and that is no error."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
