"""`filemapd events`, the on_move program, the control socket, and completion of names."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sandbox.devices import Filesystem, filesystem
from supervisor.control.client import ControlError, call
from tests.kernel import oracle
from tests.kernel.running import DEADLINE, FILEMAPD, Running, open_files, running, wait_for, write
from tests.kernel.test_moves import free_leader, lay_out


@pytest.fixture
def fs() -> Iterator[Filesystem]:
    """Return a new file system for each test."""
    with filesystem("ext4", size_mb=200) as made:
        yield made


def events(supervisor: Running, *words: str) -> list[dict[str, Any]]:
    """Return the events that `filemapd events --json` prints."""
    done = supervisor.command("events", "--json", *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def in_ledger(folder: Path) -> list[tuple[Any, ...]]:
    """Return the events in the ledger, read with sqlite3."""
    with closing(sqlite3.connect(f"file:{folder}/state/ledger.sqlite3?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT id, kind, path, reason FROM events ORDER BY id").fetchall()
    return [(number, kind, os.fsdecode(path), reason) for number, kind, path, reason in rows]


def test_events(fs: Filesystem, tmp_path: Path) -> None:
    """A move, a crash, a truncated file and one that can't be mapped are one event each, in order.

    They are selected by id and by name, printed as JSON and as text, and survive a restart of the supervisor.
    """
    file, other = lay_out(fs), fs.mountpoint / "other.img"
    write(other, 1)
    filemaps = [{"path": str(path)} for path in (file, tmp_path / "filemaps.yaml", other)]
    options = {"supervisor": {"restart": {"initial": "50ms"}}}
    with running(tmp_path, {**options, "filemaps": filemaps[:1]}) as supervisor:
        supervisor.wait_state(file)
        # Added now, so that the other file's group has the higher id.
        supervisor.write({**options, "filemaps": filemaps})
        assert supervisor.command("reload").returncode == 0
        supervisor.wait_state(other)
        supervisor.wait_state(tmp_path / "filemaps.yaml", "FAILED")
        free_leader(file)
        wait_for(
            "the move is an event", lambda: [e["kind"] for e in events(supervisor, "disk.img")] == ["moved"]
        )
        pid = supervisor.filemap(file)["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_for("the crash is an event", lambda: len(events(supervisor, "disk.img")) == 2)
        os.truncate(other, 0)
        wait_for("the empty file is an event", lambda: len(events(supervisor, str(other))) == 1)
        write(other, 1)
        wait_for("its return is an event", lambda: len(events(supervisor, str(other))) == 3)

        found = events(supervisor, "--since", "0")
        assert [e["id"] for e in found] == sorted(e["id"] for e in found)
        assert [(e["id"], e["kind"], e["path"], e["reason"]) for e in found] == in_ledger(tmp_path)
        facts = [(e["name"], e["kind"], e["details"]) for e in found]
        device = fs.device.name
        # The file can be RUNNING before its first extent is on disk. It has a group only afterwards.
        assert [*facts[:4], *sorted(facts[4:], key=lambda event: event[1])] == [
            ("filemaps.yaml", "state", {"from": "STARTING", "to": "FAILED"}),
            ("disk.img", "moved", {"from": 0, "to": 1, "device": device}),
            ("disk.img", "restarted", {"restarts": 1}),
            ("other.img", "state", {"from": "RUNNING", "to": "WAITING"}),
            ("other.img", "moved", {"from": 3, "to": 0, "device": device}),
            ("other.img", "state", {"from": "WAITING", "to": "RUNNING"}),
        ]
        assert found[1]["reason"] == "the first region's extent was freed"
        assert found[2]["reason"] == "killed by SIGKILL"
        assert found[3]["reason"] == "the file is empty"
        assert events(supervisor, "-n", "2") == found[-2:]
        assert events(supervisor, "--since", str(found[1]["id"])) == found[2:]
        assert events(supervisor, "-n", "0") == []
        line = supervisor.command("events", "disk.img").stdout.splitlines()[0]
        at = found[1]["at"][:19] + "Z"
        expected = (
            f"{found[1]['id']}  {at}  disk.img  moved 0→1 on {device}: the first region's extent was freed"
        )
        assert line == expected

        supervisor.process.kill()
        supervisor.again()
        supervisor.wait_state(file)
        supervisor.wait_state(tmp_path / "filemaps.yaml", "FAILED")
        assert events(supervisor, "-n", "7")[:6] == found


def test_follow(fs: Filesystem, tmp_path: Path) -> None:
    """--follow prints past and new events, and exits with 3 when the supervisor stops."""
    file = lay_out(fs)
    with running(tmp_path, {"filemaps": [{"path": str(file)}]}) as supervisor:
        supervisor.wait_state(file)
        command = [*FILEMAPD, "--runtime-dir", str(supervisor.runtime_dir), "events", "--follow", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
            assert follower.stdout is not None
            assert follower.stderr is not None
            free_leader(file)
            assert json.loads(follower.stdout.readline())["kind"] == "moved"
            os.kill(supervisor.filemap(file)["pid"], signal.SIGKILL)
            assert json.loads(follower.stdout.readline())["kind"] == "restarted"
            supervisor.stop()
            assert follower.wait(DEADLINE) == 3
            assert "not running" in follower.stderr.read()
        done = supervisor.command("events")
        assert done.returncode == 3


def test_on_move(fs: Filesystem, tmp_path: Path) -> None:
    """The program is run for each move, with its environment. A hung one blocks nothing. A reload changes it."""
    file = lay_out(fs)
    out = tmp_path / "out"
    program = tmp_path / "program"
    program.write_text(
        f"#!{sys.executable} -I\n"
        "import os, sys\n"
        f"with open({str(out)!r}, 'a') as out:\n"
        "    facts = {k: v for k, v in sorted(os.environ.items()) if k.startswith('FILEMAPD_')}\n"
        "    print(*sys.argv[1:], facts, file=out)\n"
        "print('some\\x1b[31m output')\n"
    )
    program.chmod(0o755)
    config: dict[str, Any] = {"filemaps": [{"path": str(file)}]}
    config["supervisor"] = {"on_move": [str(program), "--flag", "two words"]}
    with running(tmp_path, config) as supervisor:
        supervisor.wait_state(file)
        free_leader(file)
        wait_for("the program was run", out.exists)
        facts = {
            "FILEMAPD_DEVICE": fs.device.name,
            "FILEMAPD_NAME": "disk.img",
            "FILEMAPD_NEW": "1",
            "FILEMAPD_OLD": "0",
            "FILEMAPD_PATH": str(file),
            "FILEMAPD_REASON": "the first region's extent was freed",
        }
        wait_for("it has its environment", lambda: out.read_text() == f"--flag two words {facts}\n")
        wait_for("its output is logged", lambda: r"some\x1b[31m output" in supervisor.log.read_text())
        idle = {"running": 0, "waiting": 0, "failed": 0, "dropped": 0}
        wait_for("it has exited", lambda: supervisor.status()["on_move"] == idle)

        config["supervisor"]["on_move"] = ["/bin/sleep", "1000"]
        supervisor.write(config)
        supervisor.command("reload")
        os.truncate(file, 0)
        wait_for("the file is empty", lambda: supervisor.filemap(file)["state"] == "WAITING")
        stranger = [oracle.message(fs.device.name, "@stats_create 0+8 8") for _ in range(3)]
        assert stranger
        write(file, 1)
        wait_for("the program hangs", lambda: supervisor.status()["on_move"]["running"] == 1)
        wait_for("the file is followed", lambda: bool(oracle.assert_exact_cover(file, fs.device.name)))
        # A forked process isn't the program yet, and more files are open while that is loaded.
        sleeper = wait_for("the program runs", lambda: int(oracle.run("pgrep", "-x", "sleep")))
        wait_for("it has three files open", lambda: len(open_files(sleeper)) == 3)
        assert sorted(os.listdir(f"/proc/{sleeper}/fd")) == ["0", "1", "2"]
        assert os.readlink(f"/proc/{sleeper}/fd/0") == "/dev/null"
        assert supervisor.stop() == 0
        wait_for("it is killed with filemapd", lambda: not Path(f"/proc/{sleeper}").exists())


def test_control(fs: Filesystem, tmp_path: Path) -> None:
    """The socket belongs to the configured group. Errors in requests name the key."""
    file = lay_out(fs)
    config: dict[str, Any] = {"filemaps": [{"path": str(file)}], "supervisor": {"control_group": "nogroup"}}
    with running(tmp_path, config) as supervisor:
        supervisor.wait_state(file)
        socket = supervisor.runtime_dir / "control.sock"
        assert oracle.run("stat", "-c", "%U %G %a", str(socket)).split() == ["root", "nogroup", "660"]
        for method, path, body, text in (
            ("GET", "/v1/events?limit=0", None, "limit: must be at least 1, not '0'"),
            ("GET", "/v1/events?from=0", None, "from: unknown key; the keys here are after, limit, name"),
            ("POST", "/v1/restart", {"nme": "disk.img"}, "nme: unknown key; did you mean 'name'?"),
            ("POST", "/v1/stop", {"now": True}, "now: unknown key"),
        ):
            with pytest.raises(ControlError) as caught:
                call(supervisor.runtime_dir, method, path, body)
            assert caught.value.status == 400
            assert text in str(caught.value)
        supervisor.write({**config, "supervisor": {"control_group": 4}})
        assert supervisor.command("reload").returncode == 0
        assert socket.stat().st_gid == 4
        supervisor.write({**config, "supervisor": {"control_group": "no-such-group"}})
        done = supervisor.command("reload")
        assert done.returncode == 78
        assert "supervisor.control_group: there is no group 'no-such-group' on this host" in done.stderr
        assert supervisor.command("restart", str(file)).returncode == 0


def completions(supervisor: Running, *words: str) -> list[str]:
    """Return bash's completions of the last of `words`."""
    program = Path(sys.executable).with_name("filemapd")
    line = ["filemapd", "--runtime-dir", str(supervisor.runtime_dir), *words]
    variables = {
        "_FILEMAPD_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(line),
        "COMP_CWORD": str(len(line) - 1),
    }
    done = subprocess.run([program], env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [line.removeprefix("plain,") for line in done.stdout.split()]


def test_names(fs: Filesystem, tmp_path: Path) -> None:
    """Commands that take a name complete those of the running supervisor. `status` shows the given files."""
    files = [lay_out(fs, name) for name in ("db01.img", "db02.img", "web01.img")]
    with running(tmp_path, {"filemaps": [{"path": str(file)} for file in files]}) as supervisor:
        for file in files:
            supervisor.wait_state(file)
        assert completions(supervisor, "ev") == ["events"]
        for command in ("restart", "events", "status"):
            assert completions(supervisor, command, "db") == ["db01.img", "db02.img"]
        shown = supervisor.command("status", "web01.img", str(files[0])).stdout.splitlines()
        assert [line.split()[0] for line in shown[3:]] == ["db01.img", "web01.img"]
        printed = json.loads(supervisor.command("status", "--json", "db02.img").stdout)
        assert [f["name"] for f in printed["filemaps"]] == ["db02.img"]
        wrong = supervisor.command("status", "db03.img")
        assert wrong.returncode == 1
        assert wrong.stderr == "filemapd: there is no filemap 'db03.img'\n"
        supervisor.stop()
        assert completions(supervisor, "restart", "db") == []
