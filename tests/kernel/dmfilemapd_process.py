"""A dmfilemapd process of a test."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.kernel.running import DEADLINE

COMMAND = (sys.executable, "-m", "workers.dmfilemapd")


class Daemon:
    """A dmfilemapd in the foreground; its output goes to a file, so that it never waits for a reader."""

    def __init__(self, file: Path, group_id: int, mode: str = "inode") -> None:
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - close() closes it
        with file.open("rb") as stdin:
            self.process = subprocess.Popen(
                [*COMMAND, "0", str(group_id), str(file), mode, "1", "3"], stdin=stdin, stderr=self._output
            )

    def end(self) -> tuple[int, str]:
        """Wait for its end; return the exit status and the output."""
        status = self.process.wait(DEADLINE)
        self._output.seek(0)
        return status, self._output.read()

    def close(self) -> None:
        """Kill it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._output.close()


@contextlib.contextmanager
def daemon(file: Path, group_id: int, mode: str = "inode") -> Iterator[Daemon]:
    """Run a dmfilemapd; kill it at the end."""
    started = Daemon(file, group_id, mode)
    try:
        yield started
    finally:
        started.close()
