"""sd_notify over real sockets."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from supervisor.service.sd_notify import notify


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_notified(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message arrives at the manager's socket, a file or an abstract name."""
    name = f"filemapd-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.settimeout(10)
        manager.bind("\0" + name if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        assert notify("READY=1\nSTATUS=3 files")
        assert manager.recv(100) == b"READY=1\nSTATUS=3 files"
    assert not notify("STOPPING=1")


def test_without_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without NOTIFY_SOCKET nothing is sent, and that is no error."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
