"""filemapd with faults injected into its workers: `python -m tests.kernel.fault FOLDER run -c CONFIG`.

FOLDER/kill holds a number n: a worker kills itself right after its n-th changing message. With
FOLDER/and_parent it kills the supervisor first. FOLDER/refuse holds an errno: every @stats_create fails with
it. FOLDER/misbehave makes the next worker that lists the regions grow, spin or open files, as its word says;
"crash" makes every such worker crash. Everything else is the real kernel.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from dmstats import ioctl
from dmstats.errors import DmError
from supervisor.cli.main import main as filemapd
from supervisor.runtime import execute
from workers import fork_server

_CHANGING = (b"@stats_create", b"@stats_delete", b"@stats_set_aux", b"@stats_clear")


class Hook:
    """Wraps the real ioctl function."""

    def __init__(self, folder: Path) -> None:
        self._kill = folder / "kill"
        self._and_parent = folder / "and_parent"
        self._refuse = folder / "refuse"
        self._misbehave = folder / "misbehave"
        self._sent = 0
        self._real = ioctl.target_message

    def __call__(self, dev: int, message: bytes) -> memoryview:
        self._misbehaviour(message)
        if not message.startswith(_CHANGING):
            return self._real(dev, message)
        if message.startswith(b"@stats_create") and (refusal := _content(self._refuse)):
            raise DmError(int(refusal), message.decode(), ioctl.device_text(dev))
        reply = self._real(dev, message)
        if last := _content(self._kill):
            self._sent += 1
            if self._sent == int(last):
                self._kill.unlink()
                if self._and_parent.exists():
                    os.kill(os.getppid(), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
        else:
            self._sent = 0
        return reply

    def _misbehaviour(self, message: bytes) -> None:
        if not message.startswith(b"@stats_list"):
            return
        what = _content(self._misbehave)
        if not what:
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


def _content(path: Path) -> str:
    """Return a file's content, empty if it doesn't exist or is just being written."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def program(folder: Path) -> tuple[str, ...]:
    """Return the command that runs filemapd with the hook."""
    return (sys.executable, "-m", "tests.kernel.fault", str(folder))


class Hooking:
    """Wraps supervisor.execute.start_module, so that the fork server has the hook."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._real = execute.start_module

    def __call__(self, module: str, given: Mapping[str, object], sockets: Mapping[str, int]) -> int:
        if module != fork_server.__name__:
            return self._real(module, given, sockets)
        arguments = json.dumps({**given, **sockets, "parent": os.getpid()})
        command = [sys.executable, "-m", "tests.kernel.fault", self._folder, arguments]
        kept = [(os.POSIX_SPAWN_DUP2, number, number) for number in sockets.values()]
        return os.posix_spawn(sys.executable, command, os.environ, file_actions=kept)


def main() -> None:
    """Run filemapd or its fork server."""
    folder = sys.argv.pop(1)
    if sys.argv[1].startswith("{"):
        ioctl.target_message = Hook(Path(folder))
        fork_server.main()
    else:
        execute.start_module = Hooking(folder)
        filemapd()


if __name__ == "__main__":
    main()
