"""A Debian with systemd as its first process, in a folder of the guest."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.kernel import oracle
from tests.kernel.running import wait_for

_PATIENCE = 60.0
# In its own namespaces, so that none of its mounts remain.
_BOOT = """
mount --rbind "$1" "$1"
cd "$1"
mount --rbind /dev dev
mount -t sysfs sysfs sys
mount -t proc proc proc
pivot_root . .
umount --lazy .
exec env -i container=test /lib/systemd/systemd --log-target=null --unit=multi-user.target
"""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Machine:
    """A running Debian; `pid` is the pid of its systemd."""

    def __init__(self, root: Path, pid: int) -> None:
        self.root = root
        self._enter = ("nsenter", "--target", str(pid), "--all", "--root", "--wd")

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        return subprocess.run(
            [*self._enter, "env", "-i", "LANG=C.UTF-8", f"PATH={_PATH}", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def run(self, *command: str) -> str:
        """Run a command that must succeed, and return its stdout and stderr."""
        done = self.call(*command)
        assert done.returncode == 0, f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}"
        return done.stdout

    def called(self, pattern: str) -> list[str]:
        """Return all paths whose name matches, except those in root's home."""
        return self.run(
            "find",
            "/",
            "-xdev",
            "-ignore_readdir_race",
            "-path",
            "/root",
            "-prune",
            "-o",
            "-name",
            pattern,
            "-print",
        ).split()


@contextlib.contextmanager
def machine(root: Path) -> Iterator[Machine]:
    """Boot the Debian in `root`, including mounts there, and kill all its processes at the end."""
    # These need real hardware.
    oracle.run("systemctl", f"--root={root}", "--quiet", "mask", "systemd-udevd.service", "getty.target")
    command = ("unshare", "--fork", "--kill-child", "--pid", "--mount", "--uts", "--ipc", "--cgroup")
    process = subprocess.Popen([*command, "sh", "-ec", _BOOT, "sh", str(root)], stdin=subprocess.DEVNULL)
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        pid = wait_for("there is a first process", lambda: int(children.read_text() or 0), _PATIENCE)
        one = Machine(root, pid)
        wait_for("it has booted", lambda: _booted(one), _PATIENCE)
        yield one
    finally:
        process.kill()
        process.wait()


def _booted(one: Machine) -> bool:
    """Return whether booting has finished. Units that can't run here may have failed."""
    return one.call("systemctl", "is-system-running").stdout.strip() in {"running", "degraded"}
