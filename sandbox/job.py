"""The exchange between host and guest: the job and its status."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

JOB = "job.json"
STATUS = "status.json"
# Created by the guest at its start. A guest that finds it has restarted: it must not run the command twice.
STARTED = "started"

# The guest's serial lines, ttyS0 and so on.
STDOUT_LINE, STDERR_LINE, CONTROL_LINE = 0, 1, 2
# Sent by the guest on the control line. Bytes sent before it has opened the line are lost.
READY = b"r"


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal's size, and which of the command's streams lead to it."""

    rows: int
    columns: int
    stdout: bool
    stderr: bool


@dataclass(frozen=True, slots=True)
class Job:
    """A command for a guest; out is a writable folder of the host."""

    argv: list[str]
    environment: dict[str, str]
    cwd: str
    out: str | None = None
    terminal: Terminal | None = None

    def write(self, folder: Path) -> None:
        (folder / JOB).write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> "Job":
        fields = json.loads((folder / JOB).read_text())
        terminal = fields.pop("terminal")
        return cls(**fields, terminal=terminal and Terminal(**terminal))


@dataclass(frozen=True, slots=True)
class Status:
    """How a command ended, and how many bytes it wrote."""

    code: int
    stdout: int
    stderr: int

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def read(cls, folder: Path) -> "Status | None":
        """Return the status, None if the guest left none or an incomplete one."""
        try:
            return cls(**json.loads((folder / STATUS).read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
