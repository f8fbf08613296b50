"""A supervisor that runs in the guest for a test, and waiting for conditions."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil

from supervisor.control.client import ControlError, call

T = TypeVar("T")

DEADLINE = 60.0
# The growth factor of the pause between two checks of a condition, and its maximum in seconds.
_LONGER = 1.25
_SELDOM = 0.2
FILEMAPD = (sys.executable, "-c", "from supervisor.cli.main import main; main()")


def wait_for(
    what: str,
    condition: Callable[[], T],
    deadline: float = DEADLINE,
    pause: float = 0.02,
    seldom: float = _SELDOM,
) -> T:
    """Return the value of `condition` once it is true; fail at the deadline.

    While it fails or finds that something has just gone, it is checked again: after `pause`, then less and
    less often, down to every `seldom` seconds, as checks take the CPU from what is waited for.
    """
    until = time.monotonic() + deadline
    trouble = ""
    while time.monotonic() < until:
        try:
            result = condition()
        except (AssertionError, LookupError) as error:
            trouble = str(error)
        else:
            if result:
                return result
        time.sleep(pause)
        pause = max(pause, min(_LONGER * pause, seldom))
    raise AssertionError(f"not within {deadline:g} s: {what}\n{trouble}")


class Running:
    """A supervisor process, its folders and its log."""

    def __init__(self, folder: Path, config: dict[str, Any], program: Sequence[str] = FILEMAPD) -> None:
        self._program = program
        self.folder = folder
        self.config = folder / "filemaps.yaml"
        self.runtime_dir = folder / "run"
        self.log = folder / "log"
        self.write(config)
        self.process = self._start()

    def write(self, config: dict[str, Any]) -> None:
        """Write the configuration as JSON, which is YAML. Without `web` in it there is no web process."""
        folders = {"state_dir": str(self.folder / "state"), "runtime_dir": str(self.runtime_dir)}
        # Not the measured budget, which depends on the speed of the machine.
        fixed = {"version": 1, "web": {"listen": "off"}, "devices": {"max_regions": 300}}
        self.config.write_text(json.dumps({**fixed, **folders, **config}))

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen([*self._program, "run", "-c", str(self.config)], stderr=log)

    def again(self) -> None:
        """Restart the supervisor after its end."""
        self.process.wait()
        self.process = self._start()

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a filemapd command against this supervisor."""
        return subprocess.run(
            [*FILEMAPD, "--runtime-dir", str(self.runtime_dir), *words],
            capture_output=True,
            text=True,
            check=False,
        )

    def status(self) -> dict[str, Any]:
        """Return the status; without filemaps while the supervisor doesn't respond."""
        try:
            answer: dict[str, Any] = call(self.runtime_dir, "GET", "/v1/status")
        except (ControlError, OSError):
            return {"filemaps": []}
        return answer

    def filemap(self, path: Path) -> dict[str, Any]:
        """Return the status of one file, empty if there is none."""
        for filemap in self.status()["filemaps"]:
            if filemap["path"] == str(path):
                return dict(filemap)
        return {}

    def wait_state(self, path: Path, state: str = "RUNNING") -> dict[str, Any]:
        """Return a file's status once it is in `state`."""

        def there() -> dict[str, Any]:
            filemap = self.filemap(path)
            assert filemap.get("state") == state, f"{filemap}\n{self.log.read_text()[-2000:]}"
            return filemap

        return wait_for(f"{path.name} is {state}", there)

    def stop(self) -> int:
        """Send SIGTERM and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)


@contextlib.contextmanager
def running(folder: Path, config: dict[str, Any], program: Sequence[str] = FILEMAPD) -> Iterator[Running]:
    """Run a supervisor on `config` with its folders in `folder`. Its log is shown if the test fails."""
    supervisor = Running(folder, config, program)
    try:
        yield supervisor
    except BaseException:
        sys.stderr.write(supervisor.log.read_text()[-4000:])
        raise
    finally:
        if supervisor.process.poll() is None:
            supervisor.process.send_signal(signal.SIGTERM)
            try:
                supervisor.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                supervisor.process.kill()
                supervisor.process.wait()


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process with SIGSTOP while the context lasts."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for("it is stopped", lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def open_files(pid: int) -> list[str]:
    """Return the targets of a process's /proc/PID/fd, without those closed meanwhile."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(entry))
    return found


def wakes_of(pid: int) -> int:
    """Return a process's number of voluntary context switches."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("voluntary_ctxt_switches:"):
            return int(line.split()[1])
    raise AssertionError(f"no such line for {pid}")


def write(path: Path, megabytes: int, at: int = 0) -> None:
    """Write random megabytes to a file at an offset in MiB, and sync them."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for i in range(megabytes):
            os.pwrite(fd, os.urandom(1 << 20), (at + i) << 20)
        os.fsync(fd)
    finally:
        os.close(fd)
