"""The supervisor as systemd sees it: the test listens on the notify socket."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.devices import Filesystem, filesystem
from tests.kernel import oracle
from tests.kernel.running import running, stopped, wait_for, write


@pytest.fixture
def fs() -> Iterator[Filesystem]:
    """A file system of its own for each test."""
    with filesystem("ext4", size_mb=100) as made:
        yield made


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket at NOTIFY_SOCKET, with a watchdog that expects a message every second."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        yield listener


def notified(manager: socket.socket, what: str, seen: list[str]) -> list[str]:
    """Return all notifications, appended to `seen`, once one contains `what`."""

    def there() -> bool:
        while True:
            try:
                seen.append(manager.recv(4096).decode())
            except BlockingIOError:
                return any(what in message for message in seen)

    wait_for(f"systemd is notified: {what}", there)
    return seen


def test_life_of_a_service(fs: Filesystem, tmp_path: Path, manager: socket.socket) -> None:
    """READY, the states and the watchdog; RELOADING and READY around a reload, also an invalid one;
    STOPPING."""
    file = fs.mountpoint / "disk.img"
    write(file, 1)
    with running(tmp_path, {"filemaps": [{"path": str(file)}]}) as supervisor:
        notified(manager, "STATUS=1 file: 1 RUNNING", notified(manager, "READY=1", []))
        notified(manager, "WATCHDOG=1", [])
        supervisor.process.send_signal(signal.SIGHUP)
        order = notified(manager, "READY=1", notified(manager, "RELOADING=1\nMONOTONIC_USEC=", []))
        assert [m.split("=")[0] for m in order if m.startswith(("READY", "RELOADING"))] == [
            "RELOADING",
            "READY",
        ]
        supervisor.config.write_text("version: 2\n")
        assert supervisor.command("reload").returncode == 78
        notified(manager, "READY=1", notified(manager, "RELOADING=1", []))
        supervisor.process.send_signal(signal.SIGTERM)
        notified(manager, "STOPPING=1", [])


def test_no_watchdog_for_a_supervisor_that_hangs(
    fs: Filesystem, tmp_path: Path, manager: socket.socket
) -> None:
    """A hanging supervisor sends nothing; once it runs again it feeds the watchdog."""
    file = fs.mountpoint / "disk.img"
    write(file, 1)
    with running(tmp_path, {"filemaps": [{"path": str(file)}]}) as supervisor:
        notified(manager, "WATCHDOG=1", [])
        with stopped(supervisor.process.pid):
            notified(manager, "", ["what came before"])
            manager.settimeout(3)
            with pytest.raises(TimeoutError):
                manager.recv(4096)
            manager.setblocking(False)
        notified(manager, "WATCHDOG=1", [])


def test_level_of_the_log_follows_a_reload(fs: Filesystem, tmp_path: Path) -> None:
    """After a reload a running worker logs at the new level, without a restart."""
    file = fs.mountpoint / "disk.img"
    write(file, 1)
    quiet, usual = (
        {"filemaps": [{"path": str(file)}], "supervisor": {"log": {"level": level}}}
        for level in ("error", "info")
    )
    with running(tmp_path, quiet) as supervisor:
        pid = supervisor.wait_state(file)["pid"]
        oracle.message(fs.device.name, "@stats_delete 0")
        wait_for("it notices", lambda: supervisor.filemap(file)["noticed"].get("lost") == 1)
        assert f"[{pid}]" not in supervisor.log.read_text()
        supervisor.write(usual)
        assert supervisor.command("reload").returncode == 0
        wait_for("the region is back", lambda: bool(oracle.assert_exact_cover(file, fs.device.name)))
        oracle.message(fs.device.name, "@stats_delete 0")
        wait_for(
            "the worker logs it",
            lambda: (
                f"disk.img[{pid}]: another program deleted regions of group 0" in supervisor.log.read_text()
            ),
        )
        assert supervisor.filemap(file)["pid"] == pid


def test_json_records_have_the_file(fs: Filesystem, tmp_path: Path) -> None:
    """Records about a file have its name, device, group and a pid as fields, from workers and supervisor
    alike."""
    file = fs.mountpoint / "disk.img"
    write(file, 1)
    config = {"filemaps": [{"path": str(file)}], "supervisor": {"log": {"format": "json"}}}
    with running(tmp_path, config) as supervisor:
        pid = supervisor.wait_state(file)["pid"]
        oracle.message(fs.device.name, "@stats_delete 0")

        def found(text: str) -> dict[str, object]:
            lines = supervisor.log.read_text().rpartition("\n")[0].splitlines()
            records = [record for record in map(json.loads, lines) if text in record["message"]]
            assert records
            return dict(records[0])

        def fields_of(text: str) -> dict[str, object]:
            return {name: found(text)[name] for name in ("level", "file", "device", "group_id", "pid")}

        about = {"file": "disk.img", "device": fs.device.name, "group_id": 0}
        assert wait_for(
            "the worker logs it", lambda: fields_of("another program deleted regions of group 0")
        ) == {
            **about,
            "level": "warning",
            "pid": pid,
        }
        assert fields_of("disk.img: RUNNING") == {**about, "level": "info", "pid": supervisor.process.pid}
        assert not found("filemapd started").keys() & about.keys()
