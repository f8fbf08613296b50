"""A file system on a device of device-mapper whose own device below can be made slow or broken, and what is done to
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
    """`name` is the device that the file system lies on, `lower` the one below it, on the loop device `loop`."""

    kind: Kind
    name: str
    lower: str
    loop: str
    sectors: int
    """Of the file system; the devices have ROOM more."""
    folder: Path
    room: int = 0
    """How many sectors more the upper device has just now."""

    @property
    def device(self) -> Path:
        """The upper device's node."""
        return Path("/dev/mapper", self.name)

    def create(self) -> None:
        """Make the upper device."""
        run("dmsetup", "create", self.name, "--table", self.table())

    def table(self) -> str:
        """Return the upper device's table."""
        return f"0 {self.sectors + self.room} linear /dev/mapper/{self.lower} 0"

    def load(self) -> None:
        """Give the upper device its table anew, in use or not."""
        run("dmsetup", "load", self.name, "--table", self.table())
        run("dmsetup", "suspend", self.name)
        run("dmsetup", "resume", self.name)

    def mount(self, *options: str) -> None:
        """Mount the file system."""
        run("mount", "-t", self.kind, *options, str(self.device), str(self.folder))

    def unmount(self) -> None:
        """Unmount it; what held it may be a moment in letting go. Raises AssertionError where it is held on."""
        insist("umount", str(self.folder))

    def repair(self) -> None:
        """Have an unmounted file system that was cut off from its device be sound."""
        if self.kind == "ext4":
            repair(self.device)

    def below(self, target: str, arguments: str = "") -> None:
        """Have the lower device be of another target, without waiting for what is on its way there."""
        if target != "linear":
            modules.load(f"dm-{target}")
        table = f"0 {self.sectors + ROOM} {target} {self.loop} 0 {arguments}"
        run("dmsetup", "suspend", "--noflush", "--nolockfs", self.lower)
        try:
            run("dmsetup", "load", self.lower, "--table", table)
        finally:
            run("dmsetup", "resume", self.lower)


def repair(device: Path) -> None:
    """Have an unmounted ext4 be sound."""
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
