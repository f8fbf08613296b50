"""Looks for the virtual machines of files: what libvirt wrote, and what QEMU's processes have open.

A path in libvirt's XML may lead to a server that doesn't answer, and there may be thousands of both. So this runs in
a process of its own, which is forked for one search and may be killed in it. It imports what the supervisor doesn't.
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
    """A file of libvirt's as it was read. `domain` is None where it is none; then `problem` says why."""

    stamp: Stamp
    domain: Domain | None
    problem: str = ""


def to_raw(read: LibvirtFile) -> list[Any]:
    """Return what was read as JSON can hold it."""
    return [read.stamp, None if read.domain is None else astuple(read.domain), read.problem]


def from_raw(raw: list[Any]) -> LibvirtFile:
    """Return what to_raw() was given."""
    stamp, domain, problem = raw
    if domain is None:
        return LibvirtFile(tuple(stamp), None, problem)
    name, uuid, running, pid, disks, whole = domain
    files = tuple((path, role) for path, role in disks)
    return LibvirtFile(tuple(stamp), Domain(name, uuid, running, pid, files, whole), problem)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found: machines by file, and all that was read."""

    machines: dict[Identity, Machine]
    files: dict[str, LibvirtFile]


def search(
    folders: Sequence[str], *, processes: bool, wanted: Collection[Identity], known: Mapping[str, LibvirtFile]
) -> SearchResult:
    """Return the machines of the files `wanted`. What `known` has of libvirt's files, and what is not newer, is not
    read again; folders and files that can't be read are passed over."""
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
    """Return what find() finds, in JSON: `machines` with what Machine holds behind device and inode, and `files`,
    null for each that is as in `known`."""
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
    """Return what is in a file, `known` where it is that one still. Raises OSError."""
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
    """Return which file a path leads to, through links too: that is the file which QEMU opens."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _settled(domains: Iterable[Domain]) -> Iterator[int]:
    """Walk the processes that have nothing to add, as libvirt told all their files and each is there."""
    for domain in domains:
        if domain.pid is not None and domain.whole and all(_identity(path) for path, _ in domain.disks):
            yield domain.pid
