"""When machines are searched for, and how failed searches are handled. Searches are real processes."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from supervisor.config.load import parse
from supervisor.config.models import Config
from supervisor.config.models import Vms as Options
from supervisor.discovery.selection import select_files
from supervisor.fleet.filemap import Filemap
from supervisor.fleet.fleet import Fleet
from supervisor.runtime.child_reaper import ChildReaper
from supervisor.vms import search, watcher
from supervisor.vms.watcher import QemuProcesses, VmWatcher
from tests.unit.libvirt import disk, domain, running
from tests.unit.supervisor.vms.test_qemu import process
from workers.messages import FileOpened

DEADLINE = 60.0


class Host:
    """A fleet's files without workers, and the search for their machines."""

    def __init__(self, folder: Path, *names: str, options: dict[str, Any] | None = None) -> None:
        self.folder = folder
        self.libvirt = folder / "libvirt"
        self.libvirt.mkdir()
        self.notified: list[str] = []
        self.children = ChildReaper()
        self.selector = selectors.DefaultSelector()
        given: dict[str, Any] = {"folders": (str(self.libvirt),), "processes": False} | (options or {})
        paths = [folder / name for name in names]
        config = parse(
            b'{"version": 1, "filemaps": [' + b",".join(b'{"path": "%s"}' % bytes(p) for p in paths) + b"]}",
            "x",
            lambda _path: None,
        )
        self.filemaps: dict[str, Filemap] = {}
        for path, want in select_files(config, {}).items():
            Path(path).touch()
            found = os.stat(path)
            holds = FileOpened(found.st_dev, found.st_ino, 0, 0)
            self.filemaps[path] = Filemap(want, file=holds)
        self.fleet = SimpleNamespace(
            filemaps=self.filemaps,
            config=config.model_copy(update={"vms": Options(**given)}),
            files_opened=len(self.filemaps),
            stopping=False,
            reaper=self.children,
            status_changed=self.notified.append,
        )
        self.vms = VmWatcher(cast("Fleet", self.fleet), self.selector)

    def tick(self) -> bool:
        """Run one tick and the search that it started; return whether there was one."""
        self.vms.tick()
        began = self.vms._pid is not None
        self.settle()
        return began

    def settle(self) -> None:
        """Run the main loop until no search runs."""
        until = time.monotonic() + DEADLINE
        while self.vms._pid is not None or self.vms._pipe is not None:
            assert time.monotonic() < until
            self.turn()

    def turn(self) -> None:
        """Run one turn of the main loop."""
        for key, mask in self.selector.select(0.01):
            key.data(mask)
        self.children.reap()

    def quiet(self) -> None:
        """Tick until no search is started."""
        self.until(lambda: not self.tick())

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition."""
        until = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < until
            time.sleep(0.01)

    def names(self) -> list[str | None]:
        """Return each file's machine, by path."""
        return [m.name if (m := self.vms.machine_of(f)) else None for _, f in sorted(self.filemaps.items())]


def test_libvirts_changes_are_noticed(tmp_path: Path) -> None:
    """A machine starts, changes and goes; subscribers are notified of the affected files only."""
    host = Host(tmp_path, "a.img", "b.img")
    host.tick()
    assert (host.names(), host.notified) == ([None, None], [])
    xml = host.libvirt / "web.xml"
    xml.write_text(running("web", disk(f"{tmp_path}/a.img")))
    host.tick()
    assert (host.names(), host.notified) == (["web", None], [f"{tmp_path}/a.img"])
    (host.libvirt / "web.xml.new").write_text(running("web2", disk(f"{tmp_path}/b.img", f"{tmp_path}/a.img")))
    (host.libvirt / "web.xml.new").rename(xml)
    host.until(lambda: host.tick() and host.names() == ["web2", "web2"])
    xml.unlink()
    host.until(lambda: host.tick() and host.names() == [None, None])


def test_idle_costs_no_process(tmp_path: Path) -> None:
    """Once the folders have been unchanged for a second, there is no search until one changes."""
    host = Host(tmp_path, "a.img", options={"processes": True})
    (host.libvirt / "web.xml").write_text(running("web", disk(f"{tmp_path}/a.img")))
    host.quiet()
    assert not any(host.tick() for _ in range(20))
    assert host.names() == ["web"]
    (host.libvirt / "other.xml").write_text(domain("other"))
    assert host.tick()


