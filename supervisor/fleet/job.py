"""The job of a worker, made from the configuration and the ledger."""

from __future__ import annotations

from dmstats.files import FileIdentity
from dmstats.ownership import GroupSpec
from dmstats.reconcile import UNLIMITED, Limits
from supervisor.fleet.filemap import Filemap
from supervisor.ledger.entries import Entry
from workers.group_finder import GroupSettings, KnownGroup
from workers.job import Job


def job_for(filemap: Filemap, entry: Entry, budget: int) -> Job:
    """Return the job of a file's next worker. `budget` is that of a device: it holds until the file's part of it is
    known."""
    spec, options = filemap.spec, filemap.spec.options
    return Job(
        path=spec.path,
        within=spec.directory,
        mode=options.mode,
        settings=GroupSettings(
            program=options.program_id,
            alias=spec.alias,
            precise=options.precise,
            bounds_ns=options.histogram_ns,
            limits=Limits(
                options.max_regions or UNLIMITED,
                filemap.grant or UNLIMITED,
                budget if filemap.grant_is_first else UNLIMITED,
                retain=filemap.grant_is_first,
            ),
            adopt=spec.group_id,
        ),
        known=_known(entry),
        fd=filemap.fd,
        pending=tuple(entry.pending),
        delete=options.on_unlink == "delete",
    )


def _known(entry: Entry) -> KnownGroup:
    """Return what the ledger knows of the predecessor's group."""
    if not entry.inode:
        return KnownGroup()
    file = FileIdentity(entry.dev, entry.inode, entry.generation)
    group = entry.group
    if group is None:
        return KnownGroup(file=file)
    ids = [group["group_id"]] if entry.moving_to is None else [group["group_id"], entry.moving_to]
    spec = GroupSpec(
        group["alias"],
        group["quoted"],
        group["userdata"],
        group["program"],
        group["precise"],
        tuple(group["bounds"]),
    )
    return KnownGroup(tuple(ids), spec, file)
