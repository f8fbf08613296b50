"""QEMU processes: their names and open files. The processes are real, except for their program."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.vms.matching import Claim, Identity, Source
from supervisor.vms.qemu import claims, is_machine, name_and_uuid

UUID = "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"
_HOLD = (
    "import os, sys;"
    "open('/proc/self/comm', 'w').write(os.fsdecode(open('/proc/self/cmdline', 'rb').read().split(b'\\0')[0]));"
    "opened = [os.open(path, os.O_RDWR if mode == 'rw' else os.O_RDONLY)"
    " for mode, path in (word.split(':') for word in sys.argv[1].split(';') if word)];"
    "print(flush=True); sys.stdin.read()"
)


@contextlib.contextmanager
def process(*files: str, words: tuple[str, ...] = (), program: str = "qemu-system-x86_64") -> Iterator[int]:
    """Run a process under that program's name, with `words` on its command line and files open
    ("rw:/path")."""
    command = [program, "-c", _HOLD, ";".join(files), *words]
    with subprocess.Popen(
        command, executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as one:
        assert one.stdout is not None
        one.stdout.readline()
        yield one.pid


def identity(path: Path) -> Identity:
    """Return the file's identity."""
    found = path.stat()
    return found.st_dev, found.st_ino


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("-name web", "web"),
        ("-name guest=web,debug-threads=on", "web"),
        ("-name debug-threads=on,guest=web", "web"),
        ("-name web,process=qemu:web", "web"),
        ("--name web", "web"),
        ("-name a -name b", "b"),
        ("-name guest=a,,b=c,debug-threads=on", "a,b=c"),
        ("-name a,,,debug-threads=on", "a,"),
        ("-name guest=", None),
        ("-name debug-threads=on", None),
        ("-m 4096", None),
        ("", None),
    ],
)
def test_names(words: str, name: str | None) -> None:
    """The forms that libvirt, Proxmox and people write."""
    command = ["/usr/bin/qemu-system-x86_64", *words.split()]
    assert name_and_uuid(command) == (name, None)
    assert name_and_uuid([*command, "-uuid", UUID]) == (name, UUID)


def test_programs() -> None:
    """The emulator by its names, also as truncated by the kernel; not its tools."""
    machines = ("qemu-system-x86_64", "qemu-system-x86", "qemu-system-aarch64", "qemu-kvm", "kvm")
    assert all(is_machine(program) for program in machines)
    others = ("qemu-img", "qemu-nbd", "qemu-ga", "kvm-clock", "qemu", "python3", "", "libvirtd")
    assert not any(is_machine(program) for program in others)


def test_open_files(tmp_path: Path) -> None:
    """Files are matched by device and inode, not by the opened name. Read-only ones are backing. Only
    requested files are returned."""
    disk, base, other = (tmp_path / name for name in ("disk.img", "base.img", "other.img"))
    for path in (disk, base, other):
        path.touch()
    os.link(disk, tmp_path / "hard.img")
    (tmp_path / "soft.img").symlink_to(base)
    files = f"rw:{tmp_path}/hard.img", f"ro:{tmp_path}/soft.img", f"rw:{other}"
    with process(*files, words=("-name", "guest=web,debug-threads=on", "-uuid", UUID)) as pid:
        found = set(claims({identity(disk), identity(base)}, set()))
        assert found == {
            Claim(identity(disk), "web", UUID, "disk", Source.PROCESS),
            Claim(identity(base), "web", UUID, "backing", Source.PROCESS),
        }
        assert list(claims({identity(disk)}, {pid})) == []


def test_without_a_name(tmp_path: Path) -> None:
    """The name is the UUID, or else the pid."""
    disk = tmp_path / "disk.img"
    disk.touch()
    with process(f"rw:{disk}", words=("-uuid", UUID)):
        (claim,) = claims({identity(disk)}, set())
        assert (claim.name, claim.uuid) == (UUID, UUID)
    with process(f"rw:{disk}") as pid:
        (claim,) = claims({identity(disk)}, set())
        assert (claim.name, claim.uuid) == (f"pid {pid}", None)


def test_others_that_have_it_open(tmp_path: Path) -> None:
    """A backup or qemu-img is no machine."""
    disk = tmp_path / "disk.img"
    disk.touch()
    with (
        process(f"rw:{disk}", words=("-name", "x"), program="qemu-img"),
        process(f"ro:{disk}", program="tar"),
    ):
        assert list(claims({identity(disk)}, set())) == []
