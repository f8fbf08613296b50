"""filemapd with a hook at the one ioctl function: `python -m tests.kernel.fault FOLDER run -c CONFIG`.

A file FOLDER/kill that holds a number n has a worker kill itself right after its n-th message that changes anything,
and the supervisor first where there is FOLDER/and_parent;
FOLDER/refuse that holds an errno has every @stats_create be refused with it. FOLDER/misbehave has the next worker
that lists the regions grow, spin or open files, as its word says; "crash" has every such worker crash. The kernel
does the rest itself.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

from dmstats import ioctl
from dmstats.errors import DmError

_CHANGING = (b"@stats_create", b"@stats_delete", b"@stats_set_aux", b"@stats_clear")


class Hook:
    """Stands before the real function and calls it."""

    def __init__(self, folder: Path) -> None:
        self._kill = folder / "kill"
        self._and_parent = folder / "and_parent"
        self._refuse = folder / "refuse"
        self._misbehave = folder / "misbehave"
        self._main = os.getpid()
        self._sent = 0
        self._real = ioctl.target_message

    def __call__(self, dev: int, message: bytes) -> str:
        if os.getpid() == self._main:
            return self._real(dev, message)
        self._misbehaviour(message)
        if not message.startswith(_CHANGING):
            return self._real(dev, message)
        if message.startswith(b"@stats_create") and self._refuse.exists():
            raise DmError(int(self._refuse.read_text()), message.decode(), ioctl.device_text(dev))
        reply = self._real(dev, message)
        if self._kill.exists():
            self._sent += 1
            if self._sent == int(self._kill.read_text()):
                self._kill.unlink()
                if self._and_parent.exists():
                    os.kill(self._main, signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
        else:
            self._sent = 0
        return reply

    def _misbehaviour(self, message: bytes) -> None:
        if not message.startswith(b"@stats_list"):
            return
        try:
            what = self._misbehave.read_text()
        except FileNotFoundError:
            return
        if what == "crash":
            logging.getLogger("filemapd.worker").error("about to crash")
            raise RuntimeError("made to crash")
        self._misbehave.unlink(missing_ok=True)
        match what:
            case "grow":
                _KEPT.append(b"x" * (200 << 20))
            case "open":
                _KEPT.extend(os.dup(0) for _ in range(100))
            case "spin":
                while True:
                    pass


_KEPT: list[object] = []


def program(folder: Path) -> tuple[str, ...]:
    """Return the command that runs filemapd with the hook."""
    return (sys.executable, "-m", "tests.kernel.fault", str(folder))


def main() -> None:
    """Run filemapd with the hook in place."""
    ioctl.target_message = Hook(Path(sys.argv.pop(1)))
    from supervisor.cli import main as filemapd  # noqa: PLC0415 - the hook stands before anything is imported

    filemapd()


if __name__ == "__main__":
    main()
