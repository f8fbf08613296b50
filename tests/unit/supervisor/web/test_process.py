"""The life of the web process, with real processes and ports, in a real loop."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO

import psutil
import pytest

from supervisor.config.load import parse
from supervisor.config.models import Config, Log
from supervisor.runtime.child_reaper import ChildReaper
from supervisor.runtime.event_loop import EventLoop
from supervisor.service.log_pipe import LogPipe
from supervisor.web.feed_sender import FeedSender
from supervisor.web.process import WebProcess, _user
from tests.unit.certificates import Authority, Certificate, openssl

DEADLINE = 60.0


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
    return port


def listen(value: object, **more: str) -> Config:
    """Return a configuration with `web.listen`, and short waits."""
    restart = "restart: {initial: 1ms, max: 1ms, give_up: 3}"
    web = ", ".join(f"{key}: {text}" for key, text in {"listen": f"'{value}'", **more}.items())
    return parse(f"version: 1\nsupervisor: {{{restart}}}\nweb: {{{web}}}\n".encode(), "f", lambda _path: None)


class Parent:
    """The supervisor's part of a web process: event loop, log, reaper and feed."""

    def __init__(self, log: TextIO) -> None:
        self.loop = EventLoop()
        self.log = LogPipe(Log(), log)
        self.children = ChildReaper()
        self.feed = FeedSender(self.loop.selector, self.loop.timers, lambda _path: [])
        self.web = WebProcess(self.feed, self.loop.timers, self.children, self.log.sender_fd, self._begin)

    def _begin(self) -> None:
        self.feed.send(["supervisor", {"version": "1"}])

    def turn_until(self, condition: Callable[[], Any]) -> None:
        """Turn the loop until `condition` is true."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, self.web.status()
            self.loop.turn(time.monotonic() + 0.01)
            self.children.reap()
            self.log.drain()

    def state(self, state: str, reason: str | None = None) -> bool:
        """Return whether it is in this state, with this text in the reason."""
        status = self.web.status()
        return bool(status["state"] == state and (reason is None or reason in (status["reason"] or "")))

    def is_healthy(self, port: int) -> bool:
        """Return whether the health check at the port succeeds."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=0.2) as response:
                return bool(response.read() == b"ok\n")
        except OSError:
            return False

    def close(self) -> None:
        """End it."""
        self.web.stop()
        self.turn_until(lambda: self.web.is_stopped)
        self.feed.close()
        self.log.close()
        self.loop.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The file that its log goes to."""
    return tmp_path / "log"


@pytest.fixture
def parent(log: Path) -> Iterator[Parent]:
    """A supervisor that has not started a web process."""
    with log.open("w") as stream, closing(Parent(stream)) as made:
        yield made


def pid(parent: Parent) -> int:
    """Return the process's id."""
    number = parent.web.status()["pid"]
    assert isinstance(number, int)
    return number


def test_serves_and_is_restarted(parent: Parent) -> None:
    """It serves after the first heartbeat. If it is killed, it is restarted and gets the whole status. When stopped,
    it ends and the port is free."""
    port = free_port()
    parent.web.apply(listen(f"127.0.0.1:{port}"))
    parent.turn_until(lambda: parent.is_healthy(port))
    first = pid(parent)
    os.kill(first, signal.SIGKILL)
    parent.turn_until(lambda: parent.state("RUNNING") and pid(parent) != first and parent.is_healthy(port))
    status = parent.web.status()
    assert (status["restarts"], status["last_crash"]) == (1, "killed by SIGKILL")
    parent.web.stop()
    parent.turn_until(lambda: parent.web.is_stopped)
    socket.create_server(("127.0.0.1", port)).close()


def test_a_port_in_use_is_retried(parent: Parent, log: Path) -> None:
    """While another process has the port, the status and one log line show how to find it. Then it is opened."""
    with socket.create_server(("127.0.0.1", 0)) as others:
        port = others.getsockname()[1]
        parent.web.apply(listen(f"127.0.0.1:{port}"))
        tries = time.monotonic() + 0.2
        parent.turn_until(lambda: time.monotonic() > tries)
        assert parent.state("WAITING", f"`ss -ltnp sport = :{port}` shows who has it")
        assert parent.web.is_stopped
    parent.turn_until(lambda: parent.is_healthy(port))
    assert log.read_text().count("Address already in use") == 1


