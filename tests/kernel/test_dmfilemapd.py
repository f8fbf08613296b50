"""The dmfilemapd command: a replacement of lvm2's, without its faults."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dmstats.device import Device
from dmstats.filemap import create_regions_from_fd
from sandbox.devices import Filesystem, filesystem
from tests.kernel import oracle
from tests.kernel.changes import CHANGES, KEEP_SIZE, MIB, PUNCH_HOLE, fallocate, opened
from tests.kernel.dmfilemapd_process import COMMAND, daemon
from tests.kernel.running import open_files, wait_for, write


@pytest.fixture
def fs() -> Iterator[Filesystem]:
    """A file system of its own for each test."""
    with filesystem("ext4", size_mb=200) as made:
        yield made


def make_group(file: Path, **options: object) -> int:
    """Map a file and return its group's id."""
    with opened(file, os.O_RDONLY) as fd:
        return create_regions_from_fd(fd, **options)[0]  # type: ignore[arg-type] # passed on as they are


def lay_out(fs: Filesystem, name: str = "disk.img") -> Path:
    """Return a file in two extents that lie apart."""
    file = fs.mountpoint / name
    write(file, 2)
    write(fs.mountpoint / f"{name}.apart", 2)
    write(file, 2, 4)
    return file


def exact(file: Path, fs: Filesystem) -> bool:
    """Return True; fail unless the one group of the file covers it exactly."""
    oracle.assert_exact_cover(file, fs.device.name)
    return True


@pytest.mark.parametrize("group_id", [0, 7])
def test_leader_freed(fs: Filesystem, group_id: int) -> None:
    """When the leader's extent is freed the group continues under another id; its id was 0 or another."""
    file = lay_out(fs)
    device = Device(fs.device.dev_t)
    fillers = [device.create(i * 8, 8, program="filler") for i in range(group_id)]
    assert make_group(file) == group_id
    with daemon(file, group_id) as running:
        CHANGES["append"](file)
        wait_for("it follows", lambda: exact(file, fs))
        CHANGES["punch_first"](file)
        with opened(file) as fd:
            fallocate(fd, KEEP_SIZE | PUNCH_HOLE, 0, 2 * MIB)
        wait_for("the group continues", lambda: exact(file, fs))
        assert group_id not in oracle.groups(fs.device.name)
        running.process.send_signal(signal.SIGTERM)
        status, output = running.end()
        assert status == 0
        assert f"group_id changed from {group_id} to" in output
    assert exact(file, fs), "SIGTERM leaves the group"
    assert len([row for row in oracle.rows(fs.device.name) if row.program == b"filler"]) == len(fillers)


def test_other_program_creates_regions(fs: Filesystem) -> None:
    """While another program creates and deletes regions, the tag loses no member."""
    file = lay_out(fs)
    device = Device(fs.device.dev_t)
    group = make_group(file)
    with daemon(file, group):
        for i in range(6):
            theirs = [device.create(n * 8, 8, program="other") for n in range(5)]
            CHANGES["scatter" if i % 2 else "append"](file)
            for number in theirs:
                device.delete(number)
            wait_for("it follows", lambda: exact(file, fs))


def test_group_reused_by_another_file(fs: Filesystem) -> None:
    """If the group is deleted and another file's group gets its id, that group isn't changed and the daemon ends."""
    file, other = lay_out(fs), lay_out(fs, "other.img")
    group = make_group(file)
    with daemon(file, group) as running:
        CHANGES["append"](file)
        wait_for("it follows", lambda: exact(file, fs))
        oracle.run("dmstats", "delete", "--allregions", fs.device.name)
        assert make_group(other) == group
        table = oracle.run("dmsetup", "message", fs.device.name, "0", "@stats_list")
        CHANGES["append"](file)
        status, output = running.end()
    assert status == 0
    assert "group removed" in output
    assert oracle.run("dmsetup", "message", fs.device.name, "0", "@stats_list") == table


def test_group_deleted(fs: Filesystem) -> None:
    """The daemon ends with status 0 when its group is deleted."""
    file = lay_out(fs)
    group = make_group(file)
    with daemon(file, group) as running:
        CHANGES["append"](file)
        wait_for("it follows", lambda: exact(file, fs))
        oracle.run("dmstats", "delete", "--allregions", fs.device.name)
        assert running.end()[0] == 0


