"""QEMU's processes: their machines and open files, for machines that libvirt doesn't know."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import Final

import psutil

from supervisor.vms.matching import Claim, Identity, Source
from supervisor.vms.open_files import open_files

_FLAGS: Final = re.compile(r"^flags:\s*([0-7]+)$", re.MULTILINE)


def is_machine(program: str) -> bool:
    """Return whether a program of that name is QEMU. The kernel cuts a process's name after 15 characters."""
    return program.startswith(("qemu-system-", "qemu-kvm")) or program == "kvm"


def name_and_uuid(command: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the machine's name and UUID in a command line (qemu(1): -name and -uuid), or None."""
    return _name(_value(command, "name")), _value(command, "uuid")


def _value(command: Sequence[str], option: str) -> str | None:
    """Return the value of the last such option; QEMU takes one or two dashes."""
    found = None
    for word, value in pairwise(command):
        if word in {f"-{option}", f"--{option}"}:
            found = value
    return found or None


def _name(value: str | None) -> str | None:
    """Return the machine's name in "web,process=x" or "guest=web,debug-threads=on"; a comma in it is doubled."""
    # No word of a command line holds a NUL.
    parts = [part.replace("\0", ",") for part in (value or "").replace(",,", "\0").split(",")]
    for number, part in enumerate(parts):
        key, given, rest = part.partition("=")
        if key == "guest" and given:
            return rest or None
        if number == 0 and not given:
            return key or None
    return None


def claims(wanted: Collection[Identity], but: Collection[int]) -> Iterator[Claim]:
    """Yield the claims of QEMU's processes, except those in `but` (pids), to the files `wanted`."""
    for process in psutil.process_iter(["name", "cmdline"]):
        command = process.info["cmdline"] or ()
        programs = {process.info["name"] or "", os.path.basename(command[0]) if command else ""}
        if process.pid in but or not any(is_machine(program) for program in programs):
            continue
        name, uuid = name_and_uuid(command)
        for identity, role in _open_files(process.pid, wanted):
            yield Claim(identity, name or uuid or f"pid {process.pid}", uuid, role, Source.PROCESS)


def _open_files(pid: int, wanted: Collection[Identity]) -> Iterator[tuple[Identity, str]]:
    """Yield those of the files `wanted` that a process has open. One that is open read-only is a backing file."""
    for identity, info in open_files(pid):
        if identity in wanted:
            with contextlib.suppress(OSError):
                yield identity, _role(info)


def _role(path: str) -> str:
    with open(path, encoding="ascii") as file:
        flags = _FLAGS.search(file.read())
    mode = int(flags[1], 8) & os.O_ACCMODE if flags else os.O_RDWR
    return "backing" if mode == os.O_RDONLY else "disk"
