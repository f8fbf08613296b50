"""Measures the calling process and its forks.

No environment variable reaches all processes of filemapd, so a file in site-packages makes Python call start() at
start-up. Each process writes a file of its own at a normal exit, os._exit(), an exec and SIGTERM. A process that is
killed with SIGKILL writes none.
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
"""The prefix of the data files: coverage combines files with the same prefix."""
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - what is made there has a name of its own
"""A file system that a guest does not share with the host."""


@contextlib.contextmanager
def begun_by_python(folder: Path) -> Iterator[None]:
    """Make each Python of the virtual environment measure itself at start-up if `folder` exists by then."""
    # After the file that has this checkout in sys.path.
    hook = Path(sysconfig.get_path("purelib"), "filemapd-coverage.pth")
    hook.write_text(f"import tests.coverage.measuring as m; m.start({str(folder)!r})\n")
    try:
        yield
    finally:
        hook.unlink()


def start(folder: str) -> None:
    """Measure this process from now on, with its data file in `folder`."""
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
    # Ignore a process that ran no code of the product.
    measured.set_option("run:disable_warnings", ["no-data-collected"])
    measured.start()

    def save() -> None:
        # A process that dropped the right to write there goes unmeasured.
        with contextlib.suppress(Exception):
            measured.save()

    atexit.register(save)
    for name in ("_exit", "execve"):
        setattr(os, name, _after(save, getattr(os, name)))


def _after(first: Callable[[], None], then: Callable[..., Any]) -> Callable[..., Any]:
    def both(*arguments: Any) -> Any:
        first()
        return then(*arguments)

    return both
