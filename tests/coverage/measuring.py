"""Measures the process that it is called in, and those that are forked from it.

No variable of the environment reaches all processes of filemapd, so Python itself calls start() when it starts, for a
file in site-packages. The processes end in many ways; each leaves a file of its own with os._exit(), an exec, SIGTERM
and at a usual end. One that is killed leaves nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = ("dmstats", "workers", "supervisor")
"""What the wheel holds: the product."""
ROOT: Final = Path(__file__).parents[2]
NAME: Final = "measured"
"""Of the files: coverage adds up those that begin alike."""
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - what is made there has a name of its own
"""Where folders are that a guest has not from the host."""


@contextlib.contextmanager
def begun_by_python(folder: Path) -> Iterator[None]:
    """Have each Python of the virtual environment measure itself as it starts where `folder` is there by then."""
    # After the file that has this checkout in sys.path.
    hook = Path(sysconfig.get_path("purelib"), "filemapd-coverage.pth")
    hook.write_text(f"import tests.coverage.measuring as m; m.start({str(folder)!r})\n")
    try:
        yield
    finally:
        hook.unlink()


def start(folder: str) -> None:
    """Measure this process from now on; what it leaves is in `folder`."""
    # A guest's first process sees the host's folder. In a virtual environment Python may read the same file twice.
    if not Path(folder).is_dir() or os.getpid() == 1 or sys.gettrace() is not None:
        return
    import coverage  # noqa: PLC0415 - it is large, and may be for another run

    measured = coverage.Coverage(
        data_file=str(Path(folder, NAME)),
        data_suffix=True,
        branch=True,
        include=[str(ROOT / package / "*") for package in PACKAGES],
        config_file=False,
    )
    measured.set_option("run:sigterm", True)
    # A process that has run nothing of the product's is no matter.
    measured.set_option("run:disable_warnings", ["no-data-collected"])
    measured.start()

    def leave() -> None:
        # Who may not write there any more goes on as if not measured.
        with contextlib.suppress(Exception):
            measured.save()

    atexit.register(leave)
    for name in ("_exit", "execve"):
        setattr(os, name, _after(leave, getattr(os, name)))


def _after(first: Callable[[], None], then: Callable[..., Any]) -> Callable[..., Any]:
    def both(*arguments: Any) -> Any:
        first()
        return then(*arguments)

    return both
