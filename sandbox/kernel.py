"""Starts a user-mode-linux kernel under its keeper, with its serial lines."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sandbox.host import kernel_program
from sandbox.job import CONTROL_LINE, STDERR_LINE, STDOUT_LINE

_CHECKOUT = Path(__file__).resolve().parent.parent
# Built from sandbox/xstate.c by make bench.
_XSTATE = _CHECKOUT / "out/xstate.so"
# Without site: the guest's first process and the keeper need only the standard library.
_PYTHON = [sys.executable, "-P", "-S", "-m"]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that runs until its keeper ends; closing the lifeline kills it."""

    keeper: subprocess.Popen[bytes]
    lifeline: int
    stdout: socket.socket
    stderr: socket.socket
    control: socket.socket
    console: socket.socket


def start_kernel(folder: Path, memory: int, memory_at: str, *, system: bool = False) -> Kernel:
    """Boot the job in a folder with `memory` bytes of memory, stored in memory_at; `system` as for
    kernel_program(). Raises OSError."""
    lifeline_end, lifeline = os.pipe()
    # Sockets: the kernel polls for both directions, which fails for a pipe's end or /dev/null.
    lines = {number: socket.socketpair() for number in (STDOUT_LINE, STDERR_LINE, CONTROL_LINE)}
    console, console_end = socket.socketpair()
    ends = {number: end.fileno() for number, (_, end) in lines.items()}
    program = _system_kernel(folder) if system else [str(kernel_program())]
    try:
        keeper = subprocess.Popen(
            [
                *_PYTHON,
                "sandbox.keeper",
                str(lifeline_end),
                str(folder),
                *program,
                *_arguments(folder, memory, ends),
            ],
            stdin=subprocess.DEVNULL,
            stdout=console_end.fileno(),
            stderr=console_end.fileno(),
            env={
                "PATH": os.defpath,
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONPATH": str(_CHECKOUT),
                "TMPDIR": memory_at,
            },
            pass_fds=[lifeline_end, *ends.values()],
            start_new_session=True,
        )
    finally:
        # Only the kernel holds them now, so they close when it ends.
        os.close(lifeline_end)
        for end in (console_end, *(end for _, end in lines.values())):
            end.close()
    stdout, stderr, control = (lines[number][0] for number in (STDOUT_LINE, STDERR_LINE, CONTROL_LINE))
    return Kernel(keeper, lifeline, stdout, stderr, control, console)


def _system_kernel(folder: Path) -> list[str]:
    """Return the command of the system's kernel, with the library for current processors if it was built."""
    program = [str(kernel_program(system=True))]
    if not _XSTATE.exists():
        return program
    # A list of libraries can't have a path with a space.
    preloaded = shutil.copy(_XSTATE, folder)
    return ["env", f"LD_PRELOAD={preloaded}", *program]


def _arguments(folder: Path, memory: int, lines: dict[int, int]) -> list[str]:
    return [
        f"mem={memory}",
        f"uml_dir={folder}/",
        "umid=uml",  # its pid goes to FOLDER/uml/pid
        "root=/dev/root",
        "rootfstype=hostfs",
        "rootflags=/",
        "ro",
        f"init={_write_init(folder)}",
        # Processes without ptrace(2): system calls and page faults take about half the time. Older kernels ignore
        # the option, and on hosts without support ptrace(2) is used.
        "seccomp=auto",
        "con=null",
        "con0=fd:1",
        "ssl=null",
        *(f"ssl{number}=fd:{fd}" for number, fd in lines.items()),
    ]


def _write_init(folder: Path) -> Path:
    """Write the first program: a kernel's command line can't have a path with a space, a shell script can."""
    init = folder / "init"
    init.write_text(
        "#!/bin/sh\n"
        f"PYTHONPATH={shlex.quote(str(_CHECKOUT))} PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 "
        f"exec {shlex.join([*_PYTHON, 'sandbox.init', str(folder)])}\n"
    )
    init.chmod(0o700)
    return init
