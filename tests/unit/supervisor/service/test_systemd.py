"""Notifications to systemd, received on a real socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.fleet.state_machine import State
from supervisor.service.systemd import SystemdNotifier, summary, watchdog_interval


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A service manager's socket, with a watchdog of two seconds."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        yield listener


def received(manager: socket.socket) -> list[str]:
    """Return the messages that have arrived."""
    messages = []
    while True:
        try:
            messages.append(manager.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_reload_is_sent_with_its_time(manager: socket.socket) -> None:
    """A reload sends RELOADING=1 with the monotonic time in microseconds, and READY=1 at the end."""
    service = SystemdNotifier()
    before = time.monotonic_ns() // 1000
    service.reloading()
    service.ready()
    reloading, ready = received(manager)
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert before <= int(reloading.rpartition("=")[2]) <= time.monotonic_ns() // 1000
    assert ready == "READY=1"


def test_watchdog_is_fed_only_while_all_is_sound(manager: socket.socket) -> None:
    """It is fed every second of the two, and not at all while workers aren't supervised."""
    service = SystemdNotifier()
    service.tick(100.0, [], sound=True)
    service.tick(100.5, [], sound=True)
    service.tick(101.0, [], sound=True)
    assert received(manager) == ["STATUS=0 files", "WATCHDOG=1", "WATCHDOG=1"]
    service.tick(103.0, [], sound=False)
    assert received(manager) == []
    service.tick(104.0, [], sound=True)
    assert received(manager) == ["WATCHDOG=1"]


def test_status_is_sent_when_it_changes(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet at rest sends nothing."""
    monkeypatch.delenv("WATCHDOG_USEC")
    service = SystemdNotifier()
    for states in ([State.STARTING], [State.RUNNING], [State.RUNNING], []):
        service.tick(1.0, states, sound=True)
    assert received(manager) == ["STATUS=1 file: 1 STARTING", "STATUS=1 file: 1 RUNNING", "STATUS=0 files"]


def test_summary() -> None:
    """The states are in the order of a worker's life."""
    assert summary([State.FAILED, State.RUNNING, State.RUNNING]) == "3 files: 2 RUNNING, 1 FAILED"


@pytest.mark.parametrize(
    ("environment", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "much"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_watchdog_interval(environment: dict[str, str], interval: float | None) -> None:
    """Half of the manager's timeout; none if the watchdog is off or meant for another process."""
    assert watchdog_interval(environment, 7) == interval
