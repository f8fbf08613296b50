"""Devices and file systems created in a guest, checked with the system's own tools."""

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.guest import run


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("devices")
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        command = ["python", "-m", "tests.sandbox.use_devices"]
        status = run(command, timeout=100, stdout=stdout, stderr=stderr)
    assert status == 0, Path(stderr.name).read_text()
    seen: dict[str, Any] = json.loads(Path(stdout.name).read_text())
    return seen


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_filesystem(report: dict[str, Any], fs: str) -> None:
    """A file system is on a linear device of the reported size and number, and mounted."""
    seen = report[fs]
    assert seen["name"] in seen["listed"]
    assert seen["table"].startswith(f"0 {seen['sectors']} linear ")
    assert seen["type"] == {"ext4": "ext2/ext3", "xfs": "xfs"}[fs]
    assert seen["on_device"]
    assert seen["mounted"]


def test_all_is_removed_but_others(report: dict[str, Any]) -> None:
    """No device, loop device, file or mount is left; another program's device is."""
    assert report["left"] == {"devices": ["another-owner"], "loops": "", "files": [], "mounts": []}


def test_waits_for_a_busy_device(report: dict[str, Any]) -> None:
    """A device in use at its removal is removed once it is released."""
    assert "held" not in report["late"]


def test_error_has_the_command(report: dict[str, Any]) -> None:
    """The error has the failed command and its stderr."""
    command, stderr = report["error"].split(": ", 1)
    assert command.startswith("dmsetup create fmd-sandbox-")
    assert stderr


def test_modules(report: dict[str, Any]) -> None:
    """Modules are loaded with their dependencies, loading twice is harmless, and an error names a missing
    one."""
    assert {"flakey", "delay", "thin-pool"} <= set(report["targets"])
    assert "no-such-module" in report["missing"]
