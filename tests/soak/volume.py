"""A file system on a device-mapper device whose lower device can be made slow or broken, and operations on
both."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from sandbox import modules
from sandbox.devices import dm_device
from tests.kernel.oracle import run

Kind = Literal["ext4", "xfs"]

_MKFS: Final = {"ext4": ("mkfs.ext4", "-q", "-b", "4096"), "xfs": ("mkfs.xfs", "-q")}
ROOM: Final = 16 * 2048
_BUSY: Final = 60.0


@dataclass(slots=True)
class Volume:
    """`name` is the file system's device, `lower` the one below it, on the loop device `loop`."""

    kind: Kind
    name: str
    lower: str
    loop: str
    sectors: int
    """The size of the file system; the devices are larger by ROOM."""
    folder: Path
    room: int = 0
    """How many sectors larger the upper device is now."""

    @property
    def device(self) -> Path:
        """The upper device's node."""
        return Path("/dev/mapper", self.name)

    def create(self) -> None:
        """Create the upper device."""
        run("dmsetup", "create", self.name, "--table", self.table())

    def table(self) -> str:
        """Return the upper device's table."""
        return f"0 {self.sectors + self.room} linear /dev/mapper/{self.lower} 0"

    def load(self) -> None:
        """Reload the upper device's table, in use or not."""
        run("dmsetup", "load", self.name, "--table", self.table())
        run("dmsetup", "suspend", self.name)
        run("dmsetup", "resume", self.name)

    def mount(self, *options: str) -> None:
        """Mount the file system."""
        run("mount", "-t", self.kind, *options, str(self.device), str(self.folder))

    def unmount(self) -> None:
        """Unmount it; users may release it with a delay. Raises AssertionError if it remains in use."""
        insist("umount", str(self.folder))

    def repair(self) -> None:
        """Repair an unmounted file system that was cut off from its device."""
        if self.kind == "ext4":
            repair(self.device)

    def below(self, target: str, arguments: str = "") -> None:
        """Change the lower device's target, without waiting for I/O in progress."""
        if target != "linear":
            modules.load(f"dm-{target}")
        table = f"0 {self.sectors + ROOM} {target} {self.loop} 0 {arguments}"
        run("dmsetup", "suspend", "--noflush", "--nolockfs", self.lower)
        try:
            run("dmsetup", "load", self.lower, "--table", table)
        finally:
            run("dmsetup", "resume", self.lower)


def repair(device: Path) -> None:
    """Repair an unmounted ext4."""
    done = subprocess.run(["e2fsck", "-fy", str(device)], capture_output=True, check=False)
    assert done.returncode <= 1, done  # 1: errors were corrected


def insist(*command: str) -> None:
    """Run a command until it succeeds. Raises AssertionError."""
    until = time.monotonic() + _BUSY
    while True:
        try:
            run(*command)
        except AssertionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


@contextlib.contextmanager
def volume(kind: Kind, size_mb: int, folder: Path) -> Iterator[Volume]:
    """An empty file system, mounted at `folder`."""
    with dm_device(f"{kind}-lower", size_mb) as lower, contextlib.ExitStack() as undo:
        loop = run("dmsetup", "table", lower.name).split()[3]
        made = Volume(
            kind, lower.name.replace("-lower", "-upper"), lower.name, loop, lower.sectors - ROOM, folder
        )
        made.create()
        undo.callback(lambda: insist("dmsetup", "remove", made.name))
        run(*_MKFS[kind], str(made.device))
        folder.mkdir()
        made.mount()
        undo.callback(made.unmount)
        yield made
