"""The peer's daemons, one for each file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.libdm import Peer, peer_stats
from bench.volume import Volume


@contextmanager
def daemons(peer: Peer, disk: Volume, files: Sequence[Path]) -> Iterator[list[psutil.Process]]:
    """A dmfilemapd for each file, whose group is made first, while the context lasts. Raises PeerError."""
    quiet = subprocess.DEVNULL
    started: list[subprocess.Popen[bytes]] = []
    try:
        for file in files:
            fd = disk.open(file)
            with peer_stats(peer, fd) as stats:
                group_id = stats.create()
            command = [str(peer.program), str(fd), str(group_id), str(file), "inode", "1", "0"]
            started.append(subprocess.Popen(command, pass_fds=[fd], stdin=quiet, stdout=quiet, stderr=quiet))
        yield [psutil.Process(one.pid) for one in started]
    finally:
        for one in started:
            one.kill()
            one.wait()
