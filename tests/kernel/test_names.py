"""A watched directory with arbitrary names from tenants, and with links to files outside."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dmstats.mode import FilemapdMode
from sandbox.devices import Filesystem, filesystem
from tests.kernel import oracle
from tests.kernel.running import Running, running, wait_for, write
from tests.kernel.scraping import fetch, free_port, listen
from workers.followed_file import FollowedFile, Presence

NAMES = (
    b"two\nlines.img",
    b"red \x1b[31m\x1b]0;title\x07.img",
    b"no utf-8 \xff\xfe.img",
    "directions \u202egmi.\u2066.img".encode(),
    b"'\"><script>alert(1)&amp;{{7*7}}.img",
    b"\xc2\x9b31m and \xc2\x85 too.img",
    b"DMS_GROUP=x:0-9#y \\ \xa0.img",
    b"n" * 251 + b".img",
)
# Control characters for a terminal or a line-based reader.
CONTROL = frozenset(range(0x20)) - {0x0A} | {0x7F}


@pytest.fixture
def fs() -> Iterator[Filesystem]:
    """A file system of its own for each test."""
    with filesystem("ext4", size_mb=100) as made:
        yield made


def watched(folder: Path) -> dict[str, object]:
    """Return a configuration that follows all files of a folder."""
    return {"directories": [{"path": str(folder), "recursive": True}]}


def wait_followed(supervisor: Running, device: str, files: list[Path]) -> None:
    """Wait until exactly these files are followed and covered."""

    def followed() -> bool:
        states = {filemap["path"]: filemap["state"] for filemap in supervisor.status()["filemaps"]}
        assert len(states) == len(files), states
        assert set(states.values()) == {"RUNNING"}, states
        for file in files:
            oracle.assert_exact_cover(file, device)
        return True

    wait_for("all are followed", followed, 60)


def assert_harmless(shown: bytes) -> None:
    """Assert that the text has no control sequences, and that no name begins a line in it."""
    text = shown.decode("utf-8")
    assert not CONTROL & set(shown), shown
    assert not any(0x80 <= ord(one) < 0xA0 or one in "\u202e\u2066" for one in text), text
    assert not any(line.startswith("lines.img") for line in text.splitlines()), text


def test_any_name_is_mapped_and_shown_safely(fs: Filesystem, tmp_path: Path) -> None:
    """Files of any name are covered. Status, events, log, metrics and page show the names harmlessly."""
    folder = fs.mountpoint / "images"
    folder.mkdir()
    files = [folder / os.fsdecode(name) for name in NAMES]
    for file in files:
        write(file, 1)
    port = free_port()
    with running(tmp_path, {**watched(folder), **listen(port)}) as supervisor:
        wait_followed(supervisor, fs.device.name, files)
        os.kill(supervisor.status()["filemaps"][0]["pid"], signal.SIGKILL)
        for file in files:
            write(file, 1, 2)
        wait_followed(supervisor, fs.device.name, files)
        for words in (["status"], ["events"], ["top", "--once"], ["status", "--json"], ["events", "--json"]):
            done = supervisor.command(*words)
            assert done.returncode == 0, done.stderr
            assert done.stdout
            assert_harmless(done.stdout.encode())
        assert_harmless(supervisor.log.read_bytes())

        def exported() -> bytes:
            metrics = fetch(port)
            assert metrics.count(b"\nfilemapd_mapping_regions{") == len(files)
            return metrics

        assert_harmless(wait_for("they are exported", exported))
        page = fetch(port, "/")
        assert b"no utf-8" in page
        assert b"<script>alert" not in page
        assert_harmless(page)
        filemaps = supervisor.status()["filemaps"]
        assert len({filemap["name"] for filemap in filemaps}) == len(files)
        assert {filemap["path"] for filemap in filemaps} == set(map(str, files))
        oracle.assert_no_orphan(fs.device.name)


def test_nothing_leads_to_a_file_outside(fs: Filesystem, tmp_path: Path) -> None:
    """Links, mounts, pipes, sockets and device nodes in a watched directory are ignored and delay nothing. A
    file replaced by one of them isn't followed through it."""
    folder, outside = fs.mountpoint / "images", fs.mountpoint / "outside"
    for made in (folder, outside):
        made.mkdir()
    secret, own, swapped = outside / "secret.img", folder / "own.img", folder / "swapped.img"
    for file in (secret, own, swapped):
        write(file, 1)
    (folder / "link.img").symlink_to(secret)
    (folder / "folder").symlink_to(outside)
    os.mkfifo(folder / "pipe.img")
    os.mknod(folder / "disk.img", 0o600 | stat.S_IFBLK, fs.device.dev_t)
    with (
        socket.socket(socket.AF_UNIX) as listener,
        filesystem("ext4", 64, mountpoint=folder / "mounted") as other,
    ):
        listener.bind(str(folder / "socket.img"))
        write(other.mountpoint / "others.img", 1)
        with running(tmp_path, watched(folder)) as supervisor:
            wait_followed(supervisor, fs.device.name, [own, swapped])
            swapped.unlink()
            swapped.symlink_to(secret)
            wait_followed(supervisor, fs.device.name, [own])
            write(own, 1, 2)
            wait_followed(supervisor, fs.device.name, [own])
            assert oracle.groups_of(secret, fs.device.name) == []
            assert oracle.rows(other.device.name) == []


def test_file_within_its_directory(fs: Filesystem) -> None:
    """Anything can replace the path between a scan and the opening. No link and no mount below the directory
    is followed; the directory itself may be reached by one."""
    folder, outside, top = fs.mountpoint / "images", fs.mountpoint / "outside", fs.mountpoint / "top"
    for made in (folder / "inner", outside / "inner"):
        made.mkdir(parents=True)
    write(outside / "inner" / "disk.img", 1)
    top.symlink_to(folder)
    path = top / "inner" / "disk.img"

    def found(path: Path = path, within: Path | None = top) -> Presence:
        following = FollowedFile(
            str(path), FilemapdMode.PATH, within=str(within) if within is not None else None
        )
        presence = following.find()
        following.close()
        return presence

    assert found() is Presence.MISSING
    write(path, 1)
    assert found() is Presence.REPLACED
    path.unlink()
    path.symlink_to(outside / "inner" / "disk.img")
    assert found() is Presence.MISSING
    path.unlink()
    (folder / "inner").rmdir()
    (folder / "inner").symlink_to(outside / "inner")
    assert found() is Presence.MISSING
    (folder / "inner").unlink()
    with filesystem("ext4", 64, mountpoint=folder / "inner") as other:
        write(other.mountpoint / "disk.img", 1)
        assert found() is Presence.MISSING
    (folder / "inner").symlink_to(outside / "inner")
    assert found(within=None) is Presence.REPLACED


def test_a_listed_path_that_becomes_a_pipe(fs: Filesystem, tmp_path: Path) -> None:
    """The worker reports a pipe in the place of an image and doesn't wait for a writer. A new image there is
    followed."""
    file = fs.mountpoint / "disk.img"
    write(file, 1)
    with running(tmp_path, {"filemaps": [{"path": str(file), "mode": "path"}]}) as supervisor:
        supervisor.wait_state(file)
        os.mkfifo(file.with_name("pipe"))
        file.with_name("pipe").rename(file)
        assert "a pipe" in supervisor.wait_state(file, "FAILED")["reason"]
        write(file.with_name("new"), 1)
        file.with_name("new").rename(file)
        supervisor.wait_state(file)
        oracle.assert_exact_cover(file, fs.device.name)
