"""Unhealthy workers are detected and replaced: each test makes a real process unhealthy."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.devices import Filesystem, filesystem
from supervisor.control.client import call
from tests.kernel import fault, oracle
from tests.kernel.running import Running, running, wait_for, write

CRASH_LOOPS = 100


@pytest.fixture
def fs() -> Iterator[Filesystem]:
    """A file system of its own for each test."""
    with filesystem("ext4", size_mb=200) as made:
        yield made


def mended(supervisor: Running, file: Path, before: dict[str, Any], because: str) -> dict[str, Any]:
    """Return the status once another worker runs, with the reason why the previous one was ended."""

    def there() -> dict[str, Any]:
        now = supervisor.filemap(file)
        assert now["state"] == "RUNNING", now
        assert now["pid"] != before["pid"], now
        assert because in (now["last_crash"] or ""), now
        return now

    return wait_for(f"a worker is replaced as it {because}", there)


@pytest.mark.parametrize(
    ("what", "because"),
    [("grow", "more than max_rss"), ("open", "more than max_open_files"), ("spin", "of a CPU for")],
)
def test_misbehaving_worker_is_replaced(fs: Filesystem, tmp_path: Path, what: str, because: str) -> None:
    """A worker that grows, leaks descriptors or spins is replaced. The group stays and is followed on."""
    file, other = fs.mountpoint / "disk.img", fs.mountpoint / "other.img"
    write(file, 2)
    write(other, 1)
    health = {"interval": "500ms", "heartbeat": "1h", "max_rss": "150MiB"}
    if what == "spin":
        # On a busy machine it gets only part of a CPU.
        health |= {"max_cpu": "10%", "max_cpu_for": "2s"}
    config = {"filemaps": [{"path": str(file)}, {"path": str(other)}], "supervisor": {"health": health}}
    with running(tmp_path, config, fault.program(tmp_path)) as supervisor:
        before, beside = supervisor.wait_state(file), supervisor.wait_state(other)
        (tmp_path / "misbehave").write_text(what)
        write(file, 2, 4)
        after = mended(supervisor, file, before, because)
        assert after["group_id"] == before["group_id"]
        wait_for("the change is followed", lambda: oracle.assert_exact_cover(file, fs.device.name) or True)
        assert supervisor.filemap(other)["pid"] == beside["pid"]
        oracle.assert_no_orphan(fs.device.name)


def test_stopped_worker_is_replaced(fs: Filesystem, tmp_path: Path) -> None:
    """SIGTERM has no effect on a worker after SIGSTOP, so it is killed after the grace period, and another
    takes over."""
    file = fs.mountpoint / "disk.img"
    write(file, 2)
    config = {"filemaps": [{"path": str(file)}], "supervisor": {"health": {"interval": "500ms"}}}
    with running(tmp_path, config) as supervisor:
        before = supervisor.wait_state(file)
        os.kill(before["pid"], signal.SIGSTOP)
        mended(supervisor, file, before, "SIGSTOP")
        assert not Path(f"/proc/{before['pid']}").exists()


def test_silent_worker_is_replaced(fs: Filesystem, tmp_path: Path) -> None:
    """A worker whose response is overdue by the heartbeat is replaced, even if it is active."""
    file = fs.mountpoint / "disk.img"
    write(file, 2)
    health = {"interval": "500ms", "heartbeat": "2s", "max_cpu_for": "1h"}
    config = {"filemaps": [{"path": str(file)}], "supervisor": {"health": health}}
    with running(tmp_path, config, fault.program(tmp_path)) as supervisor:
        before = supervisor.wait_state(file)
        (tmp_path / "misbehave").write_text("spin")
        write(file, 2, 4)
        mended(supervisor, file, before, "has not responded for")


def test_figures_of_health(fs: Filesystem, tmp_path: Path) -> None:
    """RSS, open files and process state in the status equal those in /proc. The limits follow a reload."""
    file = fs.mountpoint / "disk.img"
    write(file, 1)
    config: dict[str, Any] = {"filemaps": [{"path": str(file)}], "supervisor": {"health": {"interval": "1h"}}}
    with running(tmp_path, config) as supervisor:
        pid = supervisor.wait_state(file)["pid"]
        config["supervisor"]["health"] = {"interval": "200ms", "max_rss": "1GiB"}
        supervisor.write(config)
        assert supervisor.command("reload").returncode == 0

        def as_in_proc() -> bool:
            filemap = supervisor.filemap(file)
            status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            assert filemap["pid"] == pid
            assert filemap["open_files"] == len(os.listdir(f"/proc/{pid}/fd"))
            assert filemap["rss_bytes"] == int(status["VmRSS"].split()[0]) * 1024
            assert filemap["process_status"] == "sleeping"
            return True

        wait_for("the figures are those of /proc", as_in_proc)
        config["supervisor"]["health"]["max_rss"] = "1MiB"
        supervisor.write(config)
        assert supervisor.command("reload").returncode == 0
        wait_for(
            "the new limit is kept to", lambda: "max_rss" in (supervisor.filemap(file)["last_crash"] or "")
        )


@pytest.mark.timeout(600)
def test_crash_loop_of_many(fs: Filesystem, tmp_path: Path) -> None:
    """While 100 workers crash as fast as they can, commands get responses and other files are followed. Then
    each is FAILED with its reason and last log lines, and restart and reload retry."""
    folder = fs.mountpoint / "bad"
    folder.mkdir()
    for number in range(CRASH_LOOPS):
        (folder / f"{number:03}.img").write_bytes(b"x" * 4096)
    good = fs.mountpoint / "good.img"
    write(good, 1)
    restart = {"initial": "50ms", "max": "200ms", "give_up": 2, "within": "10m"}
    config = {
        "defaults": {"sample": "1h"}, "filemaps": [{"path": str(good)}], "supervisor": {"restart": restart}
    }  # fmt: skip
    with running(tmp_path, config, fault.program(tmp_path)) as supervisor:
        pid = supervisor.wait_state(good)["pid"]
        (tmp_path / "misbehave").write_text("crash")
        supervisor.write({**config, "directories": [{"path": str(folder)}]})
        assert supervisor.command("reload").returncode == 0

        def failed() -> bool:
            """Every single request must get a response."""
            status = call(supervisor.runtime_dir, "GET", "/v1/status", timeout=60)
            states = Counter(f["state"] for f in status["filemaps"])
            assert states == {"FAILED": CRASH_LOOPS, "RUNNING": 1}
            return True

        wait_for("all have FAILED", failed, 300, 1.0)
        assert supervisor.filemap(good)["pid"] == pid
        one = supervisor.filemap(folder / "042.img")
        assert "crashed 2 times within 10m: RuntimeError: made to crash" in one["reason"]
        assert any("about to crash" in line for line in one["log_lines"]), one["log_lines"]
        (tmp_path / "misbehave").unlink()
        write(good, 1, 2)
        wait_for("it is followed", lambda: oracle.assert_exact_cover(good, fs.device.name) or True)
        assert supervisor.command("restart", "042.img").returncode == 0
        supervisor.wait_state(folder / "042.img")
        assert supervisor.filemap(folder / "043.img")["state"] == "FAILED"
        assert supervisor.command("reload").returncode == 0
        wait_for(
            "reload tries all again",
            lambda: all(f["state"] == "RUNNING" for f in supervisor.status()["filemaps"]),
            200,
            2.0,
        )