def test_second_daemon_on_a_group(fs: Filesystem) -> None:
    """A second daemon on a group names the process that has it and ends; no region is left behind."""
    file = lay_out(fs)
    group = make_group(file)
    with daemon(file, group) as first:
        CHANGES["append"](file)
        wait_for("it follows", lambda: exact(file, fs))
        now = next(iter(oracle.groups(fs.device.name)))
        with daemon(file, now) as second:
            status, output = second.end()
        assert status == 1
        assert f"process {first.process.pid}" in output
        CHANGES["append"](file)
        wait_for("the first still follows", lambda: exact(file, fs))
        oracle.assert_no_orphan(fs.device.name)


@pytest.mark.parametrize("change", ["store_mapped", "same_blocks"])
def test_change_without_event(fs: Filesystem, change: str) -> None:
    """Growth by mmap(2), and changes with the same st_blocks, are followed."""
    file = lay_out(fs)
    with daemon(file, make_group(file)):
        CHANGES["append"](file)
        wait_for("it follows", lambda: exact(file, fs))
        CHANGES[change](file)
        wait_for("it follows", lambda: exact(file, fs))


def test_path_mode_follows_the_path(fs: Filesystem) -> None:
    """In mode path the group follows a file that is replaced, removed and created again; no descriptor leaks."""
    file = lay_out(fs)
    with daemon(file, make_group(file), "path") as running:
        pid = running.process.pid
        for i in range(3):
            write(fs.mountpoint / "new", 1 + i)
            (fs.mountpoint / "new").rename(file)
            wait_for("the group is on the new file", lambda: exact(file, fs))
        before = len(open_files(pid))
        file.unlink()
        wait_for("no group without a file", lambda: not oracle.groups(fs.device.name))
        write(file, 2)
        wait_for("the group is created again", lambda: exact(file, fs))
        # During a reconcile there is one more.
        wait_for("it has as few files open", lambda: len(open_files(pid)) <= before)
        assert sum("inotify" in name for name in open_files(pid)) == 1


def test_inode_mode_follows_the_file(fs: Filesystem) -> None:
    """In mode inode a file is followed when it is renamed, and when it is unlinked but open elsewhere."""
    file = lay_out(fs)
    with daemon(file, make_group(file)) as running, opened(file) as fd:
        moved = file.rename(fs.mountpoint / "moved.img")
        CHANGES["append"](moved)
        wait_for("it follows the renamed file", lambda: exact(moved, fs))
        moved.unlink()
        members = oracle.groups(fs.device.name)
        fallocate(fd, 0, 30 * MIB, MIB)
        wait_for("it follows the unlinked file", lambda: oracle.groups(fs.device.name) != members)
        assert running.process.poll() is None
        os.close(os.dup(fd))
        assert running.process.poll() is None


def test_ends_when_unlinked_and_closed(fs: Filesystem) -> None:
    """After the file is unlinked and closed the daemon ends with status 0 and leaves no region."""
    file = lay_out(fs)
    with daemon(file, make_group(file)) as running:
        CHANGES["append"](file)
        wait_for("it follows", lambda: exact(file, fs))
        file.unlink()
        status, output = running.end()
    assert status == 0
    assert "unlinked and closed" in output
    assert not oracle.rows(fs.device.name)


def test_truncated_to_nothing_for_a_while(fs: Filesystem) -> None:
    """The daemon of a file without extents runs on; the first extent gets the same group again."""
    file = lay_out(fs)
    group = make_group(file, alias="keep me", precise=True, bounds=[1_000_000])
    with daemon(file, group) as running:
        os.truncate(file, 0)
        wait_for("the group is deleted with the extents", lambda: not oracle.rows(fs.device.name))
        os.sync()
        assert running.process.poll() is None
        write(file, 3)
        wait_for("the group is created again", lambda: exact(file, fs))
        row = oracle.rows(fs.device.name)[0]
        assert b'"keep me"' in row.aux
        assert b"precise_timestamps histogram:1000000" in row.aux