def test_another_address_takes_effect(parent: Parent) -> None:
    """A new address starts another process there. The same address keeps the process, and `off` stops it."""
    first, second = free_port(), free_port()
    parent.web.apply(listen(f"127.0.0.1:{first}"))
    parent.turn_until(lambda: parent.is_healthy(first))
    parent.web.apply(listen(f"127.0.0.1:{second}"))
    parent.turn_until(lambda: parent.is_healthy(second))
    assert not parent.is_healthy(first)
    there = pid(parent)
    parent.web.apply(listen(f"127.0.0.1:{second}"))
    assert parent.state("RUNNING")
    assert pid(parent) == there
    parent.web.apply(listen("off"))
    parent.turn_until(lambda: parent.state("STOPPED", "web.listen is off"))
    assert parent.web.status()["listen"] is None


def tls(own: Certificate) -> str:
    """Return `web.tls_server_config` as YAML."""
    return f"{{cert_file: {own.cert}, key_file: {own.key}}}"


def serial(port: int) -> str:
    """Return the serial number of the port's certificate; empty without TLS."""
    with contextlib.suppress(OSError):
        certificate = ssl.get_server_certificate(("127.0.0.1", port), timeout=5)
        return openssl("x509", "-noout", "-serial", given=certificate).strip()
    return ""


def shown(parent: Parent, port: int) -> str:
    """Return the same while the loop runs."""
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(serial, port)
        parent.turn_until(asking.done)
        return asking.result()


def test_a_renewed_certificate(parent: Parent, tmp_path: Path) -> None:
    """A reload loads it. A reload with the same certificate keeps the process."""
    authority, port = Authority(tmp_path), free_port()
    own = authority.issue("server")
    config = listen(f"127.0.0.1:{port}", tls_server_config=tls(own))
    parent.web.apply(config)
    parent.turn_until(lambda: shown(parent, port) == own.serial)
    first = pid(parent)
    parent.web.apply(config)
    assert (pid(parent), parent.state("RUNNING")) == (first, True)
    authority.issue("server")
    parent.web.apply(config)
    parent.turn_until(lambda: shown(parent, port) == own.serial)
    assert pid(parent) != first


def test_a_key_that_does_not_fit(parent: Parent, log: Path, tmp_path: Path) -> None:
    """Status and log show unusable files. When they are repaired, a reload starts the process."""
    authority, port = Authority(tmp_path), free_port()
    own, other = authority.issue("server"), authority.issue("other")
    config = listen(f"127.0.0.1:{port}", tls_server_config=tls(Certificate(own.cert, other.key)))
    parent.web.apply(config)
    parent.turn_until(lambda: parent.state("FAILED", "web.tls_server_config is not usable: see the log"))
    assert f"key_file {other.key} are no certificate" in log.read_text()
    assert "Traceback" not in log.read_text()
    other.key.write_bytes(own.key.read_bytes())
    parent.web.apply(config)
    parent.turn_until(lambda: shown(parent, port) == own.serial)


def test_users_stay_secret(parent: Parent) -> None:
    """Arguments and environment, which all users can read, contain no hash and no path of a key."""
    port = free_port()
    hashed = "$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2"
    parent.web.apply(listen(f"127.0.0.1:{port}", basic_auth_users=f"{{prometheus: '{hashed}'}}"))
    parent.turn_until(lambda: parent.state("RUNNING"))
    process = psutil.Process(pid(parent))
    parent.turn_until(lambda: "supervisor.web" in process.cmdline())
    assert "prometheus" not in " ".join(process.cmdline())
    assert hashed not in str(parent.web.status())


@pytest.mark.parametrize(
    ("address", "users", "warned"),
    [
        ("[::]", "{}", True),
        ("127.0.0.2", "{}", False),
        ("[::1]", "{}", False),
        ("[::]", "{a: $2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2}", False),
    ],
)
def test_warns_if_every_host_can_read(
    parent: Parent, log: Path, address: str, users: str, *, warned: bool
) -> None:
    """The log has one warning if other hosts can read it without TLS and password."""
    config = listen(f"{address}:{free_port()}", basic_auth_users=users)
    parent.web.apply(config)
    parent.web.apply(config)
    parent.turn_until(lambda: parent.state("RUNNING") and "listening on" in log.read_text())
    assert log.read_text().count("WARNING filemapd") == warned
    assert ("is readable by every host" in log.read_text()) == warned


