"""Each change of a group's id is one event with its reason, whichever process is killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from dmstats.device import Device
from sandbox.devices import Filesystem, filesystem
from tests.kernel import fault, oracle
from tests.kernel.changes import CHANGES, KEEP_SIZE, MIB, PUNCH_HOLE, fallocate, opened
from tests.kernel.running import Running, running, stopped, wait_for, write

Move = tuple[int, int, str]


@pytest.fixture
def fs() -> Iterator[Filesystem]:
    """A file system of its own for each test."""
    with filesystem("ext4", size_mb=200) as made:
        yield made


def moves(state_dir: Path, path: Path) -> list[Move]:
    """Return from, to and reason of a file's moves, read from the ledger with SQLite."""
    with closing(sqlite3.connect(f"file:{state_dir}/ledger.sqlite3?mode=ro", uri=True)) as db:
        rows = db.execute(
            "SELECT details, reason FROM events WHERE path = ? AND kind = 'moved' ORDER BY id",
            (os.fsencode(path),),
        ).fetchall()
    reported = [(json.loads(details), reason) for details, reason in rows]
    return [(details["from"], details["to"], reason) for details, reason in reported]


def assert_chain(found: list[Move], group_id: int) -> None:
    """Fail unless each move begins where the previous one ended, and the last one ends at `group_id`: none is
    lost or reported twice."""
    for one, other in pairwise(found):
        assert one[1] == other[0], found
    assert all(old != new for old, new, _ in found), found
    assert found[-1][1] == group_id, (found, group_id)


def free_leader(file: Path) -> None:
    """Free the extent of the first region."""
    with opened(file) as fd:
        fallocate(fd, KEEP_SIZE | PUNCH_HOLE, 0, 4 * MIB)


def lay_out(fs: Filesystem, name: str = "disk.img") -> Path:
    """Return a file in three extents that lie apart, 4 MiB each at 0, 8 and 16 MiB."""
    file = fs.mountpoint / name
    for at in (0, 8, 16):
        write(file, 4, at)
        write(file.with_name(name + ".apart"), 1, at)
    os.sync()
    return file


class Watched:
    """One file under a supervisor, and the moves of its group."""

    def __init__(self, supervisor: Running, file: Path, device: str) -> None:
        self.supervisor, self.file, self.device = supervisor, file, device

    def moves(self) -> list[Move]:
        """Return the moves in the ledger."""
        return moves(self.supervisor.folder / "state", self.file)

    def moved(self, times: int) -> list[Move]:
        """Return the moves once there are `times`, the group is exact and its id is the last one's."""

        def there() -> list[Move]:
            found = self.moves()
            assert len(found) == times, found
            oracle.assert_exact_cover(self.file, self.device, found[-1][1])
            return found

        found = wait_for(f"move number {times}", there)
        status = self.supervisor.filemap(self.file)
        assert status["moves_total"] == times
        assert [(m["from"], m["to"], m["reason"]) for m in status["moves"]] == found
        assert_chain(found, status["group_id"])
        return found


def test_reasons(fs: Filesystem, tmp_path: Path) -> None:
    """The event has the reason: a freed extent, a lower id, an empty file, changed options, others'
    changes."""
    file, name = lay_out(fs), fs.device.name
    stranger = Device(fs.device.dev_t)
    theirs = [stranger.create(at, 8, program="theirs") for at in range(0, 24, 8)]
    config = {"filemaps": [{"path": str(file)}]}
    with running(tmp_path, config) as supervisor:
        assert supervisor.wait_state(file)["group_id"] == 3
        watched = Watched(supervisor, file, name)
        free_leader(file)
        assert watched.moved(1)[-1] == (3, 4, "the first region's extent was freed")

        stranger.delete(theirs[1])
        CHANGES["write_hole"](file)
        assert watched.moved(2)[-1] == (4, 1, "a new region got a lower id")

        supervisor.write({**config, "defaults": {"precise": False, "histogram": []}})
        supervisor.command("reload")
        assert watched.moved(3)[-1][2] == "the options were changed"

        group = supervisor.filemap(file)["group_id"]
        oracle.run("dmstats", "delete", "--groupid", str(group), name)
        stranger.create(0, 8, program="theirs")
        # The file's group is recreated, under the same id or another, and the move is reported.
        wait_for("it is recreated", lambda: bool(oracle.assert_exact_cover(file, name)))
        os.truncate(file, 0)
        wait_for("it is empty", lambda: supervisor.filemap(file)["state"] == "WAITING")
        reported = len(watched.moves())
        group = watched.moves()[-1][1]
        theirs.append(stranger.create(0, 8, program="theirs"))
        while theirs[-1] < group:
            theirs.append(stranger.create(0, 8, program="theirs"))
        write(file, 2)
        assert watched.moved(reported + 1)[-1][2] == "the file was empty"


