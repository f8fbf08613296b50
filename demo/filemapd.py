"""Starts, queries and stops filemapd."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from supervisor.control.client import ControlError, call

_FILEMAPD: Final = str(Path(sys.prefix, "bin", "filemapd"))
_RUNTIME_DIR: Final = Path("/run/filemapd")
_STOP_DEADLINE: Final = 20.0
_LAST_LINES: Final = 12


class FilemapdError(Exception):
    """filemapd has ended, or its response is not as expected."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The status of one image."""

    state: str
    reason: str | None
    pid: int | None
    group_id: int | None
    extents: int
    regions: int
    uncovered_bytes: int
    excess_bytes: int
    changes: int
    last_change: float | None
    """When a change was last followed, in seconds since the epoch."""
    restarts: int
    moves: tuple[tuple[int, int], ...]
    reads: int
    writes: int

    @classmethod
    def of(cls, filemap: dict[str, Any]) -> Seen:
        """Build it from an entry of the status."""
        values = {name: filemap[name] for name in cls.__slots__}
        moves = tuple((move["from"], move["to"]) for move in filemap["moves"])
        changed = filemap["last_change"] and datetime.fromisoformat(filemap["last_change"]).timestamp()
        return cls(**{**values, "moves": moves, "last_change": changed})

    def moves_text(self) -> str:
        """The first and the last group, such as "0→4", and how many moves if there were more; "-" for none."""
        if not self.moves:
            return "-"
        often = f" {len(self.moves)}x" if len(self.moves) > 1 else ""
        return f"{self.moves[0][0]}→{self.moves[-1][1]}{often}"


class Filemapd:
    """A supervisor started here, which logs to a file."""

    def __init__(self, config: Path, log: Path) -> None:
        self._log = log
        with log.open("wb") as stderr:
            # Its own session: Ctrl-C goes to the demonstration only, which stops it later.
            self._process = subprocess.Popen(
                [_FILEMAPD, "--runtime-dir", str(_RUNTIME_DIR), "run", "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )

    def status(self) -> dict[Path, Seen]:
        """Return the status of each image, empty while filemapd starts. Raises FilemapdError."""
        try:
            response = call(_RUNTIME_DIR, "GET", "/v1/status")
        except ControlError as error:
            code = self._process.poll()
            if code is not None:
                raise FilemapdError(f"filemapd has ended with status {code}:\n{self.log_tail()}") from None
            if error.status is None:
                return {}
            raise FilemapdError(str(error)) from None
        return {Path(filemap["path"]): Seen.of(filemap) for filemap in response["filemaps"]}

    def stop(self) -> tuple[int | None, float]:
        """Run `filemapd stop`; return the supervisor's exit status, None if it did not end, and the seconds."""
        began = time.monotonic()
        stopping = subprocess.Popen(
            [_FILEMAPD, "--runtime-dir", str(_RUNTIME_DIR), "stop"],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code: int | None = self._process.wait(_STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            code = None
        took = time.monotonic() - began
        self.kill()
        stopping.wait()
        return code, took

    def kill(self) -> None:
        """Kill it, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def log_tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