def test_no_descriptor_for_a_search(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The names stay, and the error is logged."""
    host = Host(tmp_path, "a.img")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        host.vms.tick()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert host.vms._pid is None
    assert "Too many open files" in caplog.text


def test_a_folder_that_comes_later(tmp_path: Path) -> None:
    """Libvirt's folders may appear after filemapd's start, and vanish."""
    host = Host(tmp_path, "a.img")
    host.libvirt.rmdir()
    host.quiet()
    host.libvirt.mkdir()
    (host.libvirt / "web.xml").write_text(running("web", disk(f"{tmp_path}/a.img")))
    assert host.tick()
    assert host.names() == ["web"]


def test_a_new_file_causes_a_search(tmp_path: Path) -> None:
    """A newly followed or replaced file may be a machine's."""
    host = Host(tmp_path, "a.img")
    (host.libvirt / "web.xml").write_text(running("web", disk(f"{tmp_path}/other.img")))
    host.quiet()
    assert host.names() == [None]
    other = tmp_path / "other.img"
    other.touch()
    (filemap,) = host.filemaps.values()
    filemap.file = FileOpened(other.stat().st_dev, other.stat().st_ino, 0, 0)
    assert host.tick()
    assert host.names() == ["web"]


def test_a_file_that_goes_and_comes_back(tmp_path: Path) -> None:
    """A file that vanishes and returns is shown with its machine, the right one, however short the
    absence."""
    host = Host(tmp_path, "a.img")
    (host.libvirt / "web.xml").write_text(running("web", disk(f"{tmp_path}/a.img")))
    host.quiet()
    path, filemap = next(iter(host.filemaps.items()))
    host.filemaps[path] = Filemap(filemap.spec, file=filemap.file)
    host.fleet.files_opened += 1
    assert host.tick()
    assert host.names() == ["web"]


def test_processes_that_begin_and_end(tmp_path: Path) -> None:
    """A machine without libvirt is shown while it runs; other processes cause no search."""
    host = Host(tmp_path, "a.img", options={"processes": True})
    host.quiet()
    with process(f"rw:{tmp_path}/a.img", words=("-name", "plain")):
        assert host.tick()
        assert host.names() == ["plain"]
        host.quiet()
        with process(f"rw:{tmp_path}/a.img", program="tar"):
            assert not host.tick()
    assert host.tick()
    assert host.names() == [None]


def test_switched_off(tmp_path: Path) -> None:
    """Without sources there is no search, and a reload that removes them removes the names."""
    host = Host(tmp_path, "a.img")
    (host.libvirt / "web.xml").write_text(running("web", disk(f"{tmp_path}/a.img")))
    host.tick()
    assert host.names() == ["web"]
    host.fleet.config = host.fleet.config.model_copy(update={"vms": Options(folders=(), processes=False)})
    assert not host.tick()
    assert host.names() == [None]


def test_bad_files_are_a_debug_line_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They are logged at level debug, once."""
    caplog.set_level(logging.DEBUG)
    host = Host(tmp_path, "a.img")
    (host.libvirt / "bad.xml").write_text("<!DOCTYPE x><domain/>")
    host.quiet()
    (host.libvirt / "other.xml").write_text(domain("other"))
    host.quiet()
    (line,) = [record for record in caplog.records if "is ignored" in record.message]
    assert line.levelno == logging.DEBUG
    assert line.message == f"{host.libvirt}/bad.xml is ignored: has a document type"


def test_a_search_that_hangs_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A hanging search, as on a dead network server, delays nothing. Names stay, and the search is retried
    later."""
    host = Host(tmp_path, "a.img")
    (host.libvirt / "web.xml").write_text(running("web", disk(f"{tmp_path}/a.img")))
    host.tick()
    with monkeypatch.context() as broken:
        broken.setattr(search, "search_as_json", lambda *_, **__: time.sleep(3600))
        broken.setattr(watcher, "_DEADLINE", 0.0)
        (host.libvirt / "other.xml").write_text(domain("other"))
        host.vms.tick()
        assert host.vms._pid is not None
        assert host.tick()
    assert host.names() == ["web"]
    assert [r.message for r in caplog.records] == ["virtual machines are not known: the search did not end"]
    assert not host.tick(), "not at once"
    host.vms._not_before = 0.0
    assert host.tick()


def test_a_large_result(tmp_path: Path) -> None:
    """A result larger than a pipe's buffer."""
    names = [f"{i}.img" for i in range(300)]
    host = Host(tmp_path, *names)
    for name in names:
        (host.libvirt / f"{name}.xml").write_text(
            running("x" * 200 + name, disk(f"{tmp_path}/{name}", "/b" * 500))
        )
    host.tick()
    assert all(name is not None for name in host.names())


def test_programs() -> None:
    """Only programs that run a machine, from their start to their end."""
    programs = QemuProcesses()
    before = programs.pids()
    with process() as pid:
        assert programs.pids() - before == {pid}
        assert programs.pids() - before == {pid}
    assert pid not in programs.pids()


def test_a_process_that_becomes_one() -> None:
    """It was forked by another program, and listed before it executed its own."""
    programs = QemuProcesses()
    with becoming() as (pid, become):
        assert pid not in programs.pids()
        become()
        assert pid in programs.pids()


@contextlib.contextmanager
def becoming() -> Iterator[tuple[int, Callable[[], None]]]:
    """Start a process, and return a function that turns it into QEMU by name."""
    code = "import sys; input(); open('/proc/self/comm', 'w').write('qemu-kvm'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one:
        assert one.stdin is not None
        assert one.stdout is not None
        stdin, stdout = one.stdin, one.stdout

        def become() -> None:
            stdin.write(b"\n")
            stdin.flush()
            stdout.readline()

        yield one.pid, become
        stdin.write(b"\n")


def test_only_new_processes_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is checked a few times, however long it runs."""
    looked: list[int] = []

    def program(pid: int) -> str:
        looked.append(pid)
        return "x"

    monkeypatch.setattr(watcher, "_program", program)
    programs = QemuProcesses()
    for _ in range(10):
        programs.pids()
    assert 1 <= looked.count(os.getpid()) <= 3


def test_defaults() -> None:
    """The defaults are libvirt's own folders, and processes."""
    assert Config(version=1).vms == Options(
        folders=("/run/libvirt/qemu", "/etc/libvirt/qemu"), processes=True
    )
