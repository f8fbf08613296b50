"""The system calls of a running process, as strace tells them."""

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

# Where there is no vDSO, as in a guest, time is a call as well.
_TIME = frozenset({"clock_gettime", "gettimeofday", "time"})
_CALL = re.compile(r"(\w+)\(")


@dataclass(frozen=True)
class Trace:
    """What strace has written of a process so far; the call that it waited in at first, and that which it waits in
    at last, is counted once."""

    file: Path

    def lines(self) -> list[str]:
        """Return the calls that have ended, one a line."""
        text = self.file.read_text(encoding="utf-8", errors="replace")
        return [line for line in text.splitlines() if _CALL.match(line) and " = " in line]

    def calls(self) -> Counter[str]:
        """Return how many there were of each, but for those that tell the time."""
        names = (match[1] for match in map(_CALL.match, self.lines()) if match is not None)
        return Counter(name for name in names if name not in _TIME)


@contextmanager
def traced(pid: int, folder: Path) -> Iterator[Trace]:
    """Trace a process while the context lasts. Health checks may not look at it meanwhile: it is stopped at times."""
    file, told = folder / f"calls.{pid}", folder / f"strace.{pid}"
    with told.open("wb") as errors:
        strace = subprocess.Popen(["strace", "-o", str(file), "-p", str(pid)], stderr=errors)
    try:
        wait_for("strace is attached", lambda: b" attached" in told.read_bytes())
        yield Trace(file)
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait()
