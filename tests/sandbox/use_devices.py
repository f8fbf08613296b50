"""Runs in a guest: creates devices and file systems, and prints in JSON what the system's own tools
report."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Literal

from sandbox import modules
from sandbox.devices import DeviceError, dm_device, filesystem


def _output(*command: str) -> str:
    return subprocess.check_output(command, text=True)


def _mounted() -> list[str]:
    return [line.split()[0] for line in Path("/proc/mounts").read_text().splitlines()]


def _use(fs: Literal["ext4", "xfs"]) -> dict[str, object]:
    with filesystem(fs) as made:
        file = made.mountpoint / "file"
        file.write_bytes(b"x" * 100_000)
        return {
            "name": made.device.name,
            "listed": _output("dmsetup", "ls"),
            "table": _output("dmsetup", "table", made.device.name),
            "sectors": made.device.sectors,
            "type": _output("stat", "-f", "-c", "%T", str(file)).strip(),
            "on_device": file.stat().st_dev == made.device.dev_t,
            "mounted": str(made.device.path) in _mounted(),
        }


def _late_removal() -> str:
    """Remove a device that is in use for a while."""
    with dm_device("held") as device:
        holder = subprocess.Popen(["sleep", "0.5"], stdin=device.path.open("rb"))
    holder.wait()
    return _output("dmsetup", "ls").strip()


def _error() -> str:
    try:
        with dm_device("x" * 200):
            return ""
    except DeviceError as error:
        return str(error)


def _main() -> None:
    other = "another-owner"
    subprocess.run(["dmsetup", "create", other, "--table", "0 8 error"], check=True)
    report: dict[str, object] = {"ext4": _use("ext4"), "xfs": _use("xfs")}
    report["late"] = _late_removal()
    report["error"] = _error()
    for name in ("dm-flakey", "dm-delay", "dm-thin-pool", "dm_flakey"):
        modules.load(name)
    report["targets"] = [line.split()[0] for line in _output("dmsetup", "targets").splitlines()]
    try:
        modules.load("no-such-module")
    except FileNotFoundError as error:
        report["missing"] = str(error)
    report["left"] = {
        "devices": _output("dmsetup", "ls").split()[0::2],
        "loops": _output("losetup", "--list", "--noheadings"),
        "files": [path.name for path in Path("/run/sandbox").iterdir()],
        "mounts": [source for source in _mounted() if "fmd-sandbox" in source],
    }
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    _main()
