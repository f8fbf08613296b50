"""Searches the virtual machines of files: in libvirt's files, and in the open files of QEMU's processes.

A path in libvirt's XML may lead to a server that doesn't respond, and a host may have thousands of files and of
processes. So each search runs in a forked process, which may be killed. It imports modules that the supervisor
doesn't.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from supervisor.vms.libvirt import MAX_BYTES, Domain, parse
from supervisor.vms.matching import Claim, Identity, Machine, Source, choose
from supervisor.vms.qemu import claims as claims_of_processes

Stamp = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LibvirtFile:
    """A file of libvirt. `domain` is None for one that is not a domain; then `problem` is the reason."""

    stamp: Stamp
    domain: Domain | None
    problem: str = ""


def to_raw(read: LibvirtFile) -> list[Any]:
    """Return a file as a JSON value."""
    return [read.stamp, None if read.domain is None else astuple(read.domain), read.problem]


def from_raw(raw: list[Any]) -> LibvirtFile:
    """Return the file of a JSON value."""
    stamp, domain, problem = raw
    if domain is None:
        return LibvirtFile(tuple(stamp), None, problem)
    name, uuid, running, pid, disks, whole = domain
    files = tuple((path, role) for path, role in disks)
    return LibvirtFile(tuple(stamp), Domain(name, uuid, running, pid, files, whole), problem)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of a search: machines by file, and libvirt's files by path."""

    machines: dict[Identity, Machine]
    files: dict[str, LibvirtFile]


def search(
    folders: Sequence[str], *, processes: bool, wanted: Collection[Identity], known: Mapping[str, LibvirtFile]
) -> SearchResult:
    """Return the machines of the files `wanted`. Files in `known` that have not changed are not read again.
    Folders and files that can't be read are skipped."""
    files = dict(_read_all(folders, known))
    domains = [read.domain for read in files.values() if read.domain is not None]
    claims = [claim for domain in domains for claim in _claims(domain)]
    if processes:
        running = {claim.identity for claim in claims if claim.source is Source.RUNNING}
        left = set(wanted) - running
        claims += claims_of_processes(left, set(_settled(domains))) if left else ()
    return SearchResult(choose(claim for claim in claims if claim.identity in wanted), files)


def search_as_json(
    folders: Sequence[str], *, processes: bool, wanted: Collection[Identity], known: Mapping[str, list[Any]]
) -> bytes:
    """Return the result of search() as JSON: `machines`, each with device, inode and the fields of Machine, and
    `files`, null for those that are as in `known`."""
    before = {path: from_raw(raw) for path, raw in known.items()}
    found = search(folders, processes=processes, wanted=wanted, known=before)
    return json.dumps(
        {
            "machines": [[*identity, *astuple(machine)] for identity, machine in found.machines.items()],
            "files": {
                path: None if read is before.get(path) else to_raw(read) for path, read in found.files.items()
            },
        }
    ).encode()


def _read_all(folders: Iterable[str], known: Mapping[str, LibvirtFile]) -> Iterator[tuple[str, LibvirtFile]]:
    for folder in folders:
        try:
            names = sorted(name for name in os.listdir(folder) if name.endswith(".xml"))
        except OSError:
            continue
        for name in names:
            path = os.path.join(folder, name)
            try:
                yield path, _read(path, known.get(path))
            except OSError as error:
                yield path, LibvirtFile((), None, str(error.strerror))


def _read(path: str, known: LibvirtFile | None) -> LibvirtFile:
    """Return a file of libvirt, `known` if it has not changed. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        status = os.fstat(fd)
        stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if known is not None and known.stamp == stamp:
            return known
        if not stat.S_ISREG(status.st_mode):
            return LibvirtFile(stamp, None, "not a regular file")
        return _parsed(fd, stamp)
    finally:
        os.close(fd)


def _parsed(fd: int, stamp: Stamp) -> LibvirtFile:
    with open(fd, "rb", closefd=False) as file:
        data = file.read(MAX_BYTES + 1)
    try:
        return LibvirtFile(stamp, parse(data))
    except ValueError as error:
        return LibvirtFile(stamp, None, str(error))


def _claims(domain: Domain) -> Iterator[Claim]:
    source = Source.RUNNING if domain.running else Source.DEFINED
    for path, role in domain.disks:
        identity = _identity(path)
        if identity is not None:
            yield Claim(identity, domain.name, domain.uuid, role, source)


def _identity(path: str) -> Identity | None:
    """Return the identity of the file at a path. Links are followed, as QEMU does."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _settled(domains: Iterable[Domain]) -> Iterator[int]:
    """Yield the pids whose open files needn't be read: libvirt named all their disks, and these exist."""
    for domain in domains:
        if domain.pid is not None and domain.whole and all(_identity(path) for path, _ in domain.disks):
            yield domain.pid
