"""`filemapd cleanup` beside other programs' regions and those of living processes, compared with dmsetup's
list."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dmstats.filemap import create_regions_from_fd
from supervisor.cleanup.cleanup import Cleanup
from supervisor.config.load import load
from tests.kernel import oracle
from tests.kernel.conftest import Disk, read_direct
from tests.kernel.running import FILEMAPD, Running, running, wait_for

# The regions are the same on every file system.
pytestmark = pytest.mark.parametrize("made", ["ext4"], indirect=True)

# Creates a region with the mark of a process that then ends, as if killed before it set the tag.
_ORPHAN = """
import os, sys
from dmstats.device import Device
from dmstats.files import identify
from dmstats.marker import process_mark
file = identify(os.open(sys.argv[1], os.O_RDONLY))
print(Device(file.dev).create(0, 8, aux=str(process_mark(file))))
"""

_GROUP = """
import os, sys
from dmstats.filemap import create_regions_from_fd
print(create_regions_from_fd(os.open(sys.argv[1], os.O_RDONLY))[0])
"""


def cleanup(folder: Path, config: dict[str, Any], *words: str, status: int = 0) -> list[dict[str, Any]]:
    """Run `filemapd cleanup --json` with a configuration whose folders are in `folder`; return the
    leftovers."""
    path = folder / "cleanup.yaml"
    folders = {"state_dir": str(folder / "state"), "runtime_dir": str(folder / "run")}
    path.write_text(json.dumps({"version": 1, **folders, **config}))
    command = [*FILEMAPD, "cleanup", "--json", "-c", str(path), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, (done.stdout, done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["dry_run"] is bool(words)
    return list(answer["left_over"])


def orphan(path: Path) -> int:
    """Create an orphan region of the file, and return its id."""
    command = [sys.executable, "-c", _ORPHAN, str(path)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def others(disk: Disk) -> dict[int, str]:
    """Create a group and regions of other programs with dmstats and dmsetup; return their rows."""
    before = oracle.table(disk.name)
    for _ in range(2):
        oracle.run("dmstats", "create", "--start", "64s", "--length", "64s", disk.name)
    first, last = sorted(oracle.table(disk.name).keys() - before.keys())
    oracle.run("dmstats", "group", "--alias", "theirs", "--regions", f"{first},{last}", disk.name)
    oracle.message(disk.name, "@stats_create 0+8 /1 mine filemapd")
    now = oracle.table(disk.name)
    return {number: now[number] for number in now.keys() - before.keys()}


def config_of(*paths: Path) -> dict[str, Any]:
    """Return a configuration that lists the files."""
    return {"filemaps": [{"path": str(path)} for path in paths]}


def test_a_file_that_left_the_configuration(disk: Disk, tmp_path: Path) -> None:
    """While filemapd was down one file left the configuration, another vanished, and a process was killed
    half-way. A dry run changes nothing; then only the leftovers are removed, and the retained file's total is
    complete."""
    left, kept, missing = (
        disk.pieces("left.img", 3),
        disk.pieces("kept.img", 2),
        disk.pieces("missing.img", 2),
    )
    with running(tmp_path, config_of(left, kept, missing)) as supervisor:
        groups = {path: supervisor.wait_state(path)["group_id"] for path in (left, kept, missing)}
        read_direct(kept, 0, 30)
        supervisor.process.send_signal(signal.SIGKILL)
        supervisor.process.wait()
        theirs, bare = others(disk), orphan(left.with_name("left.img"))
        gone = disk.write("gone.img", 4096)
        stray = orphan(gone)
        gone.unlink()
        missing.rename(disk.folder / "moved")
        before = oracle.table(disk.name)
        members = oracle.groups(disk.name)
        config = config_of(kept, missing)
        found = cleanup(tmp_path, config, "--dry-run")
        assert oracle.table(disk.name) == before
        assert [(f["device"], f["group_id"], f["path"], f["regions"], f["removed"]) for f in found] == [
            (disk.name, groups[left], str(left), sorted([*members[groups[left]], bare]), False),
            (disk.name, None, None, [stray], False),
        ]
        assert found[0]["reason"] == "not configured"
        assert "in no group, made by process" in found[1]["reason"]
        removed = cleanup(tmp_path, config)
        assert removed == [one | {"removed": True} for one in found]
        goes = {number for one in found for number in one["regions"]}
        assert oracle.table(disk.name) == {n: row for n, row in before.items() if n not in goes}
        assert theirs.items() <= oracle.table(disk.name).items()
        assert cleanup(tmp_path, config) == []
        supervisor.write(config)
        supervisor.again()
        wait_for("its total is whole", lambda: supervisor.filemap(kept).get("reads") == 30)
        assert supervisor.filemap(kept)["group_id"] == groups[kept]


def kill_worker(supervisor: Running, path: Path) -> None:
    """Kill a file's worker, and return once it waits for its restart."""
    os.kill(supervisor.filemap(path)["pid"], signal.SIGKILL)
    supervisor.wait_state(path, "BACKOFF")


