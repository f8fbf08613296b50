"""Finds the virtual machines of the files, and searches again when something relevant has changed.

libvirt itself gets no requests. The event loop only checks its folders and the list of processes; the search runs
in a process of its own (search.py).
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import time
from typing import Any, Final
from weakref import WeakKeyDictionary

from supervisor.fleet.filemap import Filemap
from supervisor.fleet.fleet import Fleet
from supervisor.runtime.fork import fork
from supervisor.vms.matching import Identity, Machine
from supervisor.vms.qemu import is_machine

_log = logging.getLogger("filemapd.supervisor")

INTERVAL: Final = 5.0
_DEADLINE: Final = 30.0
# Seconds until the next search after a failed one.
_PAUSE: Final = 60.0
# Seconds. A folder's time distinguishes changes that are some ticks of the kernel's clock apart.
_SETTLED: Final = 1.0


class VmWatcher:
    """The last search, and the state that it was made for."""

    def __init__(self, fleet: Fleet, selector: selectors.BaseSelector) -> None:
        self._fleet = fleet
        self._selector = selector
        self._programs = QemuProcesses()
        self._running: frozenset[int] = frozenset()
        self._searched: object = None
        self._not_before = 0.0
        self._pid: int | None = None
        self._deadline = 0.0
        self._pipe: int | None = None
        self._output = bytearray()
        self._known: dict[str, list[Any]] = {}
        self._machines: WeakKeyDictionary[Filemap, Machine] = WeakKeyDictionary()

    def machine_of(self, filemap: Filemap) -> Machine | None:
        """Return the virtual machine that the last search found for a file."""
        return self._machines.get(filemap)

    def tick(self) -> None:
        """Start a search if something has changed; end one that takes too long. Called every INTERVAL."""
        now = time.monotonic()
        if self._pid is not None:
            if now > self._deadline:
                os.kill(self._pid, signal.SIGKILL)
            return
        if self._pipe is not None or now < self._not_before or self._fleet.stopping:
            return
        try:
            self._start_if_changed()
        except OSError as error:  # no descriptor is available
            self._failed(error.strerror or str(error))

    def _start_if_changed(self) -> None:
        """Start a search if something has changed. Raises OSError."""
        config = self._fleet.config.vms
        wanted = {(f.file.dev, f.file.inode) for f in self._fleet.filemaps.values() if f.file is not None}
        stamps, settled = _stamps(config.folders, time.time())
        running = self._programs.pids() if config.processes else frozenset()
        # A new process may not have opened its files yet.
        settled, self._running = settled and running <= self._running, running
        # files_opened: a file that was removed and added again may have missed a search in between.
        state = (config, stamps, running, wanted, self._fleet.files_opened)
        if state == self._searched:
            return
        self._searched = state if settled else None
        if wanted and (config.folders or config.processes):
            self._begin(wanted)
        else:
            self._set_machines({})

    def _begin(self, wanted: set[Identity]) -> None:
        config, known = self._fleet.config.vms, self._known
        read, write = os.pipe2(os.O_CLOEXEC)

        def body() -> int:
            from supervisor.vms.search import search_as_json  # noqa: PLC0415 - it loads much

            os.nice(10)
            text = search_as_json(config.folders, processes=config.processes, wanted=wanted, known=known)
            with open(write, "wb") as file:
                file.write(text)
            return 0

        try:
            self._pid = fork({write}, body)
        except OSError:
            os.close(read)
            raise
        finally:
            os.close(write)
        self._fleet.reaper.register(self._pid, self._ended)
        self._deadline = time.monotonic() + _DEADLINE
        self._pipe, self._output = read, bytearray()
        os.set_blocking(read, False)
        self._selector.register(read, selectors.EVENT_READ, self._readable)

    def _readable(self, _events: int) -> None:
        if self._pipe is None:
            return
        chunk = os.read(self._pipe, 1 << 20)
        self._output += chunk
        if not chunk:
            self._selector.unregister(self._pipe)
            os.close(self._pipe)
            self._pipe = None
            self._finish(bytes(self._output))

    def _ended(self, _status: int) -> None:
        self._pid = None

    def _finish(self, output: bytes) -> None:
        """Handle the result of a search; the text is cut short if it was killed."""
        try:
            found = json.loads(output)
        except ValueError:
            self._failed("the search did not end")
            return
        for path, raw in found["files"].items():
            if raw is not None and raw[2]:
                _log.debug("%s is ignored: %s", path, raw[2])
        self._known = {path: raw or self._known[path] for path, raw in found["files"].items()}
        self._set_machines({(dev, inode): Machine(*machine) for dev, inode, *machine in found["machines"]})

    def _failed(self, reason: str) -> None:
        _log.warning("virtual machines are not known: %s", reason)
        self._searched = None
        self._not_before = time.monotonic() + _PAUSE

    def _set_machines(self, machines: dict[Identity, Machine]) -> None:
        for filemap in self._fleet.filemaps.values():
            holds = filemap.file
            machine = None if holds is None else machines.get((holds.dev, holds.inode))
            if self._machines.get(filemap) == machine:
                continue
            if machine is None:
                del self._machines[filemap]
            else:
                self._machines[filemap] = machine
            self._fleet.status_changed(filemap.path)


def _stamps(folders: tuple[str, ...], now: float) -> tuple[tuple[tuple[int, int] | None, ...], bool]:
    """Return the folders' identities and times, and whether the next change is sure to alter them."""
    stamps = [_stamp(folder) for folder in folders]
    newest = max((stamp[1] for stamp in stamps if stamp is not None), default=0)
    return tuple(stamps), abs(now - newest / 1e9) > _SETTLED


def _stamp(folder: str) -> tuple[int, int] | None:
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


class QemuProcesses:
    """The pids of QEMU's processes. Only new processes are read."""

    # A forked process has its parent's name until it executes its own program.
    _LOOKS: Final = 3

    def __init__(self) -> None:
        self._others: dict[int, int] = {}
        self._machines: set[int] = set()

    def pids(self) -> frozenset[int]:
        """Return the pids of QEMU's processes."""
        there = {int(name) for name in os.listdir("/proc") if name.isdecimal()}
        self._machines &= there
        self._others = {pid: looks for pid, looks in self._others.items() if pid in there}
        for pid in there - self._machines:
            looks = self._others.get(pid, 0)
            if looks >= self._LOOKS:
                continue
            if is_machine(_program(pid)):
                self._machines.add(pid)
                self._others.pop(pid, None)
            else:
                self._others[pid] = looks + 1
        return frozenset(self._machines)


def _program(pid: int) -> str:
    """Return the name of a process, empty if it has ended."""
    try:
        fd = os.open(f"/proc/{pid}/comm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    # Read for every process: Python's open() makes five more system calls.
    try:
        return os.read(fd, 64).decode(errors="replace").rstrip("\n")
    except OSError:
        return ""
    finally:
        os.close(fd)