def test_repeated_crashes_fail(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `give_up` crashes it is FAILED with the reason. A reload retries."""
    python = sys.executable
    monkeypatch.setattr(sys, "executable", "/bin/false")
    port = free_port()
    parent.web.apply(listen(f"127.0.0.1:{port}"))
    parent.turn_until(lambda: parent.state("FAILED", "crashed 3 times within 10m: exit status 1"))
    monkeypatch.setattr(sys, "executable", python)
    parent.web.apply(listen(f"127.0.0.1:{port}"))
    parent.turn_until(lambda: parent.is_healthy(port))


def test_no_program_to_run(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed start is a crash with the system's error as its reason."""
    monkeypatch.setattr(sys, "executable", "/nowhere")
    parent.web.apply(listen(f"127.0.0.1:{free_port()}"))
    parent.turn_until(lambda: parent.state("FAILED", "No such file or directory"))


def test_a_process_that_does_not_read_is_killed(parent: Parent) -> None:
    """A stopped process with unread messages is killed and restarted."""
    port = free_port()
    config = listen(f"127.0.0.1:{port}")
    health = config.supervisor.health.model_copy(update={"heartbeat": 0.2})
    config = config.model_copy(update={"supervisor": config.supervisor.model_copy(update={"health": health})})
    parent.web.apply(config)
    parent.turn_until(lambda: parent.is_healthy(port))
    parent.web.check()
    assert parent.web.status()["rss_bytes"] > 1 << 20
    os.kill(pid(parent), signal.SIGSTOP)
    parent.feed.send(["supervisor", {"version": "2"}])
    parent.turn_until(parent.feed.unread)

    def restarted() -> bool:
        parent.web.check()
        return bool(parent.web.status()["restarts"] == 1)

    parent.turn_until(restarted)
    assert "has not read its feed for" in parent.web.status()["last_crash"]


def test_a_process_that_does_not_end_is_killed(parent: Parent) -> None:
    """A process that ignores SIGTERM is killed after the grace period, and the next one starts."""
    before, after = free_port(), free_port()
    parent.web.apply(listen(f"127.0.0.1:{before}"))
    parent.turn_until(lambda: parent.is_healthy(before))
    former = pid(parent)
    os.kill(former, signal.SIGSTOP)
    parent.web.apply(listen(f"127.0.0.1:{after}"))
    parent.turn_until(lambda: parent.is_healthy(after))
    assert pid(parent) != former


def test_waiting_for_its_own_port_is_not_logged(parent: Parent, log: Path) -> None:
    """While the former process still holds the port, no error is logged."""
    port = free_port()
    parent.web.apply(listen(f"127.0.0.1:{port}"))
    parent.turn_until(lambda: parent.is_healthy(port))
    former = pid(parent)
    os.kill(former, signal.SIGSTOP)
    parent.web.apply(listen(f"0.0.0.0:{port}"))
    assert parent.state("STOPPING")
    parent.turn_until(lambda: parent.is_healthy(port))
    assert pid(parent) != former
    assert "can't be listened on" not in log.read_text()


def test_no_process_is_configured(parent: Parent) -> None:
    """Without a configuration, and with `listen: off`, no process is started."""
    parent.web.stop()
    parent.web.check()
    parent.web.apply(listen("off"))
    assert parent.web.is_stopped
    assert parent.state("STOPPED")


def test_missing_user() -> None:
    """If the user was removed after the configuration was read, the reason shows what to do."""
    with pytest.raises(LookupError, match=r"user 'gone' does not exist: create it, or change web\.user"):
        _user("gone")


def test_its_records_are_in_the_log(parent: Parent, log: Path) -> None:
    """Its records are in the supervisor's log, on one line each and with its pid. It continues afterwards."""
    port = free_port()
    parent.web.apply(listen(f"127.0.0.1:{port}"))
    parent.turn_until(lambda: parent.is_healthy(port))
    parent.feed.send(["nonsense", "\x1b[31m\n"])
    parent.turn_until(lambda: "invalid message from the supervisor" in log.read_text())
    assert f"ERROR filemapd[{pid(parent)}]: invalid message" in log.read_text()
    assert "\x1b" not in log.read_text()
    parent.turn_until(lambda: parent.is_healthy(port))
