"""Exits of workers, and messages that are out of place."""

from __future__ import annotations

import selectors
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from supervisor.fleet.fork_server import Child
from supervisor.fleet.job import _known
from supervisor.fleet.state_machine import Event, Record, State
from supervisor.fleet.worker_processes import exit_event
from supervisor.ledger.entries import Entry
from tests.unit.fleets import small_fleet
from workers import messages
from workers.exit_codes import Exit
from workers.group_finder import KnownGroup


@pytest.mark.parametrize(
    ("status", "reason", "meaning"),
    [
        (Exit.ENDED, "asked to stop", (Event.ENDED, "asked to stop")),
        (Exit.UNABLE, "on btrfs", (Event.UNABLE, "on btrfs")),
        (Exit.FAILED, "ENOMEM", (Event.CRASHED, "ENOMEM")),
        (Exit.FAILED, "", (Event.CRASHED, f"exit status {Exit.FAILED}")),
        (-signal.SIGKILL, "", (Event.CRASHED, "killed by SIGKILL")),
        (-signal.SIGTERM, "too large", (Event.CRASHED, "too large")),
    ],
)
def test_ends(status: int, reason: str, meaning: tuple[Event, str]) -> None:
    """The exit status decides the event; the reason is the reported one, else the exit status."""
    assert exit_event(status, reason) == meaning


def test_messages_after_the_exit(tmp_path: Path) -> None:
    """Once a worker is reaped, its remaining callbacks and messages change nothing."""
    with small_fleet(tmp_path) as fleet:
        (filemap,) = fleet.filemaps.values()
        before = filemap.record
        fleet.processes._readable(filemap, selectors.EVENT_READ)
        fleet.processes._exited(filemap, 0)
        fleet._messages.handle(filemap, messages.FileOpened(1, 2, 3, 4))
        assert (filemap.record, filemap.file) == (before, None)


def test_a_late_supervisor_grants_another_grace(tmp_path: Path) -> None:
    """A worker that stops may wait for an Ack. If the supervisor is late itself, the grace period starts again."""
    with small_fleet(tmp_path) as fleet, subprocess.Popen(["sleep", "600"]) as worker:
        (filemap,) = fleet.filemaps.values()
        filemap.record = Record(State.STOPPING)
        filemap.child = cast(Child, SimpleNamespace(pid=worker.pid))
        now = time.monotonic()
        fleet.processes._grace_over(filemap, worker.pid, due=now - 30)
        alive, due = worker.poll() is None, fleet._timers.next_due()
        fleet.processes._grace_over(filemap, worker.pid, due=time.monotonic())
        killed = list(fleet.processes._killed)
        worker.kill()
        assert alive
        assert due is not None
        assert due > now
        assert killed == [worker.pid]


def test_a_message_for_workers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged and ignored."""
    with small_fleet(tmp_path) as fleet:
        (filemap,) = fleet.filemaps.values()
        fleet._messages.handle(filemap, messages.Stop())
    assert "ignored a message that is not for a supervisor: Stop" in caplog.text


def test_a_sample_of_a_missing_file(tmp_path: Path) -> None:
    """Waiting ends the wait for a sample. The next sample is requested even if the device did no I/O since."""
    with small_fleet(tmp_path) as fleet:
        (filemap,) = fleet.filemaps.values()
        filemap.io_text, filemap.sampling = "what the device had done", True
        fleet._messages.handle(filemap, messages.Waiting("there is no file"))
        assert (filemap.io_text, filemap.sampling) == ("", False)


def test_a_file_that_never_had_a_group() -> None:
    """Its worker still gets the file's identity, by which it finds a group."""
    known = _known(Entry(dev=1, inode=2, generation=3))
    assert known.file is not None
    assert (known.file.dev, known.file.inode, known.file.generation) == (1, 2, 3)
    assert known == KnownGroup(file=known.file)
