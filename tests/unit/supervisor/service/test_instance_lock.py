"""One supervisor per runtime_dir."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor.service import instance_lock


def test_the_second_is_refused(tmp_path: Path) -> None:
    """While one process has the lock, the error of a second one names it; afterwards the lock is free."""
    held = instance_lock.acquire(tmp_path / "made")
    with pytest.raises(instance_lock.AnotherSupervisorError, match=rf"runs already .*\(pid {os.getpid()}\)"):
        instance_lock.acquire(tmp_path / "made")
    os.close(held)
    os.close(instance_lock.acquire(tmp_path / "made"))


def test_invalid_runtime_dir(tmp_path: Path) -> None:
    """The error names runtime_dir and the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match=r"^runtime_dir /.*/file can't be used: File exists$"):
        instance_lock.acquire(tmp_path / "file")
    with pytest.raises(NotADirectoryError, match=r"^runtime_dir /.*/file/x can't be used: Not a directory$"):
        instance_lock.acquire(tmp_path / "file/x")
