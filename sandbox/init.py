"""The guest's first process: builds the root file system, then runs the agent.

python -m sandbox.init FOLDER    with the job's folder, as the host and the guest see it
"""

import os
import socket
import sys
import traceback
from pathlib import Path

from sandbox import agent, modules, syscalls
from sandbox.job import STARTED, Job

# The overlay is assembled here. The new root shows the host's folder again.
_SCAFFOLD = "/mnt"


def main(folder: str) -> None:
    """Run the job and power off. Never returns."""
    try:
        job = Job.read(Path(folder))
        job_fd = _enter_root(folder, job)
        if _first_start(job_fd):
            agent.serve(job, job_fd)
    except BaseException:  # noqa: BLE001 - the host sees it on the console only
        traceback.print_exc()
    finally:
        syscalls.power_off()


def _first_start(job_fd: int) -> bool:
    try:
        os.close(os.open(STARTED, os.O_CREAT | os.O_EXCL | os.O_WRONLY, dir_fd=job_fd))
    except FileExistsError:
        print("the guest has restarted itself; not running the command again", file=sys.stderr)
        return False
    return True


def _enter_root(folder: str, job: Job) -> int:
    """Build the writable root and enter it. Return a descriptor of the job's folder, which is writable."""
    syscalls.mount("proc", "/proc", "proc")
    syscalls.mount("sysfs", "/sys", "sysfs")
    modules.load("overlay")
    syscalls.mount("tmpfs", _SCAFFOLD, "tmpfs", data="size=80%,mode=755")
    for name in ("root", "upper", "work"):
        Path(_SCAFFOLD, name).mkdir()
    root = f"{_SCAFFOLD}/root"
    layers = f"lowerdir=/,upperdir={_SCAFFOLD}/upper,workdir={_SCAFFOLD}/work"
    syscalls.mount("overlay", root, "overlay", data=layers)
    _mount_below(root)
    # Mounted only to be opened: the command must not see the status.
    syscalls.mount("none", root + folder, "hostfs", data=folder)
    job_fd = os.open(root + folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    syscalls.detach(root + folder)
    if job.out is not None:
        Path(root + job.out).mkdir(parents=True, exist_ok=True)
        syscalls.mount("none", root + job.out, "hostfs", data=job.out)
    os.chdir(root)
    syscalls.mount(".", "/", "", syscalls.MS_MOVE)
    os.chroot(".")
    os.chdir("/")
    for name in ("loop", "dm-mod"):
        modules.load(name)
    socket.sethostname("sandbox")
    syscalls.raise_interface("lo")
    return job_fd


def _mount_below(root: str) -> None:
    syscalls.mount("proc", root + "/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV)
    syscalls.mount("sysfs", root + "/sys", "sysfs", syscalls.MS_NOSUID | syscalls.MS_NODEV)
    syscalls.mount("tmpfs", root + "/run", "tmpfs", data="mode=755")
    syscalls.mount("devtmpfs", root + "/dev", "devtmpfs")
    for name, kind, options in (
        ("pts", "devpts", "gid=5,mode=620,ptmxmode=666"),
        ("shm", "tmpfs", "mode=1777"),
    ):
        Path(root, "dev", name).mkdir(exist_ok=True)
        syscalls.mount(kind, f"{root}/dev/{name}", kind, data=options)
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        Path(root, "dev", name).symlink_to("/proc/self/fd" + target)


if __name__ == "__main__":
    main(sys.argv[1])
