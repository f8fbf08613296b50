"""What the kernel has cached about a path, by real system calls."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workers import cached_stat, libc


def test_cached(tmp_path: Path) -> None:
    """All is known of a new file. Links are followed, except for the existence of the name."""
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


def test_not_cached(tmp_path: Path) -> None:
    """A name that was never looked up is unknown, and so is one below an open file's."""
    path = str(tmp_path / "never" / "asked for")
    with pytest.raises(BlockingIOError):
        cached_stat.stat(path)
    assert not cached_stat.exists(path)


def test_a_kernel_without_cached_lookups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the system call paths are looked up as by open(2)."""
    monkeypatch.setattr(libc, "_SYS_OPENAT2", 2000)
    assert cached_stat.stat(str(tmp_path / "none")) is None
    found = cached_stat.stat(str(tmp_path))
    assert found is not None
    assert os.path.samestat(found, tmp_path.stat())
