"""On what a run was made."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

import psutil

from bench.context import Bench
from bench.results import Made
from sandbox.environment import inside


def made(bench: Bench, arguments: Sequence[str]) -> Made:
    """Return how a run with these arguments is made, here and now. Where the peer lies is nobody's business."""
    peer = bench.peer
    words = [
        peer.program.name if peer is not None and word == str(peer.program) else word for word in arguments
    ]
    return Made(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(["python", "-m", "bench", *words]),
        kernel=f"{platform.system()} {platform.release()}",
        machine=f"{platform.machine()}, " + ("user-mode-linux guest" if inside() else "host"),
        cpus=os.cpu_count() or 1,
        memory_mib=psutil.virtual_memory().total >> 20,
        python=".".join(map(str, sys.version_info[:3])),
        filemapd=version("filemapd"),
        peer=f"dmfilemapd with libdevmapper {peer.version}" if peer is not None else None,
        quick=bench.quick,
    )
