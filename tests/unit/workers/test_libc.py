"""Privileges after dropping them, in separate processes, and calls that the kernel refuses."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from workers import libc


def run(program: str) -> str:
    """Run a Python program and return its output."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_bounding_set_takes_a_capability() -> None:
    """Without CAP_SETPCAP the bounding set can't be dropped."""
    program = """\
from workers.libc import bound_capabilities, keep_capabilities
keep_capabilities(())
try:
    bound_capabilities()
except PermissionError as error:
    print(error)
"""
    assert run(program) == "[Errno 1] prctl(PR_CAPBSET_DROP)"


def test_a_worker_in_a_container() -> None:
    """Without CAP_SETPCAP a worker drops what it can: it has no capability that it doesn't need."""
    program = """\
from workers import privileges
from workers.libc import keep_capabilities
keep_capabilities((privileges._CAP_SYS_ADMIN, 0))
privileges.drop()
print(open("/proc/self/status").read())
"""
    status = dict(line.split(":\t") for line in run(program).splitlines() if ":\t" in line)
    assert int(status["CapEff"], 16) & ~(1 << 21) == 0
    assert status["NoNewPrivs"] == "1"


def test_its_parent_has_gone() -> None:
    """A process that is to die with its parent exits at once if the parent is gone already."""
    program = "from workers.libc import die_with_parent; die_with_parent(1 << 22); print('still here')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")


def test_refused() -> None:
    """An address that isn't page-aligned can't be unmapped."""
    with pytest.raises(OSError, match="munmap") as caught:
        libc.unmap(1, 4096)
    assert caught.value.errno == errno.EINVAL


def test_a_machine_without_a_known_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an architecture with an unknown number for clone an error is raised, and no call is made."""
    monkeypatch.setattr(libc, "_SYS_CLONE", {})
    with pytest.raises(OSError, match=r"clone\(2\) of .* is not known"):
        libc.clone_sibling()


def test_limit_on_processes() -> None:
    """A limit on processes is reported as such."""
    program = """\
import os, resource
from workers.libc import clone_sibling
if os.geteuid() == 0:
    os.setresuid(4242, 4242, 4242)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
try:
    clone_sibling()
except BlockingIOError as error:
    print(error.strerror)
"""
    assert run(program) == "Resource temporarily unavailable"
