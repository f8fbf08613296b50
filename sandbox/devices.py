"""Device-mapper devices with file systems, on sparse files in the guest's memory.

Their names start with PREFIX and this process's id, so that no other device is ever touched.
"""

import contextlib
import itertools
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PREFIX = "fmd-sandbox"
# A tmpfs: a loop device can punch holes into a file there, which frees the memory.
_FILES = Path("/run/sandbox")
_BUSY = 60.0
_RETRY = 0.05
_SECTOR = 512
# The minimum sizes in MiB; mkfs.xfs refuses smaller ones.
_LEAST = {"ext4": 16, "xfs": 300}
# The block size of a large disk: mkfs.ext4 uses smaller blocks on a small one.
_OPTIONS = {"ext4": ("-b", "4096"), "xfs": ()}
_numbers = itertools.count()


class DeviceError(Exception):
    """A command failed. The message has the command and its output."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device-mapper device; dev_t is its number as in os.stat()'s st_rdev."""

    name: str
    path: Path
    dev_t: int
    sectors: int


@dataclass(frozen=True, slots=True)
class Filesystem:
    """A mounted file system."""

    device: Device
    mountpoint: Path


@contextlib.contextmanager
def dm_device(hint: str = "dev", size_mb: int = 64) -> Iterator[Device]:
    """A new dm-linear device over a loop device on a sparse file. Raises DeviceError."""
    with contextlib.ExitStack() as undo:
        loop, name = undo.enter_context(_loop_device(hint, size_mb))
        sectors = (size_mb << 20) // _SECTOR
        _call("dmsetup", "create", name, "--table", f"0 {sectors} linear {loop} 0")
        undo.callback(_insist, "dmsetup", "remove", name)
        path = Path("/dev/mapper", name)
        yield Device(name, path, path.stat().st_rdev, sectors)


@contextlib.contextmanager
def filesystem(
    fs: Literal["ext4", "xfs"], size_mb: int | None = None, mountpoint: Path | None = None
) -> Iterator[Filesystem]:
    """An empty, mounted file system on a new device; by default of the minimum size and under /run.

    A missing mount point is created. Raises DeviceError.
    """
    with contextlib.ExitStack() as undo:
        device = undo.enter_context(dm_device(fs, size_mb if size_mb is not None else _LEAST[fs]))
        _call(f"mkfs.{fs}", "-q", *_OPTIONS[fs], str(device.path))
        at = mountpoint if mountpoint is not None else _FILES / f"{device.name}.mount"
        if not at.exists():
            at.mkdir(parents=True)
            undo.callback(at.rmdir)
        _call("mount", "-t", fs, str(device.path), str(at))
        undo.callback(_insist, "umount", str(at))
        yield Filesystem(device, at)


@contextlib.contextmanager
def _loop_device(hint: str, size_mb: int) -> Iterator[tuple[str, str]]:
    """A loop device's path, and a unique name."""
    name = f"{PREFIX}-{os.getpid()}-{next(_numbers)}-{hint}"
    _FILES.mkdir(parents=True, exist_ok=True)
    file = _FILES / f"{name}.img"
    with contextlib.ExitStack() as undo:
        undo.callback(file.unlink, missing_ok=True)
        with file.open("xb") as image:
            image.truncate(size_mb << 20)
        loop = _call("losetup", "--find", "--show", str(file)).strip()
        undo.callback(_insist, "losetup", "--detach", loop)
        yield loop, name


def _call(*command: str) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise DeviceError(f"{command[0]} is not installed") from None
    except subprocess.CalledProcessError as error:
        raise DeviceError(f"{' '.join(command)}: {error.stderr.strip() or error}") from None
    return done.stdout


def _insist(*command: str) -> None:
    """Retry until it succeeds: users may release a device with a delay. Raises DeviceError."""
    deadline = time.monotonic() + _BUSY
    while True:
        try:
            _call(*command)
        except DeviceError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_RETRY)
        else:
            return