def test_replaced(fs: Filesystem, tmp_path: Path) -> None:
    """In mode path the file that replaces another gets the group, under another id."""
    file = lay_out(fs)
    with running(tmp_path, {"filemaps": [{"path": str(file)}], "defaults": {"mode": "path"}}) as supervisor:
        assert supervisor.wait_state(file)["group_id"] == 0
        write(file.with_name("new"), 2)
        file.with_name("new").rename(file)
        (move,) = Watched(supervisor, file, fs.device.name).moved(1)
        assert move[2] == "another file is at the path"


@pytest.mark.parametrize("who", ["worker", "supervisor"])
def test_killed_right_after_the_tag(fs: Filesystem, tmp_path: Path, who: str) -> None:
    """A worker killed right after it set the tag reported nothing. Its successor's first reconcile yields the
    event once, with the original reason; so does the next supervisor's, if that was killed too."""
    file, name = lay_out(fs), fs.device.name
    config = {"filemaps": [{"path": str(file)}], "supervisor": {"restart": {"initial": "50ms"}}}
    with running(tmp_path, config, fault.program(tmp_path)) as supervisor:
        pid = supervisor.wait_state(file)["pid"]
        if who == "supervisor":
            (tmp_path / "and_parent").touch()
        # The first message of this change sets the tag, the second one deletes the former leader.
        (tmp_path / "kill").write_text("1")
        free_leader(file)
        wait_for("the worker was killed", lambda: not Path(f"/proc/{pid}").exists())
        if who == "supervisor":
            assert supervisor.process.wait() == -signal.SIGKILL
            supervisor.again()
        (move,) = Watched(supervisor, file, name).moved(1)
        assert move == (0, 1, "the first region's extent was freed")


def test_moved_again_before_it_was_reported(fs: Filesystem, tmp_path: Path) -> None:
    """A move by a killed worker and the immediate next one of its successor are two events, in order."""
    file, name = lay_out(fs), fs.device.name
    config = {"filemaps": [{"path": str(file)}], "supervisor": {"restart": {"initial": "2s"}}}
    with running(tmp_path, config, fault.program(tmp_path)) as supervisor:
        pid = supervisor.wait_state(file)["pid"]
        # After the tag and the deletion of the former leader: until then the group has both ids.
        (tmp_path / "kill").write_text("2")
        free_leader(file)
        wait_for("the worker was killed", lambda: not Path(f"/proc/{pid}").exists())
        with opened(file) as fd:
            fallocate(fd, KEEP_SIZE | PUNCH_HOLE, 8 * MIB, 4 * MIB)
        found = Watched(supervisor, file, name).moved(2)
        assert [move[:2] for move in found] == [(0, 1), (1, 2)]


def test_by_others(fs: Filesystem, tmp_path: Path) -> None:
    """A deleted leader leaves the group under the next id. The event attributes it to another program."""
    file, name = lay_out(fs), fs.device.name
    with running(tmp_path, {"filemaps": [{"path": str(file)}]}) as supervisor:
        supervisor.wait_state(file)
        stranger = Device(fs.device.dev_t)
        # Otherwise the group might get a new region with that id in between.
        with stopped(supervisor.process.pid):
            stranger.delete(0)
            stranger.create(0, 8, program="theirs")
        (move,) = Watched(supervisor, file, name).moved(1)
        assert move == (0, 1, "another program deleted regions of the group")


def test_a_configured_group_that_never_existed(fs: Filesystem, tmp_path: Path) -> None:
    """The event has that reason, even for a file that is empty at first."""
    file = fs.mountpoint / "empty.img"
    file.touch()
    with running(tmp_path, {"filemaps": [{"path": str(file), "group_id": 70}]}) as supervisor:
        wait_for("it is empty", lambda: supervisor.filemap(file)["state"] == "WAITING")
        assert supervisor.filemap(file)["noticed"] == {"absent": 1}
        write(file, 2)
        (move,) = Watched(supervisor, file, fs.device.name).moved(1)
        assert move == (70, 0, "there was no group 70")


def test_without_the_ledger(fs: Filesystem, tmp_path: Path) -> None:
    """A file retains its own group on the device, though the configuration names another. The event has the
    reason why that one was not taken."""
    file, other = lay_out(fs), fs.mountpoint / "other.img"
    write(other, 2)
    oracle.run("dmstats", "create", "--filemap", "--nomonitor", str(other))
    config = {"filemaps": [{"path": str(file)}]}
    with running(tmp_path, config) as supervisor:
        own = supervisor.wait_state(file)["group_id"]
        supervisor.process.kill()
        supervisor.process.wait()
    assert own not in {0, 70}
    for group, reason in ((70, "there was no group 70"), (0, "group 0 is of another file")):
        folder = tmp_path / str(group)
        folder.mkdir()
        with running(folder, {"filemaps": [{"path": str(file), "group_id": group}]}) as supervisor:
            supervisor.wait_state(file)
            (move,) = Watched(supervisor, file, fs.device.name).moved(1)
            assert move == (group, own, reason)
            supervisor.process.kill()
            supervisor.process.wait()
