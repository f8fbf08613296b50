"""What is known of a path without a wait, by real system calls."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workers import cached_stat, libc


def test_what_is_known(tmp_path: Path) -> None:
    """Of a file that was just made all is known; links are followed, but for the question of the name."""
    file, link = tmp_path / "file", tmp_path / "link"
    file.touch()
    link.symlink_to("none")
    found = cached_stat.stat(str(file))
    assert found is not None
    assert os.path.samestat(found, file.stat())
    assert cached_stat.exists(str(link))
    file.unlink()
    assert not cached_stat.exists(str(file))
    assert not file.exists()  # so that it is known
    assert cached_stat.stat(str(file)) is None


def test_what_is_not_known(tmp_path: Path) -> None:
    """Nobody has asked for a name yet: that is no answer; nor is it a name of a file that is open."""
    path = str(tmp_path / "never" / "asked for")
    with pytest.raises(BlockingIOError):
        cached_stat.stat(path)
    assert not cached_stat.exists(path)


def test_a_kernel_that_can_only_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel has no such call it is asked as by open(2)."""
    monkeypatch.setattr(libc, "_SYS_OPENAT2", 2000)
    assert cached_stat.stat(str(tmp_path / "none")) is None
    found = cached_stat.stat(str(tmp_path))
    assert found is not None
    assert os.path.samestat(found, tmp_path.stat())
