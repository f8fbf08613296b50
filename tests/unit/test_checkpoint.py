"""What the ledger's log holds is carried into the database by a process of its own."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from supervisor.children import Children
from supervisor.ledger import Ledger
from tests.unit.ledgers import fill


def test_written_to_disk_by_another_process(tmp_path: Path) -> None:
    """What was written goes from SQLite's log into the database, once for all that was written meanwhile."""
    children = Children()
    ledger = Ledger(tmp_path, children)
    log, file = tmp_path / "ledger.sqlite3-wal", tmp_path / "ledger.sqlite3"
    fill(ledger)
    assert b"/images/a.img" not in file.read_bytes()
    assert log.stat().st_size
    ledger.mend()
    deadline = time.monotonic() + 60
    while b"/images/a.img" not in file.read_bytes():
        assert time.monotonic() < deadline
    while ledger._checkpoint.running:
        assert time.monotonic() < deadline
        children.reap()
    assert ledger.problem is None
    ledger.mend()
    assert not ledger._checkpoint.running, "nothing was written since"
    ledger.close()


def test_no_process_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told, and tried again the next time."""
    children = Children()
    ledger = Ledger(tmp_path, children)
    fill(ledger)
    with monkeypatch.context() as without:
        without.setattr(sys, "executable", str(tmp_path / "nowhere"))
        ledger.mend()
    assert "the ledger is not brought to disk for now" in caplog.text
    ledger.mend()
    deadline = time.monotonic() + 60
    while ledger._checkpoint.running:
        assert time.monotonic() < deadline
        children.reap()
    assert b"/images/a.img" in (tmp_path / "ledger.sqlite3").read_bytes()
    ledger.close()


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_the_process_that_writes_to_disk_is_disturbed(tmp_path: Path, number: signal.Signals) -> None:
    """One that was stopped goes on the next time, one that was killed is followed by another."""
    children = Children()
    ledger = Ledger(tmp_path, children)
    fill(ledger)
    ledger.mend()
    assert ledger._checkpoint._pid is not None
    os.kill(ledger._checkpoint._pid, number)
    deadline = time.monotonic() + 60
    while number == signal.SIGKILL and ledger._checkpoint.running:
        assert time.monotonic() < deadline
        children.reap()
    ledger.mend()
    while ledger._checkpoint.running:
        assert time.monotonic() < deadline
        children.reap()
    assert b"/images/a.img" in (tmp_path / "ledger.sqlite3").read_bytes()
    ledger.close()
