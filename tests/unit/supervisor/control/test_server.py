"""The control socket: access, number of clients, failures; and its client."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from supervisor.cli.common import complete_names
from supervisor.cli.main import main
from supervisor.control.client import ControlError, NotRunning, call
from supervisor.control.requests import EventsRequest, Request
from supervisor.control.routes import Response, Route
from supervisor.control.server import AlreadyRunning, ControlServer
from tests.unit.controlling import ROUTES, Loop, ask, connect, raw, running


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    """A loop with its socket at control.sock in tmp_path."""
    with running(tmp_path / "control.sock") as one:
        yield one


def test_clients_that_leave(loop: Loop, tmp_path: Path) -> None:
    """A client that sends nothing or half a request, or doesn't read its response, leaves nothing behind."""
    assert raw(loop, tmp_path, b"", end=True) == b""
    half = b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n[1"
    assert raw(loop, tmp_path, half, end=True).startswith(b"HTTP/1.1 400 ")
    with connect(loop, tmp_path) as client:
        client.sendall(b"GET /v1/large HTTP/1.1\r\nHost: x\r\n\r\n")
        loop.settle()
    loop.settle()
    assert list(loop.selector.get_map().values())[1:] == []


def test_slow_clients_are_closed(loop: Loop, tmp_path: Path) -> None:
    """A client has ten seconds for all of its request; tick() returns when to call it next."""
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


@pytest.mark.parametrize("asks", [b"GET /v1/large", b"GET /v1/pieces"])
def test_a_busy_loop_closes_nobody(loop: Loop, tmp_path: Path, asks: bytes) -> None:
    """A client that sent its request in time gets its response, even if the loop was busy past the
    deadline."""
    with connect(loop, tmp_path) as client:
        client.sendall(asks + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        late = time.monotonic() + 3600
        response = b""
        while not response.endswith((b'x"', b"\r\n0\r\n\r\n")):
            loop.control.tick(late)
            data = client.recv(1 << 20)
            assert data, response[-100:]
            response += data
    assert len(response) > 500_000


def test_a_crowd_waits(loop: Loop, tmp_path: Path) -> None:
    """Clients beyond 32 wait for their turn, and don't keep the loop busy meanwhile."""
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
    """Without a descriptor for a client the loop isn't kept busy; tick() retries."""
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
    """Others may not connect; the file is removed when the supervisor ends."""
    path = tmp_path / "control.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert path.stat().st_gid == os.getegid()
    loop.control.close()
    assert not path.exists()


def test_the_socket_is_for_a_group(tmp_path: Path) -> None:
    """The socket can be given to one of the process's own groups without privileges; any other needs root."""
    path, groups = tmp_path / "control.sock", [*os.getgroups(), os.getegid()]
    control = ControlServer(path, ROUTES, groups[0])
    assert path.stat().st_gid == groups[0]
    control.set_group(groups[-1])
    assert path.stat().st_gid == groups[-1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    control.close()


def test_one_supervisor_at_a_time(loop: Loop, tmp_path: Path) -> None:
    """A second supervisor on the same socket is an error, even while the first one doesn't accept."""
    with pytest.raises(AlreadyRunning, match="another filemapd listens on"):
        ControlServer(tmp_path / "control.sock", ROUTES)
    crowd = [socket.socket(socket.AF_UNIX) for _ in range(40)]
    for client in crowd:
        client.setblocking(False)
        client.connect_ex(str(tmp_path / "control.sock"))
    with pytest.raises(AlreadyRunning):
        ControlServer(tmp_path / "control.sock", ROUTES)
    for client in crowd:
        client.close()
    loop.settle()


def test_a_dead_supervisors_socket_is_replaced(tmp_path: Path) -> None:
    """The socket file of a killed supervisor is replaced."""
    path = tmp_path / "control.sock"
    ready, wake = os.pipe()
    pid = os.fork()
    if pid == 0:
        ControlServer(path, ROUTES)
        os.write(wake, b"x")
        signal.pause()
        os._exit(0)
    os.read(ready, 1)
    os.close(ready)
    os.close(wake)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with pytest.raises(NotRunning, match="no process listens"):
        call(tmp_path, "GET", "/v1/status")
    with running(path) as loop:
        assert ask(loop, tmp_path, "GET", "/v1/status") == {"filemaps": []}


def test_a_path_too_long(tmp_path: Path) -> None:
    """A path too long for a socket is refused, and nothing stays changed."""
    before = os.umask(0o022)
    try:
        with pytest.raises(OSError, match=r"the control socket /.*/x+ can't be had: .*too long"):
            ControlServer(tmp_path / ("x" * 200), ROUTES)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_a_removed_socket(loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A removed socket can't be given to another group: this is logged, and connected clients stay."""
    with connect(loop, tmp_path) as client:
        (tmp_path / "control.sock").unlink()
        loop.control.set_group(os.getegid())
        assert f"the control socket can't be given to group {os.getegid()}: " in caplog.text
        client.sendall(b"GET /v1/status HTTP/1.0\r\n\r\n")
        loop.settle()
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_what_is_no_socket_stays(tmp_path: Path) -> None:
    """A regular file at the socket's path is not removed."""
    path = tmp_path / "control.sock"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="not a socket"):
        ControlServer(path, ROUTES)
    assert path.read_text() == "mine"


def test_a_successors_socket_stays(tmp_path: Path) -> None:
    """A supervisor that ends late doesn't remove its successor's socket."""
    path = tmp_path / "control.sock"
    first = ControlServer(path, ROUTES)
    path.rename(tmp_path / "old.sock")
    with running(path):
        first.close()
        assert path.exists()


def test_not_running(tmp_path: Path) -> None:
    """Without a supervisor the client reports so, with the path of the socket."""
    with pytest.raises(NotRunning) as caught:
        call(tmp_path, "GET", "/v1/status")
    assert (
        str(caught.value) == f"filemapd is not running: there is no control socket at {tmp_path}/control.sock"
    )


def test_no_response(loop: Loop, tmp_path: Path) -> None:
    """The client stops waiting for a hanging supervisor after its timeout."""
    with pytest.raises(ControlError, match=r"did not respond on .* within 0\.05 s"):
        call(tmp_path, "GET", "/v1/status", timeout=0.05)
    loop.settle()


def test_a_response_that_is_not_json(tmp_path: Path) -> None:
    """A response that isn't JSON is reported with its beginning."""
    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(1) as thread:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        asked = thread.submit(call, tmp_path, "GET", "/v1/status")
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")
        with pytest.raises(ControlError, match="responded with status 200 and no JSON: b'<html>'"):
            asked.result(60)


def test_names_are_completed(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of the running supervisor's files are completed; without a supervisor there are none."""
    status = {"filemaps": [{"name": "db01.img"}, {"name": "web01.img"}]}
    monkeypatch.setitem(ROUTES, ("GET", "/v1/status"), Route(Request, lambda _: Response(200, status)))
    context = click.Context(main)
    parameter = click.Argument(["name"])
    context.params["runtime_dir"] = str(tmp_path / "elsewhere")
    assert complete_names(context, parameter, "") == []
    context.params["runtime_dir"] = str(tmp_path)
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(complete_names, context, parameter, "d")
        loop.until(asked.done)
        assert asked.result() == ["db01.img"]


def test_events_by_the_page(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All events after a given one are returned, also if they are more than one response holds."""

    def respond(query: EventsRequest) -> Response:
        first = (query.after or 0) + 1
        events = [{"id": number} for number in range(first, min(first + query.limit, 2501))]
        return Response(200, {"events": events, "last": 2500})

    monkeypatch.setitem(ROUTES, ("GET", "/v1/events"), Route(EventsRequest, respond))
    lines = command(loop, tmp_path, "events", "--since", "0", "--json").output.splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(1, 2501))


def test_events_of_any_path(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's events can be requested by its path of any bytes; an unknown name is an error."""
    path = os.fsdecode(b"/images/a&b=c \xe9\n\xff.img")
    asked = []

    def respond(query: EventsRequest) -> Response:
        asked.append(query.name)
        return Response(200, {"events": [], "last": 0})

    status = {"filemaps": [{"name": "a.img", "path": path}]}
    monkeypatch.setitem(ROUTES, ("GET", "/v1/status"), Route(Request, lambda _: Response(200, status)))
    monkeypatch.setitem(ROUTES, ("GET", "/v1/events"), Route(EventsRequest, respond))
    assert command(loop, tmp_path, "events", path).exit_code == 0
    assert set(asked) == {path}
    assert command(loop, tmp_path, "events", "a.img").output == ""
    wrong = command(loop, tmp_path, "events", "b.img")
    assert (wrong.exit_code, wrong.output) == (
        1,
        "filemapd: there is no filemap 'b.img', and no event of that name\n",
    )
    assert command(loop, tmp_path, "events", "-n", "0", "b.img").exit_code == 0


def test_changes_as_json(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The changes of a reload as JSON."""
    changes = {"added": ["a.img"], "removed": [], "changed": []}
    monkeypatch.setitem(ROUTES, ("POST", "/v1/reload"), Route(Request, lambda _: Response(200, changes)))
    assert json.loads(command(loop, tmp_path, "reload", "--json").output) == changes


def command(loop: Loop, directory: Path, *words: str) -> Result:
    """Run a filemapd command against the loop's socket."""
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(CliRunner().invoke, main, ["--runtime-dir", str(directory), *words])
        loop.until(done.done)
        return done.result()


def test_no_permission(loop: Loop, tmp_path: Path) -> None:
    """A user who is neither root nor in the group gets an error."""
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
