"""Files that are dropped and selected again within a moment, or renamed: no stale state interferes."""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox.devices import Filesystem, filesystem
from supervisor.fleet.filemap import Filemap
from supervisor.fleet.fork_server import Child
from supervisor.fleet.scheduler import Scheduler
from tests.kernel import oracle
from tests.kernel.changes import CHANGES, MIB, append_delayed, fallocate, opened
from tests.kernel.conftest import Disk, read_direct
from tests.kernel.running import Running, running, stopped, wait_for, write
from tests.unit.fleets import small_fleet
from workers import messages
from workers.channel import pair


@pytest.fixture
def fs() -> Iterator[Filesystem]:
    """A file system of its own for each test."""
    with filesystem("ext4", size_mb=64) as made:
        yield made


def listed(file: Path, **keys: Any) -> dict[str, Any]:
    """Return a configuration with one file."""
    return {"filemaps": [{"path": str(file), **keys}]}


def directory(fs: Filesystem, **keys: Any) -> dict[str, Any]:
    """Return a configuration with the file system's images."""
    return {"directories": [{"path": str(fs.mountpoint), "include": ["*.img"], **keys}]}


def reload(supervisor: Running, *configs: dict[str, Any]) -> None:
    """Load one configuration after the other."""
    for config in configs:
        supervisor.write(config)
        done = supervisor.command("reload")
        assert done.returncode == 0, done.stderr


