"""A file system on a device of device-mapper whose own device below can be made slow or broken, and what is done to
both."""

from __future__ import annotations

import contextlib
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
_BUSY: Final = 20.0


@dataclass(slots=True)
class Volume:
    """`name` is the device that the file system lies on, `lower` the one below it, on the loop device `loop`."""

    kind: Kind
    name: str
    lower: str
    loop: str
    sectors: int
    folder: Path

    @property
    def device(self) -> Path:
        """The upper device's node."""
        return Path("/dev/mapper", self.name)

    def create(self) -> None:
        """Make the upper device."""
        run("dmsetup", "create", self.name, "--table", self.table())

    def table(self) -> str:
        """Return the upper device's table."""
        return f"0 {self.sectors} linear /dev/mapper/{self.lower} 0"

    def mount(self, *options: str) -> None:
        """Mount the file system."""
        run("mount", "-t", self.kind, *options, str(self.device), str(self.folder))

    def unmount(self) -> None:
        """Unmount it; what held it may be a moment in letting go."""
        insist("umount", str(self.folder))

    def below(self, target: str, arguments: str = "") -> None:
        """Have the lower device be of another target, without waiting for what is on its way there."""
        if target != "linear":
            modules.load(f"dm-{target}")
        table = f"0 {self.sectors} {target} {self.loop} 0 {arguments}"
        run("dmsetup", "suspend", "--noflush", "--nolockfs", self.lower)
        try:
            run("dmsetup", "load", self.lower, "--table", table)
        finally:
            run("dmsetup", "resume", self.lower)


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
        made = Volume(kind, lower.name.replace("-lower", "-upper"), lower.name, loop, lower.sectors, folder)
        made.create()
        undo.callback(lambda: insist("dmsetup", "remove", made.name))
        run(*_MKFS[kind], str(made.device))
        folder.mkdir()
        made.mount()
        undo.callback(made.unmount)
        yield made