def test_groups_in_use_are_retained(disk: Disk, tmp_path: Path) -> None:
    """The groups of the running filemapd stay even if they aren't configured, if their worker waits for its
    restart, or if that filemapd is unknown. So do the group of a running dmfilemapd and the regions of a
    living process."""
    one, other, alone = (disk.pieces(f"{name}.img", 2) for name in ("one", "other", "alone"))
    made_here = disk.pieces("here.img", 2)
    create_regions_from_fd(disk.open(made_here))
    (tmp_path / "other").mkdir()
    restart = {"supervisor": {"restart": {"initial": "60s"}}}
    with running(tmp_path, config_of(one, other) | restart) as supervisor:
        for path in (one, other):
            supervisor.wait_state(path)
        kill_worker(supervisor, other)
        making = [sys.executable, "-c", _GROUP, str(alone)]
        group = subprocess.run(making, capture_output=True, text=True, check=True).stdout.strip()
        program = "from workers.dmfilemapd import main; main()"
        fd = disk.open(alone)
        daemon = subprocess.Popen(
            [sys.executable, "-c", program, str(fd), group, str(alone), "inode", "1"], pass_fds=[fd]
        )
        try:
            locked = Path(f"/run/lock/filemapd/{disk.stats.number}.{group}")
            wait_for(
                "dmfilemapd has its group", lambda: locked.exists() and locked.read_text() == str(daemon.pid)
            )
            before = oracle.table(disk.name)
            for folder in (tmp_path, tmp_path / "other"):
                assert cleanup(folder, {}) == []
            assert oracle.table(disk.name) == before
        finally:
            daemon.kill()
            daemon.wait()
        # Now only its supervisor knows.
        kill_worker(supervisor, one)
        assert cleanup(tmp_path, config_of(alone)) == []


def test_taken_over_during_the_cleanup(disk: Disk, tmp_path: Path) -> None:
    """If a filemapd takes the group over between the listing and the removal, the group stays and the reason
    is shown."""
    path = disk.pieces("vm.img", 2)
    with running(tmp_path, config_of(path)) as supervisor:
        supervisor.wait_state(path)
        supervisor.stop()
        empty = tmp_path / "empty.yaml"
        empty.write_text(
            json.dumps({"version": 1, "state_dir": str(tmp_path / "s"), "runtime_dir": str(tmp_path / "r")})
        )
        work = Cleanup(load(str(empty)))
        found = work.find()
        before = oracle.table(disk.name)
        assert [r.id for one in found for r in one.regions] == list(before)
        supervisor.again()
        pid = supervisor.wait_state(path)["pid"]
        ((_, reason),) = work.remove(found)
        assert reason is not None
        assert f"is already followed by process {pid}" in reason
        assert oracle.table(disk.name) == before
        assert supervisor.wait_state(path)["noticed"] == {}


def test_unknown_configuration(disk: Disk, tmp_path: Path) -> None:
    """If the wanted files are unknown nothing is removed. The exit statuses are the documented ones."""
    path = disk.pieces("vm.img", 2)
    with running(tmp_path, config_of(path)) as supervisor:
        supervisor.wait_state(path)
        supervisor.stop()
        before = oracle.table(disk.name)
        supervisor.write({"directories": [{"path": str(tmp_path / "none")}]})
        done = supervisor.command("cleanup", "-c", str(supervisor.config))
        assert (done.returncode, done.stdout) == (1, "")
        assert "No such file or directory" in done.stderr
        supervisor.config.write_text("version: 2")
        assert supervisor.command("cleanup", "-c", str(supervisor.config)).returncode == 78
        assert supervisor.command("cleanup", "-c", str(tmp_path / "none.yaml")).returncode == 78
        supervisor.write({})
        ledger = tmp_path / "state" / "ledger.sqlite3"
        ledger.write_bytes(b"x" * 4096)
        done = supervisor.command("cleanup", "-c", str(supervisor.config))
        assert (done.returncode, done.stdout) == (1, "")
        assert str(ledger) in done.stderr
        assert oracle.table(disk.name) == before
