"""Runs a user-mode-linux kernel and ends all its processes, even if the parent is killed.

    python -m sandbox.keeper LIFELINE FOLDER LINUX ARGUMENT...

LIFELINE is the reading end of a pipe: when its other end closes, the kernel is killed and FOLDER, the job's,
removed. The kernel is always killed as a group, at once: processes of a guest whose kernel alone is gone
go on with system calls of the host.
"""

import os
import resource
import select
import shutil
import signal
import subprocess
import sys

from sandbox import syscalls


def main(arguments: list[str]) -> None:
    lifeline, folder, command = int(arguments[0]), arguments[1], arguments[2:]
    os.set_inheritable(lifeline, False)
    syscalls.adopt_orphans()
    # A panic ends in abort(): avoid a core dump of the guest's whole memory.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # close_fds: the guest's serial lines are inherited.
    kernel = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False, process_group=0)
    ended = os.pidfd_open(kernel.pid)
    poll = select.poll()
    poll.register(lifeline, select.POLLIN)
    poll.register(ended, select.POLLIN)
    ready = [fd for fd, _ in poll.poll()]
    # Not waited for yet, so its process group can't have been reused.
    os.killpg(kernel.pid, signal.SIGKILL)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    if lifeline in ready:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
