"""A guest's needs on the host: the kernel, room for its memory, a folder for the job."""

import os
import re
import shutil
import tempfile
from pathlib import Path

# Installed by sandbox/kernel.sh.
_OWN_KERNEL = Path(__file__).resolve().parent.parent / "out/sandbox/linux.uml"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
# A socket's address holds 108 bytes; the kernel puts one into the job's folder.
_LONGEST_BASE = 50


class SandboxError(Exception):
    """The guest could not run the command."""


class Unavailable(SandboxError):  # noqa: N818 - the name of a state
    """This host can't run such a guest. The message names what is missing."""


def kernel_program(*, system: bool = False) -> str | None:
    """Return the kernel that guests run: that of sandbox/kernel.sh, or the system's if requested or the only one."""
    return str(_OWN_KERNEL) if _OWN_KERNEL.exists() and not system else shutil.which("linux.uml")


def available(*, system_kernel: bool = False) -> str | None:
    """Return what is missing to run a guest here, None if nothing is."""
    if kernel_program(system=system_kernel) is None:
        return "there is no user-mode-linux kernel: make guest, or apt-get install user-mode-linux"
    return None


def memory_size(text: str) -> int:
    """Return the bytes of a size such as 512M or 2G. Raises ValueError."""
    match = re.fullmatch(r"([1-9][0-9]*)([KMG]?)", text.upper())
    if match is None:
        raise ValueError(f"not a size: {text!r} (such as 512M or 2G)")
    return int(match[1]) * _UNITS[match[2]]


def memory_folder(size: int) -> str:
    """Return a folder that can hold the guest's memory, which the kernel maps executable. Raises Unavailable."""
    seen = []
    for folder in ("/dev/shm", tempfile.gettempdir(), "/var/tmp"):  # noqa: S108 - a place, not a file's name
        try:
            stat = os.statvfs(folder)
        except OSError:
            continue
        free = stat.f_bavail * stat.f_frsize
        if not stat.f_flag & os.ST_NOEXEC and free >= size and os.access(folder, os.W_OK):
            return folder
        seen.append(f"{folder} ({free >> 20} MB free)")
    raise Unavailable(f"no room for the guest's memory of {size >> 20} MB: {', '.join(seen)}")


def make_job_folder() -> Path:
    """Make a folder whose path is valid on a kernel's command line. Raises Unavailable."""
    for base in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108 - mkdtemp makes the name
        resolved = os.path.realpath(base)
        if len(resolved) <= _LONGEST_BASE and re.fullmatch(r"[\w/.+-]+", resolved, re.ASCII):
            return Path(tempfile.mkdtemp(prefix="sandbox-", dir=resolved))
    raise Unavailable("no folder for temporary files with a short and plain path")