def test_many_scattered_removals(fs: Filesystem) -> None:
    """After scattered removals that would make the tag too long, regions are created again with adjacent ids."""
    file = fs.mountpoint / "disk.img"
    write(file, 60)
    with opened(file) as fd:
        for i in range(600):
            fallocate(fd, KEEP_SIZE | PUNCH_HOLE, i * 102400 // 4096 * 4096, 4096)
    group = make_group(file)
    with daemon(file, group):
        with opened(file) as fd:
            for i in itertools.chain(range(0, 580, 2)):
                fallocate(fd, KEEP_SIZE | PUNCH_HOLE, i * 102400 // 4096 * 4096, 26 * 4096)
        wait_for("it follows", lambda: exact(file, fs))
        tags = [row.aux for row in oracle.rows(fs.device.name) if row.aux.startswith(b"DMS_GROUP=")]
        assert len(tags) == 1
        assert len(tags[0].split(b" precise")[0]) <= 1023
        assert len(oracle.rows(fs.device.name)) > 250


def test_growth_keeps_counters(fs: Filesystem) -> None:
    """An extent that grows keeps its region and counters; userdata and alias stay too."""
    file = fs.mountpoint / "disk.img"
    write(file, 2)
    oracle.run("dmstats", "create", "--filemap", "--nomonitor", "--alias", "mine", str(file))
    device = Device(fs.device.dev_t)
    device.set_aux(0, 'DMS_GROUP="mine":0#hello')
    with opened(file, os.O_RDONLY | os.O_DIRECT) as fd:
        oracle.run(
            "dd", f"if=/proc/{os.getpid()}/fd/{fd}", "of=/dev/null", "bs=4096", "count=9", "iflag=direct"
        )
    counted = device.print(device.list().regions[0]).reads
    assert counted == 9
    with daemon(file, 0):
        CHANGES["append"](file)
        wait_for("it follows", lambda: bool(oracle.assert_exact_cover(file, fs.device.name, 0)))
    region = device.list().regions[0]
    assert device.print(region).reads == counted
    assert region.aux.startswith('DMS_GROUP="mine":0')
    assert region.aux.endswith("#hello")


def test_more_daemons_than_inotify_instances(fs: Filesystem) -> None:
    """Without an inotify instance the daemon polls, logs that, and follows."""
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    before = limit.read_text()
    file = lay_out(fs)
    limit.write_text("0")
    try:
        with daemon(file, make_group(file)) as running:
            CHANGES["append"](file)
            wait_for("it follows", lambda: exact(file, fs))
            running.process.terminate()
            status, output = running.end()
        assert status == 0
        assert "max_user_instances" in output
    finally:
        limit.write_text(before)


def test_dmstats_starts_it(fs: Filesystem, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's `dmstats create --filemap --follow=inode` starts this one from PATH, detached; it follows the file."""
    assert shutil.which("dmfilemapd"), "the virtual environment's bin is on PATH in the guest"
    monkeypatch.chdir(fs.mountpoint)
    file = lay_out(fs)
    oracle.run("dmstats", "create", "--filemap", "--follow=inode", str(file))
    CHANGES["append"](file)
    group = next(iter(oracle.groups(fs.device.name)))

    def followed() -> bool:
        oracle.assert_exact_cover(file, fs.device.name, next(iter(oracle.groups(fs.device.name))))
        return True

    assert group == 0
    wait_for("the group follows", followed)

    def detached() -> list[str]:
        found = oracle.run("pgrep", "-f", f"dmfilemapd .* {file} inode").split()
        assert len(found) == 1, "one process, for which dmstats did not wait"
        return found

    found = wait_for("it is detached", detached)
    assert Path(f"/proc/{found[0]}/cwd").readlink() == Path("/")
    assert re.search(r"^PPid:\t1$", Path(f"/proc/{found[0]}/status").read_text(), re.MULTILINE)
    file.unlink()
    wait_for("it ends", lambda: not Path(f"/proc/{found[0]}").exists())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("x 0 /a inode", "Could not parse file descriptor: x"),
        ("0 x /a inode", "Could not parse group identifier: x"),
        ("0 0 '' inode", "Path argument is required."),
        ("0 0 /a ''", "Mode argument is required."),
        ("0 0 a inode", "must specify an absolute path"),
        ("0 0 /a foo", "Could not parse dmfilemapd mode"),
        ("0 0", "usage: dmfilemapd"),
        ("0 0 /a inode x", "Could not parse foreground argument: x"),
        ("0 0 /a inode 1 4", "out of range: 4"),
        ("99 0 /a inode 1", "Bad file descriptor"),
    ],
)
def test_arguments(words: str, expected: str) -> None:
    """A wrong argument is an error message and exit status 1."""
    done = subprocess.run([*COMMAND, *shlex.split(words)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert expected in done.stderr
