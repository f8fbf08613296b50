"""The supervisor's guarantees: moves, restarts, reload, directories, stopping."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dmstats.device import Device
from sandbox.devices import Filesystem, filesystem
from tests.kernel import oracle
from tests.kernel.changes import CHANGES
from tests.kernel.running import DEADLINE, running, wait_for, write


@pytest.fixture
def fs() -> Iterator[Filesystem]:
    """A file system of its own for each test."""
    with filesystem("ext4", size_mb=200) as made:
        yield made


def exact(file: Path, device: str) -> bool:
    """Return whether the file's group covers it exactly."""
    oracle.assert_exact_cover(file, device)
    return True


@pytest.mark.parametrize("group_id", [0, 7])
def test_leader_freed(fs: Filesystem, tmp_path: Path, group_id: int) -> None:
    """An adopted group whose leader's extent is freed continues under another id, which status shows."""
    file, name = fs.mountpoint / "disk.img", fs.device.name
    write(file, 4)
    write(fs.mountpoint / "apart", 4)
    write(file, 4, 8)
    device = Device(fs.device.dev_t)
    others = [device.create(i * 8, 8) for i in range(group_id)]
    oracle.run("dmstats", "create", "--filemap", "--nomonitor", str(file))
    assert oracle.groups(name)[group_id]
    with running(tmp_path, {"filemaps": [{"path": str(file), "group_id": group_id}]}) as supervisor:
        assert supervisor.wait_state(file)["group_id"] == group_id
        CHANGES["punch_first"](file)
        start = supervisor.wait_state(file)

        def moved() -> bool:
            filemap = supervisor.filemap(file)
            assert filemap["moves"], filemap
            oracle.assert_exact_cover(file, name, filemap["group_id"])
            return True

        wait_for("the group has moved", moved)
        filemap = supervisor.filemap(file)
        assert filemap["configured_group_id"] == group_id
        assert filemap["moves"][0]["from"] == group_id
        assert filemap["pid"] == start["pid"]
        assert "DMS_GROUP=disk.img:" in oracle.table(name)[filemap["group_id"]], "the alias and its form stay"
        assert {n for n, row in oracle.table(name).items() if row.endswith(" dmstats -")} == set(others)
        assert supervisor.stop() == 0


def test_killed_worker_is_followed_by_another(fs: Filesystem, tmp_path: Path) -> None:
    """kill -9 on a worker: another takes over the same group and follows the file, and nothing is
    orphaned."""
    file, name = fs.mountpoint / "disk.img", fs.device.name
    write(file, 4)
    with running(tmp_path, {"filemaps": [{"path": str(file)}]}) as supervisor:
        before = supervisor.wait_state(file)
        os.kill(before["pid"], signal.SIGKILL)

        def replaced() -> bool:
            filemap = supervisor.filemap(file)
            assert filemap["state"] == "RUNNING", filemap
            assert filemap["pid"] != before["pid"]
            return True

        wait_for("another worker runs", replaced)
        after = supervisor.filemap(file)
        assert after["group_id"] == before["group_id"]
        assert after["restarts"] == 1
        assert "SIGKILL" in after["last_crash"]
        CHANGES["append"](file)
        wait_for("it follows", lambda: exact(file, name))
        oracle.assert_no_orphan(name)


def test_supervisor_killed(fs: Filesystem, tmp_path: Path) -> None:
    """kill -9 on the supervisor: its workers end too, and the next one takes the groups over unchanged."""
    file, name = fs.mountpoint / "disk.img", fs.device.name
    write(file, 4)
    with running(tmp_path, {"filemaps": [{"path": str(file)}]}) as supervisor:
        before = supervisor.wait_state(file)
        supervisor.process.kill()
        wait_for("the worker goes", lambda: not Path(f"/proc/{before['pid']}").exists())
        table = oracle.table(name)
        supervisor.again()
        after = supervisor.wait_state(file)
        assert after["group_id"] == before["group_id"]
        assert oracle.table(name) == table, "nothing was recreated"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("on_stop", ["keep", "delete"])
