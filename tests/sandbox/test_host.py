"""Decisions on the host before a guest boots."""

import os
from pathlib import Path

import pytest

from sandbox.environment import guest_environment
from sandbox.guest import Guest, GuestLost, Unavailable, available
from sandbox.host import SandboxError, memory_size


@pytest.mark.parametrize(("text", "size"), [("512M", 512 << 20), ("2g", 2 << 30), ("4096", 4096)])
def test_memory_size(text: str, size: int) -> None:
    """Sizes are parsed in common forms."""
    assert memory_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "2T", "-1G", "1.5G", "G"])
def test_memory_size_wrong(text: str) -> None:
    """An invalid size is reported as such."""
    with pytest.raises(ValueError, match="not a size"):
        memory_size(text)


def test_available_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a kernel the error has the package's name."""
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("sandbox.host._OWN_KERNEL", Path("/nonexistent/linux.uml"))
    assert "apt-get install user-mode-linux" in str(available())
    with pytest.raises(Unavailable, match="user-mode-linux"):
        Guest(["true"])


def test_hidden_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder hidden by one of the guest's own is refused before the boot."""
    monkeypatch.chdir("/dev/shm")  # noqa: S108 - nothing is written
    with pytest.raises(Unavailable, match="a /dev of its own"):
        Guest(["true"])


def test_environment_without_junk() -> None:
    """The host's session is left out, the rest is passed on, and the system's tools are found."""
    host = {"PATH": "/a:/b", "TERM": "xterm", "SSH_AUTH_SOCK": "/s", "SHLVL": "2", "SANDBOX_OUT": "/old"}
    seen = guest_environment(host, Path("/out"))
    assert seen["TERM"] == "xterm"
    assert seen["SANDBOX_OUT"] == "/out"
    assert seen["DM_DISABLE_UDEV"] == "1"
    assert not {"SSH_AUTH_SOCK", "SHLVL"} & set(seen)
    path = seen["PATH"].split(os.pathsep)
    assert path.index("/a") < path.index("/b") < path.index("/usr/sbin")


def test_lost_is_an_error_of_its_own() -> None:
    """A lost guest and a missing one are different errors; both are a SandboxError."""
    assert issubclass(GuestLost, SandboxError)
    assert not issubclass(GuestLost, Unavailable)
