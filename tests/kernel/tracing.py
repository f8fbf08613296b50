"""The system calls of a running process, by strace."""

from __future__ import annotations

import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.kernel.running import wait_for

# Without a vDSO, as in a guest, reading the time is a system call too.
_TIME = frozenset({"clock_gettime", "gettimeofday", "time"})
_CALL = re.compile(r"(\w+)\(")


@dataclass(frozen=True)
class Trace:
    """strace's output for a process so far. A call that was in progress at attach or detach counts once."""

    file: Path

    def lines(self) -> list[str]:
        """Return the completed calls, one a line."""
        text = self.file.read_text(encoding="utf-8", errors="replace")
        return [line for line in text.splitlines() if _CALL.match(line) and " = " in line]

    def calls(self) -> Counter[str]:
        """Return the number of each call, without those that read the time."""
        names = (match[1] for match in map(_CALL.match, self.lines()) if match is not None)
        return Counter(name for name in names if name not in _TIME)


@contextmanager
def traced(pid: int, folder: Path) -> Iterator[Trace]:
    """Trace a process while the context lasts. It is stopped at times, so disable health checks meanwhile."""
    file, stderr = folder / f"calls.{pid}", folder / f"strace.{pid}"
    with stderr.open("wb") as errors:
        strace = subprocess.Popen(["strace", "-o", str(file), "-p", str(pid)], stderr=errors)
    try:
        wait_for("strace is attached", lambda: b" attached" in stderr.read_bytes())
        yield Trace(file)
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait()
