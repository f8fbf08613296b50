"""The control socket itself: who may use it, how many, and what happens to it; and its client."""

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
    """A loop whose socket is control.sock in tmp_path."""
    with running(tmp_path / "control.sock") as one:
        yield one


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


@pytest.mark.parametrize("asks", [b"GET /v1/large", b"GET /v1/pieces"])
def test_a_busy_loop_closes_nobody(loop: Loop, tmp_path: Path, asks: bytes) -> None:
    """A client that did its part in time gets its answer, whatever the loop was busy with until its time was up."""
    with connect(loop, tmp_path) as client:
        client.sendall(asks + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        late = time.monotonic() + 3600
        answer = b""
        while not answer.endswith((b'x"', b"\r\n0\r\n\r\n")):
            loop.control.tick(late)
            data = client.recv(1 << 20)
            assert data, answer[-100:]
            answer += data
    assert len(answer) > 500_000


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
    control = ControlServer(path, ROUTES, groups[0])
    assert path.stat().st_gid == groups[0]
    control.set_group(groups[-1])
    assert path.stat().st_gid == groups[-1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    control.close()


def test_one_supervisor_at_a_time(loop: Loop, tmp_path: Path) -> None:
    """A second supervisor on the same socket is an error, also while nobody has the time to accept."""
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
    """The socket file of a supervisor that was killed is in nobody's way."""
    path = tmp_path / "control.sock"
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        ControlServer(path, ROUTES)
        os.write(tell, b"x")
        signal.pause()
        os._exit(0)
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with pytest.raises(NotRunning, match="no process listens"):
        call(tmp_path, "GET", "/v1/status")
    with running(path) as loop:
        assert ask(loop, tmp_path, "GET", "/v1/status") == {"filemaps": []}


def test_no_socket_to_be_had(tmp_path: Path) -> None:
    """A path that is too long for a socket is refused, and what it changed meanwhile is as before."""
    before = os.umask(0o022)
    try:
        with pytest.raises(OSError, match=r"the control socket /.*/x+ can't be had: .*too long"):
            ControlServer(tmp_path / ("x" * 200), ROUTES)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_a_socket_that_somebody_removed(loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It can't be given to another group: that is told, and those go on who are connected."""
    with connect(loop, tmp_path) as client:
        (tmp_path / "control.sock").unlink()
        loop.control.set_group(os.getegid())
        assert f"the control socket can't be given to group {os.getegid()}: " in caplog.text
        client.sendall(b"GET /v1/status HTTP/1.0\r\n\r\n")
        loop.settle()
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_what_is_no_socket_stays(tmp_path: Path) -> None:
    """A file at the socket's place is not removed."""
    path = tmp_path / "control.sock"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="not a socket"):
        ControlServer(path, ROUTES)
    assert path.read_text() == "mine"


def test_a_successors_socket_stays(tmp_path: Path) -> None:
    """A supervisor that ends late doesn't remove the socket of the one that replaced it."""
    path = tmp_path / "control.sock"
    first = ControlServer(path, ROUTES)
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
    with pytest.raises(ControlError, match=r"did not respond on .* within 0\.05 s"):
        call(tmp_path, "GET", "/v1/status", timeout=0.05)
    loop.settle()


def test_somebody_else_answers(tmp_path: Path) -> None:
    """What is no JSON is told as such, with its beginning."""
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
    """By those of the running supervisor's files; where it can't be asked there are none."""
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
    """All after an event are walked, however many there are more than an answer holds."""

    def answer(query: EventsRequest) -> Response:
        first = (query.after or 0) + 1
        events = [{"id": number} for number in range(first, min(first + query.limit, 2501))]
        return Response(200, {"events": events, "last": 2500})

    monkeypatch.setitem(ROUTES, ("GET", "/v1/events"), Route(EventsRequest, answer))
    lines = command(loop, tmp_path, "events", "--since", "0", "--json").output.splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(1, 2501))


def test_events_of_any_path(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's events can be asked for by its path, of whatever bytes that is; a name that none has is told of."""
    path = os.fsdecode(b"/images/a&b=c \xe9\n\xff.img")
    asked = []

    def answer(query: EventsRequest) -> Response:
        asked.append(query.name)
        return Response(200, {"events": [], "last": 0})

    status = {"filemaps": [{"name": "a.img", "path": path}]}
    monkeypatch.setitem(ROUTES, ("GET", "/v1/status"), Route(Request, lambda _: Response(200, status)))
    monkeypatch.setitem(ROUTES, ("GET", "/v1/events"), Route(EventsRequest, answer))
    assert command(loop, tmp_path, "events", path).exit_code == 0
    assert set(asked) == {path}
    assert command(loop, tmp_path, "events", "a.img").output == ""
    wrong = command(loop, tmp_path, "events", "b.img")
    assert (wrong.exit_code, wrong.output) == (
        1,
        "filemapd: there is no filemap 'b.img', and no event of one\n",
    )
    assert command(loop, tmp_path, "events", "-n", "0", "b.img").exit_code == 0


def test_changes_for_machines(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reload changed, as JSON."""
    changes = {"added": ["a.img"], "removed": [], "changed": []}
    monkeypatch.setitem(ROUTES, ("POST", "/v1/reload"), Route(Request, lambda _: Response(200, changes)))
    assert json.loads(command(loop, tmp_path, "reload", "--json").output) == changes


def command(loop: Loop, directory: Path, *words: str) -> Result:
    """Run a command of filemapd's against the loop's socket."""
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(CliRunner().invoke, main, ["--runtime-dir", str(directory), *words])
        loop.until(done.done)
        return done.result()


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