def followed(supervisor: Running, file: Path, fs: Filesystem, also: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until a file is followed, its group covers it, and `also` holds for its status."""

    def found() -> bool:
        filemap = supervisor.filemap(file)
        assert filemap.get("state") == "RUNNING", filemap
        oracle.assert_exact_cover(file, fs.device.name)
        assert also(filemap), filemap
        return True

    wait_for(f"{file.name} is followed", found)


def test_a_restart_later_keeps_the_group(fs: Filesystem, tmp_path: Path) -> None:
    """A group that was to be deleted, as its file left the configuration, stays once the configuration has
    the file again."""
    file = fs.mountpoint / "disk.img"
    write(file, 1)
    with running(tmp_path, listed(file)) as supervisor:
        pid = supervisor.wait_state(file)["pid"]
        with stopped(pid):
            reload(supervisor, {}, listed(file))
        followed(supervisor, file, fs, lambda f: f["pid"] != pid)
        CHANGES["append"](file)
        fallocate_apart(file)
        followed(supervisor, file, fs, lambda f: f["regions"] > 1)
        pid, before = supervisor.filemap(file)["pid"], oracle.rows(fs.device.name)
        assert any(b".p%d." % pid in row.aux for row in before), "no region bears its maker's mark"
        assert supervisor.command("restart", "disk.img").returncode == 0
        followed(supervisor, file, fs, lambda f: f["pid"] != pid)
        assert oracle.rows(fs.device.name) == before


def fallocate_apart(file: Path) -> None:
    """Give a file an extent that touches none of its others."""
    write(file.with_name("between"), 1)
    with opened(file) as fd:
        fallocate(fd, 0, 8 * MIB, MIB)


def test_with_another_name_while_its_worker_dies(fs: Filesystem, tmp_path: Path) -> None:
    """A renamed file is followed again, also if its ending worker was killed."""
    file = fs.mountpoint / "disk.img"
    write(file, 1)
    with running(tmp_path, listed(file)) as supervisor:
        pid = supervisor.wait_state(file)["pid"]
        os.kill(pid, signal.SIGSTOP)
        reload(supervisor, {}, listed(file, name="other"))
        os.kill(pid, signal.SIGKILL)
        followed(supervisor, file, fs, lambda f: f["name"] == "other")
        CHANGES["append"](file)
        followed(supervisor, file, fs, lambda f: f["changes"] > 0)


def test_renamed_before_delayed_writes_land(fs: Filesystem, tmp_path: Path) -> None:
    """Delayed writes that land after the rename, without an event, are followed."""
    file = fs.mountpoint / "part.img"
    write(file, 1)
    with running(tmp_path, directory(fs)) as supervisor:
        pid = supervisor.wait_state(file)["pid"]
        append_delayed(file)
        whole = file.rename(fs.mountpoint / "whole.img")
        wait_for("it is renamed", lambda: supervisor.filemap(whole).get("pid") == pid)
        os.sync()
        followed(supervisor, whole, fs, lambda f: f["pid"] == pid)


def test_renamed_and_another_in_its_place(fs: Filesystem, tmp_path: Path) -> None:
    """Files that were rotated before a scan noticed keep their workers under their new names, and the new
    file gets its own."""
    one, two, three = (fs.mountpoint / f"{n}.img" for n in "abc")
    write(one, 1)
    write(two, 2)
    with running(tmp_path, directory(fs)) as supervisor:
        pids = [supervisor.wait_state(file)["pid"] for file in (one, two)]
        with stopped(supervisor.process.pid):
            two.rename(three)
            one.rename(two)
            write(one, 3)
        followed(supervisor, three, fs, lambda f: f["pid"] == pids[1])
        followed(supervisor, two, fs, lambda f: f["pid"] == pids[0])
        followed(supervisor, one, fs, lambda f: f["inode"] == one.stat().st_ino)
        oracle.assert_no_orphan(fs.device.name)


@pytest.mark.parametrize("how", ["restart", "reload"])
def test_a_new_worker_of_a_renamed_file(fs: Filesystem, tmp_path: Path, how: str) -> None:
    """Mode inode: which file is followed doesn't change when its worker is replaced."""
    file = fs.mountpoint / "disk.img"
    write(file, 1)
    with running(tmp_path, listed(file)) as supervisor:
        before = supervisor.wait_state(file)
        moved = file.rename(fs.mountpoint / "moved")
        if how == "restart":
            assert supervisor.command("restart", "disk.img").returncode == 0
        else:
            reload(supervisor, listed(file, labels={"tenant": "acme"}))
        wait_for("another runs", lambda: supervisor.filemap(file)["pid"] not in (None, before["pid"]))
        CHANGES["append"](moved)
        wait_for("the renamed file is followed", lambda: covered(moved, fs))
        assert supervisor.filemap(file)["inode"] == before["inode"]


def covered(file: Path, fs: Filesystem) -> bool:
    """Return whether the file's group covers it exactly and nothing is left behind."""
    oracle.assert_exact_cover(file, fs.device.name)
    oracle.assert_no_orphan(fs.device.name)
    return True


def test_unlinked_while_no_worker_runs(fs: Filesystem, tmp_path: Path) -> None:
    """An unlinked file of a directory that is still open is followed by the next worker, and dropped at its
    last close."""
    file = fs.mountpoint / "disk.img"
    write(file, 1)
    config = {**directory(fs), "supervisor": {"restart": {"initial": "3s"}}}
    with running(tmp_path, config) as supervisor, opened(file) as fd:
        pid = supervisor.wait_state(file)["pid"]
        os.kill(pid, signal.SIGKILL)
        supervisor.wait_state(file, "BACKOFF")
        file.unlink()
        write(fs.mountpoint / "other.img", 1)
        supervisor.wait_state(fs.mountpoint / "other.img")
        extents = supervisor.wait_state(file)["extents"]
        write(fs.mountpoint / "between", 1)
        fallocate(fd, 0, 8 * MIB, MIB)
        wait_for("it is followed", lambda: supervisor.filemap(file)["extents"] > extents)


def test_from_the_list_into_a_directory(fs: Filesystem, tmp_path: Path) -> None:
    """A file that is no longer listed but found in its directory is followed without links from then on."""
    file, elsewhere = fs.mountpoint / "disk.img", fs.mountpoint / "elsewhere"
    write(file, 1)
    write(elsewhere, 2)
    with running(tmp_path, listed(file, mode="path")) as supervisor:
        supervisor.wait_state(file)
        reload(supervisor, directory(fs, mode="path"))
        supervisor.wait_state(file)
        link = fs.mountpoint / "link"
        link.symlink_to(elsewhere)
        link.rename(file)
        wait_for("its directory has no such file", lambda: not supervisor.filemap(file))
        assert '"moved"' not in supervisor.command("events", "--json").stdout, "the link was followed"


def test_sampled_more_often_after_a_reload(fs: Filesystem, tmp_path: Path) -> None:
    """A shorter interval takes effect at once, not after the longer one."""
    file = fs.mountpoint / "disk.img"
    write(file, 1)
    with running(tmp_path, listed(file, sample="1h")) as supervisor:
        pid = supervisor.wait_state(file)["pid"]
        wait_for("it is sampled", lambda: supervisor.filemap(file)["sampled_at"])
        reload(supervisor, listed(file, sample="1s"))
        followed(supervisor, file, fs, lambda f: f["pid"] != pid)
        read_direct(file, 0, 7)
        wait_for("they are counted", lambda: supervisor.filemap(file)["reads"] == 7)


def test_running_again_is_reported(fs: Filesystem, tmp_path: Path) -> None:
    """After an event that a file isn't followed any more another one reports that it is again."""
    file = fs.mountpoint / "disk.img"
    write(file, 1)
    with running(tmp_path, listed(file)) as supervisor:
        supervisor.wait_state(file)
        reload(supervisor, {})
        wait_for("it is dropped", lambda: not supervisor.filemap(file))
        reload(supervisor, listed(file))
        supervisor.wait_state(file)
        lines = supervisor.command("events", "--json", "disk.img").stdout.splitlines()
        events = [event["details"] for event in map(json.loads, lines) if event["kind"] == "state"]
        assert [one["to"] for one in events] == ["STOPPED", "RUNNING"]


def test_changed_by_others_before_it_was_known(disk: Disk, tmp_path: Path) -> None:
    """Regions that changed before a file was known are not reported as changes of that file."""
    others = disk.others_region()
    ours, theirs = pair()
    with small_fleet(tmp_path) as fleet, closing(ours), closing(theirs):
        (filemap,) = fleet.filemaps.values()
        known = fleet.filemaps["/y"] = Filemap(replace(filemap.spec, path="/y", name="y"))
        for one in (filemap, known):
            one.child, one.fd = Child(os.getpid(), ours), os.open(disk.folder, os.O_PATH)
            one.file = messages.FileOpened(disk.device.dev_t, 2, 0, one.fd)
        known.mapped = messages.Mapped(None, "", 0, 0, 0, 0, 0, None, False, False, False, False)
        turns = Scheduler(fleet)
        turns.check_regions()
        filemap.mapped, filemap.group_id = (
            replace(known.mapped, group={"group_id": others}, tag="theirs"),
            others,
        )
        turns.check_regions()
        assert select.select([theirs], [], [], 0)[0], "its worker gets no request"
        assert isinstance(theirs.receive(), messages.Reconcile)
        for one in (filemap, known):
            fleet.release_file(one)