def test_stops_cleanly(fs: Filesystem, tmp_path: Path, number: int, on_stop: str) -> None:
    """SIGTERM and SIGINT end it with status 0; groups are retained or deleted as configured."""
    file, name = fs.mountpoint / "disk.img", fs.device.name
    write(file, 2)
    with running(
        tmp_path, {"filemaps": [{"path": str(file)}], "supervisor": {"on_stop": on_stop}}
    ) as supervisor:
        supervisor.wait_state(file)
        supervisor.process.send_signal(number)
        assert supervisor.process.wait(DEADLINE) == 0
        assert bool(oracle.table(name)) is (on_stop == "keep")
        assert not (supervisor.runtime_dir / "control.sock").exists()


def test_reload(fs: Filesystem, tmp_path: Path) -> None:
    """SIGHUP loads a new configuration: unchanged files keep their process, an invalid configuration changes
    nothing."""
    one, two = fs.mountpoint / "one.img", fs.mountpoint / "two.img"
    write(one, 1)
    write(two, 1)
    with running(tmp_path, {"filemaps": [{"path": str(one)}]}) as supervisor:
        pid = supervisor.wait_state(one)["pid"]
        supervisor.write({"filemaps": [{"path": str(one)}, {"path": str(two)}]})
        supervisor.process.send_signal(signal.SIGHUP)
        supervisor.wait_state(two)
        assert supervisor.filemap(one)["pid"] == pid
        supervisor.config.write_text("version: 1\nfilemaps:\n  - pth: /x\n")
        done = supervisor.command("reload")
        assert done.returncode == 78
        assert ":3:" in done.stderr
        assert "pth" in done.stderr
        supervisor.process.send_signal(signal.SIGHUP)
        wait_for("it is logged, too", lambda: "not reloaded: " in supervisor.log.read_text())
        assert supervisor.filemap(two)["state"] == "RUNNING"
        supervisor.write({"filemaps": [{"path": str(two)}]})
        assert "removed: one.img" in supervisor.command("reload").stdout
        wait_for("the leftover group is deleted", lambda: len(oracle.groups(fs.device.name)) == 1)
        wait_for("so does its worker", lambda: not supervisor.filemap(one))
        supervisor.write({"filemaps": [{"path": str(two)}], "state_dir": str(tmp_path / "elsewhere")})
        assert supervisor.command("reload").returncode == 0
        assert "state_dir takes effect at the next start" in supervisor.log.read_text()


def test_directory(fs: Filesystem, tmp_path: Path) -> None:
    """Images of a directory are selected when they appear, in any way, and dropped when they vanish."""
    folder = fs.mountpoint / "images"
    directory = {"path": str(folder), "include": ["*.img"], "exclude": ["tmp*"], "mode": "path"}
    with running(tmp_path, {"directories": [directory]}) as supervisor:
        wait_for("the supervisor responds", lambda: "version" in supervisor.status())
        folder.mkdir()
        write(folder / "a.img", 1)
        supervisor.wait_state(folder / "a.img")
        write(fs.mountpoint / "b", 1)
        (fs.mountpoint / "b").rename(folder / "b.img")
        supervisor.wait_state(folder / "b.img")
        os.link(folder / "b.img", folder / "c.img")
        write(folder / "tmp.img", 1)
        write(folder / "d.txt", 1)
        write(folder / "e.img", 1)
        supervisor.wait_state(folder / "e.img")
        names = {filemap["name"] for filemap in supervisor.status()["filemaps"]}
        assert names == {"a.img", "b.img", "c.img", "e.img"}
        (folder / "a.img").unlink()
        wait_for("a.img is dropped", lambda: not supervisor.filemap(folder / "a.img"))
        wait_for("its group goes", lambda: '"a.img"' not in str(oracle.table(fs.device.name)))


