import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from sandbox.environment import inside
from sandbox.guest import available

CHECKOUT = Path(__file__).resolve().parents[2]

# Guests can't be nested, and skipped tests would go unnoticed.
collect_ignore_glob = ["test_*.py"] if inside() else []


class Start(Protocol):
    def __call__(
        self, *arguments: str, cwd: Path = ..., terminal: int | None = ...
    ) -> subprocess.Popen[bytes]: ...


def _mentioning(text: str) -> list[str]:
    """The command lines of processes that contain the text."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found


@pytest.fixture(scope="session", autouse=True)
def _needs_a_kernel() -> None:
    if problem := available():
        pytest.fail(problem)


@pytest.fixture(scope="session")
def processes() -> Callable[[str], list[str]]:
    return _mentioning


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder with a short path for the guests' jobs. At the end no guest may have left anything."""
    folder = Path(tempfile.mkdtemp(prefix="fmd-"))
    yield folder
    try:
        assert _mentioning(f"uml_dir={folder}") == []
        assert list(folder.glob("sandbox-*")) == []
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def start(place: Path) -> Iterator[Start]:
    """Starts `python -m sandbox ...`, with its output on pipes or on a terminal."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, cwd: Path = CHECKOUT, terminal: int | None = None) -> subprocess.Popen[bytes]:
        output = subprocess.PIPE if terminal is None else terminal
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "--memory", "512M", *arguments],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "TMPDIR": str(place)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
