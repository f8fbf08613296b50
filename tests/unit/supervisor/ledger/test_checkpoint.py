"""SQLite's write-ahead log is carried into the database by a separate process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from supervisor.ledger.ledger import Ledger
from supervisor.runtime.child_reaper import ChildReaper
from tests.unit.ledgers import PATH, fill


def test_written_to_disk_by_another_process(tmp_path: Path) -> None:
    """Writes go from SQLite's log into the database, in one checkpoint for all."""
    children = ChildReaper()
    ledger = Ledger(tmp_path, children)
    log, file = tmp_path / "ledger.sqlite3-wal", tmp_path / "ledger.sqlite3"
    fill(ledger)
    assert b"/images/a.img" not in file.read_bytes()
    assert log.stat().st_size
    ledger.maintain()
    deadline = time.monotonic() + 60
    while b"/images/a.img" not in file.read_bytes():
        assert time.monotonic() < deadline
    while ledger._checkpoint.running:
        assert time.monotonic() < deadline
        children.reap()
    assert ledger.problem is None
    ledger.maintain()
    assert not ledger._checkpoint.running, "nothing was written since"
    ledger.close()


def test_failed_fork() -> None:
    """A failed fork is logged, and the checkpoint is due again."""
    program = """\
import os, resource, sys
from pathlib import Path
from supervisor.runtime.child_reaper import ChildReaper
from supervisor.ledger.ledger import Ledger
from tests.unit.ledgers import fill
if os.geteuid() == 0:
    os.setresuid(4242, 4242, 4242)
ledger = Ledger(Path(sys.argv[1]), ChildReaper())
fill(ledger)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
ledger.maintain()
print(ledger._checkpoint.running, ledger._database.written)
"""
    with TemporaryDirectory() as folder:  # pytest's are root's only
        if os.geteuid() == 0:
            os.chown(folder, 4242, -1)
        command = [sys.executable, "-c", program, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    why = "[Errno 11] Resource temporarily unavailable"
    assert done.stderr == f"can't start a checkpoint of the ledger: {why}\n"
    assert done.stdout == "False True\n"


def test_failed_exec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that can't execute the program is logged, and the next checkpoint gets another process."""
    children = ChildReaper()
    ledger = Ledger(tmp_path, children)
    fill(ledger)
    with monkeypatch.context() as without:
        without.setattr(sys, "executable", str(tmp_path / "nowhere"))
        ledger.maintain()
    finish(ledger, children)
    assert "the checkpoint of the ledger failed: exit status 1" in caplog.text
    ledger.maintain()
    finish(ledger, children)
    assert b"/images/a.img" in (tmp_path / "ledger.sqlite3").read_bytes()
    ledger.close()


def finish(ledger: Ledger, children: ChildReaper) -> None:
    """Wait until no checkpoint runs."""
    deadline = time.monotonic() + 60
    while ledger._checkpoint.running:
        assert time.monotonic() < deadline
        children.reap()


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_checkpoint_process_stopped_or_killed(tmp_path: Path, number: signal.Signals) -> None:
    """A stopped process is continued for the next checkpoint, a killed one is replaced."""
    children = ChildReaper()
    ledger = Ledger(tmp_path, children)
    fill(ledger)
    ledger.maintain()
    assert ledger._checkpoint._pid is not None
    os.kill(ledger._checkpoint._pid, number)
    deadline = time.monotonic() + 60
    while number == signal.SIGKILL and ledger._checkpoint.running:
        assert time.monotonic() < deadline
        children.reap()
    ledger.maintain()
    while ledger._checkpoint.running:
        assert time.monotonic() < deadline
        children.reap()
    assert b"/images/a.img" in (tmp_path / "ledger.sqlite3").read_bytes()
    ledger.close()


def test_it_ends_with_the_supervisor(tmp_path: Path) -> None:
    """A stopped checkpoint process doesn't outlive a killed supervisor, and no write is lost."""
    program = """\
import os, signal, sys
from pathlib import Path
from supervisor.runtime.child_reaper import ChildReaper
from supervisor.ledger.ledger import Ledger
from tests.unit.ledgers import fill

def caught(pid):
    # Not before it is another program: only then is it sure of its end. A zombie has no command line.
    while (words := Path(f"/proc/{pid}/cmdline").read_bytes()) and b"-S" not in words.split(b"\\0"):
        pass
    os.kill(pid, signal.SIGSTOP)
    return os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])

ledger = Ledger(Path(sys.argv[1]), ChildReaper())
while True:
    fill(ledger)
    ledger.maintain()
    pid = ledger._checkpoint._pid
    if caught(pid):
        break
    ledger._checkpoint._ended(0)
print(pid, flush=True)
signal.pause()
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        supervisor.kill()
    try:
        deadline = time.monotonic() + 60
        while alive(pid):
            assert time.monotonic() < deadline, "it has outlived its supervisor"
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    ledger = Ledger(tmp_path, ChildReaper())
    assert ledger.problem is None
    assert ledger.entry(PATH).moves_total
    ledger.close()


def alive(pid: int) -> bool:
    """Return whether a process exists and isn't a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