def test_unmappable_is_one_files_state(fs: Filesystem, tmp_path: Path) -> None:
    """A file that can't be mapped is FAILED with its reason, a missing one WAITING; others run."""
    good = fs.mountpoint / "good.img"
    write(good, 1)
    shm = Path("/dev/shm/bad.img")  # noqa: S108 - a tmpfs is what the test is about
    shm.write_bytes(b"x" * 4096)
    config = {
        "filemaps": [{"path": str(p)} for p in (good, shm, fs.mountpoint, fs.mountpoint / "missing.img")]
    }
    with running(tmp_path, config) as supervisor:
        supervisor.wait_state(good)
        assert "tmpfs" in supervisor.wait_state(shm, "FAILED")["reason"]
        assert "a directory" in supervisor.wait_state(fs.mountpoint, "FAILED")["reason"]
        supervisor.wait_state(fs.mountpoint / "missing.img", "WAITING")
        write(fs.mountpoint / "missing.img", 1)
        supervisor.wait_state(fs.mountpoint / "missing.img")
        assert supervisor.filemap(shm)["restarts"] == 0
        shm.unlink()


def test_renamed_device(fs: Filesystem, tmp_path: Path) -> None:
    """A device that is renamed while in use is reported under its new name; worker and group stay."""
    file, name = fs.mountpoint / "disk.img", f"{fs.device.name}-renamed"
    write(file, 1)
    with running(tmp_path, {"filemaps": [{"path": str(file)}]}) as supervisor:
        before = supervisor.wait_state(file)
        assert before["device"] == fs.device.name
        oracle.run("dmsetup", "rename", fs.device.name, name)
        try:
            wait_for("the new name is reported", lambda: supervisor.filemap(file)["device"] == name)
            after = supervisor.filemap(file)
        finally:
            oracle.run("dmsetup", "rename", name, fs.device.name)
        assert (after["pid"], after["group_id"]) == (before["pid"], before["group_id"])


def test_commands(fs: Filesystem, tmp_path: Path) -> None:
    """status, status --json, a second run, stop, and their output without a supervisor."""
    file = fs.mountpoint / "disk.img"
    write(file, 1)
    with running(tmp_path, {"filemaps": [{"path": str(file), "group_id": 5}]}) as supervisor:
        supervisor.wait_state(file)
        shown = json.loads(supervisor.command("status", "--json").stdout)["filemaps"][0]
        assert shown["configured_group_id"] == 5
        assert shown["group_id"] == 0
        assert shown["rss_bytes"] > 1 << 20
        assert shown["device"] == fs.device.name
        table = supervisor.command("status").stdout
        assert "disk.img" in table
        assert "RUNNING" in table
        assert "\x1b[" not in table
        second = supervisor.command("run", "-c", str(supervisor.config))
        assert second.returncode == 1
        assert "runs already" in second.stderr
        assert supervisor.command("stop").returncode == 0
        assert supervisor.process.wait(DEADLINE) == 0
        gone = supervisor.command("status")
        assert gone.returncode == 3
        assert "not running" in gone.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version: 1\nfilemap: []\n", ":2:1: filemap: unknown key; did you mean 'filemaps'?"),
        ("version: 1\nfilemaps:\n- path: /a\n- path: /a\n", ":4:"),
        ("version: 1\nfilemaps:\n- path: a/b\n", ":3:3: filemaps[0].path:"),
    ],
)
def test_wrong_configuration(tmp_path: Path, text: str, expected: str) -> None:
    """An invalid configuration ends run and check with 78 and names file, line and key."""
    with running(tmp_path, {}) as supervisor:
        wrong = tmp_path / "wrong.yaml"
        wrong.write_text(text)
        for command in ("run", "check"):
            done = supervisor.command(command, "-c", str(wrong))
            assert done.returncode == 78
            assert f"{wrong}{expected}" in done.stderr
